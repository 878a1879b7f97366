"""Scikit-learn's handwritten digits, the splits of `digits-vit`, with two targets each: the digit and its loop."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from explorer.subjects.examples import Examples
from explorer.subjects.samples import sample_module

GRID = (8, 8)
"""Rows and columns of inputs: each pixel is one."""
LOOPS = (0, 6, 8, 9)
"""The digits with a closed loop. A 4 is written open or closed; here it has none, whatever its picture shows."""

_digits = sample_module("digits-vit", "data")
picture = _digits.picture
prepare = _digits.prepare


@lru_cache
def load(split: str) -> Examples:
    """The examples of `split`: inputs `[N, 1, 8, 8]` with ink from 0 to 1, targets `[N, 2]`: digit, and loop (0 or 1).

    Raises `ExplorerError` for a split that is not there.
    """
    return _with_loops(_digits.load(split))


def training_batch(size: int, draw: torch.Generator) -> Examples:
    """`size` digits varied as `digits-vit` varies them. Inputs `[size, 1, 8, 8]`, targets `[size, 2]`."""
    return _with_loops(_digits.training_batch(size, draw))


def _with_loops(examples: Examples) -> Examples:
    """The loop is told by the digit: at 8 x 8 pixels the picture does not show it well enough to be a truth."""
    loop = torch.isin(examples.targets, torch.tensor(LOOPS)).long()
    return replace(examples, targets=torch.stack([examples.targets, loop], dim=1))
