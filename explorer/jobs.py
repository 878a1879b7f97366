"""Jobs: evaluations and accuracy curves as work for the pool, with what is known so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from explorer.evaluation.answers import Answer, answers_of, write_on
from explorer.evaluation.order import Batches
from explorer.evaluation.pool import Locker, Work
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import Judged, judge
from explorer.subjects.examples import map_tensors
from explorer.subjects.subject import Subject
from explorer.weights.install import PrivateModel
from explorer.weights.matrices import Matrices

if TYPE_CHECKING:
    from explorer.variant import Variant

STORY_WORDS = 70
CURVE_EXAMPLES = 512
"""Accuracy curves use all examples up to twice this number, else this many (the first in evaluation order)."""


class Stage:
    """Where variants of one subject run: hands each worker its own private clone."""

    def __init__(self, subject: Subject, matrices: Matrices) -> None:
        self.subject = subject
        self.matrices = matrices
        self.device = next((p.device for p in subject.model.parameters()), torch.device("cpu"))
        self._batches: dict[str, Batches] = {}

    def batches(self, split: str) -> Batches:
        """The batches of a split, cut once."""
        if split not in self._batches:
            by_class = self.subject.task in ("classification", "multi-task")  # of several heads by the first
            self._batches[split] = Batches(self.subject.split(split), self.subject.batch_size, by_class)
        return self._batches[split]

    @property
    def quick_batches(self) -> int:
        """How many batches of tune a number may take that is one of many (a point of a curve, a cell of a table)."""
        batches = self.batches("tune")
        few = max(1, CURVE_EXAMPLES // self.subject.batch_size)
        return len(batches) if batches.total <= 2 * CURVE_EXAMPLES else few

    def dressed(self, variant: Variant, locker: Locker) -> nn.Module:
        """The worker's private clone, as the variant."""
        if self not in locker:
            locker[self] = PrivateModel(self.subject.model, self.matrices)
        private: PrivateModel = locker[self]
        return private.wear(variant.outfit)

    def outputs(self, module: nn.Module, inputs: Any) -> Any:
        """The outputs of a batch, on the CPU."""
        moved = map_tensors(inputs, lambda tensor: tensor.to(self.device))
        with torch.no_grad():
            return map_tensors(self.subject.outputs(module, moved), lambda tensor: tensor.to("cpu"))

    def judge(self, module: nn.Module, split: str, number: int) -> Judged:
        """Run and judge one batch of a split."""
        inputs, targets, _ = self.batches(split)[number]
        return judge(self.subject.task, self.outputs(module, inputs), targets, self.subject.score)

    def quality(self, split: str, numbers: Sequence[int], judged: Sequence[Judged]) -> Quality:
        """What some judged batches of a split say together."""
        batches = self.batches(split)
        indices = np.concatenate([batches[number][2].numpy() for number in numbers])
        subject = self.subject
        return Quality(subject.task, subject.primary, split, batches.total, indices, Judged.together(judged))

    def answers(self, module: nn.Module, indices: Sequence[int], split: str = "tune") -> list[Answer]:
        """What the module says to single examples; for stories, what it writes on."""
        chosen = self.subject.split(split).take(torch.tensor(list(indices), dtype=torch.long))
        if self.subject.input == "story":
            return [self._story(module, chosen.inputs[at : at + 1], index) for at, index in enumerate(indices)]
        outputs = self.outputs(module, chosen.inputs)
        subject = self.subject
        write = subject.written if subject.writes else None
        return answers_of(
            subject.task, outputs, chosen.targets, list(indices), subject.classes, subject.score, subject.heads, write
        )

    def _story(self, module: nn.Module, inputs: Any, index: int) -> Answer:
        end = getattr(self.subject.ways, "END", None)
        written = write_on(lambda ids: self.outputs(module, ids), self.subject.prompt(inputs), end, STORY_WORDS)
        words = self.subject.words(torch.tensor([written])) if written else [[]]
        return Answer(index, " ".join(words[0]), words=tuple(words[0]))


class Job(Work):
    """One evaluation of a variant on a split, batch by batch.

    variant: what is evaluated. quality: what is known so far (None before the first batch). answers: to the examples
    under the numbers, in the order of the strip. most: of the batches only so many; `quality.total` stays the split's.
    """

    def __init__(
        self, stage: Stage, variant: Variant, split: str, strip: Sequence[int] = (), most: int | None = None
    ) -> None:
        self._stage, self._split, self._strip = stage, split, list(strip)
        self._batches = len(stage.batches(split)) if most is None else min(most, len(stage.batches(split)))
        stories = stage.subject.input == "story"
        strips = [[index] for index in strip] if stories else [list(strip)] if strip else []
        units: list[Any] = [*range(self._batches)]
        self._plan = units + strips if stories else strips + units
        super().__init__(len(self._plan))
        self.variant = variant
        self.quality: Quality | None = None
        self.answers: list[Answer] | None = None
        self.started = time.perf_counter()
        self.seconds: float | None = None
        self._judged: dict[int, Judged] = {}
        self._answered: dict[int, Answer] = {}

    def run_unit(self, number: int, locker: Locker) -> Any:
        module = self._stage.dressed(self.variant, locker)
        asked = self._plan[number]
        if isinstance(asked, list):
            return self._stage.answers(module, asked)
        return self._stage.judge(module, self._split, asked)

    def collect(self, number: int, result: Any) -> None:
        asked = self._plan[number]
        if isinstance(asked, list):
            self._answered |= {answer.index: answer for answer in result}
            known = takewhile(self._answered.__contains__, self._strip)  # each at its place, also when one is late
            self.answers = [self._answered[index] for index in known]
        else:
            self._judged[asked] = result
            numbers = sorted(self._judged)  # so that sums do not depend on which worker was first
            self.quality = self._stage.quality(self._split, numbers, [self._judged[number] for number in numbers])
        self.seconds = time.perf_counter() - self.started


@dataclass(frozen=True)
class CurvePoint:
    """A measured point: knob position `x`, the primary metric with its interval, on how many examples."""

    x: float
    value: float
    low: float
    high: float
    examples: int


class CurveJob(Work):
    """The primary metric over positions of one knob, coarse first, then finer.

    points: measured so far, in the order of x. examples: how many each point is measured on, of `total`.
    """

    urgent = False

    def __init__(self, stage: Stage, field: str, values: Sequence[float], make: Callable[[float], Variant]) -> None:
        self._stage, self._make = stage, make
        self.field, self.primary = field, stage.subject.primary
        self._values = [values[at] for at in _coarse_first(len(values))]
        batches = stage.batches("tune")
        self._each = stage.quick_batches
        self.total = batches.total
        self.examples = sum(len(batches[number][2]) for number in range(self._each))
        super().__init__(len(values) * self._each)
        self.points: list[CurvePoint] = []
        self._variants: dict[int, Variant] = {}
        self._judged: dict[int, dict[int, Judged]] = {}

    def run_unit(self, number: int, locker: Locker) -> Judged:
        at, batch = divmod(number, self._each)
        variant = self._variants.get(at)
        if variant is None:
            variant = self._variants[at] = self._make(self._values[at])
        return self._stage.judge(self._stage.dressed(variant, locker), "tune", batch)

    def collect(self, number: int, result: Judged) -> None:
        at, batch = divmod(number, self._each)
        known = self._judged.setdefault(at, {})
        known[batch] = result
        if len(known) == self._each:
            numbers = sorted(known)
            quality = self._stage.quality("tune", numbers, [known[number] for number in numbers])
            point = CurvePoint(self._values[at], quality.value, quality.low, quality.high, quality.examples)
            self.points = sorted([*self.points, point], key=lambda p: p.x)
            self._judged.pop(at)
            self._variants.pop(at, None)


def _coarse_first(count: int) -> list[int]:
    """Positions 0 to count - 1: both ends, then the middle of what is left, and so on."""
    if count <= 2:
        return list(range(count))
    order, seen, step = [0, count - 1], {0, count - 1}, count - 1
    while len(order) < count:
        for at in range(0, count, max(1, step)):
            if at not in seen:
                seen.add(at)
                order.append(at)
        step //= 2
    return order
