"""The steps of the recipe as cards with knobs, made from the fields of the steps themselves."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

import streamlit as st

from explorer.figures.pictures import pattern_address
from explorer.figures.words import share_text
from explorer.knobs import NEW_STEPS, idle_fields, is_shown, removed_by_groups
from explorer.names import PATTERNS
from explorer.recipe import STEPS, LowRank, Prune, Step
from explorer.steps import EditAttention, Recover
from explorer.web import markup, step_moves
from explorer.web.controls import control, help_of
from explorer.web.results import is_dark
from explorer.web.state import Session, act
from explorer.web.step_chart import DRAWN_FIELDS, step_chart

PLACED = (*DRAWN_FIELDS, "enabled", "pattern", "n", "m")
"""Fields that have a place of their own on the card."""
A_ROW = 3
"""So many controls stand side by side at most."""


def step_cards(session: Session, only: type[Step] = Step) -> None:
    """Draw one card a step (of a kind)."""
    trail = session.trail
    plan = session.bench.plan(session.recipe)
    for position, (step_id, step) in enumerate(zip(trail.now.ids, session.recipe, strict=True)):
        if not isinstance(step, only):
            continue
        with st.container(key=f"card-step-{step_id}"):
            is_open = trail.open_step == step_id
            _header(session, position, step_id, step, is_open)
            if is_open:
                _body(session, step_id, step)
                _skipped(plan, position)
            for warning in plan.warnings:  # last on the card: nothing above them jumps when they come and go
                if warning.step == position:
                    st.html(markup.warning(warning.text))
    if not len(session.recipe) and only is Step:
        with st.container(key="card-empty"):
            words = "This is the dense model. Add a step below: pruning is a good first one."
            st.html(f'<div class="ce-empty"><b>Nothing is changed yet</b>{words}</div>')


def add_row(session: Session) -> None:
    """The row that adds a step."""
    with st.container(key="card-add", horizontal=True, vertical_alignment="center", gap="small"):
        st.html('<span class="ce-quiet">Add a step</span>', width="content")
        for kind, new in NEW_STEPS.items():
            if isinstance(new, EditAttention) and not len(session.bench.attention_sites):
                continue
            words = STEPS[kind].help
            mark = ":material/add:"
            st.button(new.label, key=f"add-{kind}", icon=mark, on_click=act, args=(step_moves.add, kind), help=words)


def _header(session: Session, position: int, step_id: int, step: Step, is_open: bool) -> None:
    count = len(session.recipe)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"head-{step_id}"):
        off = "" if step.enabled else " <span class='ce-badge'>off</span>"
        words = "" if is_open else f"<small>{escape(step.sentence())}</small>"
        st.html(f'<p class="ce-title">{position + 1} · {escape(step.label)}{off}{words}</p>', width="stretch")
        if not is_open:
            _small("Open", step_id, step_moves.show, "Show the knobs of this step.")
        if count > 1:
            first, last = position == 0, position == count - 1
            _small("Up", step_id, step_moves.earlier, "Do this step earlier: order matters.", disabled=first)
            _small("Down", step_id, step_moves.later, "Do this step later: order matters.", disabled=last)
        _small("Remove", step_id, step_moves.remove, "Take this step out of the recipe.")
        own = f"on-{step_id}"
        key, words = session.control(own, step.enabled), help_of(step, "enabled")
        st.toggle("On", key=key, on_change=act, args=(step_moves.read, step_id, "enabled", own), help=words)


def _small(label: str, step_id: int, move: Any, words: str, disabled: bool = False) -> None:
    key = f"{label.lower()}-{step_id}"
    st.button(label, key=key, type="tertiary", disabled=disabled, on_click=act, args=(move, step_id), help=words)


def _body(session: Session, step_id: int, step: Step) -> None:
    if isinstance(step, Prune):
        _pattern_row(session, step_id, step)
    if not isinstance(step, (Recover, EditAttention)):
        step_chart(session, step_id, step)
    useless = idle_fields(step)
    placed = PLACED if isinstance(step, (Prune, LowRank)) else ("enabled",)
    fields = [name for name in type(step).model_fields if name not in useless]
    names = [name for name in fields if name not in placed and is_shown(step, name)]
    names.sort(key=lambda name: name in ("layers", "own_heads", "gains"))
    while len(names) > A_ROW:  # the last row holds the layers and what is rare
        for column, name in zip(st.columns(A_ROW, vertical_alignment="bottom"), names[:A_ROW], strict=True):
            with column:
                control(session, step_id, step, name)
        names = names[A_ROW:]
    columns = st.columns([1] * (len(names) - 1) + [1.6, 0.75], vertical_alignment="bottom")
    for column, name in zip(columns, names, strict=False):
        with column:
            control(session, step_id, step, name)
    rare = [name for name in fields if not is_shown(step, name)]
    with columns[-1], st.popover("More", width="stretch", help="Options that are seldom needed."):
        for name in rare:
            control(session, step_id, step, name)


def _pattern_row(session: Session, step_id: int, step: Prune) -> None:
    left, right = st.columns([1, 1.15], vertical_alignment="center")
    with left:
        control(session, step_id, step, "pattern")
        if step.pattern == "n:m":
            first, second = st.columns(2)
            with first:
                control(session, step_id, step, "n")
            with second:
                control(session, step_id, step, "m")
    with right:
        picture = _picture(step.pattern, step.n or 2, step.m or 4, is_dark())
        words = escape(_pattern_help(session, step))
        st.html(f'<div class="ce-pattern"><img src="{escape(picture)}" alt=""><span>{words}</span></div>')


@cache
def _picture(pattern: str, n: int, m: int, dark: bool) -> str:
    return pattern_address(pattern, n=n, m=m, sparsity=0.5, dark=dark)


def _pattern_help(session: Session, step: Prune) -> str:
    if step.pattern != "n:m":
        return PATTERNS[step.pattern].help
    chosen = session.bench.matrices().select(step.layers, step.exclude)
    gone = share_text(removed_by_groups(chosen, step.n or 0, step.m or 1))
    return f"Keep {step.n} of every {step.m} neighbouring inputs: {gone} of the weights goes."


def _skipped(plan: Any, position: int) -> None:
    skipped = [entry for entry in plan.entries if entry.step == position and entry.skipped]
    if skipped:
        reasons = "; ".join(f"{entry.matrix}: {entry.skipped}" for entry in skipped[:6])
        more = f" and {len(skipped) - 6} more" if len(skipped) > 6 else ""
        st.html(f'<span class="ce-quiet" title="{escape(reasons)}">Left alone: {escape(reasons)}{more}</span>')
