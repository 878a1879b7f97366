"""A sample beside its twin: the same task by another architecture, parameters, bytes, work and quality side by side."""

from __future__ import annotations

from html import escape

import streamlit as st

from explorer.evaluation.quality import Quality
from explorer.figures.words import count_text, large_text, metric_text, ratio_text, size_text
from explorer.web import markup
from explorer.web.parts import polled, safely
from explorer.web.state import Session, act, current, part, run_again
from explorer.web.workbenches import dense_job, workbench

POLL = 0.4


@st.fragment(key="twin")
@safely
def twin() -> None:
    """The card, for samples that have a twin; the twin is loaded and measured when it is asked for."""
    part("twin")
    session = current()
    card = session.bench.subject.card
    if card is None or not card.twin:
        return
    asked = session.trail.twin
    session.polling["twin"] = asked and not _measured(session, card.twin)
    with st.container(key="card-twin"):
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.html(markup.title(f"Beside its twin, {card.twin}", "both dense, on the same held-out examples"))
        if not asked:
            words = "Loads the other sample and measures both dense models."
            right.button("Measure", key="twin-start", on_click=act, args=(ask,), width="stretch", help=words)
            return
        polled(_table, POLL if session.polling["twin"] else None, card.twin)


def _measured(session: Session, name: str) -> bool:
    return session.dense.finished and dense_job(name).finished


@safely
def _table(name: str) -> None:
    session = current()
    st.html(twin_html(session, name))
    if session.polling["twin"] and _measured(session, name):
        session.polling["twin"] = False
        run_again(session)


def twin_html(session: Session, name: str) -> str:
    """A row for each of the two, and how many times smaller this one is (or larger)."""
    benches = (session.bench, workbench(name))
    qualities = (session.dense.quality, dense_job(name).quality)
    rows = []
    for bench, quality in zip(benches, qualities, strict=True):
        size, macs = bench.dense.size, bench.dense.cost.macs
        cells = (count_text(size.parameters), size_text(size.bytes_dense), large_text(macs, "MACs"), told(quality))
        rows.append(markup.row((bench.name, *cells)))
    first, second = (bench.dense for bench in benches)
    pairs = (
        (first.size.parameters, second.size.parameters),
        (first.size.bytes_dense, second.size.bytes_dense),
        (first.cost.macs, second.cost.macs),
    )
    ratios = [ratio_text(theirs / mine) for mine, theirs in pairs]
    rows.append(markup.row((f"{benches[0].name} beside it", *ratios, "")))
    return markup.table(("model", "parameters", "file", "work of one image", "quality"), rows)


def told(quality: Quality | None) -> str:
    """The headline metric, or each answer's own."""
    if quality is None or not quality.complete:
        return "measuring"
    if quality.by_head:
        return " · ".join(f"{escape(name)} {metric_text('accuracy', value)}" for name, value in quality.by_head.items())
    return metric_text(quality.primary, quality.value)


def ask(session: Session) -> None:
    """Measure the twin, too."""
    session.trail.twin = True
