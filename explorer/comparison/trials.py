"""Robustness of two variants: both on the same inputs made worse, batch by batch in the worker pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from explorer.errors import ExplorerError
from explorer.evaluation.pool import Locker, Work
from explorer.evaluation.quality import Quality
from explorer.evaluation.robustness import (
    Curve,
    Robustness,
    Trial,
    attacked,
    perturbed,
    reach_of,
    trials_for,
)
from explorer.evaluation.tasks import Judged, judge
from explorer.subjects.examples import map_tensors
from explorer.weights.install import PrivateModel
from explorer.workbench import POOL

if TYPE_CHECKING:
    from explorer.variant import Variant

EXAMPLES = 512
Progress = Callable[[int, int], None]


class RobustnessJob(Work):
    """The trials of two variants; `robustness` is what is known so far: curves whose every strength is measured."""

    urgent = False

    def __init__(
        self,
        before: Variant,
        after: Variant,
        kinds: Sequence[str] | None = None,
        strengths: Sequence[float] | None = None,
        examples: int = EXAMPLES,
    ) -> None:
        bench = self._bench = before.workbench
        one_bench(before, after, "robustness")
        if examples < 1:
            raise ExplorerError(f"{examples} examples tell nothing", where="examples=", instead="give at least one")
        asked = None if strengths is None else sorted({0.0, *map(float, strengths)})
        if asked and asked[0] < 0:
            raise ExplorerError(f"strength {asked[0]:g} is below 0", where="strengths=", instead="give 0 or more")
        self._pair = (before, after)
        self._same = before.outfit is after.outfit
        tune = bench.subject.split("tune")
        self._trials, self._left_out = trials_for(bench.subject, tune.inputs, kinds)
        self._strengths = {each.name: tuple(asked or (0.0, *each.strengths)) for each in self._trials}
        self._reach = reach_of(bench.subject, tune.inputs)
        batches = bench.stage.batches("tune")
        ends = np.cumsum([len(batches[number][2]) for number in range(len(batches))])
        self._batches = min(len(batches), int(np.searchsorted(ends, examples)) + 1)
        self._last = examples
        self._plan = [
            (each, strength, number)
            for each in self._trials
            for strength in self._strengths[each.name]
            for number in range(self._batches)
        ]
        super().__init__(len(self._plan))
        self.done = 0
        self._judged: dict[tuple[str, float, int], tuple[Judged, Judged]] = {}

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return self.done / self.units if self.units else 1.0

    def run_unit(self, number: int, locker: Locker) -> tuple[Judged, Judged]:
        each, strength, batch = self._plan[number]
        subject, stage = self._bench.subject, self._bench.stage
        if self not in locker:
            locker[self] = [PrivateModel(subject.model, self._bench.matrices()) for _ in self._pair]
        inputs, targets = self._batch(batch)
        moved = inputs if each.attack else perturbed(each, inputs, strength, batch, self._reach)
        found: list[Judged] = []
        for private, variant in zip(locker[self], self._pair, strict=True):
            if found and self._same:
                found.append(found[0])
                continue
            module = private.wear(variant.outfit)
            own = moved
            if each.attack:
                there = inputs.to(stage.device)
                own = attacked(each, subject, module, there, targets.to(stage.device), strength, self._reach)
            found.append(judge(subject.task, stage.outputs(module, own), targets, subject.score))
        return found[0], found[1]

    def _batch(self, number: int) -> tuple[Any, Any]:
        inputs, targets, _ = self._bench.stage.batches("tune")[number]
        size = self._bench.stage.subject.batch_size
        left = self._last - number * size
        return map_tensors(inputs, lambda tensor: tensor[:left]), targets[:left]

    def collect(self, number: int, result: tuple[Judged, Judged]) -> None:
        each, strength, batch = self._plan[number]
        self._judged[each.name, strength, batch] = result
        self.done += 1

    @property
    def robustness(self) -> Robustness:
        """What is known so far."""
        curves = {}
        for each in self._trials:
            keys = [(each.name, s, b) for s in self._strengths[each.name] for b in range(self._batches)]
            if all(key in self._judged for key in keys):
                curves[each.name] = self._curve(each)
        subject = self._bench.subject
        examples = min(self._last, len(subject.split("tune")))
        return Robustness(self._bench.name, subject.primary, examples, curves, self._left_out)

    def _curve(self, each: Trial) -> Curve:
        strengths = self._strengths[each.name]
        sides = zip(*(self._qualities(each.name, strength) for strength in strengths), strict=True)
        before, after = (tuple(side) for side in sides)
        return Curve(each, strengths, before, after)

    def _qualities(self, name: str, strength: float) -> tuple[Quality, Quality]:
        subject, batches = self._bench.subject, self._bench.stage.batches("tune")
        parts = [self._judged[name, strength, batch] for batch in range(self._batches)]
        indices = np.concatenate([batches[batch][2].numpy() for batch in range(self._batches)])[: self._last]
        first = Judged.together([part[0] for part in parts])
        second = first if self._same else Judged.together([part[1] for part in parts])
        told = (
            Quality(subject.task, subject.primary, "tune", batches.total, indices, side) for side in (first, second)
        )
        before, after = told
        return before, after


def one_bench(before: Variant, after: Variant, where: str) -> None:
    """Raise `ExplorerError` for variants of two workbenches."""
    if after.workbench is not before.workbench:
        names = f"{before.workbench.name} and {after.workbench.name}"
        instead = "compress its recipe on the same workbench: wb.compress(variant.recipe)"
        raise ExplorerError(f"the two variants are of two workbenches ({names})", where=where, instead=instead)


def robustness_job(before: Variant, after: Variant, **wishes: Any) -> RobustnessJob:
    """Start what `robustness` waits for: `.share`, `.cancel()`, `.robustness` so far; returns at once."""
    job = RobustnessJob(before, after, **wishes)
    POOL.submit(job)
    return job


def robustness(
    before: Variant,
    after: Variant,
    kinds: Sequence[str] | None = None,
    strengths: Sequence[float] | None = None,
    examples: int = EXAMPLES,
    progress: Progress | None = None,
) -> Robustness:
    """How two variants of one workbench bear inputs that are made worse (blocking).

    Parameters
    ----------
    kinds: names of trials: noise, outliers, occlusion, blur, contrast, shift (images), dropout, typos (texts),
        feature noise (tables), fgsm, pgd (float inputs); by default all that fit. strengths: instead of each trial's
        own; 0 is always measured.
    examples: on so many of tune, the first in the order of evaluation.
    progress: called with (done, units) now and then. An interrupt (Ctrl+C) stops the job.

    Raises `ExplorerError` for unknown trials, negative strengths and variants of two workbenches.
    """
    job = robustness_job(before, after, kinds=kinds, strengths=strengths, examples=examples)
    return finished(job, progress).robustness


def finished(job: Any, progress: Progress | None = None) -> Any:
    """Wait for a job, tell how far it is, and raise its error; an interrupt stops it."""
    try:
        while not job.wait(0.1):
            if progress is not None:
                progress(job.done, job.units)
    except BaseException:
        job.cancel()
        raise
    if job.error is not None:
        raise job.error
    if progress is not None:
        progress(job.done, job.units)
    return job
