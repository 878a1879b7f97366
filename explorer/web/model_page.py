"""The Model page: what is loaded, its metrics, its matrices, the weights of any of them, and its data."""

from __future__ import annotations

from html import escape

import streamlit as st

from explorer.figures.distribution import distribution_figure
from explorer.figures.template import CONFIG
from explorer.figures.words import count_text, counted
from explorer.web import markup, model_view
from explorer.web.looks import faces_of
from explorer.web.parts import polled, safely
from explorer.web.results import is_dark
from explorer.web.state import Session, act, changes_nothing, current, part, run_again
from explorer.web.workbenches import workbench

PREVIEW = {"image": 20, "text": 12, "image+text": 16, "sequence": 12, "table": 10, "story": 4}
"""How many examples the preview shows, by the kind of input."""
SPLITS = {
    "tune": "Held out: what every live number is measured on.",
    "calibration": "What methods that look at data may see.",
    "training": "What the model learnt from.",
}
POLL = 0.3


@st.fragment(key="model")
@safely
def overview() -> None:
    """What the model is, and how good it is."""
    part("model")
    session = current()
    left, right = st.columns([1.5, 1], gap="small")
    with left, st.container(key="card-about"):
        _about(session)
    with right, st.container(key="card-metrics"):
        session.polling["metrics"] = not _measured(session)
        polled(_metrics, POLL if session.polling["metrics"] else None)


def _about(session: Session) -> None:
    subject = session.bench.subject
    st.html(f'<p class="ce-title big">{escape(subject.title)}</p>')
    if subject.card is not None:
        st.markdown(subject.card.about)
        teaches = escape(" ".join(subject.card.teaches.split()))
        st.html(f'<div class="ce-teaches"><b>What it teaches</b> {teaches}</div>')
    st.html(model_view.facts_html(subject, session.bench.dense.size))


def _measured(session: Session) -> bool:
    return session.dense.finished and session.job.finished


@safely
def _metrics() -> None:
    session = current()
    dense = session.dense.quality
    st.html(markup.title("How good it is", "on the held-out tune split"))
    if session.dense.error is not None:
        st.html(markup.warning(str(session.dense.error)))
    elif dense is None:
        st.html('<div class="ce-empty">measuring</div>')
    else:
        st.html(model_view.primary_html(dense))
        st.html(model_view.metrics_html(dense, session.job.quality, not changes_nothing(session.recipe)))
    if session.polling["metrics"] and _measured(session):
        run_again(session)


@st.fragment(key="architecture")
@safely
def architecture() -> None:
    """The table of all that the file holds: weight matrices and the rest, and what cannot be compressed."""
    part("architecture")
    session = current()
    matrices = session.bench.matrices()
    weights = count_text(sum(matrix.count for matrix in matrices))
    with st.container(key="card-architecture"):
        words = (
            f"{counted(len(matrices), 'matrix', 'matrices')} with {weights} weights, on which steps act, and the rest"
        )
        st.html(markup.title("Architecture", words))
        st.html(model_view.architecture_html(session.bench))
        left_out = matrices.not_compressible
        if left_out:
            with st.expander(f"Not compressible: {len(left_out)}"):
                st.html(markup.table(("Name", "Why"), [markup.row(pair, left=2) for pair in left_out], left=2))


@st.fragment(key="weights")
@safely
def weights() -> None:
    """The distribution of the weights of one matrix, dense and as the variant runs it."""
    part("weights")
    session = current()
    variant = session.bench.compress(session.recipe)
    names = session.bench.matrices().names
    with st.container(key="card-weights"):
        chosen = session.trail.matrix if session.trail.matrix in names else names[0]
        st.selectbox(
            "Weights of",
            names,
            key=session.control("weights-choice", chosen),
            on_change=act,
            args=(_choose_matrix,),
            help="Any weight matrix of the model; the choice also holds on the Compress page.",
        )
        before, after = session.bench.dense.forms[chosen], variant.forms[chosen]
        figure = distribution_figure(
            before.decode(),
            name=chosen,
            title="",
            variant=None if after is before else after.decode(),
            caption=f"{session.sample}: {session.recipe.sentence()}",
            dark=is_dark(),
            height=360,
        )
        st.plotly_chart(figure, theme=None, config=CONFIG, key="weights-figure")


def _choose_matrix(session: Session) -> None:
    session.trail.matrix = session.taken("weights-choice")


@st.fragment(key="data")
@safely
def data() -> None:
    """A few examples of a split. The test split stays sealed."""
    part("data")
    session = current()
    subject = session.bench.subject
    with st.container(key="card-data"):
        st.html(markup.title("Its data"))
        known = [name for name in SPLITS if subject.has(name)]
        chosen = st.segmented_control(
            "Split",
            known,
            default=known[0],
            key=f"split-{session.sample}",
            required=True,
            label_visibility="collapsed",
        )
        split = str(chosen or known[0])
        st.html(markup.quiet(SPLITS[split]))
        st.html(_preview(session.sample, split))
        sealed = "The test split is sealed and not shown." if subject.has("test") else "There is no test split."
        note = "" if subject.card is None else str(subject.card.splits.get("split_note", ""))
        st.html(markup.quiet(f"{sealed} {note}"))


@st.cache_resource(show_spinner=False, max_entries=40)
def _preview(sample: str, split: str) -> str:
    """The first examples of a split with their targets, as HTML (they never change)."""
    subject = workbench(sample).subject
    count = min(PREVIEW.get(subject.input, 8), len(subject.split(split)))
    return model_view.examples_html(faces_of(subject, range(count), split=split, opening=False))
