"""How attention shows itself: which figure maps draw, and what a notebook shows of maps, drift, heads and gains."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.attention.on_input import OnInput
from explorer.drift import AttentionDrift
from explorer.figures.attention_drift import drift_figure
from explorer.figures.attention_head import head_figure, layer_figure
from explorer.figures.attention_heads import heads_figure
from explorer.figures.attention_input import beside_figure, maps_beside_figure, on_input_figure, on_input_view
from explorer.figures.attention_overview import mosaic_of, overview_figure
from explorer.figures.attention_tuning import tuning_figure
from explorer.figures.html import Column, Markup, escaped, table, toned, view
from explorer.figures.palette import EITHER
from explorer.figures.words import change_text, number_text
from explorer.search.gains import TunedHeads
from explorer.search.heads import HeadRow, HeadTable
from explorer.shown import figure_of, html_of

NOTE = "Attention shows where information may come from, not why (Jain and Wallace 2019)."

figure_of(AttentionDrift)(drift_figure)
figure_of(HeadTable)(heads_figure)
figure_of(TunedHeads)(tuning_figure)
html_of(OnInput)(on_input_view)


@figure_of(AttentionMaps)
def maps_figure(
    maps: AttentionMaps,
    layer: str | None = None,
    head: int | None = None,
    example: int = 0,
    beside: AttentionMaps | None = None,
    **options: Any,
) -> go.Figure:
    """All heads as small maps; with a layer its heads side by side; with a head that one, large.

    beside: maps of another variant on the same examples: that one's head, this one's, and the difference.
    """
    if beside is not None and layer is not None:
        return maps_beside_figure(beside, maps, layer, head or 0, example, **options)
    if layer is None:
        return overview_figure(maps, example, **options)
    if head is None:
        return layer_figure(maps, layer, example, **options)
    return head_figure(maps, layer, head, example, **options)


@figure_of(OnInput)
def input_figure(found: OnInput, beside: OnInput | None = None, **options: Any) -> go.Figure:
    """On the picture, the words or the features; `beside` another variant's, both and their difference."""
    return on_input_figure(found, **options) if beside is None else beside_figure(beside, found, **options)


@html_of(AttentionMaps)
def maps_view(maps: AttentionMaps) -> Markup:
    """The layers with what they are, and the small maps of all heads."""
    columns = [
        Column("layer"),
        Column("kind"),
        Column("heads", right=True),
        Column("queries", right=True),
        Column("keys", right=True),
        Column("entropy", right=True, help="From the most certain head to the most even"),
        Column("how it was had"),
    ]
    spread = maps.entropy()
    rows = [_layer_row(layer, spread) for layer in maps.found]
    count = f"{len(maps)} example{'' if len(maps) == 1 else 's'}"
    body: list[Markup] = [table(columns, rows)]
    if maps.found:
        picture = mosaic_of(maps)
        tall, wide = picture.pixels.shape
        style = f"width:min(100%,{wide}px);aspect-ratio:{wide}/{tall};image-rendering:pixelated;margin-top:8px"
        body.append(
            Markup(f'<img src="{picture.address(False)}" alt="All heads at the first example" style="{style}">')
        )
    body += [escaped(f"unavailable: {name}, since {why}") for name, why in maps.unavailable]
    return view("Attention", *body, escaped(NOTE), subtitle=f"{maps.caption} · {count}" if maps.caption else count)


def _layer_row(layer: LayerMaps, spread: Any) -> list[object]:
    shape = layer.weights.shape
    told = "–"
    if layer.name in spread:
        known = [value for value in spread[layer.name].tolist() if not math.isnan(value)]
        told = f"{min(known):.2f} to {max(known):.2f}" if known else "–"
    heads = "" if layer.site.is_gate else len(layer.heads)
    return [layer.name, layer.kind, heads, shape[-2], shape[-1], told, layer.site.source]


@html_of(AttentionDrift)
def drift_view(found: AttentionDrift) -> Markup:
    """What moved, head by head, beside noise and a random model."""
    columns = [
        Column("layer"),
        Column("head", right=True),
        Column("moved", right=True, help="Jensen-Shannon, base 2, 0 to 1"),
        Column("noise", right=True),
        Column("random model", right=True),
        Column("place", right=True, help="0 at the noise, 1 at a random model"),
        Column("top 3 kept", right=True),
        Column(""),
    ]
    place, rows = found.place(), []
    for name, moved in found.change.items():
        for head, value in enumerate(moved.tolist()):
            same = number_text(float(found.overlap[name][head])) if name in found.overlap else ""
            flag = found.flags[name][head] if name in found.flags else "gate"
            bounds = [_told(float(bound[name][head])) for bound in (found.floor, found.ceiling)]
            rows.append([name, head, _told(value), *bounds, _told(float(place[name][head])), same, flag])
    told = f"{found.model}: from {found.before} to {found.after}, on {found.examples} {found.split} examples"
    return view("How far attention has moved", escaped(f"{found.sentence()}."), table(columns, rows), subtitle=told)


@html_of(HeadTable)
def heads_view(found: HeadTable) -> Markup:
    """Every head with its four measures, in the order of the model."""
    columns = [
        Column("layer"),
        Column("head", right=True),
        Column("confidence", right=True),
        Column("entropy", right=True),
        Column("gradient", right=True),
        Column("when off", right=True, help=f"Change of {found.primary} on tune"),
    ]
    rows = [
        [row.layer, row.head, _told(row.confidence), _told(row.entropy), _told(row.gradient), _cost(found, row)]
        for row in found.rows
    ]
    told = f"{found.model}, {found.recipe.sentence()}: on {found.examples} {found.split} examples"
    return view("What each head is worth", escaped(f"{found.sentence()}."), table(columns, rows), subtitle=told)


@html_of(TunedHeads)
def tuned_view(found: TunedHeads) -> Markup:
    """The gains, layer by layer."""
    rows = [[layer, "  ".join(f"{gain:.3f}" for gain in gains)] for layer, gains in found.gains.items()]
    told = f"{found.model}: {found.steps} steps in {found.seconds:.1f} s; objective {found.objective_before:.4f} to "
    told += f"{found.objective:.4f}"
    return view(
        "Gains of heads",
        escaped(f"{found.sentence()}."),
        table([Column("layer"), Column("gains")], rows),
        subtitle=told,
    )


def _cost(found: HeadTable, row: HeadRow) -> Markup:
    if row.off:
        return escaped("off")
    if row.cost is None or row.low is None or row.high is None:
        return escaped("–")
    change = change_text(found.primary, row.cost)
    colour = EITHER.loss if row.high < 0 else EITHER.gain if row.low > 0 else ""
    ends = f"95 %: {change_text(found.primary, row.low)} to {change_text(found.primary, row.high)}"
    return Markup(f'<span title="{escaped(ends)}">{toned(change, colour) if colour else escaped(change)}</span>')


def _told(value: float) -> str:
    return "–" if math.isnan(value) else number_text(value)
