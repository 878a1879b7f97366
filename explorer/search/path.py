"""The path of an allocation: from what each matrix bears alone to settings from mild to harsh, as recipes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from explorer.evaluation.quality import Quality
from explorer.recipe import Recipe
from explorer.search.sensitivity import Cell, Sensitivity
from explorer.steps import LowRank, Prune, Step

if TYPE_CHECKING:
    from explorer.workbench import Workbench

Setting = Mapping[str, float]
"""The level of each matrix that is changed."""


def example_losses(quality: Quality) -> NDArray[np.float64]:
    """`[examples]`, a smooth loss of each: it moves long before an answer becomes wrong, unlike the headline metric.

    Log loss (of a sequence per token, as long as the average), squared error, or minus the score.
    """
    parts = quality.judged.parts
    if "tokens" in parts:
        return np.asarray(parts["loss"] / max(parts["tokens"].mean(), 1.0))
    if "loss" in parts:
        return np.asarray(parts["loss"])
    if "wanted" in parts:
        return np.asarray(((parts["value"] - parts["wanted"]) ** 2).mean(1))
    return np.asarray(-quality.judged.score)


def disturbance(quality: Quality, base: Quality) -> float:
    """The mean absolute change of the examples' losses.

    Absolute, since a change that helps some answers as much as it harms others is not free once changes add up: their
    sum is at most the sum of these (and pruned models, less sure of themselves, may have a lower log loss at first).
    """
    return float(np.abs(example_losses(quality) - example_losses(base)).mean())


def path_of(found: Sensitivity, weights: Mapping[str, float]) -> list[Setting]:
    """Settings from mild to harsh: each time the upgrade of one matrix that loses least per byte it saves.

    Losses of single matrices are taken to add up, which orders the path and is not relied on further. weights: how
    much the loss of a matrix counts (1 where it has none).
    """
    ladders = {name: _ladder(cells, found.base, weights.get(name, 1.0)) for name, cells in found.by_target.items()}
    reached = dict.fromkeys(ladders, (0.0, 0))  # loss, saved bytes
    settings: dict[str, float] = {}
    path: list[Setting] = []
    while True:
        steps = [
            ((loss - reached[name][0]) / (saved - reached[name][1]), name, level, loss, saved)
            for name, ladder in ladders.items()
            for level, loss, saved in ladder
            if saved > reached[name][1]
        ]
        if not steps:
            return path
        _, name, level, loss, saved = min(steps)
        reached[name] = (loss, saved)
        settings = {**settings, name: level}
        path.append(settings)


def _ladder(cells: list[Cell], base: Quality, weight: float) -> list[tuple[float, float, int]]:
    """(level, estimated loss, saved bytes) from mild to harsh; noise does not make a harsher level look better."""
    ladder, worst = [], 0.0
    for cell in cells:
        assert cell.level is not None
        worst = max(worst, weight * disturbance(cell.quality, base))
        ladder.append((cell.level, worst, cell.saved_bytes))
    return ladder


def recipe_of(bench: Workbench, template: Step, setting: Setting, start: Recipe) -> Recipe:
    """A setting as one ordinary step with an own amount for each matrix, after the steps of `start`."""
    return Recipe([*start, step_of(bench, template, setting, start)])


def step_of(bench: Workbench, template: Step, setting: Setting, start: Recipe) -> Step:
    """That step; of a low rank the levels are energies, and what it gives is ranks."""
    if isinstance(template, Prune):
        whole: dict[str, Any] = {"sparsity": 0.0, "threshold": None, "scope": "matrix", "overrides": dict(setting)}
        return template.change(enabled=True, **whole)
    amounts: dict[str, int] = {name: int(level) for name, level in setting.items()}
    if isinstance(template, LowRank):
        amounts = {name: bench.spectrum(name, start).rank_for(energy) for name, energy in setting.items()}
    usual = Counter(amounts.values()).most_common(1)[0][0]
    chosen = bench.matrices().select(template.layers, template.exclude)
    own = {matrix.name: amounts.get(matrix.name) for matrix in chosen if amounts.get(matrix.name) != usual}
    fields: dict[str, Any] = {"overrides": own, "enabled": True}
    fields |= {"rank": usual, "energy": None} if isinstance(template, LowRank) else {"bits": usual}
    return template.change(**fields)
