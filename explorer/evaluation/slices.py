"""Slices: how good the answers are in groups of the examples, beside another model's, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from explorer.evaluation.quality import Change, Quality

MOST_VALUES = 8
"""A slice of whole numbers is told value by value up to so many."""


@dataclass(frozen=True)
class Slice:
    """One group of examples: how good both models are there, and the paired change (None while nothing is known)."""

    name: str
    examples: int
    before: float
    after: float
    change: Change


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
