"""Singular values with the rank on them, its energy and the rank at which two thin matrices stop being smaller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.figures.curve import Point, add_curve
from explorer.figures.palette import Palette, palette
from explorer.figures.template import ExplorerFigure, dressed, plain
from explorer.figures.words import number_text, share_text, shortened


class SingularValues(Protocol):
    """The spectrum of one matrix (see `compression/lowrank.py`)."""

    @property
    def matrix(self) -> str: ...
    @property
    def values(self) -> np.ndarray: ...
    @property
    def energy(self) -> np.ndarray: ...
    @property
    def break_even(self) -> float: ...


def spectrum_figure(
    spectrum: SingularValues,
    rank: int | None = None,
    *,
    curve: Sequence[Point] = (),
    dense: float | None = None,
    primary: str = "accuracy",
    title: str | None = None,
    caption: str = "",
    height: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """Singular values, largest first: the kept ones teal, the others pale; the line is the energy kept up to there.

    Parameters
    ----------
    spectrum: `.values` descending, `.energy` the share of the squared sum kept by the first r of them.
    rank: where the knob stands.
    curve: points measured with this knob, x = rank; without points (and dense) the row above is left out.
    """
    colours = palette(dark)
    values, energy = np.asarray(spectrum.values, dtype=float), np.asarray(spectrum.energy, dtype=float)
    ranks = np.arange(1, len(values) + 1)
    span = (0.5, len(values) + 0.5)
    with_curve = bool(curve) or dense is not None
    rows = 2 if with_curve else 1
    figure = ExplorerFigure(
        make_subplots(
            rows=rows,
            cols=1,
            shared_xaxes=True,
            row_heights=[0.34, 0.66] if with_curve else [1.0],
            vertical_spacing=0.06,
            specs=[[{}]] * (rows - 1) + [[{"secondary_y": True}]],
        )
    )
    if with_curve:
        add_curve(figure, curve, primary=primary, dense=dense, span=span, row=1, dark=dark)
    kept = ranks <= (rank if rank is not None else len(values))
    figure.add_trace(
        go.Bar(
            x=ranks,
            y=values,
            marker={"color": np.where(kept, colours.variant, colours.removed).tolist(), "line_width": 0},
            hovertemplate="singular value %{x}: %{y:.3~g}<extra></extra>",
            showlegend=False,
        ),
        row=rows,
        col=1,
    )
    figure.add_trace(
        go.Scatter(
            x=ranks,
            y=100 * energy,
            mode="lines",
            line={"color": colours.dense, "width": 2, "dash": "dot"},
            hovertemplate="rank %{x} keeps %{y:.1f} % of the energy<extra></extra>",
            showlegend=False,
        ),
        row=rows,
        col=1,
        secondary_y=True,
    )
    _mark_break_even(figure, spectrum.break_even, rank, span[1], rows, colours)
    if rank is not None:
        _mark_rank(figure, rank, energy, span[1], rows, colours)
    figure.update_xaxes(range=list(span), showgrid=False)
    figure.update_xaxes(title_text="Rank: how many singular values are kept", row=rows, col=1)
    figure.update_yaxes(title_text="Singular value", rangemode="tozero", nticks=5, row=rows, col=1, secondary_y=False)
    figure.update_yaxes(
        title_text="Energy kept",
        range=[0, 105],
        tickvals=[0, 25, 50, 75, 100],
        ticktext=["0 %", "25 %", "50 %", "75 %", "100 %"],
        showgrid=False,
        row=rows,
        col=1,
        secondary_y=True,
    )
    figure.update_layout(bargap=0.12 if len(values) <= 200 else 0)
    name = title if title is not None else f"Spectrum of {shortened(spectrum.matrix, 40)}"
    return dressed(
        figure,
        title=name,
        subtitle=_subtitle(spectrum, rank),
        alt=f"{name}. {_subtitle(spectrum, rank)}",
        caption=caption,
        height=height if height is not None else 440 if with_curve else 340,
        dark=dark,
    )


def largest_saving_rank(break_even: float) -> int:
    """The largest rank with which two thin matrices hold fewer numbers than the full one: the one below break-even."""
    return max(0, math.ceil(break_even) - 1)


def _mark_break_even(
    figure: go.Figure, break_even: float, rank: int | None, end: float, rows: int, colours: Palette
) -> None:
    if break_even > end:
        return
    on_the_right = break_even < 0.7 * end and (rank is None or rank < break_even)
    name = "" if rows == 1 else "2"
    figure.add_vline(x=break_even, line={"color": colours.warning, "width": 1.5, "dash": "dash"})
    figure.add_annotation(
        text=f"break-even {number_text(break_even)}",
        x=break_even,
        y=0.30,
        xref=f"x{name}",
        yref=f"y{name} domain",
        xanchor="left" if on_the_right else "right",
        yanchor="middle",
        xshift=6 if on_the_right else -6,
        showarrow=False,
        font={"size": 11, "color": colours.warning},
    )


def _mark_rank(figure: go.Figure, rank: int, energy: np.ndarray, end: float, rows: int, colours: Palette) -> None:
    figure.add_vline(x=rank + 0.5, line={"color": colours.text, "width": 2})
    kept = share_text(float(energy[min(rank, len(energy)) - 1]))
    on_the_right = rank < 0.5 * end
    name = "" if rows == 1 else "2"
    figure.add_annotation(
        text=f"<b>rank {rank}</b><br>keeps {plain(kept)} of the energy",
        x=rank + 0.5,
        y=0.62,
        xref=f"x{name}",
        yref=f"y{name} domain",
        xanchor="left" if on_the_right else "right",
        yanchor="middle",
        xshift=8 if on_the_right else -8,
        showarrow=False,
        align="left",
        bgcolor=colours.card,
        bordercolor=colours.line,
        borderpad=6,
        font={"size": 12, "color": colours.text},
    )


def _subtitle(spectrum: SingularValues, rank: int | None) -> str:
    best = largest_saving_rank(spectrum.break_even)
    if rank is None:
        return f"{len(spectrum.values)} singular values; ranks up to {best} make it smaller"
    saves = "fewer" if rank <= best else "more"
    return f"Rank {rank} of {len(spectrum.values)}: {saves} numbers than the full matrix (ranks up to {best} save)"
