"""The answers of two variants side by side, batch by batch in the worker pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from explorer.evaluation.disagreements import UNITS, Disagreement, Disagreements, disagreements_in
from explorer.evaluation.pool import Locker, Work
from explorer.evaluation.slices import class_groups, groups_of, halves
from explorer.subjects.examples import Examples, tensors_in
from explorer.subjects.subject import Subject
from explorer.weights.install import PrivateModel

if TYPE_CHECKING:
    from explorer.variant import Variant


class AnswersJob(Work):
    """Both variants on every batch of a split, and where their answers differ. `done` batches so far."""

    def __init__(self, before: Variant, after: Variant, split: str) -> None:
        self._bench, self._pair, self._split = before.workbench, (before, after), split
        super().__init__(len(self._bench.stage.batches(split)))
        self.done = 0
        self._found: dict[int, list[Disagreement]] = {}
        self._distances: dict[int, Tensor] = {}

    def run_unit(self, number: int, locker: Locker) -> tuple[list[Disagreement], Tensor]:
        bench = self._bench
        if self not in locker:
            locker[self] = [PrivateModel(bench.subject.model, bench.matrices()) for _ in self._pair]
        inputs, targets, indices = bench.stage.batches(self._split)[number]
        before, after = (
            bench.stage.outputs(private.wear(variant.outfit), inputs)
            for private, variant in zip(locker[self], self._pair, strict=True)
        )
        return disagreements_in(bench.subject, before, after, targets, indices)

    def collect(self, number: int, result: tuple[list[Disagreement], Tensor]) -> None:
        self._found[number], self._distances[number] = result
        self.done += 1

    def disagreements(self) -> Disagreements:
        """All of them, once the job is done."""
        listed = [each for number in sorted(self._found) for each in self._found[number]]
        listed.sort(key=lambda each: (-each.distance, each.index))
        apart = torch.cat([self._distances[number] for number in sorted(self._distances)])
        subject = self._bench.subject
        groups = all_groups(subject, subject.split(self._split))
        return Disagreements(tuple(listed), len(apart), float(apart.mean()), UNITS[subject.task], groups)


def none_of(subject: Subject, split: str) -> Disagreements:
    """Of a variant beside itself: no example."""
    examples = subject.split(split)
    return Disagreements((), len(examples), 0.0, UNITS[subject.task], all_groups(subject, examples))


def all_groups(subject: Subject, examples: Examples) -> dict[str, Tensor]:
    """Slices and classes by name, booleans `[examples]`; a class that bears the name of a slice is "class ..."."""
    slices = slice_groups(subject, examples)
    classes = class_groups_of(subject, examples)
    return slices | {(f"class {name}" if name in slices else name): group for name, group in classes.items()}


def slice_groups(subject: Subject, examples: Examples) -> dict[str, Tensor]:
    """The subject's own slices, and halves by what can be measured: contrast of images, length of texts."""
    found = groups_of(examples.slices)
    images = [t for t in tensors_in(examples.inputs) if t.is_floating_point() and t.dim() in (3, 4)]
    if subject.input in ("image", "image+text") and images:
        found |= halves("contrast", images[0].flatten(1).std(1))
    padding = getattr(subject.ways, "PAD", None)
    texts = [t for t in tensors_in(examples.inputs) if not t.is_floating_point() and t.dim() == 2]
    if subject.input in ("text", "sequence", "story", "image+text") and texts and padding is not None:
        found |= halves("length", (texts[0] != padding).sum(1))
    return found


def class_groups_of(subject: Subject, examples: Examples) -> dict[str, Tensor]:
    """The examples of each class; of several heads, of each class of each head; none for other tasks."""
    if subject.task == "classification":
        return class_groups(examples.targets, subject.classes)
    if subject.task == "multi-task":
        return {
            f"{head.name}: {name}": group
            for at, head in enumerate(subject.heads)
            for name, group in class_groups(examples.targets[:, at], head.classes).items()
        }
    return {}
