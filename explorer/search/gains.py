"""Gains: how much each attention head should give, found by gradients or by a swarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from explorer.recipe import Recipe
from explorer.shown import Shown


@dataclass(frozen=True)
class TunedHeads(Shown):
    """Gains of all heads that make task loss + weight * mean |gain| small, on examples of `split`.

    recipe: the given one with the gains as its last step. gains: by layer, one a head. history: (step, objective, loss,
    mean gain) from the start on. loss_before, objective_before: with all gains at one; loss, objective: with `gains`.
    steps: taken of those asked for. What quality it has on tune says `wb.compress(tuned.recipe).evaluate()`.
    """

    model: str
    recipe: Recipe
    gains: Mapping[str, tuple[float, ...]]
    history: tuple[tuple[int, float, float, float], ...]
    loss_before: float
    objective_before: float
    loss: float
    objective: float
    method: str
    weight: float
    steps: int
    split: str
    examples: int
    seconds: float
