"""The way to a recipe that needs training: in order, stopped, failed, shared."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

import explorer as ex
from explorer.recovery.pursuit import Pursuit, pace_of
from explorer.steps import Recover


def bench(training: int = 64) -> ex.Workbench:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = torch.randn(training + 60, 6)
    targets = (inputs[:, :3]).argmax(1)
    data = (inputs[training:], targets[training:])
    return ex.load(model, data=data, training=(inputs[:training], targets[:training]), name="toy")


def arrived(pursuit: Pursuit) -> Pursuit:
    until = time.monotonic() + 60
    while not pursuit.advance():
        assert time.monotonic() < until
        time.sleep(0.01)
    return pursuit


TWICE = ex.Recipe([ex.Prune(sparsity=0.5), Recover(epochs=2), ex.Codebook(bits=3), Recover(epochs=1, seed=4)])


def test_every_training_is_done_in_order_and_then_nothing_waits() -> None:
    wb = bench()
    assert wb.coach.waiting_for(TWICE) == 1 and not wb.coach.ready(TWICE)
    settled = wb.coach.settled(TWICE)
    assert [step.enabled for step in settled] == [True, False, True, False]
    pursuit = arrived(Pursuit(wb, TWICE, settled))
    assert pursuit.wanted == TWICE and wb.coach.ready(TWICE) and wb.coach.settled(TWICE) == TWICE
    variant = wb.compress(TWICE)
    assert variant.size.sparsity >= 0.5 and variant.recipe == TWICE
    assert torch.equal(variant.outputs(torch.ones(2, 6)), bench().compress(TWICE).outputs(torch.ones(2, 6)))


def test_the_notebooks_way_and_the_pages_way_lead_to_the_same_weights() -> None:
    wb, other = bench(), bench()
    wanted = ex.Recipe([ex.Prune(sparsity=0.5), Recover(epochs=2, distill=1.0)])
    arrived(Pursuit(wb, wanted, ex.Recipe()))
    by_hand = other.compress(ex.Prune(sparsity=0.5)).recover(epochs=2, teacher="dense", progress=False)
    assert by_hand.recipe == wanted
    assert torch.equal(wb.compress(wanted).outputs(torch.ones(2, 6)), by_hand.outputs(torch.ones(2, 6)))


def test_stopping_keeps_the_best_so_far_and_leaves_later_trainings_off() -> None:
    wb = bench()
    long = TWICE.replace(1, Recover(epochs=100_000))
    pursuit = Pursuit(wb, long, ex.Recipe())
    until = time.monotonic() + 60
    while (pursuit.job is None or pursuit.job.done_steps < 3) and time.monotonic() < until:
        time.sleep(0.01)
    pursuit.stop()
    arrived(pursuit)
    first, second = pursuit.wanted[1], pursuit.wanted[3]
    assert isinstance(first, Recover) and first.until is not None and first.enabled and not second.enabled
    assert wb.coach.ready(pursuit.wanted)
    again = bench().compress(ex.Recipe(pursuit.wanted.steps[:2]))  # the recipe says all: it leads there again
    here = wb.compress(ex.Recipe(pursuit.wanted.steps[:2]))
    assert torch.equal(here.outputs(torch.ones(2, 6)), again.outputs(torch.ones(2, 6)))


def test_what_cannot_be_trained_is_told_before_or_by_the_pursuit() -> None:
    wb = ex.load(nn.Linear(6, 3), data=(torch.randn(9, 6), torch.arange(9) % 3))
    with pytest.raises(ex.ExplorerError, match="has no data to learn from. Give training= or calibration="):
        Pursuit(wb, ex.Recipe([Recover(epochs=1)]), ex.Recipe())
    wb = bench()
    no_norm = ex.Recipe([Recover(epochs=1, update="batchnorm")])
    with pytest.raises(ex.ExplorerError, match="no BatchNorm"):
        arrived(Pursuit(wb, no_norm, ex.Recipe()))


def test_the_time_is_measured() -> None:
    wb = bench()
    recipe = ex.Recipe([ex.Prune(sparsity=0.5), Recover(epochs=5)])
    job = pace_of(wb, recipe, 1)
    assert job.wait(60) and job.error is None and job.seconds is not None and 0 < job.seconds < 60
    assert not wb.coach.ready(recipe)  # what was measured is thrown away
    assert pace_of(wb, recipe, 1) is job  # and not measured again
