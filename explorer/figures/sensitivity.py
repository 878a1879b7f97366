"""What each target of a sensitivity scan bears: a heat map, and a ranked table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from explorer.figures.html import Column, Markup, escaped, table, toned, view
from explorer.figures.palette import EITHER, palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, plain
from explorer.figures.words import change_text, counted, is_share, metric_label, metric_text, shortened, size_text
from explorer.search.sensitivity import Cell, Sensitivity
from explorer.shown import figure_of, html_of

ROW_PIXELS = 24
DEEPEST = 10.0
"""From a change of so many points on the colour stays the same, so that small changes can be told apart."""
MOST_WRITTEN = 200
"""Up to so many cells bear their number."""
AXES = {
    "sparsity": "Sparsity of that part alone",
    "energy": "Energy kept in that part alone",
    "bits": "Bits of a weight",
}


@figure_of(Sensitivity)
def sensitivity_figure(found: Sensitivity, *, title: str = "", dark: bool = False, **options: Any) -> go.Figure:
    """A row for each target in the order of the model, a column for each level; colour is the change of the metric.

    Purple is lost, green gained; hovering tells the interval and the bytes. A cell without colour is not measured yet.
    """
    title = title or found.title
    if not found.cells:
        return empty_figure(title, "nothing is measured yet", dark=dark)
    colours, primary = palette(dark), found.base.primary
    scale = 100 if is_share(primary) else 1
    known = {(cell.target.name, cell.level): cell for cell in found.cells}
    names, levels = list(found.by_target), found.scan.levels
    grid = [[known.get((name, level)) for level in levels] for name in names]
    deepest = min(max([abs(scale * cell.change.delta) for cell in found.cells] + [0.01 * scale]), DEEPEST / 100 * scale)
    beyond = f", ±{deepest:g} and more" if any(abs(scale * c.change.delta) > deepest for c in found.cells) else ""
    unit = ", points" if is_share(primary) else ""
    figure = ExplorerFigure(
        go.Heatmap(
            x=[_level(found, level) for level in levels],
            y=names,
            z=[[None if cell is None else scale * cell.change.delta for cell in row] for row in grid],
            zmin=-deepest,
            zmax=deepest,
            colorscale=colours.difference,
            xgap=2,
            ygap=2,
            customdata=[["" if cell is None else plain(_sentence(found, cell)) for cell in row] for row in grid],
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            text=[["" if cell is None else _short(primary, cell) for cell in row] for row in grid],
            texttemplate="%{text}" if len(found.cells) <= MOST_WRITTEN else None,
            textfont_size=11,
            colorbar={
                "title": {
                    "text": f"Change of {metric_label(primary).lower()}{unit}{beyond}",
                    "side": "right",
                    "font": {"size": 12, "color": colours.quiet},
                },
                "thickness": 12,
                "outlinewidth": 0,
                "tickformat": "+.3~g",
                "tickfont": {"size": 11, "color": colours.quiet},
            },
        )
    )
    figure.update_yaxes(
        autorange="reversed",
        type="category",
        tickmode="array",
        tickvals=names,
        ticktext=[plain(shortened(name)) for name in names],
        tickfont={"color": colours.text, "size": 12},
        showgrid=False,
    )
    figure.update_xaxes(type="category", title_text=_axis(found), showgrid=False)
    after = f" · after {found.scan.base.sentence()}" if len(found.scan.base) else ""
    facts = {
        "subtitle": found.fragile,
        "caption": f"{found.model}{after} · base {metric_text(primary, found.base.value)} · on {found.on}",
        "alt": f"{title}: {found.fragile}; " + "; ".join(f"{name} {_told(found, name)}" for name in found.ranked),
        "height": 150 + ROW_PIXELS * len(names),
    }
    return dressed(figure, title=title, dark=dark, **{**facts, **options})


@html_of(Sensitivity)
def sensitivity_view(found: Sensitivity) -> Markup:
    """The targets, most fragile first, with what each bears and loses."""
    known = {(cell.target.name, cell.level): cell for cell in found.cells}
    primary = found.base.primary
    columns = [Column(found.scan.by)]
    if not found.scan.leave_out:
        columns.append(Column("bears", right=True, help="The harshest level with at most 1 point lost, as measured"))
    columns += [Column(_level(found, level), right=True) for level in found.scan.levels]
    rows: list[Sequence[object]] = []
    for name in found.ranked:
        row: list[object] = [name]
        if not found.scan.leave_out:
            bears = found.bears[name]
            row.append("none" if bears is None else _level(found, bears))
        row += [_marked(primary, found, known.get((name, level))) for level in found.scan.levels]
        rows.append(row)
    unit = "in points " if is_share(primary) else ""
    return view(
        found.title,
        escaped(found.fragile + "."),
        table(columns, rows),
        subtitle=f"{found.model}: change of {metric_label(primary).lower()} {unit}against "
        f"{found.scan.base.sentence() if len(found.scan.base) else 'dense'}, on {found.on}"
        + ("" if found.complete else "; not all cells are measured"),
    )


def _marked(primary: str, found: Sensitivity, cell: Cell | None) -> Markup:
    """A change; in colour where its interval excludes zero, the interval and bytes behind it."""
    if cell is None:
        return escaped("–")
    change = _short(primary, cell)
    colour = EITHER.loss if cell.change.is_loss else EITHER.gain if cell.change.low > 0 else ""
    shown = toned(change, colour) if colour else escaped(change)
    return Markup(f'<span title="{escaped(_sentence(found, cell))}">{shown}</span>')


def _short(primary: str, cell: Cell) -> str:
    return change_text(primary, cell.change.delta).removesuffix(" points")


def _sentence(found: Sensitivity, cell: Cell) -> str:
    change, primary = cell.change, found.base.primary
    ends = [
        change_text(primary, end).removesuffix(" points") for end in (change.low, change.high) if math.isfinite(end)
    ]
    interval = f" (95 %: {' to '.join(ends)})" if len(ends) == 2 else ""
    answers = (
        ""
        if found.base.mistakes is None
        else f"; {counted(change.broken, 'answer')} broken, {change.repaired} repaired"
    )
    saved = f"{size_text(abs(cell.saved_bytes))} {'less' if cell.saved_bytes >= 0 else 'more'} than the base"
    return (
        f"{cell.target.name}, {found.level_words(cell.level)}: {change_text(primary, change.delta)}{interval}{answers}"
        f"; {size_text(cell.size_bytes)}, {saved}; on {cell.quality.examples:,} of {cell.quality.total:,}"
    )


def _told(found: Sensitivity, name: str) -> str:
    if found.scan.leave_out:
        return change_text(found.base.primary, found.by_target[name][0].change.delta)
    bears = found.bears[name]
    return "bears no level" if bears is None else f"bears {found.level_words(bears)}"


def _level(found: Sensitivity, level: float | None) -> str:
    words = found.level_words(level)
    return words.removeprefix(f"{found.scan.field} ")


def _axis(found: Sensitivity) -> str:
    return "Spared by the step" if found.scan.leave_out else AXES[found.scan.field]
