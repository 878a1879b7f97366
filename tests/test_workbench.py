"""The workbench: one line of flow, one result a recipe, results that stream, and a dense model that nobody touches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import explorer as ex
from explorer import workbench as workbench_module
from explorer.evaluation.order import evaluation_order
from tests.toys import Convolutional, bench, numbers, perceptron, plain_outputs, seeded

HALF = ex.Prune(sparsity=0.5)


class Turnstile:
    """`forward=` that lets as many batches through as were allowed, and counts those that came."""

    def __init__(self, open: bool = False) -> None:
        self.allowed, self.came, self.open = threading.Semaphore(0), 0, open

    def __call__(self, model: nn.Module, inputs: Tensor) -> Tensor:
        self.came += 1
        if not self.open:
            assert self.allowed.acquire(timeout=20)
        outputs: Tensor = model(inputs)
        return outputs


def _turnstile_bench(examples: int = 40) -> tuple[ex.Workbench, Turnstile]:
    forward = Turnstile(open=True)
    wb = ex.load(perceptron(), data=numbers(examples), batch_size=8, forward=forward)
    forward.open = False
    return wb, forward


@pytest.fixture
def turnstile() -> Iterator[tuple[ex.Workbench, Turnstile]]:
    wb, forward = _turnstile_bench()
    yield wb, forward
    forward.open = True
    for _ in range(100):
        forward.allowed.release()  # nobody of the shared workers stays behind


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


# -- from recipe to variant ---------------------------------------------------------------------------------------


def test_it_says_what_it_is() -> None:
    wb = bench()
    assert wb.name == "Sequential"
    assert "2 weight matrices with 144 weights" in str(wb) and "tune 60, test 30" in str(wb)
    assert [matrix.name for matrix in wb.matrices()] == ["0", "2"]


def test_a_recipe_may_come_in_any_clothes(tmp_path: Path) -> None:
    wb = bench()
    v = wb.compress(HALF)
    (tmp_path / "half.yaml").write_text(ex.Recipe([HALF]).to_yaml())
    for recipe in (
        ex.Recipe([HALF]),
        [HALF],
        {"step": "prune", "sparsity": 0.5},
        {"steps": [{"step": "prune", "sparsity": 0.5}]},
        "steps:\n- step: prune\n  sparsity: 0.5\n",
        tmp_path / "half.yaml",
        str(tmp_path / "half.yaml"),
    ):
        assert wb.compress(recipe) is v


def test_the_empty_recipe_is_the_dense_model() -> None:
    wb = bench()
    assert wb.compress(ex.Recipe()) is wb.dense
    assert wb.dense.is_dense and wb.variant is wb.dense
    report = wb.dense.report()
    assert report.dense is None and report.size.ratio == 1.0 and report.size.bytes == report.size.bytes_dense
    assert str(wb.plan([])) == "an empty recipe: the dense model"


@pytest.mark.parametrize(
    "recipe",
    [
        [],
        [ex.Prune(sparsity=0.0)],
        [ex.Prune(threshold=0.0)],
        [ex.Prune(pattern="n:m", n=4, m=4)],
        [ex.Prune(sparsity=0.9, enabled=False)],
        [ex.Prune(sparsity=0.0, pattern="row"), ex.Prune(sparsity=0.0, scope="matrix")],
    ],
    ids=str,
)
def test_nothing_removed_changes_nothing(recipe: list[ex.Prune]) -> None:
    model, (inputs, targets) = seeded(Convolutional), (torch.randn(12, 3, 12, 12), torch.arange(12) % 4)
    wb = ex.load(model, data=(inputs, targets), batch_size=12)
    v = wb.compress(recipe)
    assert torch.equal(v.outputs(inputs), plain_outputs(model, inputs))
    quality, dense = v.evaluate(), wb.dense.evaluate()
    assert quality.to_dict() == dense.to_dict()
    change = quality.against(dense)
    assert (change.delta, change.broken, change.repaired) == (0, 0, 0)
    assert v.size.sparsity == wb.dense.size.sparsity
    assert v.size.ratio == pytest.approx(1.0, abs=0.02)  # only the header tells another recipe


def test_metrics_are_those_of_the_model_itself() -> None:
    from sklearn import metrics

    model, (inputs, targets) = perceptron(), numbers(100)
    wb = ex.load(model, data=(inputs, targets), batch_size=16)
    quality = wb.dense.evaluate()
    logits = plain_outputs(model, inputs)
    assert quality.metrics["accuracy"] == metrics.accuracy_score(targets, logits.argmax(1))
    assert quality.metrics["log_loss"] == pytest.approx(metrics.log_loss(targets, logits.softmax(1).numpy()), rel=1e-5)
    assert quality.predictions is not None
    assert np.array_equal(quality.predictions, logits.argmax(1).numpy()[quality.indices])


def test_a_step_that_is_off_shares_the_result() -> None:
    wb = bench()
    plain = wb.compress(HALF)
    with_off = wb.compress([HALF, ex.LowRank(rank=1, enabled=False)])
    assert with_off is not plain and len(with_off.recipe) == 2
    assert with_off.outfit is plain.outfit
    assert with_off.evaluate() is plain.evaluate()
    assert wb.recipes_tried == 1


def test_two_who_compress_at_the_same_time_share_one_result() -> None:
    wb = bench()
    start = threading.Barrier(4)
    made: list[Any] = []

    def ask() -> None:
        start.wait()
        made.append(wb.compress(ex.LowRank(rank=2)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(v.outfit) for v in made}) == 1
    assert len({id(wb.submit(v)) for v in made}) == 1


def test_old_variants_go_when_room_is_short_and_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wb = bench()
    first = wb.compress(HALF)
    quality = first.evaluate()
    one = sum(form.resident_bytes for form in first.outfit.forms.values())
    monkeypatch.setattr(workbench_module, "KEPT_BYTES", 3 * one)
    for sparsity in np.linspace(0.1, 0.9, 12):
        wb.compress(ex.Prune(sparsity=float(sparsity))).evaluate()
    assert len(wb._variants) <= 4 and len(wb._jobs) <= 4
    assert wb.compress([]) is wb.dense
    again = wb.compress(HALF)
    assert again is not first
    assert again.evaluate().to_dict() == quality.to_dict() == first.evaluate().to_dict()


def test_a_recipe_for_another_model_is_one_sentence() -> None:
    wb = bench()
    with pytest.raises(ex.ExplorerError, match=r'step 1, Prune: no weight matrix matches "\*\.mlp\.\*". There is 0, 2'):
        wb.compress(ex.Prune(sparsity=0.5, layers=("*.mlp.*",)))
    with pytest.raises(ex.ExplorerError, match="rank 99 is beyond"):
        wb.compress(ex.LowRank(rank=99))
    assert wb.compress(HALF).evaluate().complete  # nothing is left behind


def test_a_variant_of_another_workbench_is_refused() -> None:
    wb, other = bench(), bench(seed=1)
    v = other.compress(HALF)
    for use in (wb.submit, wb.evaluate, wb.test):
        with pytest.raises(ex.ExplorerError, match="another workbench. Compress its recipe here"):
            use(v)


# -- evaluation ---------------------------------------------------------------------------------------------------


def test_results_stream_and_say_on_how_many(turnstile: tuple[ex.Workbench, Turnstile]) -> None:
    wb, forward = turnstile
    job = wb.submit(HALF)
    forward.allowed.release()
    _until(lambda: job.quality is not None or job.answers is not None)
    if job.quality is None:  # the strip was first
        forward.allowed.release()
        _until(lambda: job.quality is not None)
    partial = job.quality
    assert partial is not None and not job.finished and job.state == "running"
    assert partial.examples == 8 and partial.total == 40 and not partial.complete
    assert "on 8 of 40" in str(partial)
    logits = plain_outputs(job.variant.model, numbers(40)[0][partial.indices])
    assert partial.predictions is not None and np.array_equal(partial.predictions, logits.argmax(1).numpy())
    for _ in range(10):
        forward.allowed.release()
    assert job.wait(20) and job.state == "done" and job.seconds is not None
    assert job.quality is not None and job.quality.complete
    assert partial.examples == 8  # what was handed out stays as it was
    assert job.answers is not None and [a.index for a in job.answers] == list(wb.subject.strip)


def test_the_first_examples_are_the_same_for_every_variant() -> None:
    wb = bench()
    order = evaluation_order(wb.subject.split("tune").targets, by_class=True).tolist()
    assert wb.dense.evaluate().indices.tolist() == wb.compress(HALF).evaluate().indices.tolist() == order


def test_one_job_for_two_and_it_stops_when_both_have_left(turnstile: tuple[ex.Workbench, Turnstile]) -> None:
    wb, forward = turnstile
    first, second = wb.submit(HALF), wb.submit({"step": "prune", "sparsity": 0.5})
    assert first is second
    first.cancel()
    assert not second.finished
    second.cancel()
    assert second.cancelled
    third = wb.submit(HALF)
    assert third is not first and not third.finished
    forward.open = True
    for _ in range(20):
        forward.allowed.release()
    assert third.wait(20) and third.state == "done"
    assert first.state == "cancelled" and (first.quality is None or not first.quality.complete)


def test_cancelled_work_stops_between_batches(turnstile: tuple[ex.Workbench, Turnstile]) -> None:
    wb, forward = turnstile
    before = forward.came
    job = wb.submit(HALF)
    _until(lambda: forward.came > before)
    job.cancel()
    forward.open = True
    for _ in range(20):
        forward.allowed.release()
    assert wb.compress(ex.Prune(sparsity=0.25)).evaluate().complete  # the workers are free again
    assert forward.came - before <= workbench_module.POOL.workers + 6  # what ran, then the strip and five batches


def test_who_waits_for_a_stopped_evaluation_hears_it(turnstile: tuple[ex.Workbench, Turnstile]) -> None:
    wb, _ = turnstile
    heard: list[BaseException] = []

    def ask() -> None:
        try:
            wb.compress(HALF).evaluate()
        except ex.ExplorerError as problem:
            heard.append(problem)

    waiting = threading.Thread(target=ask)
    waiting.start()
    _until(lambda: len(wb._jobs) == 1)
    next(iter(wb._jobs.values())).cancel()
    waiting.join(20)
    assert "stopped before its end. Evaluate again" in str(heard[0])


def test_threads_with_different_recipes_get_what_they_get_alone() -> None:
    inputs, targets = torch.randn(96, 3, 12, 12), torch.arange(96) % 4
    recipes: list[list[Any]] = [
        [ex.Prune(sparsity=0.7)],
        [ex.LowRank(rank=2)],
        [ex.Prune(sparsity=0.5, pattern="row", scope="matrix")],
        [ex.LowRank(energy=0.7), ex.Prune(pattern="n:m")],
    ]

    def outcome(wb: ex.Workbench, recipe: list[Any]) -> tuple[Any, ...]:
        quality = wb.compress(recipe).evaluate()
        assert quality.predictions is not None
        return quality.to_dict(), quality.predictions.tobytes(), quality.judged.parts["loss"].tobytes()

    model = seeded(Convolutional)
    alone = [outcome(ex.load(model, data=(inputs, targets), batch_size=16), recipe) for recipe in recipes]
    together = ex.load(model, data=(inputs, targets), batch_size=16)
    found: dict[int, tuple[Any, ...]] = {}
    threads = [
        threading.Thread(target=lambda at=at: found.setdefault(at, outcome(together, recipes[at]))) for at in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[at] for at in range(4)] == alone


def test_the_same_again_is_the_same_to_the_last_bit() -> None:
    """Which worker is first must not show, not even in the last digit of a sum."""
    runs = [bench(examples=120).compress(HALF).evaluate() for _ in range(4)]
    assert len({str(run.to_dict()) for run in runs}) == 1
    assert len({run.indices.tobytes() for run in runs}) == 1


def test_a_failing_model_is_one_sentence_and_can_be_tried_again() -> None:
    state = {"fail": False}

    def forward(model: nn.Module, inputs: Tensor) -> Tensor:
        if state["fail"]:
            raise RuntimeError("out of memory\nand much more")
        outputs: Tensor = model(inputs)
        return outputs

    wb = ex.load(perceptron(), data=numbers(), forward=forward)
    state["fail"] = True
    v = wb.compress(HALF)
    with pytest.raises(ex.ExplorerError, match=r"cannot be run on the data \(RuntimeError: out of memory\)"):
        v.evaluate()
    job = wb.submit(v)
    assert job.wait(20) and job.state == "failed" and job.error is not None
    state["fail"] = False
    assert v.evaluate().complete


def test_labels_that_do_not_fit_are_told_when_loading_with_split_and_example() -> None:
    inputs, labels = numbers(20)
    with pytest.raises(ex.ExplorerError, match="data=: label 3 of example 3 does not fit a model with 3 classes"):
        ex.load(perceptron(), data=(inputs, torch.arange(20)))
    with pytest.raises(ex.ExplorerError, match="test=: label -1 of example 7 does not fit a model with 3 classes"):
        ex.load(perceptron(), data=(inputs, labels), test=(inputs, labels.index_fill(0, torch.tensor([7]), -1)))


def test_outputs_that_cannot_be_judged_are_told_when_loading() -> None:
    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = perceptron()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"scores": self.inner(x)}

    with pytest.raises(ex.ExplorerError, match="the model gives dict, not a tensor. Give forward="):
        ex.load(Named(), data=numbers(20))


# -- the sealed split ---------------------------------------------------------------------------------------------


def test_the_test_split_opens_by_wb_test_alone_and_openings_are_counted() -> None:
    wb = bench()
    v = wb.compress(HALF)
    for use in (lambda: v.evaluate("test"), lambda: wb.submit(v, "test"), lambda: v.answers([0], split="test")):
        with pytest.raises(ex.ExplorerError, match="the test split is sealed. Open it once, at the end, with wb.test"):
            use()
    assert wb.tests_opened == 0
    quality = wb.test(v)
    assert quality.split == "test" and quality.total == quality.examples == 30
    assert (
        quality.value
        == (plain_outputs(v.model, numbers(30, seed=9)[0]).argmax(1) == numbers(30, seed=9)[1]).double().mean()
    )
    assert wb.tests_opened == 1
    wb.test(wb.dense)
    assert wb.tests_opened == 2
    assert wb.recipes_tried == 1  # reading the test result of a recipe is trying it, too
    assert "opened once, 1 recipe tried" in str(quality) and wb.sealed_words == "opened twice, 1 recipe tried"


def test_a_variant_and_the_dense_model_are_tested_in_one_opening() -> None:
    wb = bench()
    v = wb.compress(HALF)
    dense, quality = wb.test_beside_dense(v)
    assert wb.tests_opened == 1
    assert dense.judged is wb.test(wb.dense).judged and quality.judged is wb.test(v).judged
    same, again = wb.test_beside_dense([])
    assert same.judged is again.judged is dense.judged
    assert wb.tests_opened == 4


def test_an_opening_that_shows_nothing_is_not_counted() -> None:
    wb = bench()
    with pytest.raises(ex.ExplorerError, match="another workbench"):
        wb.test_beside_dense(bench().compress(HALF))
    with pytest.raises(ex.ExplorerError, match="nowhere"):
        wb.test_beside_dense(ex.Prune(sparsity=0.5, layers=("nowhere",)))
    assert wb.tests_opened == 0


def test_without_a_test_split_there_is_nothing_to_open() -> None:
    wb = ex.load(perceptron(), data=numbers())
    for test in (wb.test, wb.test_beside_dense):
        with pytest.raises(ex.ExplorerError, match="has no test split. Give test= to ex.load"):
            test(wb.dense)
    assert wb.tests_opened == 0


def test_other_splits_are_open_and_missing_ones_named() -> None:
    wb = ex.load(perceptron(), data=numbers(), calibration=numbers(12, seed=3))
    assert wb.compress(HALF).evaluate("calibration").total == 12
    with pytest.raises(ex.ExplorerError, match="has no training split. Use one of tune, calibration"):
        wb.dense.evaluate("training")


def test_recipes_tried_counts_each_recipe_once_and_not_the_dense_model() -> None:
    wb = bench()
    wb.dense.evaluate()
    for sparsity in (0.1, 0.2, 0.1):
        wb.compress(ex.Prune(sparsity=sparsity)).evaluate()
    assert wb.recipes_tried == 2


# -- accuracy curves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "field", "values"),
    [
        (ex.Prune(sparsity=0.3), None, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (ex.Prune(sparsity=0.3), "threshold", [0.0, 0.1, 0.2, 0.4]),
        (ex.Prune(threshold=0.1), "sparsity", [0.0, 0.5, 0.9]),
        (ex.Prune(pattern="n:m", n=2, m=4), None, [0, 1, 2, 3, 4]),
        (ex.LowRank(rank=2), None, [1, 2, 3]),
        (ex.LowRank(rank=2), "energy", [0.2, 0.6, 1.0]),
        (ex.LowRank(energy=0.5), "rank", [1, 3]),
    ],
    ids=str,
)
def test_points_of_a_curve_are_evaluations_of_that_very_recipe(
    step: Any, field: str | None, values: list[float]
) -> None:
    wb = bench()
    before = ex.Prune(sparsity=0.1, layers=("2",))
    curve = wb.curve([before, step], 1, values, field)
    assert curve.wait(30) and curve.state == "done"
    own = {"prune": "n" if step.pattern == "n:m" else "sparsity"} if isinstance(step, ex.Prune) else {}
    assert curve.field == (field or own.get("prune") or ("rank" if step.rank else "energy"))
    assert [point.x for point in curve.points] == sorted(values)
    rival = {"sparsity": "threshold", "threshold": "sparsity", "rank": "energy", "energy": "rank", "n": "seed"}
    for point in curve.points:
        value = int(point.x) if curve.field in ("n", "rank") else point.x
        turned = step.change(**{rival[curve.field]: 0 if curve.field == "n" else None, curve.field: value})
        quality = wb.compress([before, turned]).evaluate()
        assert (point.value, point.low, point.high) == (quality.value, quality.low, quality.high)
        assert point.examples == curve.examples == curve.total == 60


def test_default_positions_span_the_knob() -> None:
    wb = bench()
    for step, field, least in ((HALF, None, 24), (HALF, "threshold", 24), (ex.LowRank(energy=0.5), None, 24)):
        curve = wb.curve(step, 0, field=field)
        assert curve.wait(60)
        assert len(curve.points) >= least
    sparsities = wb.curve(HALF, 0)
    assert sparsities.wait(30)
    assert sparsities.points[0].x == 0 and sparsities.points[-1].x == 1
    assert sparsities.points[0].value == wb.dense.evaluate().value
    ranks = wb.curve(ex.LowRank(rank=1), 0)
    assert ranks.wait(30)
    assert [point.x for point in ranks.points] == [1, 2, 3, 4, 5, 6]
    groups = wb.curve(ex.Prune(pattern="n:m", n=1, m=3), 0)
    assert groups.wait(30) and [point.x for point in groups.points] == [0, 1, 2, 3]


def test_curves_go_from_coarse_to_fine() -> None:
    wb = bench()
    met: list[float] = []
    curve = wb.curve(HALF, 0, [at / 8 for at in range(9)])
    make = curve._make
    curve._make = lambda value: (met.append(value), make(value))[1]  # type: ignore[func-returns-value]  # notes it
    assert curve.wait(30)
    firsts = list(dict.fromkeys(met))
    later = [value for value in (0.0, 1.0, 0.5, 0.25, 0.75) if value in firsts]
    assert firsts[: len(later)] == later or set(firsts[:5]) == set(later)


def test_long_curves_use_the_first_examples_in_evaluation_order() -> None:
    wb = ex.load(perceptron(), data=numbers(1200), batch_size=100)
    curve = wb.curve(HALF, 0, [0.5])
    assert curve.wait(30)
    assert curve.examples == curve.points[0].examples == 500 and curve.total == 1200
    full = wb.compress(HALF).evaluate()
    assert full.correct is not None
    assert curve.points[0].value == full.correct[:500].mean()


def test_curves_are_shared_cancelled_and_not_confused() -> None:
    wb = bench()
    first = wb.curve(HALF, 0)
    assert wb.curve(ex.Prune(sparsity=0.9), 0) is first  # the same knob, wherever it stands
    assert wb.curve(HALF, 0, field="threshold") is not first
    first.cancel()
    first.cancel()
    assert first.finished
    parts = [ex.Prune(sparsity=0.0, layers=("0",)), ex.Prune(sparsity=0.0, layers=("2",))]
    off = ex.LowRank(rank=1, enabled=False)
    second_knob = wb.curve(parts, 1, [0.0, 0.9])
    first_knob = wb.curve([off, *parts], 1, [0.0, 0.9])  # at the same place, but another knob
    assert first_knob is not second_knob
    assert first_knob.wait(30) and second_knob.wait(30)
    assert first_knob.points[1].value == wb.compress(parts[0].change(sparsity=0.9)).evaluate().value


@pytest.mark.parametrize(
    ("position", "values", "field", "says"),
    [
        (1, None, None, "there is no step 2"),
        (-1, None, None, "there is no step 0"),
        (0, [], None, "no value to measure at"),
        (0, None, "rank", 'a Prune step has no knob "rank"'),
        (0, None, "layers", 'has no knob "layers"'),
        (0, [1.4], None, "sparsity is 1.4, outside 0 to 1"),
    ],
)
def test_faulty_curves(position: int, values: list[float] | None, field: str | None, says: str) -> None:
    with pytest.raises(ex.ExplorerError, match=says):
        bench().curve(HALF, position, values, field)


def test_knobs_wait_for_no_curve() -> None:
    wb = bench(examples=200)
    curve = wb.curve(ex.Prune(sparsity=0.5, criterion="random"), 0, [at / 400 for at in range(401)])
    wb.compress(HALF).evaluate()
    assert not curve.finished
    curve.cancel()


# -- what the knobs show ------------------------------------------------------------------------------------------


def test_scores_and_threshold_are_those_that_prune() -> None:
    wb = bench()
    index = wb.scores(HALF, 0)
    assert index.total == 144
    threshold = index.threshold_at(0.5)
    by_threshold, by_share = wb.compress(ex.Prune(threshold=threshold)), wb.compress(HALF)
    assert by_threshold.size.sparsity == by_share.size.sparsity == index.sparsity_at(threshold) == 0.5
    inputs = numbers()[0]
    assert torch.equal(by_threshold.outputs(inputs), by_share.outputs(inputs))
    after = wb.scores([HALF, ex.Prune(sparsity=0.75)], 1)
    assert after.sparsity_at(1e-9) == 0.5  # what went before scores lowest


def test_spectrum_of_the_dense_matrix_and_after_steps() -> None:
    model = perceptron()
    wb = ex.load(model, data=numbers())
    weight = model.get_parameter("0.weight").detach()
    assert wb.spectrum("0").values == pytest.approx(torch.linalg.svdvals(weight).numpy(), rel=1e-5)
    pruned = weight * (weight.abs() >= wb.scores(HALF, 0).threshold_at(0.5))
    assert wb.spectrum("0", [HALF]).values == pytest.approx(torch.linalg.svdvals(pruned).numpy(), rel=1e-4, abs=1e-6)
    assert wb.spectrum("0", [HALF], 0).values == pytest.approx(wb.spectrum("0").values)
    with pytest.raises(ex.ExplorerError, match='no weight matrix called "1". There is 0, 2'):
        wb.spectrum("1")


# -- the dense model ----------------------------------------------------------------------------------------------


def test_nothing_that_is_done_touches_the_dense_model() -> None:
    model = seeded(Convolutional).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wb = ex.load(model, data=(torch.randn(8, 3, 12, 12), torch.arange(8) % 4))
    v = wb.compress([ex.LowRank(rank=2), HALF])
    v.report()
    v.latency(seconds=0.0)
    v.outputs(torch.randn(2, 3, 12, 12))
    broken = v.model.half()
    for parameter in broken.parameters():
        parameter.data.zero_()
    wb.dense.model.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in before.items()})
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.dtype == torch.float32 and parameter.requires_grad for parameter in model.parameters())
    assert v.evaluate() is v.evaluate() and v.outputs(torch.randn(2, 3, 12, 12)).abs().sum() > 0


def _step(model: nn.Module) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(4, 3, 12, 12)).sum().backward()
    optimiser.step()


CHANGES: dict[str, Callable[[Any], object]] = {
    "in place": lambda model: model.head.weight.detach().mul_(2),
    "through data": lambda model: model.head.weight.data.mul_(2),
    "other data": lambda model: setattr(model.head.weight, "data", torch.zeros_like(model.head.weight)),
    "numpy": lambda model: model.head.weight.detach().numpy().__setitem__((0, 0), 9.0),
    "another parameter": lambda model: setattr(model.head, "weight", nn.Parameter(model.head.weight * 2)),
    "init": lambda model: nn.init.zeros_(model.first.weight),
    "optimiser": _step,
    "half": lambda model: model.half(),
    "batch norm": lambda model: model.train()(torch.randn(4, 3, 12, 12)),
    "load_state_dict": lambda model: model.load_state_dict(seeded(Convolutional, 1).state_dict()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_dense_model_that_was_changed_is_noticed(change: str) -> None:
    model = seeded(Convolutional)
    wb = ex.load(model, data=(torch.randn(8, 3, 12, 12), torch.arange(8) % 4))
    v = wb.compress(HALF)
    CHANGES[change](model)
    uses: list[Callable[[], object]] = [
        v.evaluate,
        lambda: wb.compress(ex.Prune(sparsity=0.25)),
        lambda: v.outputs(torch.randn(2, 3, 12, 12)),
        lambda: v.answers([0]),
        lambda: v.save("never-written"),
    ]
    for use in uses:
        with pytest.raises(ex.ExplorerError, match="weights of the dense model have changed since it was loaded. Load"):
            use()
    assert not Path("never-written").exists()


def test_harmless_changes_are_no_change() -> None:
    model = seeded(Convolutional)
    wb = ex.load(model, data=(torch.randn(8, 3, 12, 12), torch.arange(8) % 4))
    before = wb.compress(HALF).evaluate().to_dict()
    model.train()
    model.requires_grad_(False)
    with torch.no_grad():
        model.get_parameter("head.weight").mul_(2.0).div_(2.0)
    assert wb.compress(ex.Prune(sparsity=0.25)).evaluate().complete
    assert wb.compress(HALF).evaluate().to_dict() == before


# -- bad input ----------------------------------------------------------------------------------------------------


def _with(name: str, value: float) -> nn.Module:
    model = seeded(Convolutional)
    model.state_dict()[name].view(-1)[0] = value
    return model


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("first.weight", float("nan"), 'the weights hold NaN or infinity, first in "first.weight"'),
        ("head.bias", float("inf"), 'the weights hold NaN or infinity, first in "head.bias"'),
        ("norm.running_mean", float("nan"), 'the buffer "norm.running_mean" holds NaN'),
    ],
)
def test_unsound_weights_are_refused(name: str, value: float, says: str) -> None:
    with pytest.raises(ex.ExplorerError, match=f"Convolutional: {says}. Load a sound checkpoint"):
        ex.load(_with(name, value), data=(torch.randn(8, 3, 12, 12), torch.arange(8) % 4))


def test_infinity_in_a_mask_is_no_fault() -> None:
    model = perceptron()
    model.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))
    assert ex.load(model, data=numbers()).dense.evaluate().complete


def test_a_model_that_cannot_be_run_on_the_data_is_one_sentence() -> None:
    with pytest.raises(ex.ExplorerError) as caught:
        ex.load(perceptron(), data=(torch.randn(8, 7), torch.arange(8) % 3))
    said = str(caught.value)
    assert said.startswith("Sequential: the model cannot be run on the data (RuntimeError: mat1 and mat2")
    assert said.endswith("Check the shapes and types of the inputs, or give forward=.") and "\n" not in said
