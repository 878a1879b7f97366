"""What stands along the sides of an attention map: names for hovering, and as many labels as fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.errors import ExplorerError
from explorer.figures.template import plain
from explorer.figures.words import shortened
from explorer.subjects.axes import Axis

MOST_LABELS = 42
"""Along a side of a large map."""
LONGEST_LABEL = 18
_BESIDE = 0.03
"""Ticks stand this much beside their cells, so that Plotly does not show their short words when hovering."""
ONE = {
    "patches": "patch", "words": "word", "characters": "character", "features": "feature", "tokens": "token",
    "positions": "position", "places": "place", "channels": "channel", "digits": "digit",
    "window places": "window place",
}  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One side of a map without its padding.

    kind: what a position is, in the plural. positions: which ones are shown. names: what each is called, no two alike,
    ready for Plotly. short: the same, short. grid, first: as of `Axis`.
    """

    kind: str
    positions: tuple[int, ...]
    names: tuple[str, ...]
    short: tuple[str, ...]
    grid: tuple[int, int] | None = None
    first: int = 0

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def one(self) -> str:
        """What one position is."""
        return ONE.get(self.kind, self.kind.removesuffix("s"))

    def ticks(self, most: int = MOST_LABELS) -> dict[str, Any]:
        """Axis options: all labels where they fit, else every second, fifth, ...; of patches the picture's rows."""
        count = len(self)
        if self.grid is not None and count == self.first + self.grid[0] * self.grid[1]:
            rows, columns = self.grid
            step = _step(rows + self.first, most)
            places = [*range(self.first), *(self.first + row * columns for row in range(0, rows, step))]
            texts = [*self.short[: self.first], *(f"row {row + 1}" for row in range(0, rows, step))]
        else:
            places = list(range(0, count, _step(count, most)))
            texts = [self.short[at] for at in places]
        return {"tickmode": "array", "tickvals": [at + _BESIDE for at in places], "ticktext": texts}


def side_of(axis: Axis, positions: Sequence[int], example: int) -> Side:
    """The chosen positions of an axis at one example."""
    labels = axis.labels[example]
    shown = [labels[at] or str(at + 1) for at in positions]
    numbered = len(set(shown)) < len(shown)  # words come more than once
    names = [f"{label} ({at + 1})" if numbered else label for label, at in zip(shown, positions, strict=True)]
    short = [plain(shortened(label, LONGEST_LABEL)) for label in shown]
    return Side(axis.name, tuple(positions), tuple(map(plain, names)), tuple(short), axis.grid, axis.first)


@dataclass(frozen=True)
class Cut:
    """The map of one head at one example without padding: `weights` `[queries, keys]` and what stands at its sides."""

    weights: np.ndarray
    queries: Side
    keys: Side
    window: str = ""


def cut_of(layer: LayerMaps, head: int, example: int = 0, window: int = 0) -> Cut:
    """One head's map; `head` is its original number. Raises `ExplorerError` for what is not there."""
    check_example(layer, example)
    place = 0 if layer.site.is_gate else layer.place(head)
    weights, told = layer.weights[example], ""
    if weights.dim() == 4:
        if not 0 <= window < len(weights):
            last = len(weights) - 1
            raise ExplorerError(f"there is no window {window}", where=layer.name, instead=f"give 0 to {last}")
        told = f"window {window + 1} of {len(weights)}"
        weights = weights[window]
    queries, keys = valid_positions(layer, example)
    whole = weights[place].detach().float().cpu().numpy()
    return Cut(
        whole[np.ix_(queries, keys)],
        side_of(layer.queries, queries, example),
        side_of(layer.keys, keys, example),
        told,
    )


def valid_positions(layer: LayerMaps, example: int) -> tuple[list[int], list[int]]:
    """The queries and the keys of an example that stand for something."""
    return tuple(valid[example].nonzero().flatten().tolist() for valid in (layer.valid_queries, layer.valid_keys))  # type: ignore[return-value]  # two of two


def check_example(layer: LayerMaps, example: int) -> None:
    """Raise `ExplorerError` where there is no such example."""
    count = len(layer.weights)
    if not 0 <= example < count:
        raise ExplorerError(f"there is no example {example}", where=layer.name, instead=f"give 0 to {count - 1}")


def facts_of(maps: AttentionMaps, example: int, *more: str) -> str:
    """The quiet line under a title: which example of how many, and what else is to be said."""
    which = f"example {example + 1} of {len(maps)}" if len(maps) > 1 else ""
    return " · ".join(filter(None, (which, *more)))


def _step(count: int, most: int) -> int:
    """Every how manieth label is shown: 1, 2, 5, 10, ..."""
    least = -(-count // max(1, most))
    return next(size * power for power in (1, 10, 100, 1000, 10000) for size in (1, 2, 5) if size * power >= least)
