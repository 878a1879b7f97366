"""Jobs: a strip of examples beside the numbers, stories last, one clone a worker, curves from coarse to fine."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import explorer as ex
from explorer import jobs
from explorer.evaluation.pool import Pool, Work
from explorer.jobs import CurveJob, Job, Stage
from explorer.subjects.examples import Examples
from explorer.subjects.subject import Subject
from tests.toys import bench

HALF = ex.Prune(sparsity=0.5)


class Counting(nn.Module):
    """A language model over ten words that always wants the next number; it has a weight that may be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Linear(10, 10, bias=False)
        self.shift.weight = nn.Parameter(torch.eye(10).roll(1, dims=0))

    def forward(self, ids: Tensor) -> Tensor:
        return self.shift(nn.functional.one_hot(ids, 10).float())


def _stories(end: int | None = 9) -> ex.Workbench:
    ways: Any = ModuleType("ways")
    ways.END = end
    ways.prompt = lambda ids: ids[:, :2]
    ways.words = lambda ids: [[f"w{number}" for number in row] for row in ids.tolist()]
    ids = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [7, 8, 9, 0], [2, 3, 4, 5]])
    examples = Examples(ids, (ids + 1) % 10)
    subject = Subject(
        name="counting", title="Counting", model=Counting(), task="language-modeling", input="story",
        splits={"tune": lambda: examples}, batch_size=2, strip=(0, 2), ways=ways,
    )  # fmt: skip
    return ex.Workbench(subject)


def test_the_strip_comes_first_and_in_its_order() -> None:
    wb = bench()
    job = wb.submit(HALF)
    assert job._plan[0] == list(wb.subject.strip)
    assert job.wait(20) and job.answers is not None
    assert job.answers == wb.compress(HALF).answers(wb.subject.strip)


def test_stories_are_written_after_the_numbers_one_by_one() -> None:
    wb = _stories()
    job = wb.submit(wb.dense)
    assert job._plan == [0, 1, [0], [2]]
    assert job.wait(20) and job.quality is not None and job.answers is not None
    assert job.quality.metrics["token_accuracy"] == 1.0
    assert [answer.index for answer in job.answers] == [0, 2]
    assert job.answers[0].words == ("w2", "w3", "w4", "w5", "w6", "w7", "w8")
    assert job.answers[0].label == "w2 w3 w4 w5 w6 w7 w8"
    assert job.answers[1].words == () and job.answers[1].label == ""


def test_a_story_ends_after_so_many_words() -> None:
    wb = _stories(end=None)
    assert len(wb.dense.answers([0])[0].words) == jobs.STORY_WORDS


def test_other_splits_have_no_strip() -> None:
    wb = bench()
    job = Job(wb.stage, wb.dense, "test", ())
    Pool(1).submit(job)
    assert job.wait(20) and job.answers is None and job.quality is not None and job.quality.total == 30


def test_each_worker_dresses_one_clone_of_its_own() -> None:
    wb = bench(examples=160)
    seen: dict[int, set[int]] = {}

    class Spying(Stage):
        def dressed(self, variant: Any, locker: Any) -> nn.Module:
            module = super().dressed(variant, locker)
            seen.setdefault(id(locker), set()).add(id(locker[self]))
            return module

    stage = Spying(wb.subject, wb.matrices())
    pool = Pool(2)
    for recipe in ([], [HALF], [ex.LowRank(rank=1)], []):
        job = Job(stage, wb.compress(recipe), "tune", ())
        pool.submit(job)
        assert job.wait(20)
    assert 1 <= len(seen) <= 2
    assert all(len(clones) == 1 for clones in seen.values())
    assert len({clone for clones in seen.values() for clone in clones}) == len(seen)


def test_no_gradients_are_kept() -> None:
    wb = bench()
    assert not wb.dense.outputs(torch.randn(2, 6)).requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("count", "order"),
    [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 2, 1]), (5, [0, 4, 2, 1, 3]), (9, [0, 8, 4, 2, 6, 1, 3, 5, 7])],
)
def test_coarse_first(count: int, order: list[int]) -> None:
    assert jobs._coarse_first(count) == order


@pytest.mark.parametrize("count", [4, 7, 24, 41, 100])
def test_coarse_first_goes_everywhere_once_and_halves_the_gaps(count: int) -> None:
    order = jobs._coarse_first(count)
    assert sorted(order) == list(range(count)) and set(order[:2]) == {0, count - 1}
    early = sorted(order[: count // 2 + 1])
    assert max(b - a for a, b in zip(early, early[1:], strict=False)) <= 5


def test_a_curve_measures_each_point_on_all_its_batches_and_lets_go() -> None:
    wb = bench()
    made: list[float] = []

    def make(value: float) -> Any:
        made.append(value)
        return wb.compress(ex.Prune(sparsity=value))

    curve = CurveJob(wb.stage, "sparsity", [0.0, 0.3, 0.6, 0.9], make)
    assert not curve.urgent and curve.units == 4 * 8
    Pool(1).submit(curve)
    assert curve.wait(20)
    assert made == [0.0, 0.9, 0.3, 0.6]  # each made once, ends first
    assert [point.x for point in curve.points] == [0.0, 0.3, 0.6, 0.9]
    assert not curve._variants and not curve._judged


def test_points_come_while_the_curve_runs() -> None:
    wb = bench()
    grown: list[list[float]] = []

    class Watched(CurveJob):
        def collect(self, number: int, result: Any) -> None:
            super().collect(number, result)
            grown.append([point.x for point in self.points])

    curve = Watched(wb.stage, "sparsity", [0.0, 0.5, 1.0], lambda value: wb.compress(ex.Prune(sparsity=value)))
    Pool(2).submit(curve)
    assert curve.wait(20)
    assert all(xs == sorted(xs) for xs in grown)
    assert [0.0] in grown or [1.0] in grown
    assert grown[-1] == [0.0, 0.5, 1.0]


def test_jobs_are_work() -> None:
    assert issubclass(Job, Work) and issubclass(CurveJob, Work) and Job.urgent and not CurveJob.urgent
