"""Edits of attention on the page: the steps with their knobs, whom they fail, and what the edit would save."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from explorer.evaluation.slices import Slice, by_slice
from explorer.figures.attention_edit import edit_figure, work_figure
from explorer.figures.template import CONFIG
from explorer.figures.words import change_text, metric_label, metric_text
from explorer.names import EDITS
from explorer.recipe import Recipe
from explorer.steps import EditAttention
from explorer.web import markup
from explorer.web.headline import latest
from explorer.web.knobs import step_cards
from explorer.web.look import Looked, look_of
from explorer.web.results import is_dark
from explorer.web.state import Session, act, changes_nothing


def edit_steps(session: Session) -> None:
    """Draw the steps that edit attention, and the row that adds one."""
    step_cards(session, EditAttention)
    with st.container(key="card-add-edit", horizontal=True, vertical_alignment="center", gap="small"):
        st.html('<span class="ce-quiet">Edit all heads</span>', width="content")
        for edit in ("temperature", "top-k", "window", "low-rank", "linear", "uniform"):
            entry = EDITS[edit]
            key = f"add-edit-{edit}"
            st.button(entry.label, key=key, icon=":material/add:", on_click=act, args=(add, edit), help=entry.help)
        with st.popover("More", help="All edits that there are."):
            for entry in EDITS:
                key = f"add-more-{entry.name}"
                st.button(entry.label, key=key, on_click=act, args=(add, entry.name), help=entry.help, width="stretch")


def add(session: Session, edit: str) -> None:
    """Append an edit of all heads, with its usual amount, and open it."""
    kept = Recipe() if changes_nothing(session.recipe) else session.recipe
    recipe = Recipe([*kept, EditAttention(edit=edit)])
    session.go(recipe, session.ids_for(recipe) if kept is session.recipe else None)
    session.trail.open_step = session.trail.now.ids[-1]


def slices_card(session: Session) -> None:
    """Draw how the groups of examples fare: whom the change hits."""
    slices = session.bench.subject.split("tune").slices
    if not slices:
        return
    with st.container(key="card-slices"):
        st.html(markup.title("Whom it hits", _whom(session)))
        quality, old = latest(session)
        dense = session.dense.quality
        if quality is None or dense is None:
            st.html('<div class="ce-empty">measuring</div>')
            return
        found = by_slice(dense, quality, slices)
        st.html(f'<div class="{"ce-old" if old else ""}">{slices_html(found, quality.primary)}</div>')


def _whom(session: Session) -> str:
    return f"{metric_label(session.bench.subject.primary).lower()} in groups of the tune split"


def slices_html(found: list[Slice], primary: str) -> str:
    """A table of groups; a loss whose interval excludes zero is red."""
    rows = []
    for group in found:
        change = group.change
        low, high = (change_text(primary, end).removesuffix(" points") for end in (change.low, change.high))
        kind = "loss" if change.is_loss else "gain" if change.low > 0 else ""
        delta = "–" if not change.delta and not change.broken else change_text(primary, change.delta)
        rows.append(
            f'<tr><td class="left">{escape(group.name)}</td><td>{group.examples:,}</td>'
            f"<td>{metric_text(primary, group.before)}</td><td>{metric_text(primary, group.after)}</td>"
            f'<td class="{kind}" title="95 %: {escape(low)} to {escape(high)}">{escape(delta)}</td></tr>'
        )
    return markup.table(("group", "examples", "dense", "variant", "change"), rows)


def work_card(session: Session, found: Looked) -> None:
    """Draw what the last edit would save, as the sequence grows."""
    edits = [edit for edit in session.bench.edits(session.recipe) if not edit.site.is_gate]
    last = [edit for edit in edits if edit.step == edits[-1].step]
    if not last:
        return
    look = look_of(session)
    with st.container(key="card-work-of-edit"):
        st.html(markup.title("What the edit does to one row, and what it would save", last[0].step.sentence()))
        options: dict[str, Any] = {"dark": is_dark()}
        left, right = st.columns(2)
        if look.layer in found.dense.layers and look.layer in found.variant.layers:
            with left:
                figure = edit_figure(found.dense, found.variant, look.layer, look.head, query=look.query, **options)
                st.plotly_chart(figure, theme=None, config=CONFIG, key="edit-row")
        counted = [edit for edit in last if edit.site.kind == "self"]
        with right:
            if counted:
                edit = next((edit for edit in counted if edit.site.name == look.layer), counted[0])
                figure = work_figure(edit, **options)
                st.plotly_chart(figure, theme=None, config=CONFIG, key="edit-work")
            else:
                st.html(markup.quiet("What it would save is counted for self-attention alone."))
