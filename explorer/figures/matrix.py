"""A weight matrix as a picture: rows are neurons, columns inputs; teal above zero, rust below, pale what is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.palette import palette
from explorer.figures.template import CAPTION_SPACE, ExplorerFigure, dressed
from explorer.figures.words import counted, share_text, shortened

MOST_CELLS_A_SIDE = 192
"""A larger matrix is drawn in square blocks, so that a picture stays light and its cells stay visible."""

_LARGEST = "each cell the largest weight of"
_SHARE = "each cell the share kept of"


@dataclass(frozen=True)
class _Picture:
    """Values of cells (NaN: gone), the rows and columns of weights in a cell, and what it shows of them."""

    cells: np.ndarray
    block: tuple[int, int]
    meaning: str = ""

    @property
    def note(self) -> str:
        return f"{self.meaning} {self.block[0]} × {self.block[1]} weights" if self.meaning else ""


def matrix_figure(
    form: Any,
    *,
    name: str,
    title: str | None = None,
    caption: str = "",
    height: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """The matrix as it is held: all weights, the weights that a mask leaves, or a product of two thin factors.

    Parameters
    ----------
    form: a `Dense`, `Masked` or `Factors` form (see `weights/forms.py`), told apart by what it holds.
    name: the matrix's name, for the title.
    height: pixels; by default what a card of about 460 pixels needs to show the matrix with square cells.

    A matrix with more than `MOST_CELLS_A_SIDE` rows or columns is drawn in blocks; the line under the title says what
    a cell is then: the largest weight of its block, or (masked) the share of its block that is kept.
    """
    heading = title if title is not None else shortened(name, 40)
    dress: dict[str, Any] = {"title": heading, "caption": caption, "axis_space": 22, "dark": dark}
    if hasattr(form, "left"):
        return _factors(form.left, form.right, name, height, dress)
    weight, mask = _held(form)
    picture = _picture(weight, mask)
    figure = ExplorerFigure(make_subplots(rows=1, cols=1))
    _draw(figure, picture, 1, dark)
    rows, columns = weight.shape
    left = f"{share_text(float(mask.mean()))} kept" if mask is not None else "nothing removed"
    figure.update_xaxes(title_text=counted(columns, "input"))
    figure.update_yaxes(title_text=counted(rows, "neuron"))
    facts = " · ".join(filter(None, (left, picture.note)))
    alt = f"The weights of {name}, {rows} rows by {columns} columns: {facts}."
    return dressed(figure, subtitle=facts, alt=alt, height=height or _height(rows, columns, caption), **dress)


def as_numbers(tensor: Any) -> np.ndarray:
    """A tensor of any float type as a float32 array."""
    for change in ("detach", "float", "cpu"):
        tensor = getattr(tensor, change)() if hasattr(tensor, change) else tensor
    return np.asarray(tensor, dtype=np.float32)


def _held(form: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(weight, mask or None) of a dense or masked form."""
    mask = getattr(form, "mask", None)
    return as_numbers(form.weight), None if mask is None else np.asarray(mask, dtype=bool)


def _factors(left: Any, right: Any, name: str, height: int | None, dress: dict[str, Any]) -> go.Figure:
    (tall, tall_mask), (wide, wide_mask) = _held(left), _held(right)
    (rows, rank), columns = tall.shape, wide.shape[1]
    narrow = min(0.4, max(0.16, rank / (rank + columns)))
    figure = ExplorerFigure(make_subplots(rows=1, cols=2, column_widths=[narrow, 1 - narrow], horizontal_spacing=0.14))
    pictures = (_picture(tall, tall_mask), _picture(wide, wide_mask))
    for column, picture in enumerate(pictures, start=1):
        _draw(figure, picture, column, dress["dark"])
    figure.update_xaxes(title_text=f"rank {rank}", row=1, col=1)
    figure.update_yaxes(title_text=counted(rows, "neuron"), row=1, col=1)
    figure.update_xaxes(title_text=counted(columns, "input"), row=1, col=2)
    figure.update_yaxes(title_text=f"rank {rank}", row=1, col=2)
    between = (figure.layout.xaxis.domain[1] + figure.layout.xaxis2.domain[0]) / 2
    figure.add_annotation(
        text="×", x=between, y=0.5, xref="paper", yref="paper", xshift=-16, showarrow=False, font_size=20
    )
    held = sum(
        int(mask.sum()) if mask is not None else rank * side for mask, side in ((tall_mask, rows), (wide_mask, columns))
    )
    facts = f"two thin matrices of rank {rank}: {share_text(held / (rows * columns))} of the numbers"
    note = next((picture.note for picture in pictures if picture.note), "")
    facts = " · ".join(filter(None, (facts, note)))
    alt = f"{name} as a product of two thin matrices, {rows} by {rank} and {rank} by {columns}: {facts}."
    return dressed(figure, subtitle=facts, alt=alt, height=height or 330, **dress)


def _height(rows: int, columns: int, caption: str) -> int:
    drawing = min(420, max(90, round(430 * rows / columns))) if rows <= 6 * columns else 420
    return drawing + 64 + 30 + (CAPTION_SPACE if caption else 0)


def _draw(figure: go.Figure, picture: _Picture, column: int, dark: bool) -> None:
    colours = palette(dark)
    of_shares = picture.meaning == _SHARE
    largest = float(np.nanmax(np.abs(picture.cells))) if np.isfinite(picture.cells).any() else 1.0
    rows, columns = picture.cells.shape
    gap = 1 if max(rows, columns) <= 64 else 0
    figure.add_trace(
        go.Heatmap(
            z=picture.cells,
            zmin=0 if of_shares else -(largest or 1.0),
            zmax=1 if of_shares else largest or 1.0,
            colorscale=colours.kept if of_shares else colours.signed,
            showscale=False,
            xgap=gap,
            ygap=gap,
            hoverongaps=False,
            hovertemplate="row %{y}, column %{x}: %{z:.3~g}<extra></extra>"
            if picture.block == (1, 1)
            else "%{z:.3~g}<extra></extra>",
        ),
        row=1,
        col=column,
    )
    # What is gone has no value, so that the ground shows: it is the colour of removed weights.
    number = "" if column == 1 else str(column)
    figure.add_shape(
        type="rect",
        x0=-0.5,
        x1=columns - 0.5,
        y0=-0.5,
        y1=rows - 0.5,
        xref=f"x{number}",
        yref=f"y{number}",
        fillcolor=colours.removed,
        line_width=0,
        layer="below",
    )
    axis = {"showgrid": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
    figure.update_xaxes(**axis, range=[-0.5, columns - 0.5], row=1, col=column)
    figure.update_yaxes(**axis, range=[rows - 0.5, -0.5], row=1, col=column)
    if max(rows, columns) <= 6 * min(rows, columns):
        figure.update_yaxes(scaleanchor=f"x{number}", row=1, col=column)


def _picture(weight: np.ndarray, mask: np.ndarray | None) -> _Picture:
    """The cells to draw of one matrix: its weights, or square blocks of them where it is large.

    A short side stays as it is: ten rows are never drawn as five.
    """
    side = -(-max(weight.shape) // MOST_CELLS_A_SIDE)
    rows, columns = weight.shape
    block = (1 if rows <= MOST_CELLS_A_SIDE else side, 1 if columns <= MOST_CELLS_A_SIDE else side)
    if side == 1:
        cells = weight if mask is None else np.where(mask, weight, np.nan)
        return _Picture(cells.astype(np.float32), (1, 1))
    if mask is not None:
        kept, cells_of = _blocks(mask.astype(np.float32), block)
        sums, counts = np.nansum(kept, axis=1), np.isfinite(kept).sum(axis=1)
        return _Picture((sums / counts).reshape(cells_of).astype(np.float32), block, _SHARE)
    values, cells_of = _blocks(weight, block)
    chosen = np.nanargmax(np.abs(values), axis=1)
    return _Picture(values[np.arange(len(values)), chosen].reshape(cells_of).astype(np.float32), block, _LARGEST)


def _blocks(values: np.ndarray, block: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """`[blocks, weights of a block]` of a matrix (NaN beyond its edges), and how many blocks are down and across."""
    (rows, columns), (tall, wide) = values.shape, block
    down, across = -(-rows // tall), -(-columns // wide)
    padded = np.full((down * tall, across * wide), np.nan, dtype=np.float32)
    padded[:rows, :columns] = values
    cut = padded.reshape(down, tall, across, wide).swapaxes(1, 2)  # (down, across, tall, wide)
    return cut.reshape(down * across, tall * wide), (down, across)
