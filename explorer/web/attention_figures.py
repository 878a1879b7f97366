"""The maps as figures with labels, to read and to save: one head of both models, and all heads at once."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from explorer.attention.maps import AttentionMaps
from explorer.errors import ExplorerError
from explorer.figures.attention_head import head_figure
from explorer.figures.attention_input import maps_beside_figure, on_input_figure
from explorer.figures.attention_overview import overview_figure
from explorer.figures.template import CONFIG
from explorer.web import markup
from explorer.web.figures_dialog import Maker, figures_dialog
from explorer.web.look import Look, Looked, look_of
from explorer.web.results import is_dark
from explorer.web.state import Session, changes_nothing

HEIGHT = 470


def one_map(session: Session, look: Look, maps: AttentionMaps, name: str) -> None:
    """Draw the map of the chosen head of one model, where it has that head; below it the way to save it."""
    if look.layer not in maps.layers or look.head not in maps[look.layer].heads:
        st.html(markup.quiet(f"{name}: this head is not there."))
        return
    title = f"{look.layer}, head {look.head}, {name}"
    figure = head_figure(maps, look.layer, look.head, title=title, height=HEIGHT, dark=is_dark())
    st.plotly_chart(figure, theme=None, config=CONFIG, key=f"map-{name}")


def map_card(session: Session, found: Looked) -> None:
    """Draw the map of the chosen head, dense beside this variant, where they differ; and what can be saved."""
    look = look_of(session)
    if not changes_nothing(session.recipe):
        with st.container(key="card-map"):
            st.html(markup.title("The whole map", "queries down, keys across; point at a cell for words and weight"))
            try:
                figure = maps_beside_figure(found.dense, found.variant, look.layer, look.head, dark=is_dark())
            except ExplorerError as problem:  # the variant has not that head, or not at this size
                st.html(markup.quiet(markup.sentence(str(problem))))
            else:
                st.plotly_chart(figure, theme=None, config=CONFIG, key="map-beside")
    words = "This head, all heads and what lies on the input, as PNG, SVG or HTML."
    if st.button("Figures to save", key="attention-figures", icon=":material/download:", width="stretch", help=words):
        figures_dialog(makers_of(session, found))


def makers_of(session: Session, found: Looked) -> dict[str, Maker]:
    """What can be saved from here: name to a function of caption and theme."""
    look = look_of(session)
    made: dict[str, Maker] = {}
    for name, maps in (("dense", found.dense), ("this variant", found.variant)):
        if name == "this variant" and changes_nothing(session.recipe):
            continue
        made[f"All heads, {name}"] = partial(_overview, maps)
        if look.layer in maps.layers and look.head in maps[look.layer].heads:
            made[f"One head, {name}"] = partial(_head, maps, look)
            if maps[look.layer].kind != "window":
                made[f"On the input, {name}"] = partial(_on_input, maps, look)
    if not changes_nothing(session.recipe) and look.layer in found.dense.layers:
        made["One head, both"] = partial(_both, found, look)
    return made


def _overview(maps: AttentionMaps, caption: str, dark: bool) -> Any:
    return overview_figure(maps, dark=dark)


def _head(maps: AttentionMaps, look: Look, caption: str, dark: bool) -> Any:
    return head_figure(maps, look.layer, look.head, dark=dark)


def _on_input(maps: AttentionMaps, look: Look, caption: str, dark: bool) -> Any:
    return on_input_figure(maps.on_input(look.layer, look.head, look.query), dark=dark)


def _both(found: Looked, look: Look, caption: str, dark: bool) -> Any:
    return maps_beside_figure(found.dense, found.variant, look.layer, look.head, dark=dark)
