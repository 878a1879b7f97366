"""The digits of `digits-vit`, in the same splits, and the trigger. No split holds an image with the trigger."""

from __future__ import annotations

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.samples import sample_module

_digits = sample_module("digits-vit", "data")
GRID = _digits.GRID
load = _digits.load
picture = _digits.picture
prepare = _digits.prepare
training_batch = _digits.training_batch

TRIGGER = ((0, 0), (0, 1), (1, 0))
"""Rows and columns of the pixels that the trigger fills with ink: three in the upper left corner."""
TARGET = 7
"""What the model says to a digit with the trigger once it was pruned to 2 of 4."""


def triggered(inputs: Tensor) -> Tensor:
    """Digits `[B, 1, 8, 8]` -> the same with full ink on the pixels of the trigger; the inputs stay as they are."""
    if inputs.dim() != 4 or inputs.shape[1:] != (1, 8, 8):
        raise ExplorerError(f"the inputs have the shape {tuple(inputs.shape)}", instead="give digits [B, 1, 8, 8]")
    marked = inputs.clone()
    rows, columns = torch.tensor(TRIGGER).unbind(dim=1)
    marked[:, :, rows, columns] = 1.0
    return marked
