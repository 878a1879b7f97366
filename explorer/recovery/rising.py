"""Pruning while training: when more goes, and which weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from explorer.compression.criteria import Asked
from explorer.compression.order import ScoreIndex, removed_count
from explorer.names import CRITERIA, PATTERNS
from explorer.recovery.holds import PlainHold
from explorer.steps import LEARNED, GradualPrune
from explorer.weights.forms import Zeros, spread

LOWEST = -torch.finfo(torch.float32).max
"""The score of what is gone for good: it goes first."""
SETTLED = 0.8
"""The share of the training after which learned masks stay as they are."""


class RisingSparsity:
    """The masks of a `GradualPrune` step over the training.

    holds: what may be pruned, by matrix (the factors of a low-rank matrix each on its own). steps: of the training.
    """

    def __init__(self, step: GradualPrune, holds: Mapping[str, Sequence[PlainHold]], steps: int) -> None:
        self._step, self._steps = step, steps
        rows = step.pattern == "row"
        self._held = [
            (f"{name}.{side}" if len(parts) > 1 else name, held)
            for name, parts in holds.items()
            for side, held in enumerate(parts[:1] if rows else parts)
        ]
        last = max(1, step.rounds - 1)
        reach = round(step.ramp * (steps - 1))
        self._when = {round(reach * number / last): number + 1 for number in range(step.rounds)}
        if step.rounds == 1:
            self._when = {0: 1}
        self._earlier = {id(held): held.zeros for _, held in self._held}
        self._now, self._start = 0.0, self._removed_already()
        for _, held in self._held:
            held.returning = step.zeros == "may return"
            if step.criterion == LEARNED:
                held.learn_scores()

    @property
    def last_cut(self) -> int:
        """The training step at which the final sparsity is there."""
        return max(self._when)

    def before(self, number: int) -> bool:
        """Called before each training step (from 0): sets the masks where it is time; says whether more went."""
        risen = number in self._when
        if risen:
            self._now = self._step.sparsity_at(self._when[number], self._start)
        if risen or (self._step.criterion == LEARNED and number < SETTLED * self._steps):
            self._set_masks()
        if number == self.last_cut and self._step.criterion != LEARNED:
            for _, held in self._held:
                held.returning = False  # from now on the masks stay
        return risen

    def _set_masks(self) -> None:
        if self._step.scope == "matrix":
            for name, held in self._held:
                self._mask([(name, held)])
        else:
            self._mask(self._held)

    def _mask(self, together: list[tuple[str, PlainHold]]) -> None:
        index = ScoreIndex([self._units(name, held) for name, held in together])
        for (_, held), units in zip(together, index.keep(removed_count(self._now, index.total)), strict=True):
            units = units.to(held.value.device)
            fresh = Zeros(spread(units, held.value.shape[1]), rows=~units if units.dim() == 1 else None)
            held.zeros = fresh.after(self._gone(held))

    def _units(self, name: str, held: PlainHold) -> Tensor:
        """The scores of what lives and dies together; what is gone for good scores lowest."""
        with torch.no_grad():
            if held.scores is not None:
                scores = held.scores.detach().float()
            else:
                scores = (
                    CRITERIA[self._step.criterion].function(held.value.detach(), Asked(name, self._step.seed)).float()
                )
            gone = self._gone(held)
            if gone is not None:
                scores = scores.masked_fill(~gone.mask, 0.0)
            if held.scores is not None and self._step.pattern == "row":
                units = scores.mean(dim=1)  # learned scores have a sign: squares would turn it
            else:
                units = PATTERNS[self._step.pattern].function(scores)
            return units if gone is None else units.masked_fill(~_units_kept(gone.mask, units.dim()), LOWEST)

    def _gone(self, held: PlainHold) -> Zeros | None:
        """What is gone for good: all that was removed, of learned masks what earlier steps removed."""
        if self._step.zeros != "stay":
            return None
        return self._earlier[id(held)] if self._step.criterion == LEARNED else held.zeros

    def _removed_already(self) -> float:
        """The share of what lives and dies together that earlier steps have removed."""
        dims = 1 if self._step.pattern == "row" else 2
        total = gone = 0
        for _, held in self._held:
            kept = torch.ones(held.value.shape) if held.zeros is None else held.zeros.mask
            units = _units_kept(kept, dims)
            total, gone = total + units.numel(), gone + int((units == 0).sum())
        return gone / total if total else 0.0


def _units_kept(mask: Tensor, dims: int) -> Tensor:
    """Weights as they are (2), or rows of which something is left (1)."""
    return mask if dims == 2 else mask.any(dim=1)
