"""The strip: the same few held-out examples under the numbers, with the answers that flipped ringed."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from explorer.figures.words import counted
from explorer.recipe import Recipe
from explorer.steps import Recover
from explorer.web.answers_view import answers_html
from explorer.web.changes_dialog import changes_button
from explorer.web.headline import latest
from explorer.web.looks import Views, faces_of
from explorer.web.state import Session, changes_nothing
from explorer.web.workbenches import workbench

TITLES = {
    "image": "The same {n} images, now",
    "text": "The same {n} sentences, now",
    "image+text": "The same {n} questions, now",
    "sequence": "The same {n} texts, now",
    "table": "The same {n} rows, now",
    "story": "The same story, written on by both",
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@st.cache_resource(show_spinner=False)
def views(sample: str) -> Views:
    """The strip's examples of a sample, ready for the page (they never change)."""
    subject = workbench(sample).subject
    return faces_of(subject, subject.strip)


def strip(session: Session) -> None:
    """Draw the strip card."""
    answers, old = _answers(session)
    look = views(session.sample)
    count = len(look.faces)
    title = TITLES.get(look.kind, "The same {n} examples, now").format(
        n=NUMBERS[count] if count < len(NUMBERS) else str(count)
    )
    with st.container(key="card-strip"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.html(f'<p class="ce-title">{title}</p>', width="stretch")
            st.html(f'<span class="ce-quiet">{escape(_changes(session))}</span>', width="content")
            if look.kind != "story":
                changes_button(session)
        body = answers_html(look, answers or (), session.dense.answers or (), _before_recovery(session))
        st.html(f'<div class="{"ce-old" if old else ""}">{body}</div>')


def _before_recovery(session: Session) -> Any:
    """The answers before the last step, where that was a recovery and they are known."""
    active = session.recipe.active()
    if not len(active) or not isinstance(active[len(active) - 1], Recover):
        return ()
    before = Recipe(active.steps[:-1])
    known = [job for recipe, job in session.trail.jobs.items() if recipe.active() == before and job.answers]
    return known[0].answers or () if known else ()


def _answers(session: Session) -> tuple[Any, bool]:
    """The answers to show, and whether they are old ones that wait for their successors."""
    answers = session.job.answers
    if answers is not None:
        session.trail.shown_answers = answers
        return answers, False
    return session.trail.shown_answers, True


def _changes(session: Session) -> str:
    """How many answers broke and how many were repaired, on the examples seen so far."""
    quality, old = latest(session)
    dense = session.dense.quality
    if changes_nothing(session.recipe):
        return "the dense model itself"
    if quality is None or dense is None or old or not dense.complete or quality.mistakes is None:
        return ""
    change = quality.against(dense)
    on = "" if quality.complete else f" on {quality.examples:,} of {quality.total:,}"
    return f"{counted(change.broken, 'answer')} broken, {change.repaired:,} repaired{on}"
