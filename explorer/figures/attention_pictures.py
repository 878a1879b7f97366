"""Attention maps as one small picture: cells of uint8, a colour table, and nothing that a browser must compute."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from explorer.figures.palette import Palette

STEPS = 254
"""Levels of a weight in a picture; the last two of the 256 colours are the gaps and a head that is not there."""
GAP, GONE = 254, 255


def shrunk(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps `[..., rows, columns]` with at most `side` cells a side: a cell is the largest weight of its block."""
    rows, columns = maps.shape[-2:]
    down, across = block_of(rows, columns, side)
    if down == across == 1:
        return maps
    tall, wide = -(-rows // down), -(-columns // across)
    edges = [(0, 0)] * (maps.ndim - 2) + [(0, tall * down - rows), (0, wide * across - columns)]
    cut = np.pad(maps, edges).reshape(*maps.shape[:-2], tall, down, wide, across)
    return cut.max(axis=(-3, -1))


def block_of(rows: int, columns: int, side: int) -> tuple[int, int]:
    """How many rows and columns of a map become one cell, where at most `side` cells fit on a side."""
    return -(-rows // side), -(-columns // side)


def levels(values: np.ndarray, largest: float) -> np.ndarray:
    """Weights as levels from 0 to `STEPS` - 1; the largest is the last. NaN and what is below zero count as 0."""
    if not largest > 0:
        return np.zeros(values.shape, dtype=np.uint8)
    shares = np.clip(np.nan_to_num(values.astype(np.float32)) / largest, 0.0, 1.0)
    return np.rint((STEPS - 1) * shares).astype(np.uint8)


def enlarged(cells: np.ndarray, down: int, across: int) -> np.ndarray:
    """Each cell as `down` by `across` pixels."""
    return cells.repeat(down, axis=0).repeat(across, axis=1)


def colour_table(colours: Palette) -> np.ndarray:
    """`[256, 3]` uint8: the scale of weights, the gaps, and the colour of what is gone."""
    scale = shades(colours.weights, STEPS)
    ends = [_channels(colours.grid), _channels(colours.removed)]
    return np.rint(np.concatenate([scale, np.array(ends, dtype=np.float64)])).astype(np.uint8)


def shades(scale: Sequence[tuple[float, str]], count: int) -> np.ndarray:
    """`[count, 3]` colours (0 to 255) along a colour scale of (share, `#rrggbb`)."""
    stops = [at for at, _ in scale]
    channels = np.array([_channels(colour) for _, colour in scale], dtype=np.float64)
    along = np.linspace(0.0, 1.0, count)
    return np.stack([np.interp(along, stops, channels[:, channel]) for channel in range(3)], axis=1)


def table_address(pixels: np.ndarray, table: np.ndarray) -> str:
    """A PNG data address of `[height, width]` uint8 places in a colour table `[256, 3]`."""
    height, width = pixels.shape
    lines = np.zeros((height, width + 1), dtype=np.uint8)  # the first byte of a line says that it is not filtered
    lines[:, 1:] = pixels
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", np.ascontiguousarray(table, dtype=np.uint8).tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    ]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_part(kind, data) for kind, data in parts)
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _channels(colour: str) -> Sequence[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
