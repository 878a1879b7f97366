"""Allocation: from what each matrix bears alone to how much each gives, within a limit that is really measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from explorer.errors import ExplorerError
from explorer.evaluation.quality import Quality
from explorer.limits import Limits
from explorer.recipe import Recipe
from explorer.search.attention_weights import attention_weights
from explorer.search.scan import template_of
from explorer.search.sensitivity import Cell, Sensitivity, watched
from explorer.steps import LowRank, Prune, Step

if TYPE_CHECKING:
    from explorer.variant import Variant
    from explorer.workbench import Workbench

ATTENTION = "attention"
BEYOND = 3
"""So many settings behind the border are tried, too: the real loss does not rise at every one."""

Setting = Mapping[str, float]
"""The level of each matrix that is changed."""


@dataclass(frozen=True)
class Tried:
    """A setting of the path as it really is: its recipe, the loss against dense, and exact bytes."""

    recipe: Recipe
    loss: float
    size_bytes: int


def allocate(
    bench: Workbench,
    step: Any,
    max_loss: float | None,
    max_bytes: int | str | None,
    by: str | None,
    levels: Any,
    progress: bool,
) -> Recipe:
    """The recipe of the smallest model within `max_loss`, or of the one that loses least within `max_bytes`."""
    if (max_loss is None) == (max_bytes is None):
        raise ExplorerError("one limit is needed", where="allocate", instead="give either max_loss or max_bytes")
    if by not in (None, ATTENTION):
        raise ExplorerError(f'by is "{by}"', where="allocate", instead=f'use by="{ATTENTION}" or leave it out')
    limits = Limits.of(max_loss=max_loss, max_bytes=max_bytes)
    limits.check_task(bench.subject.task)
    template = template_of(step)
    weights = attention_weights(bench) if by == ATTENTION else {}
    found = watched(bench.sensitivity_job(template, levels, quick=True), progress)
    if not found.complete:
        raise ExplorerError("the scan was stopped before its end", where="allocate", instead="start it again")
    path = path_of(found, weights)
    recipe_at = [recipe_of(bench, template, setting) for setting in path]
    if limits.max_bytes is not None:
        return _within_bytes(bench, recipe_at, limits.max_bytes)
    assert limits.max_loss is not None
    return _within_loss(bench, recipe_at, limits.max_loss)


# -- the path --------------------------------------------------------------------------------------------------------


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


def recipe_of(bench: Workbench, template: Step, setting: Setting) -> Recipe:
    """A setting as one ordinary step with an own amount for each matrix."""
    if isinstance(template, Prune):
        whole: dict[str, Any] = {"sparsity": 0.0, "threshold": None, "scope": "matrix", "overrides": dict(setting)}
        return Recipe([template.change(enabled=True, **whole)])
    amounts: dict[str, int] = {name: int(level) for name, level in setting.items()}
    if isinstance(template, LowRank):
        amounts = {name: bench.spectrum(name).rank_for(energy) for name, energy in setting.items()}
    usual = Counter(amounts.values()).most_common(1)[0][0]
    chosen = bench.matrices().select(template.layers, template.exclude)
    own = {matrix.name: amounts.get(matrix.name) for matrix in chosen if amounts.get(matrix.name) != usual}
    fields: dict[str, Any] = {"overrides": own, "enabled": True}
    fields |= {"rank": usual, "energy": None} if isinstance(template, LowRank) else {"bits": usual}
    return Recipe([template.change(**fields)])


# -- the limit -------------------------------------------------------------------------------------------------------


def _within_loss(bench: Workbench, recipes: list[Recipe], most: float) -> Recipe:
    dense = bench.dense.evaluate().value
    tried: dict[int, Tried] = {}

    def keeps(at: int) -> bool:
        if at not in tried:
            variant: Variant = bench.compress(recipes[at])
            tried[at] = Tried(recipes[at], dense - variant.evaluate().value, variant.size.bytes)
        return tried[at].loss <= most + 1e-9

    border = _first(len(recipes), lambda at: not keeps(at))
    for at in range(border + 1, min(border + 1 + BEYOND, len(recipes))):
        keeps(at)
    good = [item for item in tried.values() if item.loss <= most + 1e-9 and item.size_bytes < bench.dense.size.bytes]
    if not good:
        if not tried:
            raise ExplorerError("no level saves a byte on any matrix", where="allocate", instead="give harsher levels")
        closest = min(tried.values(), key=lambda item: (item.loss, item.size_bytes))
        raise ExplorerError(
            f"no setting loses at most {most:g}: the closest loses {closest.loss:.4g} of {bench.subject.primary} at "
            f"{closest.size_bytes:,} bytes ({closest.recipe.to_url()})",
            where="allocate",
            instead="allow more loss, or give milder levels",
        )
    return min(good, key=lambda item: (item.size_bytes, item.loss)).recipe


def _within_bytes(bench: Workbench, recipes: list[Recipe], most: int) -> Recipe:
    if bench.dense.size.bytes <= most:
        raise ExplorerError(
            f"the dense model has {bench.dense.size.bytes:,} bytes already", where="allocate", instead="allow fewer"
        )
    sizes: dict[int, int] = {}

    def fits(at: int) -> bool:
        if at not in sizes:
            sizes[at] = bench.compress(recipes[at]).size.bytes
        return sizes[at] <= most

    first = _first(len(recipes), fits)
    if first < len(recipes):
        return recipes[first]
    smallest = min(sizes.values(), default=bench.dense.size.bytes)
    raise ExplorerError(
        f"no setting has at most {most:,} bytes: the closest has {smallest:,}",
        where="allocate",
        instead="allow more bytes, or give harsher levels",
    )


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first of `count` places at which something holds, by bisection; `count` where it does not at the last."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
