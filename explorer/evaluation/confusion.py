"""Confusion: which class is taken for which, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explorer.errors import ExplorerError
from explorer.evaluation.quality import Quality
from explorer.shown import Shown

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ConfusionChange(Shown):
    """Two confusion matrices `[classes, classes]` on the same examples: rows are the truth, columns the answers."""

    classes: tuple[str, ...]
    before: Counts
    after: Counts

    @property
    def difference(self) -> Counts:
        """After minus before; every row adds up to zero."""
        return self.after - self.before

    def most_moved(self, count: int = 5) -> list[tuple[str, str, int]]:
        """(truth, answer, how many more) of the mistakes that grew most, largest first; none where none grew."""
        grown = self.difference.copy()
        np.fill_diagonal(grown, 0)
        order = np.argsort(-grown, axis=None, kind="stable")[:count]
        cells = [divmod(int(place), len(self.classes)) for place in order]
        return [
            (self.classes[row], self.classes[column], int(grown[row, column]))
            for row, column in cells
            if grown[row, column] > 0
        ]

    def sentence(self) -> str:
        """Which mistake grew most."""
        if not self.difference.any():
            return "no class is taken for another more or less often"
        moved = self.most_moved(1)
        if not moved:
            return "no mistake grew"
        truth, answer, more = moved[0]
        return f"most new mistakes: {truth} taken for {answer} ({more:+,})"

    def __str__(self) -> str:
        width = max(len(name) for name in self.classes)
        cell = max(width, 5) + 1
        lines = [" " * width + "".join(f"{name:>{cell}}" for name in self.classes)]
        for name, row in zip(self.classes, self.difference, strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{f'{value:+d}' if value else '·':>{cell}}" for value in row))
        return "\n".join(["after minus before; rows: truth, columns: answers", *lines, self.sentence()])


def confusion_change(before: Quality, after: Quality, classes: Sequence[str] = ()) -> ConfusionChange:
    """The confusion of two models on the examples that both have seen. Raises `ExplorerError` for other tasks."""
    if before.task != "classification" or after.task != "classification":
        raise ExplorerError(f"the task {after.task} has no single class to confuse", where="confusion")
    _, theirs, mine = np.intersect1d(before.indices, after.indices, assume_unique=True, return_indices=True)
    number = int(before.judged.parts["classes"][0])
    names = tuple(classes[at] if at < len(classes) else str(at) for at in range(number))
    return ConfusionChange(names, _counts(before, theirs, number), _counts(after, mine, number))


def _counts(quality: Quality, places: NDArray[np.int64], classes: int) -> Counts:
    judged = quality.judged.take(places)
    assert judged.prediction is not None
    flat = np.bincount(judged.parts["target"] * classes + judged.prediction, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)
