"""The figures to take along: each with title, axes and recipe in itself, saved as PNG, SVG or HTML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from explorer.figures.history import Visit, history_figure
from explorer.figures.layers import layers_figure
from explorer.figures.matrix import matrix_figure
from explorer.figures.spectrum import spectrum_figure
from explorer.figures.storage import bytes_figure
from explorer.figures.template import CONFIG
from explorer.figures.threshold import threshold_figure
from explorer.recipe import LowRank, Prune, Step
from explorer.web.amounts import shown_matrix
from explorer.web.history import Dot, visited
from explorer.web.state import Session, current

Maker = Callable[[str, bool], Any]


def figures_button(session: Session) -> None:
    """The button that opens the dialog."""
    if st.button(
        "Figures to save",
        key="figures",
        icon=":material/download:",
        width="stretch",
        help="The pictures of this page as figures with titles and axes, to save as PNG, SVG or HTML.",
    ):
        figures_dialog()


@st.dialog("Figures to save", width="large")
def figures_dialog(makers: dict[str, Maker] | None = None) -> None:
    """One figure at a time, with the buttons that save it; of the Compress page where none are given."""
    session = current()
    makers = figures_of(session) if makers is None else makers
    name = st.selectbox("Figure", list(makers), key="figure-choice", label_visibility="collapsed")
    caption = f"{session.sample}: {session.recipe.sentence()}"
    figure = makers[name](caption, st.context.theme.type == "dark")
    kinds = ("SVG", "PNG")
    chosen = st.session_state.get("figure-kind") or kinds[0]
    image = {**CONFIG["toImageButtonOptions"], "format": str(chosen).lower(), "scale": 2}
    config = {**CONFIG, "toImageButtonOptions": image}
    st.plotly_chart(figure, theme=None, config=config, key=f"figure-{name}-{chosen}")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            "The camera above the figure saves", kinds, default=kinds[0], key="figure-kind", required=True
        )
        own = f"{session.sample}-{name}".lower().replace(", ", "-").replace(" ", "-")
        save_html(makers[name](caption, False), own, "Save HTML", "figure-html")


def save_html(figure: Any, name: str, label: str, key: str) -> None:
    """The button that saves a figure as a file; it is made when the button is pressed."""
    st.download_button(
        label,
        lambda: figure.to_html(),
        file_name=f"{name}.html",
        mime="text/html",
        key=key,
        on_click="ignore",
        help="One file that works without a network.",
    )


def figures_of(session: Session) -> dict[str, Maker]:
    """What can be saved from here: name to a function of caption and theme."""
    variant = session.bench.compress(session.recipe)
    found: dict[str, Maker] = {}
    for position, step in enumerate(session.recipe):
        maker = _step_figure(session, position, step)
        if maker is not None:
            found[f"Step {position + 1}, {step.label.lower()}"] = maker
    names = list(variant.forms)
    matrix = session.trail.matrix if session.trail.matrix in names else names[len(names) // 2]
    found["History"] = lambda caption, dark: _history(session, caption, dark)
    found["What is left"] = lambda caption, dark: layers_figure(variant.size.kept, caption=caption, dark=dark)
    found["One matrix"] = lambda caption, dark: matrix_figure(
        variant.forms[matrix], name=matrix, caption=caption, dark=dark
    )
    found["Bytes"] = lambda caption, dark: bytes_figure(
        variant.storage.entries, header_bytes=variant.storage.header_bytes, caption=caption, dark=dark
    )
    return found


def _history(session: Session, caption: str, dark: bool) -> Any:
    dots = visited(session)
    visits = [_visit(dot) for dot in dots]
    now = next((place for place, dot in enumerate(dots[1:]) if dot.current), None)
    return history_figure(
        visits[1:], dense=visits[0], current=now, primary=session.bench.subject.primary, caption=caption, dark=dark
    )


def _visit(dot: Dot) -> Visit:
    low, high = (None, None) if dot.quality is None else (float(dot.quality.low), float(dot.quality.high))
    return Visit(dot.size_bytes, dot.value, dot.name, low, high, dot.partial)


def _step_figure(session: Session, position: int, step: Step) -> Maker | None:
    dense = session.dense.quality
    known: dict[str, Any] = {"dense": None if dense is None else dense.value, "primary": session.bench.subject.primary}
    held = session.trail.curves.get(session.trail.now.ids[position])
    points = [] if held is None else list(held[1].points)
    field = None if held is None else held[1].field
    if isinstance(step, Prune) and step.pattern != "n:m" and not (step.scope == "matrix" and step.threshold is None):
        scores = session.bench.scores(session.recipe, position)
        threshold = step.threshold if step.threshold is not None else scores.threshold_at(step.sparsity or 0.0)
        curve = points if field == "threshold" else []
        return lambda caption, dark: threshold_figure(
            scores.histogram(),
            threshold,
            removed=scores.count_below(threshold),
            total=scores.total,
            curve=curve,
            caption=caption,
            dark=dark,
            **known,
        )
    if isinstance(step, LowRank):
        spectrum = session.bench.spectrum(shown_matrix(session, step), session.recipe, position)
        rank = step.rank if step.rank is not None else spectrum.rank_for(step.energy or 1.0)
        curve = points if field == "rank" else []
        return lambda caption, dark: spectrum_figure(
            spectrum, min(rank, len(spectrum.values)), curve=curve, caption=caption, dark=dark, **known
        )
    return None
