"""Forms: what runs is the decoded matrix, and the counts are those of what is held."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from explorer.weights.forms import Dense, Factors, Form, Masked

WEIGHT = torch.tensor([[1.0, -2.0, 0.0], [0.5, 3.0, 4.0]])
MASK = torch.tensor([[True, False, True], [True, True, False]])


def masked(weight: torch.Tensor, mask: torch.Tensor) -> Masked:
    return Masked(weight * mask, mask)


def test_dense() -> None:
    form = Dense(WEIGHT)
    assert form.decode() is WEIGHT
    assert (form.shape, form.entries, form.nonzero, form.resident_bytes) == ((2, 3), 6, 5, 24)


def test_masked_counts_zeros_whoever_made_them() -> None:
    form = masked(WEIGHT, MASK)
    assert torch.equal(form.decode(), torch.tensor([[1.0, 0.0, 0.0], [0.5, 3.0, 0.0]]))
    assert (form.shape, form.entries, form.nonzero) == ((2, 3), 6, 3)  # one kept weight happens to be zero
    assert form.resident_bytes == 24 + 6


def test_factors_below_break_even_are_counted_as_two_thin_matrices() -> None:
    left, right = torch.randn(10, 2), torch.randn(2, 20)
    form = Factors(Dense(left), masked(right, torch.rand(2, 20) < 0.5))
    assert form.runs_thin
    assert form.rank == 2 and form.shape == (10, 20)
    assert form.entries == 2 * (10 + 20)
    assert form.nonzero == int(left.count_nonzero()) + form.right.nonzero
    torch.testing.assert_close(form.decode(), left @ form.right.decode())


@pytest.mark.parametrize(("rank", "thin"), [(5, True), (6, False), (7, False)])
def test_at_break_even_and_above_the_whole_matrix_runs_and_is_counted(rank: int, thin: bool) -> None:
    form = Factors(Dense(torch.randn(12, rank)), Dense(torch.randn(rank, 12)))  # break-even is 144 / 24 = 6
    assert form.runs_thin is thin
    assert form.entries == (24 * rank if thin else 144)
    if not thin:
        assert form.nonzero == int(form.decode().count_nonzero())


def test_the_product_is_computed_once_so_that_every_run_has_the_same_bits() -> None:
    form = Factors(Dense(torch.randn(30, 4)), Dense(torch.randn(4, 20)))
    assert form.decode() is form.decode()


@pytest.mark.parametrize(
    "form", [Dense(WEIGHT), masked(WEIGHT, MASK), Factors(Dense(torch.ones(2, 1)), Dense(torch.ones(1, 3)))]
)
def test_forms_are_immutable(form: Form) -> None:
    for field in dataclasses.fields(form):  # type: ignore[arg-type]  # all forms are dataclasses
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(form, field.name, None)
