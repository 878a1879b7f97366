"""Gates on the page: limits that the variant has to keep, each answered pass, fail or undecided."""

from __future__ import annotations

from typing import Any

import streamlit as st

from explorer.errors import ExplorerError
from explorer.figures.gates import gates_html
from explorer.figures.palette import DARK, LIGHT
from explorer.gates import judge
from explorer.limits import BY_ANSWER, Limits
from explorer.web import markup
from explorer.web.headline import dense_quality
from explorer.web.results import is_dark
from explorer.web.state import Session, act, changes_nothing

FIELDS = {
    "max_loss": ("Most loss, points", "Of the headline metric against dense, with 95 % confidence.", 0.1, 0.01),
    "max_class_loss": ("Class loss, points", "At most so much of the right answers of any single class.", 0.5, 0.01),
    "min_agreement": ("Agreement, %", "At least so often both models give the same answer.", 0.5, 0.01),
    "max_bytes": ("Largest file, kB", "The length of the file, exactly.", 10.0, 1000.0),
}
"""Each limit: the label of its field, its help, its step, and what one of the field is in the limit's own unit."""


def gates_card(session: Session) -> None:
    """Draw the fields and, as soon as both models are measured, the verdicts."""
    with st.container(key="card-gates"):
        st.html(markup.title("Gates", "limits that this variant has to keep; an empty field is no limit"))
        offered = [name for name in FIELDS if _means_something(name, session)]
        for column, name in zip(st.columns(len(offered), vertical_alignment="bottom"), offered, strict=True):
            label, words, step, _ = FIELDS[name]
            own = f"gate-{name}"
            with column:
                st.number_input(
                    label,
                    min_value=0.0,
                    step=step,
                    format="%.4g",
                    placeholder="none",
                    key=session.control(own, session.gates.get(name)),
                    on_change=act,
                    args=(set_gate, name),
                    help=words,
                )
        st.html(_verdicts(session))


def set_gate(session: Session, name: str) -> None:
    """A limit was typed, or emptied."""
    value = session.taken(f"gate-{name}")
    asked = {**session.gates, name: value}
    _limits({given: amount for given, amount in asked.items() if amount is not None})  # raises for what cannot be
    session.gates = asked


def _means_something(name: str, session: Session) -> bool:
    """Whether the task of the sample has what a limit is about."""
    return name not in BY_ANSWER or session.bench.subject.task in BY_ANSWER[name]


def _limits(gates: dict[str, float]) -> Limits | None:
    if not gates:
        return None
    own: dict[str, Any] = {name: amount * FIELDS[name][3] for name, amount in gates.items()}
    if "max_bytes" in own:
        own["max_bytes"] = round(own["max_bytes"])
    return Limits.of(**own)


def _verdicts(session: Session) -> str:
    given = {
        name: amount for name, amount in session.gates.items() if amount is not None and _means_something(name, session)
    }
    dense, quality = dense_quality(session), session.job.quality
    if not given:
        return markup.quiet('For example: at most 0.5 points of loss and 100 kB. The same as "explorer check" says.')
    if dense is None or quality is None or not (dense.complete and quality.complete):
        return markup.quiet("Measuring: verdicts come when all examples are seen.")
    limits = _limits(given)
    assert limits is not None
    size = session.bench.compress(session.recipe).size.bytes
    try:
        subject = session.bench.subject
        checks = judge(dense, quality, size, limits, subject.name, session.recipe.sentence(), subject.classes)
    except ExplorerError as problem:
        return markup.warning(str(problem))
    same = " The variant is the dense model." if changes_nothing(session.recipe) else ""
    return str(gates_html(checks, DARK if is_dark() else LIGHT)) + markup.quiet(f"Measured {checks.on}.{same}")
