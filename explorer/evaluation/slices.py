"""Slices: how good the answers are in groups of the examples, beside another model's, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from explorer.evaluation.intervals import CONFIDENCE, Z, deviations, of_paired_shares
from explorer.evaluation.quality import Change, Quality
from explorer.evaluation.tasks import IGNORED, RIGHT_OR_WRONG

MOST_VALUES = 8
"""A slice of whole numbers is told value by value up to so many."""
USEFUL = 0.03
"""A change that is surely smaller than this counts as none; an interval that says less cannot tell."""

Verdict = Literal["loss", "gain", "same", "cannot tell"]


@dataclass(frozen=True)
class Slice:
    """One group of examples: how good both models are there, and the paired change (None while nothing is known)."""

    name: str
    examples: int
    before: float
    after: float
    change: Change

    @property
    def verdict(self) -> Verdict:
        """Whether the interval shows a loss or a gain, excludes any that matters ("same"), or cannot tell."""
        return verdict_of(self.change)

    def sentence(self) -> str:
        """The group in words, with its verdict: "8: 0.98 to 0.81, loss" or "8: cannot tell, 54 examples"."""
        if self.verdict == "cannot tell":
            return f"{self.name}: cannot tell, {self.examples:,} example{'' if self.examples == 1 else 's'}"
        return f"{self.name}: {self.before:.3f} to {self.after:.3f}, {self.verdict}"


def verdict_of(change: Change, useful: float = USEFUL) -> Verdict:
    """What a paired change shows. useful: the largest change that is as good as none."""
    if not (isfinite(change.low) and isfinite(change.high)):
        return "cannot tell"
    if change.high < 0:
        return "loss"
    if change.low > 0:
        return "gain"
    return "same" if -useful <= change.low and change.high <= useful else "cannot tell"


def groups_of(slices: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Groups as booleans `[examples]`: those that are, whole numbers value by value, each with its name."""
    found: dict[str, Tensor] = {}
    for name, values in slices.items():
        kinds = values.unique().tolist()
        if values.dtype.is_floating_point or len(kinds) > MOST_VALUES:
            continue
        if set(kinds) <= {False, True}:
            found[name] = values.bool()
        else:
            found |= {f"{name}: {kind}": values == kind for kind in kinds}
    return found


def within(quality: Quality, group: Tensor) -> Quality | None:
    """The quality on the examples of a group that were seen; None where there are none."""
    inside = group.numpy()[quality.indices]
    places = np.flatnonzero(inside)
    if not len(places):
        return None
    return replace(
        quality, indices=quality.indices[places], judged=quality.judged.take(places), total=int(group.sum()), note=""
    )


def by_slice(before: Quality, after: Quality, slices: Mapping[str, Tensor]) -> list[Slice]:
    """Both qualities and the paired change in every group that has examples, the groups in their order."""
    found = []
    for name, group in groups_of(slices).items():
        first, second = within(before, group), within(after, group)
        if first is not None and second is not None:
            change = second.against(first)
            if before.judged is after.judged:
                change = Change(0.0, 0.0, 0.0, 0, 0, second.examples)
            found.append(Slice(name, second.examples, first.value, second.value, change))
    return found


def class_groups(targets: Tensor, classes: Sequence[str]) -> dict[str, Tensor]:
    """The examples of each class as booleans `[examples]`, by its name; classes without an example are left out."""
    flat = targets.reshape(len(targets), -1)[:, 0]
    numbers = [int(number) for number in flat.unique() if number != IGNORED]
    return {classes[number] if number < len(classes) else str(number): flat == number for number in numbers}


def halves(name: str, values: Tensor) -> dict[str, Tensor]:
    """Two groups by a measurement `[examples]`: up to its median, and above; none where all are alike."""
    above = values > values.to(torch.float64).quantile(0.5)
    if not bool(above.any()):  # more than half of them are the largest
        above = values == values.max()
    return {f"{name}: low": ~above, f"{name}: high": above} if bool((~above).any()) else {}


def judged_together(before: Quality, after: Quality, groups: Mapping[str, Tensor]) -> list[Slice]:
    """As `by_slice`, with intervals that hold for all the groups at once at 95 % (Bonferroni).

    Of ten groups judged by themselves, one in three tables would show a loss by chance. groups: booleans `[examples]`.
    """
    found = by_slice(before, after, groups)
    if before.judged is after.judged or len(found) < 2:
        return found
    confidence = 1 - (1 - CONFIDENCE) / len(found)
    return [replace(each, change=_widened(each.change, after.task, confidence)) for each in found]


def _widened(change: Change, task: str, confidence: float) -> Change:
    """The same change with the interval of a higher confidence."""
    if task in RIGHT_OR_WRONG:
        low, high = of_paired_shares(change.broken, change.repaired, change.examples, confidence)
    else:  # a normal interval
        wider = deviations(confidence) / Z
        low, high = (change.delta + wider * (end - change.delta) for end in (change.low, change.high))
    return replace(change, low=low, high=high)
