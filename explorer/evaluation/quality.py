"""Quality: how good a variant's answers are, with the interval, and its change against another's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer.errors import ExplorerError
from explorer.evaluation.tasks import RIGHT_OR_WRONG, Judged, Summary, change_between, summarise
from explorer.shown import Shown


@dataclass(frozen=True)
class Change:
    """From one quality to another on the same examples, paired.

    delta: of the primary metric, with its 95 % interval.
    broken, repaired: right answers that became wrong, and the other way round.
    """

    delta: float
    low: float
    high: float
    broken: int
    repaired: int
    examples: int

    @property
    def is_loss(self) -> bool:
        """Whether the interval excludes zero on the side of a loss."""
        return self.high < 0


@dataclass(frozen=True)
class Quality(Shown):
    """What is known of a variant's answers on a split, so far.

    primary: the headline metric's name. total: how many examples the split has; `examples` of them were seen.
    indices: which ones, `[examples]`, in the order of `judged`.
    note: what has to be known beside the number (how often a sealed split was opened), or "".
    """

    task: str
    primary: str
    split: str
    total: int
    indices: NDArray[np.int64]
    judged: Judged
    note: str = ""

    @cached_property
    def _summary(self) -> Summary:
        return summarise(self.task, self.judged)

    @property
    def examples(self) -> int:
        """How many examples were seen."""
        return len(self.indices)

    @property
    def complete(self) -> bool:
        """Whether that is all of them."""
        return self.examples == self.total

    @property
    def metrics(self) -> dict[str, float]:
        """All metrics of the task by their scikit-learn names."""
        return self._summary.metrics

    @property
    def value(self) -> float:
        """The primary metric."""
        return self.metrics[self.primary]

    @property
    def low(self) -> float:
        """The lower end of its 95 % interval."""
        return self._summary.low

    @property
    def high(self) -> float:
        """The upper end of its 95 % interval."""
        return self._summary.high

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """`[examples]`, whether each answer is right; None for tasks without right and wrong."""
        return self.judged.score == 1.0 if self.task in RIGHT_OR_WRONG else None

    @property
    def mistakes(self) -> int | None:
        """How many answers are wrong; None for tasks without right and wrong."""
        return None if self.correct is None else int((~self.correct).sum())

    @property
    def predictions(self) -> NDArray[Any] | None:
        """`[examples]`: the predicted class or number; None for texts; `[examples, heads]` of several heads."""
        return self.judged.prediction

    @property
    def by_head(self) -> dict[str, float]:
        """The accuracy of each head by its name; empty for models with one answer."""
        if self.task != "multi-task":
            return {}
        start = f"{self.primary}_"
        return {name.removeprefix(start): own for name, own in self.metrics.items() if name.startswith(start)}

    def against(self, other: Quality) -> Change:
        """The change from `other` to this one, on the examples that both have seen."""
        if (self.task, self.split, self.total) != (other.task, other.split, other.total):
            raise ExplorerError(
                "these two were not measured on the same examples", instead="evaluate both on one split"
            )
        _, mine, theirs = np.intersect1d(self.indices, other.indices, assume_unique=True, return_indices=True)
        if self.judged is other.judged:
            return Change(0.0, 0.0, 0.0, 0, 0, len(mine))
        change, low, high = change_between(self.task, other.judged.take(theirs), self.judged.take(mine))
        before, after = other.judged.score[theirs], self.judged.score[mine]
        if self.task not in RIGHT_OR_WRONG:
            return Change(change, low, high, 0, 0, len(mine))
        broken, repaired = int(((before == 1) & (after == 0)).sum()), int(((before == 0) & (after == 1)).sum())
        return Change(change, low, high, broken, repaired, len(mine))

    def to_dict(self) -> dict[str, Any]:
        """Flat: every metric, the primary one's interval, how many examples, and mistakes where there are such."""
        flat: dict[str, Any] = dict(self.metrics)
        flat |= {f"{self.primary}_low": self.low, f"{self.primary}_high": self.high, "examples": self.examples}
        if self.mistakes is not None:
            flat["mistakes"] = self.mistakes
        return flat

    def __str__(self) -> str:
        so_far = "" if self.complete else f" on {self.examples:,} of {self.total:,}"
        mistakes = "" if self.mistakes is None else f", {self.mistakes:,} mistakes of {self.examples:,}"
        note = f"; {self.note}" if self.note else ""
        return f"{self.primary} {self.value:.4f} ({self.low:.4f} to {self.high:.4f}){so_far}{mistakes}{note}"
