"""The Compress page, put together: numbers, examples, knobs on the left, what they did on the right."""

from __future__ import annotations

import streamlit as st

from explorer.web import headline, knobs, strip
from explorer.web import results as right_column
from explorer.web.gates_card import gates_card
from explorer.web.parts import polled, safely
from explorer.web.recovery_card import recovery_card
from explorer.web.state import QUICK, current, part, run_again, write_link
from explorer.web.step_chart import stop_other_curves

POLL = 0.15


@st.fragment(key="head")
@safely
def head() -> None:
    """The numbers and the strip; they poll while something is being measured."""
    part("head")
    session = current()
    session.job.wait(QUICK)
    session.polling["head"] = headline.busy(session)
    polled(_numbers, POLL if session.polling["head"] else None)


@safely
def _numbers() -> None:
    session = current()
    headline.numbers(session)
    strip.strip(session)
    if session.polling["head"] and not headline.busy(session):
        run_again(session)


@st.fragment(key="knobs")
@safely
def steps() -> None:
    """The recipe's steps."""
    part("knobs")
    session = current()
    knobs.step_cards(session)
    recovery_card(session)
    knobs.add_row(session)
    stop_other_curves(session)
    write_link(session)


@st.fragment(key="results")
@safely
def results() -> None:
    """The right column."""
    part("results")
    right_column.results(current())


@st.fragment(key="stored")
@safely
def stored() -> None:
    """Under the knobs."""
    part("stored")
    right_column.stored(current())
    gates_card(current())
