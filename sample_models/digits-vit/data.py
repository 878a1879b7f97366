"""Scikit-learn's handwritten digits in four splits."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.digits import INK, bundled_digits, digit_pools, varied_digits
from explorer.subjects.examples import Examples

GRID = (4, 4)
"""Rows and columns of patches."""

# Of every ten digits of a class three go to tune (u), two to test (t), five to training (r): 540, 360 and 897 of 1,797.
DEAL = "urturutrrr"
CALIBRATION = 128
NOISE = 0.05  # standard deviation of the noise on the ink of training digits


@lru_cache
def load(split: str) -> Examples:
    """The examples of `split`: inputs `[N, 1, 8, 8]` with ink from 0 to 1, targets `[N]` from 0 to 9.

    "calibration" is every seventh digit of each class of "training"; the others are disjoint.
    """
    images, labels = bundled_digits()
    pools = digit_pools(DEAL)
    known = pools["r"]
    by_class = known[labels[known].argsort(stable=True)]
    calibration = by_class[::7][:CALIBRATION].sort().values
    numbers = {"training": known, "calibration": calibration, "tune": pools["u"], "test": pools["t"]}
    if split not in numbers:
        raise ExplorerError(f'there is no split called "{split}"', instead=f"choose one of: {', '.join(numbers)}")
    return Examples(images[numbers[split]].unsqueeze(1), labels[numbers[split]])


def training_batch(size: int, draw: torch.Generator) -> Examples:
    """`size` digits as training meets them: any of "training", each varied a little, with noise on the ink.

    Inputs `[size, 1, 8, 8]`, targets `[size]`. All random numbers come from `draw`.
    """
    examples = load("training")
    batch = examples.take(torch.randint(len(examples), (size,), generator=draw))
    images = varied_digits(batch.inputs.squeeze(1), draw).unsqueeze(1)  # (B, 1, 8, 8)
    images = (images + NOISE * torch.randn(images.shape, generator=draw)).clamp(0, 1)
    return Examples(images, batch.targets)


def picture(inputs: Tensor) -> Tensor:
    """Inputs `[B, 1, 8, 8]` -> grey pictures `[B, 8, 8]`, dark ink (0) on white paper (1)."""
    return 1 - inputs.squeeze(1).clamp(0, 1)


def prepare(images: Any) -> Tensor:
    """Raw digits as scikit-learn has them, ink from 0 to 16 -> inputs `[B, 1, 8, 8]`.

    Takes one image or many: `[8, 8]`, `[64]`, `[B, 8, 8]` or `[B, 64]`, as tensor, array or lists.
    """
    pixels = torch.as_tensor(images, dtype=torch.float32)
    if pixels.numel() == 0 or pixels.shape[-2:] != (8, 8) and pixels.shape[-1:] != (64,):
        raise ExplorerError(f"the images have the shape {tuple(pixels.shape)}", instead="give images of 8 x 8 pixels")
    if not bool(((pixels >= 0) & (pixels <= INK)).all()):
        raise ExplorerError("the images have values outside 0 to 16", instead="scale the ink to 0 (paper) to 16 (full)")
    return pixels.reshape(-1, 1, 8, 8) / INK
