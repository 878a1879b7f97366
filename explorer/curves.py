"""Accuracy curves: the recipe as a function of one number of one step, and where that is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from explorer.errors import ExplorerError
from explorer.knobs import RIVALS, limits, turned
from explorer.recipe import LowRank, Prune, Recipe, Step
from explorer.steps import Codebook, EditAttention, Quantize, Recover

if TYPE_CHECKING:
    from explorer.workbench import Workbench

WHOLE = ("rank", "n", "bits")
"""Knobs that stand at whole numbers."""
CURVE_POINTS = 41
RANK_POINTS = 32


def own_field(step: Step) -> str:
    """The knob that a step sets."""
    if isinstance(step, Prune):
        return "n" if step.pattern == "n:m" else "sparsity"
    if isinstance(step, (Quantize, Codebook)):
        return "bits"
    return "rank" if isinstance(step, LowRank) and step.rank is not None else "energy"


def turner(recipe: Recipe, position: int, field: str) -> Callable[[float], Recipe]:
    """The recipe as a function of one knob; the knob that says the same in other words is let go."""
    step = recipe[position]
    no_knob = isinstance(step, (Recover, EditAttention)) or field not in (*RIVALS, "n", "bits")
    if no_knob or field not in type(step).model_fields:
        raise ExplorerError(
            f'a {step.label} step has no knob "{field}"',
            where="curve",
            instead="use sparsity, threshold, n, rank, energy or bits",
        )
    later = [step.change(enabled=False) if isinstance(step, Recover) else step for step in recipe.steps[position:]]
    untrained = Recipe([*recipe.steps[:position], *later])  # no point of a curve waits for a training of its own

    def at(value: float) -> Recipe:
        fields: dict[str, Any] = {field: int(value) if field in WHOLE else value, "enabled": True}
        return untrained.replace(position, turned(step, **fields))

    return at


def positions(bench: Workbench, recipe: Recipe, position: int, field: str) -> tuple[float, ...]:
    """Where the curve of a knob is measured by default, in ascending order."""
    step = recipe[position]
    if isinstance(step, (Quantize, Codebook)):
        low, high = limits(type(step), "bits")
        return tuple(float(bits) for bits in range(int(low or 1), int(high or 8) + 1))
    if field == "n" and isinstance(step, Prune):
        return tuple(range((step.m or 4) + 1))
    if field == "rank":
        chosen = bench.matrices().select(step.layers, step.exclude)
        most = max((matrix.max_rank for matrix in chosen), default=1)
        return tuple(float(rank) for rank in np.unique(np.geomspace(1, most, RANK_POINTS).round().astype(int)))
    if field == "threshold":
        index = bench.scores(recipe, position)
        return tuple(index.threshold_at(share) for share in np.linspace(0, 1, CURVE_POINTS))
    low = 0.02 if field == "energy" else 0.0
    return tuple(round(float(share), 4) for share in np.linspace(low, 1, CURVE_POINTS))
