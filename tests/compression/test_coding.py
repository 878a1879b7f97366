"""Quantisation and codebooks: PyTorch's rounding and k-means as oracles, and zeros that stay."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from explorer import LowRank, Prune, Recipe
from explorer.compression.apply import Model, Stand, apply_plan
from explorer.compression.coding import quantise, round_rest, share_values
from explorer.compression.memory import Memory
from explorer.compression.plan import Plan, resolve
from explorer.recipe import Step
from explorer.steps import Codebook, Quantize
from explorer.weights import coded
from explorer.weights.coded import Quantised
from explorer.weights.forms import Dense, Factors, Masked, Zeros, rows_gone, zeros_of
from explorer.weights.matrices import find_matrices


def weights(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def plan_of(model: nn.Module, *steps: Step) -> Plan:
    return resolve(Recipe(steps), find_matrices(model), 4)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 10), nn.LayerNorm(10), nn.Linear(10, 4))


def stand(*steps: Step) -> Stand:
    made = model()
    matrices = find_matrices(made)
    own = {m.name: Dense(m.view(made.get_parameter(m.parameter).detach())) for m in matrices}
    inside = {m.parameter for m in matrices}
    rest = {n: Dense(p.detach().reshape(1, -1)) for n, p in made.named_parameters() if n not in inside}
    return apply_plan(resolve(Recipe(steps), matrices), Model(own, rest, Memory()))


# -- an even grid -------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 20), st.integers(2, 8), st.booleans(), st.booleans(), st.floats(-3, 3),
    st.integers(0, 999),
)  # fmt: skip
def test_no_weight_moves_further_than_half_a_step(
    rows: int, columns: int, bits: int, affine: bool, by_row: bool, shift: float, seed: int
) -> None:
    weight = weights(rows, columns, seed) + shift
    weight[0, 0] = 0.0
    form = quantise(weight, bits, affine=affine, by_row=by_row)
    assert form.scale.shape == ((rows if by_row else 1), 1) and int(form.codes.max()) < 2**bits
    assert ((form.decode() - weight).abs() <= form.scale / 2 * (1 + 1e-4) + 1e-6).all()
    assert form.decode()[0, 0] == 0  # zero is on the grid, exactly
    assert (form.points is not None) == affine


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_symmetric_rounding_is_that_of_pytorch(bits: int) -> None:
    weight, last = weights(16, 40), 2 ** (bits - 1) - 1
    form = quantise(weight, bits)
    scale, zero = form.scale.reshape(-1), torch.zeros(16, dtype=torch.int32)
    wanted = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -last, last)
    assert torch.allclose(form.decode(), wanted, atol=1e-6)
    assert torch.equal(form.scale.reshape(-1), weight.abs().amax(1) / last)


def test_affine_rounding_is_that_of_pytorch() -> None:
    weight = weights(16, 40) + 0.7
    form = quantise(weight, 8, affine=True)
    assert form.points is not None
    wanted = torch.fake_quantize_per_channel_affine(
        weight, form.scale.reshape(-1), form.points.reshape(-1).int(), 0, 0, 255
    )
    assert torch.allclose(form.decode(), wanted, atol=1e-6)


def test_one_scale_a_row_follows_small_rows() -> None:
    weight = torch.stack([weights(1, 30)[0], weights(1, 30)[0] / 1000])
    rough, fine = quantise(weight, 4, by_row=False), quantise(weight, 4)
    assert rough.decode()[1].eq(0).all() and fine.decode()[1].ne(0).any()


@pytest.mark.parametrize("affine", [False, True])
def test_rows_of_zeros_stay_zero(affine: bool) -> None:
    weight = weights(3, 8)
    weight[1] = 0
    found = quantise(weight, 4, affine=affine).decode()
    assert found[1].eq(0).all() and found.isfinite().all()


@pytest.mark.parametrize("affine", [False, True])
def test_removed_weights_stay_removed(affine: bool) -> None:
    weight = weights(6, 20) + 1
    mask = weights(6, 20, 1) > 0
    form = quantise(weight * mask, 3, Zeros(mask), affine=affine)
    assert form.decode()[~mask].eq(0).all() and form.zeros is not None and torch.equal(form.zeros.mask, mask)


# -- shared values ------------------------------------------------------------------------------------------------


def best_error(values: np.ndarray, parts: int) -> float:
    """The least squared error of any split of sorted values into so many parts."""
    values = np.sort(values)
    cuts = combinations(range(1, len(values)), parts - 1)
    splits = (np.split(values, list(cut)) for cut in cuts)
    return min(sum(float(((part - part.mean()) ** 2).sum()) for part in split) for split in splits)


@pytest.mark.parametrize("seed", range(4))
def test_two_groups_of_values_are_found(seed: int) -> None:
    weight = torch.cat([weights(1, 6, seed) * 0.1 - 1, weights(1, 6, seed + 9) * 0.1 + 1], 1)
    form = share_values(weight, 1)
    error = float((form.decode() - weight).square().sum())
    assert error == pytest.approx(best_error(weight.numpy().reshape(-1), 2), rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_no_more_values_than_the_bits_can_name(rows: int, columns: int, bits: int, pruned: bool, seed: int) -> None:
    weight = weights(rows, columns, seed)
    mask = weights(rows, columns, seed + 1) > 0.3 if pruned else torch.ones(rows, columns, dtype=torch.bool)
    weight = weight * mask
    form = share_values(weight, bits, Zeros(mask) if pruned else None)
    assert len(form.decode().unique()) <= len(form.table) <= 2**bits and form.width <= bits
    assert torch.equal(form.decode() == 0, ~mask)
    if not mask.any():  # all of it is gone
        return
    near = (weight[mask][:, None] - form.table[form.table != 0][None]).abs().amin(1)
    assert torch.allclose((form.decode() - weight)[mask].abs(), near)  # each weight goes to the nearest value


def test_each_value_is_the_mean_of_its_weights() -> None:
    weight = weights(20, 30)
    form = share_values(weight, 3)
    for code, value in enumerate(form.table):
        assert float(weight[form.codes == code].mean()) == pytest.approx(float(value), abs=0.02)


def test_few_values_are_kept_as_they_are() -> None:
    weight = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.5, 0.0]])
    assert torch.equal(share_values(weight, 2).decode(), weight)
    assert share_values(torch.zeros(2, 3), 4).decode().eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_mean_of_zero_is_no_value_beside_zero(dtype: torch.dtype) -> None:
    weight = torch.tensor([[0.0, -1.0, 1.0, 1.0, -1.0]], dtype=dtype)
    form = share_values(weight, 1)  # one value for all four, and it is zero
    assert form.decode().eq(0).all() and form.table.tolist() == [0.0]


def test_values_that_the_number_type_cannot_hold_are_no_second_zero() -> None:
    weight = torch.linspace(1, 400, 400, dtype=torch.float64).reshape(4, 100) * 6e-8
    form = share_values(weight.to(torch.float16), 2)
    assert (form.table[1:] != 0).all() and len(form.table.unique()) == len(form.table)


# -- as steps -----------------------------------------------------------------------------------------------------


def test_zeros_of_a_step_before_stay_zero() -> None:
    before = stand(Prune(sparsity=0.5))
    for step in (Quantize(bits=4), Quantize(bits=4, scheme="affine"), Codebook(bits=2)):
        after = stand(Prune(sparsity=0.5), step)
        for name, form in after.forms.items():
            zeros, held = zeros_of(form), before.forms[name]
            assert isinstance(held, Masked) and zeros is not None and torch.equal(zeros.mask, held.mask)
            assert form.decode()[~held.mask].eq(0).all()


def test_pruning_what_is_coded_keeps_codes() -> None:
    for step, kind in ((Quantize(bits=4), "quantised"), (Codebook(bits=3), "codebook")):
        forms = stand(step, Prune(sparsity=0.5)).forms
        assert {form.kind for form in forms.values()} == {kind}
        assert sum(form.nonzero for form in forms.values()) <= 80


def test_rows_that_are_gone_stay_known() -> None:
    forms = stand(Prune(sparsity=0.5, pattern="row", scope="matrix"), Quantize()).forms
    assert all(
        (gone := rows_gone(form)) is not None and int(gone.sum()) == form.shape[0] // 2 for form in forms.values()
    )


def test_each_factor_is_coded_on_its_own() -> None:
    form = stand(LowRank(rank=2), Quantize(bits=8)).forms["0"]
    assert isinstance(form, Factors) and form.rank == 2
    assert isinstance(form.left, Quantised) and isinstance(form.right, Quantised)
    assert (form.left.scale.numel(), form.right.scale.numel()) == (10, 2)
    shared = stand(LowRank(rank=2), Codebook(bits=2)).forms["0"]
    assert isinstance(shared, Factors) and isinstance(shared.left, coded.Codebook)


def test_own_bits_and_matrices_left_alone() -> None:
    forms = stand(Quantize(bits=8, overrides={"0": 3, "2": None})).forms
    assert list(forms) == ["0"] and isinstance(forms["0"], Quantised) and forms["0"].bits == 3


def test_the_rest_is_rounded_on_request() -> None:
    assert not stand(Quantize()).rest
    made, found = dict(model().named_parameters()), stand(Codebook(rest=8)).rest
    assert set(found) == {"0.bias", "1.weight", "1.bias", "2.bias"}
    for name, form in found.items():
        assert isinstance(form, Quantised) and form.scale.shape == (1, 1)
        assert torch.allclose(form.decode().reshape(-1), made[name], atol=float(form.scale[0, 0]) / 2 + 1e-6)
    assert round_rest({"one": Dense(torch.ones(1, 1))}, 8)["one"].kind == "dense"


def test_plans_warn_of_an_order_that_loses_work() -> None:
    def told(*steps: Step) -> str:
        return "\n".join(warning.text for warning in plan_of(model(), *steps).warnings)

    assert "codes are lost" in told(Quantize(), LowRank(rank=2))
    assert "both errors add up" in told(Quantize(), Codebook())
    assert not told(Prune(sparsity=0.5), Quantize())
    text = str(plan_of(model(), Quantize(bits=4), Codebook(bits=3)))
    assert "4 bits a weight, 10 scales" in text and "8 shared values, 3 bits an index" in text
