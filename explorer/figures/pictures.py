"""Small pictures made here: arrays as PNG data addresses, and what a sparsity pattern does as SVG.

Written with the standard library alone: the pictures are tiny, and the same on every machine.
"""

from __future__ import annotations

import base64
import struct
import zlib
from urllib.parse import quote

import numpy as np

from explorer.figures.palette import Palette, palette

ROWS, COLUMNS = 8, 16
"""The size of the matrix on a pattern's picture."""


def picture_address(picture: np.ndarray, *, ink_on_paper: bool = False) -> str:
    """A PNG data address (`data:image/png;base64,...`) of a grey or colour picture.

    Parameters
    ----------
    picture: `[height, width]` or `[height, width, 3]` (red, green, blue) in 0 (black) to 1 (white); what lies outside
        is cut off, NaN counts as 0.
    ink_on_paper: turn it round: 1 is black ink, 0 white paper.
    """
    levels = np.clip(np.nan_to_num(np.asarray(picture, dtype=np.float64), nan=0.0), 0.0, 1.0)
    pixels = np.rint(255 * (1 - levels if ink_on_paper else levels)).astype(np.uint8)
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    scanlines = b"".join(b"\x00" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(scanlines, 9))
        + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def pattern_svg(
    pattern: str, *, n: int = 2, m: int = 4, sparsity: float = 0.5, dark: bool = False, colours: Palette | None = None
) -> str:
    """What a sparsity pattern does to a small matrix, as SVG text: kept weights teal, removed ones pale.

    Parameters
    ----------
    pattern: "unstructured", "n:m" or "row".
    n, m: how many of each M neighbouring inputs are kept (n:m only).
    sparsity: the share that goes (not for n:m).
    colours: other colours than those of a light or dark ground.
    """
    colours = colours if colours is not None else palette(dark)
    strength = _strengths()
    keep = _kept(strength, pattern, n, m, sparsity)
    cell, gap = 11, 1.5
    group = m if pattern == "n:m" else 0
    parts = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            shift = 3 * (column // group) if group else 0
            x, y = column * cell + shift, row * cell
            colour = colours.variant if keep[row, column] else colours.removed
            shade = 0.45 + 0.55 * strength[row, column] if keep[row, column] else 1.0
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{cell - gap:g}" height="{cell - gap:g}" rx="1.5" '
                f'fill="{colour}" fill-opacity="{shade:.2f}"/>'
            )
    width = COLUMNS * cell + (3 * ((COLUMNS - 1) // group) if group else 0)
    words = _pattern_words(pattern, n, m)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {ROWS * cell:g}" role="img" '
        f'aria-label="{words}" width="{width:g}" height="{ROWS * cell:g}"><title>{words}</title>{"".join(parts)}</svg>'
    )


def pattern_address(pattern: str, *, n: int = 2, m: int = 4, sparsity: float = 0.5, dark: bool = False) -> str:
    """The picture of a pattern as a data address, for an `<img>`."""
    return "data:image/svg+xml," + quote(pattern_svg(pattern, n=n, m=m, sparsity=sparsity, dark=dark))


def _kept(strength: np.ndarray, pattern: str, n: int, m: int, sparsity: float) -> np.ndarray:
    if pattern == "n:m":
        keep = np.zeros_like(strength, dtype=bool)
        for start in range(0, COLUMNS, m):
            group = strength[:, start : start + m]
            places = np.argsort(-group, axis=1)[:, : min(n, group.shape[1])]
            np.put_along_axis(keep[:, start : start + m], places, True, axis=1)
        return keep
    if pattern == "row":
        order = np.argsort(strength.sum(axis=1))
        keep = np.ones_like(strength, dtype=bool)
        keep[order[: round(sparsity * ROWS)]] = False
        return keep
    order = np.argsort(strength, axis=None)
    keep = np.ones(strength.size, dtype=bool)
    keep[order[: round(sparsity * strength.size)]] = False
    return keep.reshape(strength.shape)


def _strengths() -> np.ndarray:
    """Made-up magnitudes in 0 to 1, the same on every machine (a golden-ratio sequence, no random numbers)."""
    places = np.arange(ROWS * COLUMNS, dtype=np.float64)
    values = (places * 0.6180339887498949 + 0.31 * (places // COLUMNS) ** 2) % 1.0
    return values.reshape(ROWS, COLUMNS)


def _pattern_words(pattern: str, n: int, m: int) -> str:
    known = {
        "unstructured": "Single weights go, wherever they are",
        "n:m": f"{n} of every {m} neighbouring inputs are kept",
        "row": "Whole rows go: neurons with all their inputs",
    }
    return known.get(pattern, "A sparsity pattern")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
