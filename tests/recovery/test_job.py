"""Recoveries from end to end: what was compressed stays so, to the byte, and the outcome can be made again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import explorer as ex
from explorer import ExplorerError
from explorer.recovery.asking import stand_of
from explorer.recovery.coach import Coach
from explorer.recovery.job import TRAINERS, PaceJob, RecoveryJob
from explorer.recovery.material import Material
from explorer.steps import LEARNED, Codebook, GradualPrune, Quantize, Recover, Step
from explorer.variant import Variant
from explorer.waiting import watch
from explorer.weights.coded import Coded
from explorer.weights.forms import Factors, Form, zeros_of
from tests.toys import Convolutional, perceptron, seeded


def task(examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Something that can be learnt: which of three inputs is the largest."""
    inputs = torch.randn(examples, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)


def bench(examples: int = 96, model: nn.Module | None = None, **options: Any) -> ex.Workbench:
    return ex.load(model or perceptron(), data=task(40, 1), training=task(examples, 2), batch_size=40, **options)


def recovered(variant: Variant, epochs: float = 3, **wishes: Any) -> Variant:
    return variant.recover(epochs, progress=False, **{"learning_rate": 0.02, "batch_size": 16, **wishes})


def bits(variant: Variant) -> dict[str, bytes]:
    tensors = {**variant.outfit.forms, **variant.outfit.rest}
    return {name: form.decode().detach().contiguous().numpy().tobytes() for name, form in tensors.items()}


def loss(variant: Variant) -> float:
    inputs, targets = task(96, 2)
    return float(nn.functional.cross_entropy(variant.outputs(inputs), targets))


def job_of(wb: ex.Workbench, step: Recover, variant: Variant | None = None) -> RecoveryJob:
    return wb.coach.submit(step, stand_of(variant or wb.dense))


def done(job: RecoveryJob) -> RecoveryJob:
    assert job.wait(60)
    return job


# -- what was compressed stays so ---------------------------------------------------------------------------------

KEPT: dict[str, list[Step]] = {
    "pruned": [ex.Prune(sparsity=0.6)],
    "groups": [ex.Prune(pattern="n:m", n=1, m=2)],
    "rows": [ex.Prune(sparsity=0.4, pattern="row")],
    "low rank": [ex.LowRank(rank=2), ex.Prune(sparsity=0.3)],
    "quantised": [ex.Prune(sparsity=0.4), Quantize(bits=4, rest=8)],
    "affine": [Quantize(bits=5, scheme="affine", granularity="tensor")],
    "codebook": [ex.Prune(sparsity=0.4), Codebook(bits=3)],
    "all": [ex.LowRank(rank=2, layers="0"), Quantize(bits=8)],
}


def parts_of(form: Form) -> list[Form]:
    return [form.left, form.right] if isinstance(form, Factors) else [form]


@pytest.mark.parametrize("recipe", KEPT)
def test_zeros_ranks_codes_and_bytes_stay_while_it_learns(recipe: str) -> None:
    wb = bench()
    before = wb.compress(KEPT[recipe])
    after = recovered(before)
    assert loss(after) < loss(before) and bits(after) != bits(before)
    for name, form in before.forms.items():
        for old, new in zip(parts_of(form), parts_of(after.forms[name]), strict=True):
            zeros, kept = zeros_of(old), zeros_of(new)
            assert type(old) is type(new) and old.shape == new.shape and (zeros is None) == (kept is None)
            if zeros is not None and kept is not None:
                assert torch.equal(zeros.mask, kept.mask) and zeros.group == kept.group
                assert new.decode()[~zeros.mask].eq(0).all()
            if isinstance(old, Coded) and isinstance(new, Coded):
                assert old.width == new.width
                assert old.kind == "quantised" or torch.equal(old.codes, new.codes)
    if not any(isinstance(step, Quantize) for step in KEPT[recipe]):  # what is rounded may come to lie on zero
        sizes = [sorted(e.size_bytes for e in variant.storage.entries) for variant in (before, after)]
        assert sizes[0] == sizes[1]
    wb.check_dense()


def test_it_is_the_same_for_the_same_seed() -> None:
    first, second, other = (recovered(bench().compress(ex.Prune(sparsity=0.5)), seed=seed) for seed in (3, 3, 4))
    assert bits(first) == bits(second) != bits(other)


def test_a_person_s_random_numbers_go_on_as_if_nothing_had_been() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    recovered(bench().dense)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("criterion", ["magnitude", LEARNED])
@pytest.mark.parametrize("pattern", ["unstructured", "row"])
@pytest.mark.parametrize("zeros", ["stay", "may return"])
def test_gradual_pruning_ends_at_the_target(criterion: str, pattern: Any, zeros: Any) -> None:
    wb = bench()
    after = recovered(wb.dense, sparsity=0.5, criterion=criterion, pattern=pattern, zeros=zeros, rounds=3)
    assert isinstance(after.recipe[0], GradualPrune)
    if pattern == "row":  # the rows of the last matrix are the answers
        assert int(after.forms["0"].decode().eq(0).all(1).sum()) == 8
        bias = after.outfit.rest["0.bias"].decode()[0]
        assert torch.equal(bias == 0, after.forms["0"].decode().eq(0).all(1))
        assert after.forms["2"].kind == "dense"
    else:
        assert sum(form.nonzero for form in after.forms.values()) == 72


def test_what_is_watched_of_learned_rows_is_what_is_kept() -> None:
    wb = bench()
    step = GradualPrune(epochs=4, sparsity=0.5, criterion=LEARNED, pattern="row", learning_rate=0.05, batch_size=8)
    job = done(job_of(wb, step))
    assert job.trained is not None
    made = Variant(wb, wb.dense.recipe, wb.dense.plan, wb.worn(wb.coach.outcome(job)))
    watched = Material(wb.subject, step).watched
    assert watched is not None
    found = float(nn.functional.cross_entropy(made.outputs(watched.inputs), watched.targets))
    best = min(look.moment.watched for look in job.looks if look.moment.epoch == job.trained.best)
    assert found == pytest.approx(best, rel=1e-4)


# -- stopping, and making it again --------------------------------------------------------------------------------


class Stopped:
    """`forward=` that calls back before each forward pass in training mode."""

    def __init__(self) -> None:
        self.calls, self.at, self.then = 0, -1, lambda: None

    def __call__(self, model: nn.Module, inputs: Tensor) -> Tensor:
        if model.training:
            self.calls += 1
            if self.calls == self.at:
                self.then()
        outputs: Tensor = model(inputs)
        return outputs


@pytest.mark.parametrize("step", [
    Recover(epochs=4, learning_rate=0.02, batch_size=16), GradualPrune(epochs=4, learning_rate=0.02, batch_size=16),
])  # fmt: skip
def test_until_makes_again_what_was_stopped_by_hand(step: Recover) -> None:
    gate = Stopped()
    wb = bench(forward=gate)
    start = wb.compress(ex.Prune(sparsity=0.3))
    ready: list[RecoveryJob] = []

    def stop() -> None:
        _until(lambda: bool(ready))
        ready[0].stop()

    gate.at, gate.then = 9, stop
    ready.append(job_of(wb, step, start))
    job = done(ready[0])
    batches = Material(wb.subject, step).batches
    assert job.done_steps == 9 and job.final_step == step.change(until=9 / batches)
    gate.at = -1
    again = bench().compress(ex.Recipe([ex.Prune(sparsity=0.3), job.final_step]))
    kept = wb.compress(again.recipe)  # remembered, not trained once more
    assert bits(kept) == bits(again) and gate.calls == 9


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


@pytest.mark.parametrize("until", [0.0, 0.31, 1.03, 7.0])
def test_a_moment_that_falls_between_two_steps_is_known_afterwards(until: float) -> None:
    wb, step = bench(), Recover(epochs=2, until=until, batch_size=16)
    job = done(job_of(wb, step))
    assert job.final_step == step and job.share in (0.0, 1.0)
    assert wb.coach.ready(ex.Recipe([step]))


def test_a_diverging_training_is_stopped_and_the_best_is_kept() -> None:
    for hold_back in (0.1, 0.0):
        wb = bench()
        before = wb.compress(ex.Prune(sparsity=0.5))
        after = recovered(before, 20, learning_rate=1e4, hold_back=hold_back)
        assert "diverged" in after.note and loss(after) < 4 * loss(before)
        assert after.recipe[1] == Recover(epochs=20, learning_rate=1e4, batch_size=16, hold_back=hold_back)


class Overflows(nn.Sequential):
    """A model that gives NaN once its weights are large."""

    def forward(self, x: Tensor) -> Tensor:
        logits, first = super().forward(x), self[0]
        assert isinstance(first, nn.Linear)
        return logits * (1.0 if first.weight.abs().max() < 100 else float("nan"))


def test_a_training_that_breaks_before_its_sparsity_says_so() -> None:
    wb = bench(model=Overflows(*perceptron()))
    with pytest.raises(ExplorerError, match="smaller learning_rate"):
        recovered(wb.dense, 5, sparsity=0.5, learning_rate=1e4)
    after = recovered(wb.dense, 5, learning_rate=1e4)
    assert "diverged" in after.note and all(form.decode().isfinite().all() for form in after.forms.values())


def test_the_start_is_kept_where_nothing_is_better() -> None:
    wb = bench()
    job = done(job_of(wb, Recover(epochs=1, learning_rate=1e-12)))
    assert job.trained is not None and len(job.looks) >= 2 and job.looks[0].moment.epoch == 0


def test_an_interrupt_stops_and_keeps_the_best_so_far() -> None:
    wb = bench()
    job = job_of(wb, Recover(epochs=3000, batch_size=16))
    wait, calls = job.wait, [0]

    def interrupted(timeout: float | None = None) -> bool:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        return wait(timeout)

    job.wait = interrupted  # type: ignore[method-assign]
    watch(job, "recover", progress=False)
    assert job.trained is not None and 0 < job.done_steps < job.total_steps and job.final_step.until is not None


# -- what it learns from ------------------------------------------------------------------------------------------


def test_without_data_it_says_what_to_give() -> None:
    wb = ex.load(perceptron(), data=task(40, 1))
    with pytest.raises(ExplorerError, match="training= or calibration="):
        wb.dense.recover(1, progress=False)


def test_a_score_is_learnt_where_it_has_a_gradient() -> None:
    def closeness(outputs: Tensor, targets: Tensor) -> Tensor:
        return -(outputs - nn.functional.one_hot(targets, 3)).square().sum(1)

    wb = bench(score=closeness)
    before = wb.compress(ex.Prune(sparsity=0.5))
    assert recovered(before).evaluate().value > before.evaluate().value
    whole = bench(score=lambda outputs, targets: (outputs.argmax(1) == targets).float())
    with pytest.raises(ExplorerError, match="no gradient"):
        recovered(whole.dense)
    assert recovered(whole.compress(ex.Prune(sparsity=0.5)), teacher="dense", task_weight=0.0).outfit.forms


# -- wishes -------------------------------------------------------------------------------------------------------


def test_a_layer_without_any_weight_left_stays_empty() -> None:
    before = bench().compress([ex.Prune(sparsity=1.0, layers="0"), ex.Prune(sparsity=0.5, layers="2")])
    after = recovered(before)
    assert after.forms["0"].nonzero == 0 and after.forms["2"].nonzero == 24


def test_a_teacher_of_another_model_is_refused() -> None:
    wb, other = bench(), bench()
    for teacher in (other.dense, 7):
        with pytest.raises(ExplorerError, match="teacher"):
            recovered(wb.dense, teacher=teacher)
    after = recovered(wb.compress(ex.Prune(sparsity=0.5)), teacher={"dense": 0.5, wb.compress(ex.LowRank(rank=2)): 1})
    step = after.recipe[1]
    assert isinstance(step, Recover) and step.distill == 0.5 and step.teachers == {"low-rank,rank=2": 1.0}


def test_what_is_not_chosen_stays_as_it_is_also_while_it_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    wb = bench()
    before = wb.compress(Codebook(bits=2))
    worn: list[Any] = []
    probe = wb.probe
    monkeypatch.setattr(wb, "probe", lambda outfit: worn.append(outfit) or probe(outfit))  # type: ignore[func-returns-value]
    after = recovered(before, layers="2")
    assert after.forms["0"] is before.forms["0"] and "0.bias" not in after.outfit.rest
    assert worn and all(outfit.forms["0"] is before.forms["0"] for outfit in worn)


def convolutional(examples: int = 33) -> ex.Workbench:
    draw = torch.Generator().manual_seed(3)
    data = (torch.randn(examples, 3, 12, 12, generator=draw) + 2, torch.arange(examples) % 4)
    return ex.load(seeded(Convolutional), data=data, calibration=data)


def test_batchnorm_alone_changes_nothing_but_buffers() -> None:
    wb = convolutional()
    before = wb.compress(ex.Prune(sparsity=0.5))
    after = before.recover(1, update="batchnorm", hold_back=0.0, batch_size=33, progress=False)
    assert after.outfit.forms == before.outfit.forms
    assert set(after.outfit.rest) <= {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    inputs = wb.subject.split("calibration").inputs
    inside = before.model.get_submodule("first")(inputs)
    assert torch.allclose(after.outfit.rest["norm.running_mean"].decode()[0], inside.mean((0, 2, 3)), atol=1e-4)
    with pytest.raises(ExplorerError, match="no BatchNorm"):
        recovered(bench().dense, update="batchnorm")


@pytest.mark.parametrize("step", [Recover(), Recover(update="batchnorm"), GradualPrune()], ids=str)
def test_how_long_it_will_take_can_be_measured(step: Recover) -> None:
    wb = convolutional()
    state = torch.random.get_rng_state()
    pace: PaceJob = wb.coach.pace(step, stand_of(wb.dense))
    assert pace.wait(60) and pace.error is None and pace.seconds is not None and pace.seconds > 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_one_outcome_for_whoever_asks() -> None:
    wb, step = bench(), Recover(epochs=1)
    assert isinstance(wb.coach, Coach) and TRAINERS.workers == 1
    first, second = job_of(wb, step), job_of(wb, step)
    assert first is second
    done(first)
    assert wb.compress(step).outfit.forms == dict(wb.coach.outcome(first).forms)
    with pytest.raises(ExplorerError, match="either|both"):
        wb.dense.recover(1, seconds=1)
