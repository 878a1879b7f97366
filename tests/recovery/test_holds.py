"""Holds: what runs is what the form decodes to, gradients reach the leaves, and what was removed stays removed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from explorer import ExplorerError
from explorer.compression.coding import quantise, share_values
from explorer.recovery.holds import CodebookHold, FactorsHold, Frozen, Hold, PlainHold, QuantisedHold, hold
from explorer.weights.coded import Codebook, Quantised
from explorer.weights.forms import Dense, Factors, Form, Zeros, zeros_of


def weights(rows: int = 6, columns: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


MASK = weights(seed=5) > 0
PRUNED = weights() * MASK
ROWS = Zeros((torch.arange(6) > 1)[:, None].expand(6, 8).contiguous(), rows=torch.arange(6) < 2)

FORMS: dict[str, Callable[[], Form]] = {
    "dense": lambda: Dense(weights()),
    "masked": lambda: Dense(weights()).masked(Zeros(MASK)),
    "rows": lambda: Dense(weights()).masked(ROWS),
    "symmetric": lambda: quantise(weights(), 4),
    "affine": lambda: quantise(weights() + 1, 8, affine=True, by_row=False),
    "pruned and quantised": lambda: quantise(PRUNED, 4, Zeros(MASK)),
    "codebook": lambda: share_values(weights(), 3),
    "pruned codebook": lambda: share_values(PRUNED, 3, Zeros(MASK)),
    "factors": lambda: Factors(Dense(weights(6, 2)), Dense(weights(2, 8, 1)).masked(Zeros(weights(2, 8, 3) > 0))),
    "coded factors": lambda: Factors(quantise(weights(6, 2), 8), share_values(weights(2, 8, 1), 2)),
}


def trained(held: Hold, steps: int = 5, lr: float = 0.05) -> None:
    optimiser = torch.optim.Adam(held.leaves, lr=lr)
    wanted = weights(seed=9)
    for _ in range(steps):
        optimiser.zero_grad()
        (held.weight() - wanted).square().sum().backward()
        optimiser.step()


@pytest.mark.parametrize("name", FORMS)
def test_what_runs_before_training_is_the_form(name: str) -> None:
    form = FORMS[name]()
    held = hold(form)
    assert torch.equal(held.weight(), form.decode())
    again = held.form()
    assert type(again) is type(form) and torch.equal(again.decode(), form.decode())


@pytest.mark.parametrize("name", FORMS)
def test_gradients_reach_every_leaf_and_what_runs_is_what_is_kept(name: str) -> None:
    form = FORMS[name]()
    held, before = hold(form), form.decode().clone()
    (held.weight() * weights(seed=7)).sum().backward()
    assert held.leaves and all(leaf.grad is not None and leaf.grad.any() for leaf in held.leaves)
    trained(held)
    found = held.form()
    assert type(found) is type(form) and found.entries == form.entries
    assert torch.allclose(held.weight(), found.decode(), atol=1e-6)
    assert not torch.equal(found.decode(), before) and torch.equal(form.decode(), before)
    kept = found.decode().clone()
    trained(held)
    assert torch.equal(found.decode(), kept)  # a form shares nothing with the leaves


@pytest.mark.parametrize("name", ["masked", "rows", "pruned and quantised", "pruned codebook"])
def test_zeros_stay_exactly_zero(name: str) -> None:
    form = FORMS[name]()
    zeros = zeros_of(form)
    assert zeros is not None
    held = hold(form)
    trained(held, 20, 0.3)
    after = held.form()
    kept = zeros_of(after)
    assert kept is not None and torch.equal(kept.mask, zeros.mask)
    assert after.decode()[~zeros.mask].eq(0).all() and held.weight()[~zeros.mask].eq(0).all()
    assert (kept.rows is None) == (zeros.rows is None)


def test_a_rank_stays_and_so_do_the_zeros_of_a_factor() -> None:
    form = FORMS["factors"]()
    assert isinstance(form, Factors)
    held = hold(form)
    trained(held)
    after = held.form()
    assert isinstance(after, Factors) and after.rank == 2
    assert after.right.decode()[form.right.decode() == 0].eq(0).all()
    assert torch.linalg.matrix_rank(held.weight()) == 2


def test_a_shared_value_moves_by_the_sum_of_its_weights_gradients() -> None:
    form = share_values(PRUNED, 3, Zeros(MASK))
    held = hold(form)
    assert isinstance(held, CodebookHold)
    gradient = weights(seed=4)
    (held.weight() * gradient).sum().backward()
    grad = held.table.grad
    assert grad is not None and grad[0] == 0  # zero stays zero
    for code in range(1, len(form.table)):
        assert float(grad[code]) == pytest.approx(float(gradient[form.codes == code].sum()), abs=1e-5)
    trained(held, 10)
    after = held.form()
    assert torch.equal(after.codes, form.codes) and len(after.decode().unique()) <= 8


def test_rounding_passes_gradients_straight_through() -> None:
    form = quantise(weights(), 4)
    held = hold(form)
    assert isinstance(held, QuantisedHold)
    (held.weight() * weights(seed=4)).sum().backward()
    assert held.value.grad is not None and torch.allclose(held.value.grad, weights(seed=4), atol=1e-5)


def test_a_trained_grid_stays_a_grid_of_so_many_bits() -> None:
    held = hold(quantise(weights(), 3))
    trained(held, 40, 0.3)
    form = held.form()
    assert isinstance(form, Quantised) and form.bits == 3 and int(form.codes.max()) <= 7 and int(form.codes.min()) >= 1
    assert (form.scale > 0).all() and all(len(row.unique()) <= 7 for row in form.decode())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("affine", [False, True])
def test_half_numbers_round_as_they_decode(dtype: torch.dtype, affine: bool) -> None:
    form = quantise((weights(40, 50) - 0.9).to(dtype), 8, affine=affine)
    held = hold(form)
    assert held.weight().dtype == dtype and torch.equal(held.weight(), form.decode())
    assert torch.equal(held.form().decode(), form.decode())


def test_what_may_return_learns_on() -> None:
    held = hold(Dense(weights()).masked(Zeros(MASK)))
    assert isinstance(held, PlainHold)
    held.returning = True
    assert torch.equal(held.weight(), PRUNED)
    trained(held)
    assert held.value.detach()[~MASK].ne(0).any() and held.weight()[~MASK].eq(0).all()
    held.zeros = None
    assert held.weight()[~MASK].ne(0).any()  # back again, with what was learnt


def test_learned_scores_are_leaves_also_of_factors() -> None:
    held = hold(Factors(Dense(weights(6, 2)), Dense(weights(2, 8))))
    assert isinstance(held, FactorsHold)
    for part in held.plain():
        part.zeros = Zeros(torch.rand(part.value.shape) > 0.5)
        part.learn_scores()
    assert len(held.leaves) == 4
    held.weight().sum().backward()
    assert all(leaf.grad is not None for leaf in held.leaves)


def test_the_gradient_of_a_score_is_that_of_its_mask() -> None:
    held = hold(Dense(weights()).masked(Zeros(MASK)))
    assert isinstance(held, PlainHold)
    with torch.no_grad():
        held.value.copy_(weights())
    held.learn_scores()
    (held.weight() * weights(seed=4)).sum().backward()
    assert held.scores is not None and held.scores.grad is not None
    assert torch.allclose(held.scores.grad, weights() * weights(seed=4))


def test_what_is_frozen_has_nothing_to_move() -> None:
    form = share_values(weights(), 2)
    held = Frozen(form)
    assert held.leaves == [] and held.form() is form and torch.equal(held.weight(), form.decode())
    assert list(held.plain()) == [] and isinstance(form, Codebook)


def test_a_form_that_cannot_be_trained_says_so() -> None:
    class Odd(Form):
        kind = "odd"

    with pytest.raises(ExplorerError, match="odd matrix cannot be trained"):
        hold(Odd())
