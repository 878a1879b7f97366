"""Order statistics by counting: threshold and sparsity move each other, exactly, also with ties.

Scores are float32. Their bit patterns, read as whole numbers, stand in the same order as the scores, so one pass
counts them into 65,536 bins by their upper half, and only the bin that a question falls into is ever sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 1 << 16
HALF = 1 << 15


@dataclass(frozen=True)
class Histogram:
    """Counts of scores between `edges` (`[bins + 1]`), and how many lie beyond the last edge."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    beyond: int


class ScoreIndex:
    """All scores that compete with each other, ready for any question about their order.

    Parameters
    ----------
    scores: float tensors of any shape, finite; they compete together, in this order where they tie.
    """

    def __init__(self, scores: Sequence[Tensor]) -> None:
        self._keys = [_order_keys(score) for score in scores]
        self.total = sum(key.numel() for key in self._keys)
        counts = torch.zeros(BINS, dtype=torch.int64)
        small = [key.reshape(-1) for key in self._keys if key.numel() < BINS]  # together: one count of all bins
        large = [key.reshape(-1) for key in self._keys if key.numel() >= BINS]
        for part in [*large, *([torch.cat(small)] if small else [])]:
            counts += torch.bincount((part >> 16) + HALF, minlength=BINS)
        self._bins = counts.numpy()
        self._below_bin = np.concatenate([[0], np.cumsum(self._bins)])
        self._sorted: dict[int, NDArray[np.int32]] = {}

    # -- questions ------------------------------------------------------------------------------------------------

    def count_below(self, threshold: float) -> int:
        """How many scores are smaller than the threshold, exactly (as float32 numbers)."""
        if self.total == 0 or np.isnan(threshold):
            return 0
        key = int(_order_keys(torch.tensor([threshold], dtype=torch.float32))[0])
        at = (key >> 16) + HALF
        return int(self._below_bin[at] + np.searchsorted(self._inside(at), key, side="left"))

    def threshold_for(self, count: int) -> float:
        """A threshold below which `count` scores lie (fewer where scores tie at the border).

        It stands half way between the last score that goes and the first that stays.
        """
        if count <= 0 or self.total == 0:
            return min(0.0, self.score_at(0)) if self.total else 0.0
        last = self.score_at(min(count, self.total) - 1)
        if count >= self.total:
            return float(np.nextafter(np.float32(last), np.float32(np.inf)))
        first = self.score_at(count)
        middle = float(np.float32((last + first) / 2))
        return middle if last < middle else first

    def score_at(self, position: int) -> float:
        """The score at `position` (from 0) in ascending order."""
        return float(_score_of(self._key_at(position)))

    def sparsity_at(self, threshold: float) -> float:
        """The share of scores below the threshold."""
        return self.count_below(threshold) / self.total if self.total else 0.0

    def threshold_at(self, sparsity: float) -> float:
        """The threshold that removes that share; never below 0, where only what is removed already scores."""
        return max(0.0, self.threshold_for(removed_count(sparsity, self.total)))

    def histogram(self, bins: int = 64, upper: float | None = None) -> Histogram:
        """Counts in `bins` equal parts from 0 (or the lowest score) to `upper` (default: all but the top 0.1 %)."""
        if self.total == 0:
            return Histogram(np.linspace(0, 1, bins + 1), np.zeros(bins, dtype=np.int64), 0)
        lowest = min(0.0, self.score_at(0))
        top = self.score_at(int((self.total - 1) * 0.999)) if upper is None else upper
        edges = np.linspace(lowest, top if top > lowest else lowest + 1.0, bins + 1)
        below = np.array([self.count_below(float(edge)) for edge in edges])
        below[0] = 0
        return Histogram(edges, np.diff(below), self.total - int(below[-1]))

    def keep(self, count: int) -> list[Tensor]:
        """Masks of the shapes of the scores, false for exactly the `count` lowest; of equal ones the first go."""
        if count <= 0:
            return [torch.ones(key.shape, dtype=torch.bool) for key in self._keys]
        if count >= self.total:
            return [torch.zeros(key.shape, dtype=torch.bool) for key in self._keys]
        border = self._key_at(count - 1)
        ties = count - int(self._below_bin[(border >> 16) + HALF]) - self._inside_below(border)
        masks = []
        for key in self._keys:
            mask = key >= border
            if ties > 0:
                places = (key.reshape(-1) == border).nonzero().reshape(-1)[:ties]
                mask.view(-1)[places] = False
                ties -= len(places)
            masks.append(mask)
        return masks

    def keep_from(self, threshold: float) -> list[Tensor]:
        """Masks that are false where the score is below the threshold."""
        border = int(_order_keys(torch.tensor([threshold], dtype=torch.float32))[0])
        return [key >= border for key in self._keys]

    # -- inside one bin -------------------------------------------------------------------------------------------

    def _inside(self, at: int) -> NDArray[np.int32]:
        """The sorted keys of one bin."""
        if at not in self._sorted:
            parts = [key[(key >> 16) + HALF == at] for key in self._keys] if self._bins[at] else []
            found = torch.cat(parts).numpy() if parts else np.zeros(0, dtype=np.int32)
            self._sorted[at] = np.sort(found)
        return self._sorted[at]

    def _inside_below(self, key: int) -> int:
        return int(np.searchsorted(self._inside((key >> 16) + HALF), key, side="left"))

    def _key_at(self, position: int) -> int:
        at = int(np.searchsorted(self._below_bin, position, side="right")) - 1
        return int(self._inside(at)[position - int(self._below_bin[at])])

    @cached_property
    def resident_bytes(self) -> int:
        """Memory that the index holds."""
        return 4 * self.total + 2 * 8 * BINS


def removed_count(sparsity: float, total: int) -> int:
    """How many of `total` a sparsity means: rounded half to even, as in `torch.nn.utils.prune`."""
    return round(sparsity * total)


def _order_keys(scores: Tensor) -> Tensor:
    """Whole numbers (int32) in the order of the scores; -0.0 counts as 0.0."""
    bits = (scores.detach().to(dtype=torch.float32, device="cpu") + 0.0).contiguous().view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _score_of(key: int) -> np.float32:
    bits = key ^ ((key >> 31) & 0x7FFFFFFF)
    return np.array([bits], dtype=np.int32).view(np.float32)[0]
