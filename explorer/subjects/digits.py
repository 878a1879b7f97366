"""The handwritten digits that scikit-learn bundles, and how they are dealt into disjoint pools."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

INK = 16.0
"""The value of full ink in scikit-learn's digits (0 is paper)."""


@lru_cache
def bundled_digits() -> tuple[Tensor, Tensor]:
    """All 1,797 digits: images `[1797, 8, 8]` with ink from 0 to 1, labels `[1797]`.

    Shared by all callers: do not change them in place.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (in scikit-learn).
    """
    bundle = load_digits()
    images = torch.tensor(bundle.images / INK, dtype=torch.float32)  # (1797, 8, 8)
    return images, torch.tensor(bundle.target, dtype=torch.int64)


@lru_cache
def digit_pools(pattern: str) -> dict[str, Tensor]:
    """Disjoint pools of digit numbers, one for each letter of `pattern`, with the classes in equal shares.

    The digits are laid out class after class and dealt like cards along the repeated pattern: with "aab", two of
    every three digits of a class go to pool "a" and one to "b". There is no random number in it, so that the pools
    are the same on every machine and with every version of every library.

    Returns `{letter: [digits of that pool] ascending positions in bundled_digits()}`.
    """
    _, labels = bundled_digits()
    by_class = torch.argsort(labels, stable=True)  # (1797,)
    place = torch.arange(len(labels)) % len(pattern)
    dealt = {}
    for letter in sorted(set(pattern)):
        slots = torch.tensor([slot == letter for slot in pattern])
        dealt[letter] = by_class[slots[place]].sort().values
    return dealt


def varied_digits(
    images: Tensor,
    draw: torch.Generator,
    *,
    turn: float = 0.14,
    zoom: float = 0.08,
    shift: float = 0.12,
    pressure: float = 0.5,
) -> Tensor:
    """Digits `[B, 8, 8]` as another hand might have written them: each varied a little, and each otherwise.

    Parameters
    ----------
    images: ink from 0 to 1.
    draw: where the random numbers come from.
    turn: the largest angle, in radians.
    zoom: the largest change of size, as a share.
    shift: the largest shift in each direction, as a share of half the image (0.12: half a pixel).
    pressure: how much fainter or darker the grey pixels get: the ink is raised to a power between exp(-pressure) and
        exp(pressure), which leaves paper and full ink as they are.
    """
    count = len(images)
    angle, size, across, down, press = (torch.rand(5, count, generator=draw) * 2 - 1).unbind()
    angle, size = angle * turn, 1 + size * zoom
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    rows = [torch.stack([cosine, -sine, across * shift], dim=1), torch.stack([sine, cosine, down * shift], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), [count, 1, *images.shape[1:]], align_corners=False)  # (B, 8, 8, 2)
    moved = F.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)
    return moved ** torch.exp(press * pressure)[:, None, None]
