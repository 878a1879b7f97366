"""Pruning while training: how much is gone when, exactly, and what may come back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from explorer.recovery.holds import PlainHold
from explorer.recovery.rising import SETTLED, RisingSparsity
from explorer.steps import LEARNED, GradualPrune
from explorer.weights.forms import Dense, Zeros

STEPS = 20


def holds(*already: Zeros | None) -> dict[str, list[PlainHold]]:
    """A matrix of 5 by 8, and two factors of 5 by 2 and 2 by 10."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(5, 8), (5, 2), (2, 10)]
    forms = [Dense(torch.randn(shape, generator=draw)) for shape in shapes]
    made = [
        PlainHold(form if zeros is None else form.masked(zeros))
        for form, zeros in zip(forms, [*already, None, None, None], strict=False)
    ]
    return {"whole": made[:1], "thin": made[1:]}


def gone(parts: dict[str, list[PlainHold]]) -> list[int]:
    return [0 if held.zeros is None else int((~held.zeros.mask).sum()) for held in [*parts["whole"], *parts["thin"]]]


def run(parts: dict[str, list[PlainHold]], moving: bool = False, **fields: Any) -> list[int]:
    """Goes through a training; how much is gone after each step's cut. moving: the weights change meanwhile."""
    rising = RisingSparsity(GradualPrune(**fields), parts, STEPS)
    counts = []
    draw = torch.Generator().manual_seed(1)
    for number in range(STEPS):
        rising.before(number)
        counts.append(sum(gone(parts)))
        for held in (*parts["whole"], *parts["thin"]) if moving else ():
            with torch.no_grad():
                held.value.add_(torch.randn(held.value.shape, generator=draw))
                if held.scores is not None:
                    held.scores.add_(torch.randn(held.value.shape, generator=draw))
    return counts


@pytest.mark.parametrize("schedule", ["linear", "cubic"])
@pytest.mark.parametrize("rounds", [1, 2, 5, 100])
@pytest.mark.parametrize("ramp", [0.0, 0.5, 1.0])
def test_it_rises_to_exactly_the_target_and_never_falls(schedule: Any, rounds: int, ramp: float) -> None:
    counts = run(holds(), True, sparsity=0.8, schedule=schedule, rounds=rounds, ramp=ramp)
    assert counts[-1] == round(0.8 * 70) and counts == sorted(counts)
    assert counts[round(ramp * (STEPS - 1)) if rounds > 1 else 0] == counts[-1]
    assert len(set(counts)) <= rounds


def test_cubic_takes_much_at_first_and_linear_always_the_same() -> None:
    linear = sorted(set(run(holds(), sparsity=0.5, schedule="linear", rounds=5, ramp=1.0)))
    cubic = sorted(set(run(holds(), sparsity=0.5, schedule="cubic", rounds=5, ramp=1.0)))
    assert linear == [7, 14, 21, 28, 35]
    assert cubic == sorted({round(0.5 * (1 - (1 - n / 5) ** 3) * 70) for n in range(1, 6)})


@pytest.mark.parametrize("scope", ["global", "matrix"])
@pytest.mark.parametrize("criterion", ["magnitude", "random", LEARNED])
@pytest.mark.parametrize("zeros", ["stay", "may return"])
def test_as_many_as_asked_are_gone(scope: Any, criterion: str, zeros: Any) -> None:
    parts = holds()
    run(parts, True, sparsity=0.5, scope=scope, criterion=criterion, zeros=zeros, rounds=4)
    assert sum(gone(parts)) == 35
    if scope == "matrix":
        assert gone(parts) == [20, 5, 10]


@pytest.mark.parametrize("criterion", ["magnitude", LEARNED])
def test_whole_rows_go_and_are_known(criterion: str) -> None:
    parts = holds()
    run(parts, True, sparsity=0.4, pattern="row", criterion=criterion, scope="matrix", rounds=3)
    for held in (parts["whole"][0], parts["thin"][0]):
        assert held.zeros is not None and held.zeros.rows is not None
        assert int(held.zeros.rows.sum()) == 2 and torch.equal(held.zeros.mask.any(1), ~held.zeros.rows)
    assert parts["thin"][1].zeros is None  # the rows of a product are those of its left factor


def test_learned_rows_with_low_scores_go_first() -> None:
    parts = holds()
    rising = RisingSparsity(GradualPrune(sparsity=0.4, pattern="row", criterion=LEARNED, rounds=1), parts, STEPS)
    scores = parts["whole"][0].scores
    assert scores is not None
    scores.data[:] = torch.tensor([1.0, -9.0, 1.0, 1.0, 1.0])[:, None]  # pushed far below zero by training
    rising.before(0)
    zeros = parts["whole"][0].zeros
    assert zeros is not None and zeros.rows is not None and zeros.rows[1]


def earlier(share: float = 0.5) -> Zeros:
    mask = torch.rand(5, 8, generator=torch.Generator().manual_seed(7)) > share
    return Zeros(mask, (4, 8))


@pytest.mark.parametrize("criterion", ["magnitude", LEARNED])
@pytest.mark.parametrize("pattern", ["unstructured", "row"])
def test_zeros_of_earlier_steps_stay(criterion: str, pattern: Any) -> None:
    before = earlier()
    parts = holds(before)
    run(parts, True, sparsity=0.7, criterion=criterion, pattern=pattern, rounds=3)
    zeros = parts["whole"][0].zeros
    assert zeros is not None and not (zeros.mask & ~before.mask).any() and zeros.group == (4, 8)
    if pattern == "unstructured":
        assert sum(gone(parts)) == 49


def test_it_goes_on_from_what_is_gone_already() -> None:
    before = earlier()
    already = int((~before.mask).sum())
    counts = run(holds(before), sparsity=0.8, schedule="linear", rounds=4, ramp=1.0)
    assert counts[0] == round(already + (56 - already) / 4) and counts[-1] == 56
    rows = run(holds(before), sparsity=0.8, pattern="row", schedule="linear", rounds=4, ramp=1.0)
    assert rows[0] < rows[-1]  # single zeros are no rows: all of them are still to go


def test_less_than_is_gone_already_brings_nothing_back() -> None:
    before = earlier(0.9)
    parts = holds(before)
    run(parts, True, sparsity=0.1, rounds=3)
    zeros = parts["whole"][0].zeros
    assert zeros is not None and torch.equal(zeros.mask, before.mask)


def masks(zeros: Any, criterion: str = "magnitude") -> list[Tensor]:
    parts = holds()
    rising = RisingSparsity(GradualPrune(sparsity=0.5, zeros=zeros, criterion=criterion, rounds=4), parts, STEPS)
    held, listed = parts["whole"][0], []
    for number in range(STEPS):
        rising.before(number)
        assert held.zeros is not None
        listed.append(held.zeros.mask)
        with torch.no_grad():
            (held.value if held.scores is None else held.scores).copy_(torch.randn(5, 8))
    assert not held.returning or criterion == LEARNED
    return listed


def revived(listed: list[Tensor]) -> bool:
    return any(bool((after & ~before).any()) for before, after in zip(listed, listed[1:], strict=False))


def test_what_may_return_does_until_the_last_cut() -> None:
    assert not revived(masks("stay")) and revived(masks("may return"))
    last = round(0.6 * (STEPS - 1))
    assert not revived(masks("may return")[last:])


def test_learned_masks_settle_before_the_end() -> None:
    listed = masks("stay", LEARNED)
    settled = int(SETTLED * STEPS)
    assert revived(listed[:settled]) and not revived(listed[settled:])
