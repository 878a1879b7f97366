"""The sidebar: where one is, this variant in a few numbers, undo and ways to take the recipe along."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from explorer.figures.words import UNKNOWN, metric_label, metric_text, ratio_text, share_text, size_text
from explorer.web import markup
from explorer.web.headline import latest
from explorer.web.parts import safely
from explorer.web.state import QUICK, Session, act, current, part, samples


@st.fragment(key="side")
@safely
def side(pages: Sequence[Any], here: Any) -> None:
    """Pages, sample, this variant's numbers, undo and redo, link, YAML, Python."""
    part("side")
    session = current()
    with st.container(key="pages", gap="xsmall"):
        for page in pages:  # without the state: a link that is not drawn anew yet would bring an old recipe back
            with st.container(key=f"page-{page.title.lower()}{'-here' if page == here else ''}"):
                st.page_link(page, width="stretch")
    session.job.wait(QUICK)  # drawn before the headline: it shows the same numbers as that
    _sample(session)
    _numbers(session)
    left, right = st.columns(2)
    left.button(
        "Undo",
        key="undo",
        icon=":material/undo:",
        on_click=act,
        args=(Session.undo,),
        disabled=not session.trail.past,
        width="stretch",
        help="Back to the recipe before the last move.",
    )
    right.button(
        "Redo",
        key="redo",
        icon=":material/redo:",
        on_click=act,
        args=(Session.redo,),
        disabled=not session.trail.future,
        width="stretch",
        help="Forward again after an undo.",
    )
    _take_along(session)


def _sample(session: Session) -> None:
    st.selectbox(
        "Model",
        samples(),
        key=session.control("sample", session.sample),
        on_change=act,
        args=(_choose,),
        help="A bundled sample. What you did with the other ones stays.",
    )
    lengths = {name: session.bench.subject.length(name) for name in ("tune", "test")}
    tune = "–" if lengths["tune"] is None else f"{lengths['tune']:,}"
    opened, tried = session.bench.sealed_words.split(", ")
    pairs = [("held out, for tuning", tune), ("sealed test", opened if lengths["test"] else "none")]
    st.html(markup.facts([*pairs, ("recipes tried", tried.split()[0])]))


def _numbers(session: Session) -> None:
    quality, old = latest(session)
    size = session.bench.compress(session.recipe).size
    primary = session.bench.subject.primary
    name = metric_label(primary).lower()
    pairs = [
        (name, UNKNOWN if quality is None else metric_text(primary, quality.value)),
        ("size", f"{size_text(size.bytes)} · {ratio_text(size.ratio)}"),
        ("sparsity", share_text(size.sparsity)),
    ]
    st.html(markup.title("This variant") + markup.facts(pairs, old=(name,) if old else ()))
    st.html(f'<div class="ce-recipe">{escape(session.recipe.sentence())}</div>')


def _choose(session: Session) -> None:
    session.choose(session.taken("sample"))


def _take_along(session: Session) -> None:
    with st.popover(
        "Take along",
        icon=":material/share:",
        width="stretch",
        help="The link, the Python lines or the YAML file of this recipe.",
    ):
        st.caption("Copy link: it opens this very state.")
        st.code(_link(), language=None, wrap_lines=True)
        st.caption("Copy as Python")
        st.code(_python(session), language="python")
        st.download_button(
            "Download YAML",
            session.recipe.to_yaml(),
            file_name=f"{session.sample}.yaml",
            mime="text/yaml",
            key="download-yaml",
            on_click="ignore",
        )


def _python(session: Session) -> str:
    load = f'import explorer as ex\n\nwb = ex.load("{session.sample}")'
    return f"{load}\nv = wb.compress({session.recipe.to_python()})\nprint(v.report())"


def _link() -> str:
    address = (st.context.url or "").split("?")[0]
    return f"{address}?{urlencode(current().here())}"
