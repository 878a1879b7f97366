"""The loop itself: its moments, its rate, what is pulled to zero, and how far a wish for an epoch goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import explorer as ex
from explorer import ExplorerError
from explorer.recovery.training import LOOKS, Moment, Training
from explorer.steps import GradualPrune, Quantize, Recover
from tests.toys import numbers, perceptron


def training(step: Recover, *before: Any, examples: int = 64) -> Training:
    wb = ex.load(perceptron(), data=numbers(20), calibration=numbers(examples))
    outfit = wb.compress(list(before)).outfit
    forms, rest = {**wb.dense_forms, **outfit.forms}, {**wb.dense_rest, **outfit.rest}
    chosen = None if step.layers == ("*",) else set(step.layers)
    with torch.no_grad():
        made = Training(
            step, wb.subject, wb.matrices(), forms, rest, chosen, set(wb.matrices().names), [], wb.subject.model
        )
    return made


def moments_of(made: Training, stop_after: int | None = None) -> tuple[list[Moment], list[int]]:
    moments: list[Moment] = []
    steps: list[int] = []
    made.run(moments.append, lambda done: steps.append(done) or done == stop_after)  # type: ignore[func-returns-value]
    return moments, steps


@pytest.mark.parametrize(("epochs", "steps"), [(0.01, 1), (1, 8), (2.5, 20), (10, 80)])
def test_an_epoch_is_so_many_steps(epochs: float, steps: int) -> None:
    made = training(Recover(epochs=epochs, batch_size=8, hold_back=0))
    assert (made.steps, made.stop_at, made.material.batches) == (steps, steps, 8)
    moments, done = moments_of(made)
    assert done == list(range(1, steps + 1)) and len(moments) == min(LOOKS, steps) + 1
    assert (moments[0].epoch, moments[-1].epoch) == (0.0, steps / 8)
    assert [m.epoch for m in moments] == sorted(m.epoch for m in moments)


def test_the_rate_rises_in_a_line_and_falls_to_zero() -> None:
    made = training(Recover(epochs=10, batch_size=8, hold_back=0))
    rates = [made._rate(number) for number in range(made.steps + 1)]
    assert rates[:8] == [pytest.approx((n + 1) / 8) for n in range(8)] and max(rates) == 1.0
    assert rates[8:] == sorted(rates[8:], reverse=True) and rates[-1] == pytest.approx(0, abs=1e-12)


def test_a_stop_is_looked_at_and_ends_it() -> None:
    moments, done = moments_of(training(Recover(epochs=10, batch_size=8, hold_back=0)), 3)
    assert done == [1, 2, 3] and moments[-1].epoch == 3 / 8


def test_weight_decay_pulls_matrices_and_nothing_else() -> None:
    made = training(Recover(weight_decay=0.1), Quantize(layers="0"))
    groups = made._optimiser.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [leaf.shape for leaf in groups[0]["params"]] == [(3, 16)]
    lengths = []
    for decay in (0.0, 5.0):
        made = training(Recover(epochs=20, weight_decay=decay, learning_rate=0.05, hold_back=0))
        moments_of(made)
        lengths.append(made.trainee.holds["2"].weight().norm().item())
    assert lengths[1] < lengths[0]


def test_sparse_training_pulls_weights_to_zero() -> None:
    sums = []
    for l1 in (0.0, 0.05):
        made = training(Recover(epochs=20, l1=l1, learning_rate=0.02, hold_back=0))
        moments_of(made)
        sums.append(sum(held.weight().abs().sum().item() for held in made.trainee.holds.values()))
    assert sums[1] < sums[0] / 2


def test_what_cannot_be_pruned_or_trained_says_so() -> None:
    with pytest.raises(ExplorerError, match="Put it first"):
        training(GradualPrune(), Quantize())


def test_a_loss_that_is_no_number_counts_as_boundless() -> None:
    made = training(Recover())
    with torch.no_grad():
        made.trainee.leaves[0].fill_(float("nan"))
    assert made._watched() == float("inf")


def test_pace_is_positive_and_learns_for_nobody() -> None:
    assert training(Recover(epochs=1)).pace(2) > 0
