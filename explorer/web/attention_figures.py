"""The maps as figures with labels, to read and to save: one head of both models, and all heads at once."""

from __future__ import annotations

import streamlit as st

from explorer.attention.maps import AttentionMaps
from explorer.errors import ExplorerError
from explorer.figures.attention_head import head_figure
from explorer.figures.attention_input import maps_beside_figure
from explorer.figures.attention_overview import overview_figure
from explorer.figures.template import CONFIG
from explorer.web import markup
from explorer.web.figures_dialog import save_html
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
    with st.popover("Figures to save", icon=":material/download:", width="stretch", help="Files that need no network."):
        name = f"{session.sample}-{look.layer}-{look.head}"
        for kind, maps in (("dense", found.dense), ("variant", found.variant)):
            if look.layer in maps.layers and look.head in maps[look.layer].heads:
                head = head_figure(maps, look.layer, look.head)
                save_html(head, f"{name}-{kind}", f"This head, {kind}, as HTML", f"map-html-{kind}")
            save_html(overview_figure(maps), f"{session.sample}-heads-{kind}", f"All heads, {kind}, as HTML",
                      f"overview-html-{kind}")  # fmt: skip
        st.html(markup.quiet("The camera above a figure saves it as a picture (PNG)."))
