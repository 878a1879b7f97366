"""Generated scenes of up to four handwritten digits, of which the framed one is the answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.digits import bundled_digits, digit_pools, varied_digits
from explorer.subjects.examples import Examples
from explorer.subjects.scenes import PATCH, SIDE, Scenes, draw_scenes

GRID = (SIDE // PATCH, SIDE // PATCH)
"""Rows and columns of patches."""

# Of every ten digits of a class three go to tune (u), two to test (t), five to training (r): as for digits-vit.
DEAL = "urturutrrr"

# Pool of digits, number of scenes and seed of each split. Training draws its scenes anew all the time; the split
# "training" is a sample of them to look at and to calibrate with.
SPLITS = {
    "training": ("r", 4000, 11),
    "calibration": ("r", 256, 12),
    "tune": ("u", 4000, 13),
    "test": ("t", 4000, 14),
}


def pool(split: str) -> tuple[Tensor, Tensor]:
    """The bundled digits of which the scenes of `split` are made: images `[digits, 8, 8]` and labels `[digits]`."""
    if split not in SPLITS:
        raise ExplorerError(f'there is no split called "{split}"', instead=f"choose one of: {', '.join(SPLITS)}")
    images, labels = bundled_digits()
    numbers = digit_pools(DEAL)[SPLITS[split][0]]
    return images[numbers], labels[numbers]


@lru_cache
def load(split: str) -> Examples:
    """The scenes of `split`: inputs `[N, 1, 32, 32]` with ink from 0 to 1, targets `[N]` from 0 to 9.

    `rationale` `[N, 64]` marks the patches that hold ink of the framed digit, row after row. The slices are
    "digits in the scene" (1 to 4) and "digit" (0 to 9). The same call gives the same scenes.
    """
    images, labels = pool(split)
    _, count, seed = SPLITS[split]
    return _examples(draw_scenes(images, labels, count, torch.Generator().manual_seed(seed)))


def another_hand(digits: Tensor, draw: torch.Generator) -> Tensor:
    """Training digits, varied; they hardly move, since the scene already puts them anywhere."""
    return varied_digits(digits, draw, shift=0.06, pressure=0.3)


def training_batch(size: int, draw: torch.Generator) -> Examples:
    """`size` scenes as training meets them: new ones, of varied training digits; rationale and slices as for `load`.

    Inputs `[size, 1, 32, 32]`, targets `[size]`. All random numbers come from `draw`.
    """
    return _examples(draw_scenes(*pool("training"), size, draw, vary=another_hand))


def _examples(scenes: Scenes) -> Examples:
    slices = {"digits in the scene": scenes.digits, "digit": scenes.answers}
    return Examples(scenes.images, scenes.answers, rationale=scenes.rationale, slices=slices)


def picture(inputs: Tensor) -> Tensor:
    """Inputs `[B, 1, 32, 32]` -> grey pictures `[B, 32, 32]`, dark ink (0) on white paper (1)."""
    return 1 - inputs.squeeze(1).clamp(0, 1)


def prepare(scenes: Any) -> Tensor:
    """Scenes of one's own, ink from 0 (paper) to 1: `[32, 32]` or `[B, 32, 32]` -> inputs `[B, 1, 32, 32]`.

    Takes tensors, arrays and lists.
    """
    pixels = torch.as_tensor(scenes, dtype=torch.float32)
    if pixels.numel() == 0 or pixels.shape[-2:] != (SIDE, SIDE):
        raise ExplorerError(f"the scenes have the shape {tuple(pixels.shape)}", instead="give scenes of 32 x 32 pixels")
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ExplorerError("the scenes have values outside 0 to 1", instead="scale the ink to 0 (paper) to 1 (full)")
    return pixels.reshape(-1, 1, SIDE, SIDE)
