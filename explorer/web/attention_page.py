"""The Attention page: what the model looks at, head by head, before and after compression; heads edited live."""

from __future__ import annotations

import streamlit as st

from explorer.web import headline, markup
from explorer.web.attention_edits import edit_steps, slices_card, work_card
from explorer.web.attention_example import example_card
from explorer.web.attention_figures import map_card
from explorer.web.attention_heads import head_card, heads_card, note_html
from explorer.web.compress_page import POLL
from explorer.web.history import history_card
from explorer.web.look import looked
from explorer.web.parts import polled, safely
from explorer.web.state import QUICK, Session, act, current, part, run_again, samples, write_link


@st.fragment(key="head")
@safely
def numbers() -> None:
    """The numbers, as on the Compress page; they poll while something is being measured."""
    part("head")
    session = current()
    session.job.wait(QUICK)
    session.polling["head"] = headline.busy(session)
    polled(_numbers, POLL if session.polling["head"] else None)


@safely
def _numbers() -> None:
    session = current()
    headline.numbers(session)
    if session.polling["head"] and not headline.busy(session):
        run_again(session)


@st.fragment(key="look")
@safely
def look() -> None:
    """The example and all heads, then one head, then what is edited."""
    part("look")
    session = current()
    if not len(session.bench.attention_sites):
        _nothing(session)
        return
    found = looked(session)
    left, right = st.columns([1, 1.35], gap="small")
    with left:
        example_card(session, found)
        slices_card(session)
    with right:
        heads_card(session, found)
    head_card(session, found)
    map_card(session, found)
    edit_steps(session)
    work_card(session, found)
    write_link(session)


def _nothing(session: Session) -> None:
    sites = session.bench.attention_sites
    why = "".join(f" {name}: {reason}." for name, reason in sites.unavailable[:3])
    words = f"{session.bench.subject.title} has no attention that could be seen.{why} Choose a model that attends:"
    st.html(f'<div class="ce-empty"><b>No attention here</b>{markup.quiet(words)}</div>')
    with st.container(horizontal=True, horizontal_alignment="center", gap="small"):
        for name in samples():
            if name not in (session.sample, "digits-lenet", "digits-cnn"):
                st.button(name, key=f"go-{name}", on_click=act, args=(Session.choose, name))


@st.fragment(key="past")
@safely
def past() -> None:
    """Where the session has been; a click brings a recipe back."""
    part("past")
    history_card(current())


@st.fragment(key="note")
@safely
def note() -> None:
    """What attention does and does not explain."""
    part("note")
    st.html(note_html())
