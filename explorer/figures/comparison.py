"""Two variants side by side: how sure and how right, which class for which, what they bear, where the damage starts."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.comparison.damage import LayerDamage
from explorer.evaluation.calibration import Calibration, CalibrationChange
from explorer.evaluation.confusion import ConfusionChange
from explorer.evaluation.robustness import Robustness
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, faded, plain
from explorer.figures.words import is_share, metric_label, number_text, share_text, shortened
from explorer.shown import figure_of

NAMES = ("before", "after")
ACROSS = 3
MOST_WRITTEN = 15
"""Up to so many classes the cells of a confusion bear their number."""


@figure_of(CalibrationChange)
def calibration_figure(
    found: CalibrationChange,
    *,
    names: tuple[str, str] = NAMES,
    caption: str = "",
    height: int = 380,
    dark: bool = False,
) -> go.Figure:
    """The reliability diagram of both: how often an answer is right that was said with so much probability.

    On the diagonal a model says truly how sure it is; below it, it is too sure. Bars are 95 % intervals.
    """
    colours = palette(dark)
    figure = ExplorerFigure()
    line = {"color": colours.quiet, "width": 1, "dash": "dot"}
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, showlegend=False, hoverinfo="skip"))
    for name, side, colour in ((names[0], found.before, colours.dense), (names[1], found.after, colours.variant)):
        _reliability(figure, name, side, colour)
    figure.update_xaxes(title_text="Probability of the answer", range=[0, 1.03], tickformat=".0%")
    figure.update_yaxes(title_text="Share that is right", range=[0, 1.03], tickformat=".0%")
    figure.update_layout(legend={"x": 0.02, "y": 0.98, "xanchor": "left", "yanchor": "top"})
    title = "How sure, and how right"
    subtitle = f"calibration error {share_text(found.before.ece)} to {share_text(found.after.ece)}"
    alt = f"{title}: {found.sentence()}."
    caption = caption or f"{found.examples:,} examples"
    return dressed(figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height, dark=dark)


def _reliability(figure: go.Figure, name: str, side: Calibration, colour: str) -> None:
    known = np.flatnonzero(side.counts)
    figure.add_trace(
        go.Scatter(
            x=side.confidence[known],
            y=side.accuracy[known],
            mode="lines+markers",
            name=plain(name),
            line={"color": colour, "width": 2},
            marker={"size": 8},
            customdata=side.counts[known],
            error_y={
                "type": "data",
                "symmetric": False,
                "thickness": 1,
                "width": 0,
                "array": side.high[known] - side.accuracy[known],
                "arrayminus": side.accuracy[known] - side.low[known],
            },
            hovertemplate="said %{x:.1%}, right %{y:.1%}<br>%{customdata:,} answers<extra></extra>",
        )
    )


@figure_of(ConfusionChange)
def confusion_figure(
    found: ConfusionChange, *, caption: str = "", height: int | None = None, dark: bool = False
) -> go.Figure:
    """After minus before: which class is taken for which more often (green) or less (purple)."""
    colours = palette(dark)
    change, classes = found.difference, [plain(shortened(name, 18)) for name in found.classes]
    most = max(1, int(np.abs(change).max()))
    words = [[f"{value:+d}" if value else "" for value in row] for row in change.tolist()]
    told = [
        [
            f"{plain(truth)} taken for {plain(answer)}: {found.before[i, j]:,} before, {found.after[i, j]:,} after"
            for j, answer in enumerate(found.classes)
        ]
        for i, truth in enumerate(found.classes)
    ]
    figure = ExplorerFigure(
        go.Heatmap(
            z=change,
            x=classes,
            y=classes,
            zmin=-most,
            zmax=most,
            colorscale=colours.difference,
            xgap=2,
            ygap=2,
            text=words,
            texttemplate="%{text}" if len(classes) <= MOST_WRITTEN else None,
            customdata=told,
            hovertemplate="%{customdata}<extra></extra>",
            showscale=False,
        )
    )
    figure.update_xaxes(title_text="Answer", type="category", showgrid=False)
    figure.update_yaxes(title_text="Truth", type="category", autorange="reversed", showgrid=False)
    title = "Which is taken for which, after minus before"
    drawn = height or 170 + 26 * max(6, len(classes))
    alt = f"{title}: {found.sentence()}."
    return dressed(figure, title=title, subtitle=found.sentence(), alt=alt, caption=caption, height=drawn, dark=dark)


@figure_of(Robustness)
def robustness_figure(
    found: Robustness, *, names: tuple[str, str] = NAMES, caption: str = "", dark: bool = False
) -> go.Figure:
    """A small plot for each trial: the metric of both as the inputs get worse, with 95 % intervals."""
    title = "What both bear"
    if not found.curves:
        return empty_figure(title, "nothing is measured yet", dark=dark)
    colours = palette(dark)
    curves = list(found.curves.values())
    down = -(-len(curves) // ACROSS)
    figure = ExplorerFigure(
        make_subplots(
            rows=down,
            cols=ACROSS,
            shared_yaxes=True,
            horizontal_spacing=0.04,
            vertical_spacing=0.38 / down,
            subplot_titles=[curve.trial.label for curve in curves],
        )
    )
    figure.update_annotations(font={"size": 13, "color": colours.text})
    for at, curve in enumerate(curves):
        place = {"row": at // ACROSS + 1, "col": at % ACROSS + 1}
        for name, side, colour in ((names[0], curve.before, colours.dense), (names[1], curve.after, colours.variant)):
            strengths = list(curve.strengths)
            ends = [quality.high for quality in side] + [quality.low for quality in side][::-1]
            figure.add_trace(
                go.Scatter(
                    x=strengths + strengths[::-1],
                    y=ends,
                    mode="lines",
                    fill="toself",
                    fillcolor=faded(colour, 0.18),
                    line={"width": 0},
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=name,
                ),
                **place,
            )
            figure.add_trace(
                go.Scatter(
                    x=strengths,
                    y=[quality.value for quality in side],
                    mode="lines+markers",
                    name=plain(name),
                    legendgroup=name,
                    showlegend=at == 0,
                    line={"color": colour, "width": 2},
                    marker={"size": 6},
                    hovertemplate=f"{plain(name)}, strength %{{x:g}}: %{{y:.3f}}<extra></extra>",
                ),
                **place,
            )
        figure.update_xaxes(title_text=plain(shortened(curve.trial.unit, 34)), title_font_size=11, **place)
    if is_share(found.primary):
        figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title_text=metric_label(found.primary), col=1)
    figure.update_layout(legend={"x": 0.005, "xanchor": "left", "y": 1 - 0.6 / down, "yanchor": "bottom"})
    alt = f"{title}: {found.sentence()}."
    caption = caption or f"{found.model}, {found.examples:,} tune examples, the same worsened inputs for both"
    return dressed(
        figure, title=title, subtitle=found.sentence(), alt=alt, caption=caption, height=130 + 240 * down, dark=dark
    ).update_layout(margin_t=92)


@figure_of(LayerDamage)
def damage_figure(found: LayerDamage, *, caption: str = "", height: int = 380, dark: bool = False) -> go.Figure:
    """The relative error of each block's output, in the order of the model, and linear CKA."""
    title = "Where the damage starts"
    if not found.blocks:
        return empty_figure(title, found.sentence(), dark=dark)
    colours = palette(dark)
    names = [plain(shortened(block.block, 20)) for block in found.blocks]
    figure = ExplorerFigure(make_subplots(specs=[[{"secondary_y": True}]]))
    figure.add_trace(
        go.Bar(
            x=names,
            y=[block.hidden for block in found.blocks],
            name="relative error",
            marker_color=colours.variant,
            hovertemplate="%{x}<br>relative error %{y:.3f}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=names,
            y=[None if math.isnan(block.cka) else block.cka for block in found.blocks],
            name="CKA",
            mode="lines+markers",
            line={"color": colours.dense, "width": 2},
            hovertemplate="%{x}<br>CKA %{y:.3f}<extra></extra>",
        ),
        secondary_y=True,
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(title_text="Relative error", rangemode="tozero", secondary_y=False)
    figure.update_yaxes(title_text="CKA", range=[0, 1.05], showgrid=False, secondary_y=True)
    legend = {"x": 0.98, "y": 0.04, "xanchor": "right", "yanchor": "bottom", "bgcolor": colours.card}
    figure.update_layout(legend=legend)
    worst = max(found.blocks, key=lambda block: block.hidden)
    subtitle = f"largest: {shortened(worst.block, 24)} {number_text(worst.hidden)}; CKA 1 is the same up to turning"
    alt = f"{title}: {found.sentence()}."
    caption = caption or f"hidden states of {found.examples} tune examples"
    return dressed(figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height, dark=dark)
