"""Heads: what each attention head is worth, by how sure it is, by its gradient, and by switching it off."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from explorer.errors import ExplorerError
from explorer.evaluation.quality import Quality
from explorer.recipe import Recipe
from explorer.shown import Shown
from explorer.steps import EditAttention

if TYPE_CHECKING:
    import pandas as pd

BY = ("gradient", "cost", "confidence", "entropy")


@dataclass(frozen=True)
class HeadRow:
    """One head.

    confidence: the mean of the largest weight of each row (Voita et al. 2019). entropy: normalised, 0 (one key) to 1.
    gradient: the mean over examples of |dL/dxi|, L the example's task loss and xi a factor on what the head gives
    (Michel et al. 2019); NaN where the loss has none. cost: the change of the primary metric when this head alone is
    switched off (negative: it is missed), with its paired 95 % interval; None until measured. off: whether the recipe
    has switched it off already.
    """

    layer: str
    head: int
    kind: str
    confidence: float
    entropy: float
    gradient: float
    cost: float | None = None
    low: float | None = None
    high: float | None = None
    off: bool = False


@dataclass(frozen=True)
class HeadTable(Shown):
    """A row for each head of each attention layer, in the order of the model.

    recipe: the recipe whose heads they are. split, examples: what confidence, entropy and gradient were measured on.
    base: the quality on tune that costs are beside (None where they were not asked for).
    """

    model: str
    recipe: Recipe
    rows: tuple[HeadRow, ...]
    split: str
    examples: int
    primary: str
    in_points: bool
    base: Quality | None = None

    @property
    def measured(self) -> bool:
        """Whether the cost of every head that is on is known."""
        return all(row.cost is not None for row in self.rows if not row.off)

    def ranked(self, by: str = "gradient") -> list[HeadRow]:
        """The rows, least important first: by gradient, cost, confidence or entropy; heads that are off come last.

        Least important is the smallest gradient, what is missed least, the least sure, the most spread. Ties go by the
        gradient, then by the order of the model. Raises `ExplorerError` for a measure that is not there.
        """
        if by not in BY:
            raise ExplorerError(f'by is "{by}"', where="heads", instead=f"choose one of {', '.join(BY)}")
        on = [row for row in self.rows if not row.off]
        if by == "cost" and not self.measured:
            told = "the cost of some heads is not measured"
            raise ExplorerError(told, where="heads", instead="measure it: wb.heads(measured=True), to the end")
        if by == "gradient" and any(math.isnan(row.gradient) for row in on):
            raise ExplorerError("the task's loss has no gradient", where="heads", instead="rank by cost")
        return [
            *sorted(on, key=lambda row: (_worth(row, by), _worth(row, "gradient"))),
            *(r for r in self.rows if r.off),
        ]

    def least(self, k: int, by: str = "gradient") -> EditAttention:
        """The step that switches the `k` least important heads off; at least one head of the model stays on.

        Raises `ExplorerError` for more heads than may go.
        """
        on = sum(not row.off for row in self.rows)
        if not 1 <= k <= on - 1:
            told = f"{k} of {on} heads cannot be removed"
            instead = f"give 1 to {on - 1}: one head must stay" if on > 1 else "leave it on"
            raise ExplorerError(told, where="heads", instead=instead)
        chosen: dict[str, list[int]] = {}
        for row in self.ranked(by)[:k]:
            chosen.setdefault(row.layer, []).append(row.head)
        order = dict.fromkeys(row.layer for row in self.rows if row.layer in chosen)
        return EditAttention(edit="off", own_heads={layer: tuple(sorted(chosen[layer])) for layer in order})

    def amount(self, change: float) -> str:
        """A change of the metric with its sign, in points where it is a share."""
        return f"{100 * change:+.1f} points" if self.in_points else f"{change:+.3f}"

    def sentence(self) -> str:
        """Which head is missed most, and of how many that cannot be said."""
        on = [row for row in self.rows if not row.off]
        if not on:
            return "all heads are off"
        known = [row for row in on if row.cost is not None]
        if not known:
            steep = [row for row in on if not math.isnan(row.gradient)]
            if not steep:
                return "nothing is known of what the heads are worth"
            top = max(steep, key=lambda row: row.gradient)
            return f"{top.layer} head {top.head} moves the loss most, by its gradient; no head was switched off"
        worst = min(known, key=lambda row: (row.cost, -row.gradient))
        missed = sum(row.high is not None and row.high < 0 for row in known)
        so_far = "" if len(known) == len(on) else f" ({len(known)} of {len(on)} measured)"
        if not missed:
            return f"no head alone is missed beyond chance{so_far}"
        assert worst.cost is not None and worst.low is not None and worst.high is not None
        low, high = (self.amount(end).removesuffix(" points") for end in (worst.low, worst.high))
        told = f"without {worst.layer} head {worst.head} {self.primary} changes most: {self.amount(worst.cost)}"
        told += f" ({low} to {high})"
        rest = len(known) - missed
        return f"{told}; {rest} of {len(known)} heads are not missed beyond chance{so_far}"

    def to_frame(self) -> pd.DataFrame:
        """A row for each head."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def __str__(self) -> str:
        width = max([len(row.layer) for row in self.rows] + [5])
        unit = "points" if self.in_points else self.primary
        after = f" after {self.recipe.sentence()}" if len(self.recipe) else ""
        lines = [
            f"{self.model}, heads{after}; measured on {self.examples:,} {self.split} examples; "
            f"switched off: change of {self.primary} in {unit}, on tune",
            f"{'layer':<{width}} {'head':>4} {'confidence':>10} {'entropy':>8} {'gradient':>9} {'off':>8}  95 %",
        ]
        for row in self.rows:
            line = (
                f"{row.layer:<{width}} {row.head:>4} {row.confidence:>10.3f} {row.entropy:>8.3f} {row.gradient:>9.5f}"
            )
            if row.off:
                line += f" {'is off':>8}"
            elif row.cost is not None and row.low is not None and row.high is not None:
                told = [self.amount(value).removesuffix(" points") for value in (row.cost, row.low, row.high)]
                line += f" {told[0]:>8}  {told[1]} to {told[2]}"
            lines.append(line)
        return "\n".join([*lines, self.sentence()])


def _worth(row: HeadRow, by: str) -> float:
    """How important a head is by one measure: the larger, the more."""
    value = {"gradient": row.gradient, "confidence": row.confidence, "entropy": -row.entropy}.get(by)
    if value is None:
        assert row.cost is not None
        value = -row.cost
    return -math.inf if math.isnan(value) else value
