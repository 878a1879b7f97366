"""Calibration: whether a model that says 90 % is right nine times in ten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explorer.errors import ExplorerError
from explorer.evaluation.intervals import wilson
from explorer.evaluation.quality import Quality
from explorer.shown import Shown

BINS = 10
RESAMPLES = 1000
SEED = 0
MOST_AT_ONCE = 2**22
"""So many drawn counts are held at a time."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration(Shown):
    """How sure a model is of its answers, and how often it is right, in bins of equal width.

    edges: `[bins + 1]`, from 0 to 1; a probability on an edge belongs to the bin below it. counts: `[bins]` answers.
    confidence, accuracy: `[bins]`, the means of each bin, NaN in empty ones; low, high: the accuracy's Wilson interval.
    ece: the expected calibration error (Naeini et al. 2015; Guo et al. 2017): the mean distance of confidence and
    accuracy, each bin by its share of the answers. It is above 0 by chance alone where bins hold few answers.
    ece_low, ece_high: its 95 % bootstrap interval over examples. overconfidence: mean confidence minus accuracy.
    """

    edges: Array
    counts: NDArray[np.int64]
    confidence: Array
    accuracy: Array
    low: Array
    high: Array
    ece: float
    ece_low: float
    ece_high: float
    overconfidence: float

    def __str__(self) -> str:
        lines = [f"{'probability':<14}{'answers':>8}{'said':>8}{'right':>8}{'95 % interval':>18}"]
        for at, count in enumerate(self.counts):
            if count:
                span = f"{self.edges[at]:.1f} to {self.edges[at + 1]:.1f}"
                interval = f"{self.low[at]:.3f} to {self.high[at]:.3f}"
                told = f"{self.confidence[at]:>8.3f}{self.accuracy[at]:>8.3f}{interval:>18}"
                lines.append(f"{span:<14}{count:>8,}{told}")
        error = f"calibration error {self.ece:.4f} ({self.ece_low:.4f} to {self.ece_high:.4f})"
        return "\n".join([*lines, error])


@dataclass(frozen=True, eq=False)
class CalibrationChange(Shown):
    """The calibration of two models on the same examples. change: of the calibration error, with its 95 % interval."""

    before: Calibration
    after: Calibration
    change: float
    low: float
    high: float
    examples: int

    def sentence(self) -> str:
        """Whether the answers say more or less truly how sure they are."""
        told = f"calibration error {self.before.ece:.4f} before, {self.after.ece:.4f} after"
        interval = f"{self.change:+.4f}, {self.low:+.4f} to {self.high:+.4f}"
        if self.low <= 0 <= self.high:
            return f"{told}: no change shown ({interval})"
        return f"{told}: {'worse' if self.change > 0 else 'better'} ({interval})"

    def __str__(self) -> str:
        return f"before\n{self.before}\nafter\n{self.after}\n{self.sentence()}"


@dataclass(frozen=True, eq=False)
class _Answers:
    """Confidence and rightness of each answer, `[examples, answers]`; where `counted` is 0 there is no label."""

    confidence: Array
    right: Array
    counted: Array


def calibration_of(quality: Quality, bins: int = BINS) -> Calibration:
    """The calibration of one model's answers; of several heads, of all their answers together.

    Raises `ExplorerError` for tasks whose answers bear no probability.
    """
    answers = _answers(quality)
    return _calibration(answers, bins, _drawn(answers, bins))


def calibration_change(before: Quality, after: Quality, bins: int = BINS) -> CalibrationChange:
    """The calibration of two models on the examples that both have seen; the interval of the change is paired."""
    _, theirs, mine = np.intersect1d(before.indices, after.indices, assume_unique=True, return_indices=True)
    first, second = (_answers(quality, places) for quality, places in ((before, theirs), (after, mine)))
    drawn = _drawn(first, bins), _drawn(second, bins)  # the same examples in each draw: paired
    told = _calibration(first, bins, drawn[0]), _calibration(second, bins, drawn[1])
    low, high = np.quantile(drawn[1] - drawn[0], [0.025, 0.975])
    return CalibrationChange(told[0], told[1], told[1].ece - told[0].ece, float(low), float(high), len(first.right))


def _answers(quality: Quality, places: Any = None) -> _Answers:
    judged = quality.judged if places is None else quality.judged.take(places)
    if quality.task == "classification":
        sure = judged.parts["probability"].astype(np.float64)[:, None]
        return _Answers(sure, judged.score[:, None], np.ones_like(sure))
    if quality.task == "multi-task":
        heads = [name.removeprefix("right_") for name in judged.parts if name.startswith("right_")]
        stacked = (
            np.stack([judged.parts[f"{part}_{head}"] for head in heads], axis=1).astype(np.float64)
            for part in ("probability", "right", "labelled")
        )
        return _Answers(*stacked)
    what = f"answers of the task {quality.task} bear no probability of a class"
    raise ExplorerError(what, where="calibration", instead="look at disagreements")


def _binned(answers: _Answers, bins: int) -> tuple[Array, Array, Array]:
    """Of each example and bin `[examples, bins]`: answers, summed confidence, summed rightness."""
    place = np.clip(np.ceil(answers.confidence * bins).astype(int) - 1, 0, bins - 1)
    inside = (place[:, :, None] == np.arange(bins)) * answers.counted[:, :, None]  # [examples, answers, bins]
    return (
        inside.sum(1),
        (inside * answers.confidence[:, :, None]).sum(1),
        (inside * answers.right[:, :, None]).sum(1),
    )


def _drawn(answers: _Answers, bins: int) -> Array:
    """The calibration error of `RESAMPLES` draws of as many examples with replacement, the same draws each time."""
    count, sure, right = _binned(answers, bins)
    examples = len(count)
    dice = np.random.default_rng(SEED)
    found: list[Array] = []
    while (left := RESAMPLES - sum(map(len, found))) > 0:
        draws = min(left, max(1, MOST_AT_ONCE // max(1, examples)))
        weights = dice.multinomial(examples, np.full(examples, 1 / examples), size=draws).astype(np.float64)
        found.append(np.abs(weights @ (sure - right)).sum(1) / np.maximum((weights @ count).sum(1), 1))
    return np.concatenate(found)


def _calibration(answers: _Answers, bins: int, drawn: Array) -> Calibration:
    count, sure, right = (part.sum(0) for part in _binned(answers, bins))
    total = count.sum()
    ends = np.array([wilson(int(hits), int(number)) for hits, number in zip(right, count, strict=True)])
    empty = count == 0
    known = np.where(empty, 1, count)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Calibration(
        edges=np.linspace(0, 1, bins + 1),
        counts=count.astype(np.int64),
        confidence=np.where(empty, np.nan, sure / known),
        accuracy=np.where(empty, np.nan, right / known),
        low=np.where(empty, np.nan, ends[:, 0]),
        high=np.where(empty, np.nan, ends[:, 1]),
        ece=float(np.abs(sure - right).sum() / total),
        ece_low=float(low),
        ece_high=float(high),
        overconfidence=float((sure.sum() - right.sum()) / total),
    )
