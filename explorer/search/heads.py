"""Heads: what each attention head is worth, by how sure it is, by its gradient, and by switching it off."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.evaluation.quality import Quality
from explorer.recipe import Recipe
from explorer.shown import Shown


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
