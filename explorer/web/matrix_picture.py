"""One weight matrix as a small picture, quick enough for every move: teal above zero, rust below, pale what is gone."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from explorer.figures.palette import Palette, palette
from explorer.figures.pictures import picture_address
from explorer.figures.words import count_text, share_text
from explorer.web.markup import quiet

MOST_CELLS = 160
"""Along its longer side a picture has so many cells at most; a cell of a larger matrix stands for a block."""
HEIGHT = 18
"""Of a picture at most, in rem."""
FULL = 0.98
"""The quantile of |w| that is drawn in full colour, so that one huge weight does not make the others pale."""


def matrix_html(form: Any, name: str, dark: bool) -> str:
    """The picture with a line that says what it shows: all weights, what a mask leaves, or two thin factors."""
    colours = palette(dark)
    if hasattr(form, "left"):
        return _factors_html(_numbers(form.left.decode()), _numbers(form.right.decode()), name, colours)
    weight = _numbers(form.decode())
    rows, columns = weight.shape
    gone, block = int((weight == 0).sum()), _block(weight)
    words = f"{rows} neurons (rows) × {columns} inputs (columns) · "
    words += f"{count_text(gone)} of {count_text(weight.size)} gone" if gone else "nothing gone"
    words += f" · a cell is the largest weight of {block} × {block}" if block > 1 else ""
    return f'<div class="ce-matrix">{_image(weight, colours, f"the weights of {name}")}</div>{quiet(words)}'


def _factors_html(left: np.ndarray, right: np.ndarray, name: str, colours: Palette) -> str:
    (rows, rank), columns = left.shape, right.shape[1]
    held = share_text(rank * (rows + columns) / (rows * columns), 0)
    words = f"{rows} × {rank} times {rank} × {columns}: {held} of the numbers"
    wide = max(1, round(100 * rank / (rank + columns)))
    pair = (
        _image(left, colours, f"left factor of {name}")
        + '<span class="times">×</span>'
        + _image(right, colours, f"right factor of {name}")
    )
    style = f"grid-template-columns:minmax(1.6rem,{wide}fr) auto {100 - wide}fr"
    return f'<div class="ce-matrix pair" style="{style}">{pair}</div>{quiet(words)}'


def _image(values: np.ndarray, colours: Palette, alt: str) -> str:
    cells = _cells(values)
    rows, columns = cells.shape
    style = f"aspect-ratio:{columns}/{rows};width:min(100%,{HEIGHT * columns / rows:.2f}rem)"
    address = picture_address(_coloured(cells, colours))
    return f'<img src="{address}" alt="{escape(alt)}" style="{style}">'


def _numbers(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().cpu(), dtype=np.float32)


def _block(values: np.ndarray) -> int:
    return -(-max(values.shape) // MOST_CELLS)


def _cells(values: np.ndarray) -> np.ndarray:
    """The values, or of each square block the one that is largest in size."""
    block = _block(values)
    if block == 1:
        return values
    rows, columns = (-(-size // block) * block for size in values.shape)
    padded = np.zeros((rows, columns), dtype=np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = (
        padded.reshape(rows // block, block, columns // block, block)
        .swapaxes(1, 2)
        .reshape(rows // block, columns // block, -1)
    )
    largest = np.abs(blocks).argmax(axis=-1)
    return np.asarray(np.take_along_axis(blocks, largest[..., None], axis=-1)[..., 0])


def _coloured(cells: np.ndarray, colours: Palette) -> np.ndarray:
    """`[rows, columns, 3]` red, green, blue in 0 to 1."""
    kept = np.abs(cells[cells != 0])
    full = float(np.quantile(kept, FULL)) if kept.size else 1.0
    strength = np.clip(np.abs(cells) / (full or 1.0), 0, 1)[..., None] ** 0.8
    zero, positive, negative, gone = (
        _rgb(colour) for colour in (colours.zero, colours.positive, colours.negative, colours.removed)
    )
    end = np.where((cells > 0)[..., None], positive, negative)
    return np.where((cells == 0)[..., None], gone, zero + (end - zero) * strength)


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
