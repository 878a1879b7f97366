"""The heads of a model at one example: a small map each, and below them one head large, dense beside variant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import numpy as np
import streamlit as st
import torch
from torch import Tensor

from explorer.attending import silent_heads
from explorer.attention.maps import LayerMaps
from explorer.figures.pictures import picture_address
from explorer.web import markup
from explorer.web.attention_actions import actions
from explorer.web.attention_figures import one_map
from explorer.web.component import component
from explorer.web.look import (
    MEASURES,
    WAYS,
    Look,
    Looked,
    chosen_layer,
    from_words,
    look_of,
    measure_of,
    on_input,
    single,
)
from explorer.web.state import Session, act, changes_nothing

THUMBNAIL = 48
"""Cells a side of a small map at most; a cell of a larger one is the largest weight of its block."""
NEAR_UNIFORM = 0.98
ALL = -1
"""Stands for all queries in the choice of one."""
MOST_FEATURES = 14

_heads = component("heads")
_places = component("places")


def places_component(key: str, data: dict[str, Any], on_chosen: Callable[[], None]) -> None:
    """Numbers on the input, one panel a model; `on_chosen` finds the place in `session.event(key, "chosen")`."""
    _places(key=key, data=data, on_chosen_change=on_chosen)


# -- the overview ------------------------------------------------------------------------------------------------------


def heads_card(session: Session, found: Looked) -> None:
    """Draw all heads with a number each; a click chooses one."""
    look = look_of(session)
    measures = [name for name in MEASURES if name != "change" or not changes_nothing(session.recipe)]
    if look.place is None:
        measures.remove("to")
    measure = look.measure if look.measure in measures else measures[0]
    with st.container(key="card-heads"):
        left, right = st.columns([1, 1.4], vertical_alignment="center")
        left.html(markup.title("All heads", "at this example"))
        right.selectbox(
            "Number under each head",
            measures,
            format_func=lambda name: _measure_words(look, found, name),
            key=session.control("look-measure", measure),
            on_change=act,
            args=(_measure,),
            label_visibility="collapsed",
            help="What the number under each head says.",
        )
        _heads(
            key="heads",
            data=grid_data(session, look, found, measure),
            on_chosen_change=partial(act, _chosen_head),
        )
        st.html(markup.quiet("Rows of a map are positions that look, columns what they look at. Click a head."))


def _measure_words(look: Look, found: Looked, name: str) -> str:
    if name == "to" and look.place is not None and found.variant.found:
        labels = chosen_layer(look, found.variant).keys.labels[0]
        if look.place < len(labels):
            return f"attention to “{labels[look.place]}”"
    return MEASURES[name]


def grid_data(session: Session, look: Look, found: Looked, measure: str) -> dict[str, Any]:
    """What the grid of heads shows."""
    asked = look.measure
    look.measure = measure
    off = silent_heads(session.bench.edits(session.recipe))
    rows: list[dict[str, Any]] = []
    numbers = [
        value
        for layer in found.variant.found
        for head in layer.heads
        if (value := measure_of(look, found, layer, head)) is not None
    ]
    most = max(numbers, default=1.0) or 1.0
    for place, layer in enumerate(found.variant.found):
        cells = []
        for head in layer.heads:
            value = measure_of(look, found, layer, head)
            cells.append(_cell(look, layer, head, value, most, head in off.get(layer.name, ()), measure))
        title = f"{layer.name}: {layer.kind}, {layer.site.source}"
        rows.append(
            {
                "place": place,
                "layer": layer.name,
                "name": layer.name,
                "title": title,
                "gate": layer.kind.removesuffix(" gate") if layer.site.is_gate else "",
                "cells": cells,
            }
        )
    look.measure = asked
    heads = max((len(layer.heads) for layer in found.variant.found if not layer.site.is_gate), default=1)
    return {"rows": rows, "most": heads, "label": "Attention heads"}


def _cell(
    look: Look, layer: LayerMaps, head: int, value: float | None, most: float, off: bool, measure: str
) -> dict[str, Any]:
    rows = single(layer, head)
    flag = ""
    if off:
        flag = "off"
    elif not layer.site.is_gate and float(rows.abs().max()) == 0:
        flag = "dead"
    elif measure == "entropy" and value is not None and value >= NEAR_UNIFORM:
        flag = "uniform"
    name = "gate" if layer.site.is_gate else f"head {head}"
    number = "" if value is None else f"{value:.2f}"
    what = "" if value is None else f", {MEASURES[measure].split(':')[0]} {value:.3f}"
    height, width = _thumb(layer, rows).shape
    return {
        "head": head,
        "name": name,
        "number": number,
        "shade": 0.0 if value is None else max(0.0, min(1.0, value / most)),
        "title": f"{layer.name}, {name}{what}{f' ({flag})' if flag else ''}",
        "image": picture_address(_thumb(layer, rows)),
        "aspect": f"{max(width, 1)} / {max(height, width // 6, 1)}",
        "chosen": look.layer == layer.name and look.head == head,
        "off": off,
        "flag": flag,
    }


def _thumb(layer: LayerMaps, rows: Tensor) -> np.ndarray:
    """A map as a small picture 0..1: without padding, blocks by their largest weight, the largest weight white."""
    if layer.site.is_gate:
        picture = rows.reshape(layer.keys.grid) if layer.keys.grid is not None else rows
    else:
        queries = [at for at, label in enumerate(layer.queries.labels[0][: rows.shape[0]]) if label != ""]
        keys = [at for at, label in enumerate(layer.keys.labels[0][: rows.shape[1]]) if label != ""]
        picture = rows[queries][:, keys] if queries and keys else rows
    for axis in (0, 1):
        block = -(-picture.shape[axis] // THUMBNAIL)
        if block > 1:
            parts = picture.split(block, axis)
            picture = torch.stack([part.amax(axis) for part in parts], axis)
    most = float(picture.max())
    return np.asarray(picture / most if most > 0 else picture, dtype=np.float32)


# -- one head ----------------------------------------------------------------------------------------------------------


def head_card(session: Session, found: Looked) -> None:
    """Draw the head that is chosen: on the input for both models and their difference, and what can be done to it."""
    look = look_of(session)
    layer = chosen_layer(look, found.variant)
    same = changes_nothing(session.recipe)
    with st.container(key="card-head"):
        what = "gate" if layer.site.is_gate else f"head {look.head}"
        st.html(markup.title(f"{layer.name} · {what}", f"{layer.kind}, {layer.site.source}"))
        columns = st.columns([1.15, 1.15, 1.7], vertical_alignment="bottom")
        with columns[0]:
            _way_choice(session, look, found)
        with columns[1]:
            _query_choice(session, look, layer)
        with columns[2]:
            actions(session, look, layer)
        left, right = st.columns([1, 1.25], gap="medium") if same else (st.container(), None)
        with left:
            data = places_data(session, look, found, same)
            places_component("places", data, partial(act, _chosen_place))
            st.html(markup.quiet(_explained(look, layer)))
        if right is not None:
            with right:
                one_map(session, look, found.variant, "dense")


def _way_choice(session: Session, look: Look, found: Looked) -> None:
    ways = list(WAYS)
    if not any(layer.kind == "self" for layer in found.variant.found):
        ways = ["head", "mean"]
    st.selectbox(
        "Show",
        ways,
        format_func=lambda way: WAYS[way],
        key=session.control("look-way", look.way if look.way in ways else "head"),
        on_change=act,
        args=(_way,),
        help="One head, the mean of its layer, or what rolling all layers out says: each layer's map times those "
        "before, with half of the residual path (Abnar and Zuidema 2020); weighted by the gradient of the answer "
        "(Chefer et al. 2021).",
    )


def _query_choice(session: Session, look: Look, layer: LayerMaps) -> None:
    labels = layer.queries.labels[0]
    known = [at for at, label in enumerate(labels) if label != ""]
    start = "from the class token" if layer.queries.first else f"mean over the {layer.queries.name}"
    if layer.site.is_gate:
        start = "a gate looks from nowhere"
    options = [ALL, *known]
    st.selectbox(
        "Looking",
        options,
        format_func=lambda at: start if at == ALL else f"from {_counted(layer, at)}",
        key=session.control("look-query", look.query if look.query in options else ALL),
        on_change=act,
        args=(_query,),
        disabled=layer.site.is_gate,
        help="Whose row of the map is laid on the input.",
    )


def _counted(layer: LayerMaps, at: int) -> str:
    """A query as a choice reads: words by their number, since some come twice."""
    axis = layer.queries
    label = axis.labels[0][at]
    return label if axis.grid is not None or axis.name == "features" else f"{at + 1 - axis.first}: {label}"


def places_data(session: Session, look: Look, found: Looked, same: bool) -> dict[str, Any]:
    """What lies on the input: dense, this variant, and their difference, on one scale."""
    axis, after = on_input(look, found.variant)
    panels: list[tuple[str, str, Tensor, bool]] = []
    if not same:
        _, before = on_input(look, found.dense)
        panels.append(("dense", "dense", before, False))
        panels.append(("this variant", "variant", after, False))
        if before.shape == after.shape:
            panels.append(("difference", "difference", after - before, True))
    else:
        panels.append(("dense", "dense", after, False))
    shown = [at for at, label in enumerate(axis.labels[0]) if label != ""] or list(range(len(after)))
    top = max((float(values[shown].max()) for _, _, values, signed in panels if not signed), default=1.0) or 1.0
    drawn = []
    for title, kind, values, signed in panels:
        reach = float(values[shown].abs().max()) or 1.0
        scale = reach if signed else top
        drawn.append(
            {
                "title": title,
                "kind": kind,
                "signed": signed,
                "note": f"full colour ±{reach:.2g}" if signed else f"full colour {top:.2g}",
                "values": [f"{float(value):+.3f}" if signed else f"{float(value):.3f}" for value in values],
                "shades": [round(float(value) / scale, 4) for value in values],
            }
        )
    labels = list(axis.labels[0])
    mode = "grid" if axis.grid is not None else "bars" if axis.name in ("features", "channels") else "words"
    picture = ""
    if mode == "grid" and session.bench.subject.input in ("image", "image+text"):
        picture = picture_address(np.asarray(session.bench.subject.picture(found.inputs)[0], dtype=np.float32))
    order = sorted(shown, key=lambda at: -max(abs(float(values[at])) for _, _, values, _ in panels))[:MOST_FEATURES]
    return {
        "mode": mode,
        "labels": labels,
        "panels": drawn,
        "chosen": look.place,
        "picture": picture,
        "rows": axis.grid[0] if axis.grid else 1,
        "columns": axis.grid[1] if axis.grid else 1,
        "first": axis.first,
        "order": order,
    }


def _explained(look: Look, layer: LayerMaps) -> str:
    if layer.site.is_gate:
        return "A gate: each value, between 0 and 1, multiplies what passes there."
    whose = from_words(look, layer.queries)
    if look.way in ("rollout", "gradient"):
        return f"How much of each place arrives at the end, {whose}. Click a place to see which heads look at it."
    return f"How much each place gets, {whose}. Click a place to see which heads look at it."


# -- moves -------------------------------------------------------------------------------------------------------------


def _measure(session: Session) -> None:
    look_of(session).measure = session.taken("look-measure")


def _way(session: Session) -> None:
    look_of(session).way = session.taken("look-way")


def _query(session: Session) -> None:
    query = session.taken("look-query")
    look_of(session).query = None if query == ALL else query


def _chosen_head(session: Session) -> None:
    chosen = session.event("heads", "chosen")
    if chosen is not None:
        look = look_of(session)
        look.layer, look.head = str(chosen["layer"]), int(chosen["head"])
        if look.way in ("rollout", "gradient"):
            look.way = "head"


def _chosen_place(session: Session) -> None:
    chosen = session.event("places", "chosen")
    if chosen is not None:
        look = look_of(session)
        place = int(chosen["place"])
        look.place = None if look.place == place else place
        look.measure = "to"


def note_html() -> str:
    """What attention says and what it does not."""
    words = (
        "Attention shows where information may come from, not why the model answers as it does: maps that look quite "
        "different can give the same answer (Jain and Wallace, “Attention is not Explanation”, 2019; Wiegreffe and "
        "Pinter, “Attention is not not Explanation”, 2019). Switch a head off and watch the numbers: that is a test."
    )
    return f'<div class="ce-teaches"><b>What attention does and does not explain</b>{escape(words)}</div>'
