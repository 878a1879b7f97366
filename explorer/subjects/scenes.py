"""Scenes of handwritten digits with clutter, of which the framed digit is the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SIDE = 32  # pixels a side of a scene
PATCH = 4  # pixels a side of a patch, the unit in which the rationale is told
PLACES = 4  # at most so many digits
DIGIT = 8  # pixels a side of a digit
MARGIN = 2  # pixels around a digit: one of paper, one for the frame
BOX = DIGIT + 2 * MARGIN
STRIDE = 2  # boxes start at every second pixel, so that a digit lies in a patch in four ways and not in sixteen
STROKES = 12  # short strokes of clutter
STROKE_POINTS = 8
SPECKS = 24  # single dots of clutter
NOISE = 0.03  # standard deviation of the grain of the paper


@dataclass(frozen=True)
class Scenes:
    """Scenes, and what is known of them. Of the digits of a scene the framed one is the first.

    Parameters
    ----------
    images: `[scenes, 1, 32, 32]`, ink from 0 (paper) to 1.
    digits: `[scenes]`, how many digits there are, from 1 to 4.
    labels: `[scenes, 4]`, which digits they are; -1 where there is none.
    inked: `[scenes, 4, 64]` booleans, the patches of 4 x 4 pixels with ink of each digit, row after row.
    places: `[scenes, 4, 2]`, row and column of the upper left pixel of each digit's 8 x 8 pixels; also where there is
        none.
    """

    images: Tensor
    digits: Tensor
    labels: Tensor
    inked: Tensor
    places: Tensor

    @property
    def answers(self) -> Tensor:
        """`[scenes]`, which digit the framed one is."""
        return self.labels[:, 0]

    @property
    def rationale(self) -> Tensor:
        """`[scenes, 64]` booleans, the patches with ink of the framed digit."""
        return self.inked[:, 0]

    @property
    def corners(self) -> Tensor:
        """`[scenes, 2]`, row and column of the upper left pixel of the framed digit's 8 x 8 pixels."""
        return self.places[:, 0]


def draw_scenes(
    images: Tensor,
    labels: Tensor,
    count: int,
    draw: torch.Generator,
    vary: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> Scenes:
    """`count` scenes of digits taken at random from `images` `[digits, 8, 8]` with their `labels` `[digits]`.

    `vary(images, draw)`, if given, changes the digits `[any, 8, 8]` before they are placed (for training).
    All random numbers come from `draw`: the same generator state gives the same scenes.
    """
    digits = torch.randint(1, PLACES + 1, (count,), generator=draw)
    present = torch.arange(PLACES) < digits[:, None]  # (B, 4)
    corners = _corners(count, draw)  # (B, 4, 2), in random order: the first digit is the framed one
    chosen = torch.randint(len(images), (count, PLACES), generator=draw)
    ink = images[chosen.flatten()]
    ink = (vary(ink, draw) if vary else ink).view(count, PLACES, DIGIT, DIGIT) * present[:, :, None, None]

    clear = _within(corners + 1, BOX - 2) & present[:, :, None, None]  # clutter stays out of a digit and its margin
    canvas = _clutter(count, draw) * ~clear.any(dim=1)  # (B, 32, 32)
    frame = _within(corners[:, 0], BOX) & ~_within(corners[:, 0] + 1, BOX - 2)
    canvas[frame] = 1.0
    each = _placed(ink, corners + MARGIN)  # (B, 4, 32, 32)
    canvas = canvas + each.sum(dim=1)  # digits do not overlap: nothing is added up
    canvas = canvas + NOISE * torch.randn(canvas.shape, generator=draw)
    grid = SIDE // PATCH
    inked = (each > 0).view(count, PLACES, grid, PATCH, grid, PATCH).any(dim=5).any(dim=3)  # (B, 4, 8, 8)
    return Scenes(
        images=canvas.clamp(0, 1).unsqueeze(1),
        digits=digits,
        labels=labels[chosen].masked_fill(~present, -1),
        inked=inked.flatten(2),
        places=corners + MARGIN,
    )


def _corners(count: int, draw: torch.Generator) -> Tensor:
    """Upper left corners `[B, 4, 2]` of four boxes that do not touch each other, in random order.

    The scene is cut in two at a random line, each half at a line of its own, and each box lies anywhere in its cell;
    half of the scenes are cut the other way round.
    """
    box, side = BOX // STRIDE, SIDE // STRIDE
    lines = torch.randint(box, side - box + 1, (count, 3), generator=draw)  # first cut, left half's, right half's
    low = torch.zeros(count, 4, 2, dtype=torch.int64)
    high = torch.full((count, 4, 2), side)
    high[:, 0:2, 1] = low[:, 2:4, 1] = lines[:, :1]
    high[:, 0, 0] = low[:, 1, 0] = lines[:, 1]
    high[:, 2, 0] = low[:, 3, 0] = lines[:, 2]
    corners = low + (torch.rand(low.shape, generator=draw) * (high - low - box + 1)).long()
    turned = torch.rand(count, generator=draw) < 0.5
    corners[turned] = corners[turned].flip(-1)
    order = torch.rand(count, 4, generator=draw).argsort(dim=1)
    return corners.gather(1, order[:, :, None].expand(-1, -1, 2)) * STRIDE


def _within(corners: Tensor, size: int) -> Tensor:
    """Which pixels `[..., 32, 32]` lie in the square of `size` pixels at each corner `[..., 2]`."""
    line = torch.arange(SIDE)
    inside = (line >= corners[..., None]) & (line < corners[..., None] + size)  # (..., 2, 32)
    return inside[..., 0, :, None] & inside[..., 1, None, :]


def _placed(ink: Tensor, corners: Tensor) -> Tensor:
    """Digits `[B, K, 8, 8]` at their corners `[B, K, 2]`, each on a canvas of its own `[B, K, 32, 32]`."""
    line = torch.arange(DIGIT)
    rows, columns = corners[..., 0, None, None] + line[:, None], corners[..., 1, None, None] + line
    canvas = torch.zeros(*ink.shape[:2], SIDE * SIDE)
    canvas.scatter_(2, (rows * SIDE + columns).flatten(2), ink.flatten(2))
    return canvas.view(*ink.shape[:2], SIDE, SIDE)


def _clutter(count: int, draw: torch.Generator) -> Tensor:
    """Short strokes and specks of weak ink `[B, 32, 32]`, anywhere."""
    start = torch.randint(SIDE, (count, STROKES, 1, 2), generator=draw)
    reach = torch.randint(-6, 7, (count, STROKES, 1, 2), generator=draw)
    along = torch.linspace(0, 1, STROKE_POINTS)[:, None]
    strokes = (start + (reach * along).round().long()).clamp(0, SIDE - 1).flatten(1, 2)  # (B, strokes * points, 2)
    specks = torch.randint(SIDE, (count, SPECKS, 2), generator=draw)
    points = torch.cat([strokes, specks], dim=1)
    stroke_ink = 0.2 + 0.4 * torch.rand(count, STROKES, generator=draw).repeat_interleave(STROKE_POINTS, dim=1)
    speck_ink = 0.1 + 0.4 * torch.rand(count, SPECKS, generator=draw)
    canvas = torch.zeros(count, SIDE * SIDE)
    canvas.scatter_reduce_(1, points[..., 0] * SIDE + points[..., 1], torch.cat([stroke_ink, speck_ink], dim=1), "amax")
    return canvas.view(count, SIDE, SIDE)
