"""The Attribution page: what an answer rests on, for both models and their difference, and which method to believe."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import numpy as np
import streamlit as st
from torch import Tensor

from explorer.attribution.faithfulness import Faithfulness
from explorer.attribution.result import Attributions, PartMap
from explorer.figures.pictures import picture_address
from explorer.figures.words import counted
from explorer.names import METHODS
from explorer.web import markup
from explorer.web.attention_example import example_card
from explorer.web.attention_heads import MOST_FEATURES, places_component
from explorer.web.look import look_of, seen
from explorer.web.parts import polled, safely
from explorer.web.state import QUICK, Session, act, changes_nothing, current, part, run_again
from explorer.web.workbenches import Background

POLL = 0.3
KEPT = 24
FAITHFUL_EXAMPLES = 64
MEASURES = {
    "deletion": "deletion",
    "insertion": "insertion",
    "comprehensiveness": "comprehensiveness",
    "sufficiency": "sufficiency",
    "precision": "precision",
    "average_precision": "average precision",
}
"""Columns of the table of methods: which measures, and their names."""


def wanted(session: Session) -> dict[str, Any]:
    """What is asked of the method, as keyword arguments of `v.attribute`."""
    wishes, subject = session.trail.scan_wishes, session.bench.subject
    found: dict[str, Any] = {"method": wishes.get("why-method") or None}
    if wishes.get("why-target") not in (None, ""):
        found["target"] = int(wishes["why-target"])
    if subject.heads:
        names = [head.name for head in subject.heads]
        found["head"] = wishes.get("why-head") if wishes.get("why-head") in names else names[0]
    if subject.task in ("sequence", "language-modeling"):
        found["position"] = int(wishes.get("why-position", 0 if subject.task == "sequence" else -1))
    return found


def asked(session: Session) -> tuple[Background, Background]:
    """The attributions of dense and variant at the example that is chosen, begun where they are not yet."""
    look, bench, wishes = look_of(session), session.bench, wanted(session)
    inputs = seen(session).inputs
    found = []
    for recipe in ("", session.recipe.active().to_url()):
        variant = bench.dense if not recipe else bench.compress(session.recipe)
        key = (id(variant.outfit), "own" if look.own is not None else look.index, id(look.own), str(wishes))
        kept: dict[Any, Background] = session.trail.reasons
        if key not in kept:
            kept[key] = Background(partial(_attribute, variant, inputs, wishes))
            while len(kept) > KEPT:
                kept.pop(next(iter(kept)))
        found.append(kept[key])
    return found[0], found[1]


def _attribute(variant: Any, inputs: Any, wishes: dict[str, Any]) -> Attributions:
    found: Attributions = variant.attribute(inputs, progress=False, **wishes)
    return found


# -- the answer and what it rests on -----------------------------------------------------------------------------------


@st.fragment(key="reasons")
@safely
def reasons() -> None:
    """The example, what both say, and on what it rests."""
    part("reasons")
    session = current()
    found = seen(session)
    left, right = st.columns([1, 1.35], gap="small")
    with left:
        example_card(session, found)
    with right, st.container(key="card-method"):
        _settings(session)
        jobs = asked(session)
        for job in jobs:
            job.wait(QUICK)
        running = not all(job.finished for job in jobs)
        session.polling["reasons"] = running
        polled(_reasons, POLL if running else None)


def _settings(session: Session) -> None:
    wishes, subject = session.trail.scan_wishes, session.bench.subject
    columns = st.columns([1.5, 1, 1], vertical_alignment="bottom")
    names = ["", *METHODS.names()]
    default = "as it is usual here"
    with columns[0]:
        st.selectbox(
            "Method", names, format_func=lambda name: default if not name else METHODS[name].label,
            key=session.control("why-method", wishes.get("why-method", "")), on_change=act, args=(_wish, "why-method"),
            help=" ".join(f"{entry.label}: {entry.help}" for entry in METHODS),
        )  # fmt: skip
    with columns[1]:
        classes = list(range(len(subject.classes))) if subject.task == "classification" else []
        options = ["", *classes]
        st.selectbox(
            "For the answer", options, format_func=lambda at: "predicted" if at == "" else subject.classes[int(at)],
            key=session.control("why-target", wishes.get("why-target", "")), on_change=act,
            args=(_wish, "why-target"), disabled=not classes, help="Which output is explained.",
        )  # fmt: skip
    with columns[2]:
        if subject.heads:
            heads = [head.name for head in subject.heads]
            key = session.control("why-head", wishes.get("why-head", heads[0]))
            help = "Which of its answers is explained."
            st.selectbox("Task", heads, key=key, on_change=act, args=(_wish, "why-head"), help=help)
        elif subject.task in ("sequence", "language-modeling"):
            start = 0 if subject.task == "sequence" else -1
            value = int(wishes.get("why-position", start))
            st.number_input("Position", -1, 200, key=session.control("why-position", value), on_change=act,
                            args=(_wish, "why-position"), help="Which sign of the answer, from 0; of a story the word "
                            "after this position, -1 after the last.")  # fmt: skip


@safely
def _reasons() -> None:
    session = current()
    before, after = asked(session)
    same = changes_nothing(session.recipe)
    problem = before.error or after.error
    if problem is not None:
        st.html(markup.warning(str(problem)))
    elif before.value is None or after.value is None:
        st.html('<div class="ce-empty">explaining</div>')
    else:
        _shown(session, before.value, after.value, same)
    if session.polling["reasons"] and before.finished and after.finished:
        session.polling["reasons"] = False
        run_again(session)


def _shown(session: Session, before: Attributions, after: Attributions, same: bool) -> None:
    st.html(markup.quiet(told(after)))
    for name, found in after.parts.items():
        if len(after.parts) > 1:
            st.html(markup.title(name))
        data = panels_data(session, before[name], found, same)
        places_component(f"why-{name}", data, partial(act, _nowhere))
    st.html(
        markup.quiet(
            "Teal speaks for the answer, rust against it; one scale for both. The difference is green where it grew."
        )
    )


def told(found: Attributions) -> str:
    """Method, baseline, what it explains, and how exact the numbers are."""
    after, start = float(found.scores[0][0]), float(found.scores[1][0])
    words = f"{found.label}; baseline: {found.baseline}; explains {found.target_words[0]}, whose logit goes from "
    words += f"{start:.2f} at the baseline to {after:.2f}"
    if found.delta is not None:
        words += f"; what the values miss of that: {float(found.delta[0]):+.2g}"
    errors = [part.error for part in found.parts.values() if part.error is not None]
    if errors:
        words += f"; standard error up to {max(float(error[0].max()) for error in errors):.2g}"
    return f"{words}. {found.note}".strip()


def panels_data(session: Session, before: PartMap, after: PartMap, same: bool) -> dict[str, Any]:
    """Dense, variant and difference on the input, zero without colour, one scale for both models."""
    axis = after.axis
    labels = list(axis.labels[0])
    values = [_features(before), _features(after)]
    shown = [at for at, label in enumerate(labels) if label != ""] or list(range(len(labels)))
    reach = max((float(side[shown].abs().max()) for side in values), default=1.0) or 1.0
    sides = [("dense", "dense", values[0], reach)]
    if not same:
        change = values[1] - values[0]
        sides += [("this variant", "variant", values[1], reach)]
        sides += [("difference", "difference", change, float(change[shown].abs().max()) or 1.0)]
    panels = [
        {
            "title": title,
            "kind": kind,
            "signed": True,
            "note": f"full colour ±{scale:.2g}",
            "values": [f"{float(value):+.3f}" for value in side],
            "shades": [round(float(value) / scale, 4) for value in side],
        }
        for title, kind, side, scale in sides
    ]
    grid = axis.grid
    picture = ""
    if after.kind == "image":
        inputs = seen(session).inputs
        picture = picture_address(np.asarray(session.bench.subject.picture(inputs)[0], dtype=np.float32))
    order = sorted(shown, key=lambda at: -max(abs(float(side[at])) for side in values))[:MOST_FEATURES]
    mode = "grid" if grid is not None else "bars" if after.kind in ("table", "numbers") else "words"
    return {
        "mode": mode,
        "labels": labels,
        "panels": panels,
        "chosen": None,
        "picture": picture,
        "rows": grid[0] if grid else 1,
        "columns": grid[1] if grid else 1,
        "first": 0,
        "order": order,
    }


def _features(found: PartMap) -> Tensor:
    return found.features[0].detach().float().cpu().flatten()


def _nowhere(session: Session) -> None:
    """A place was clicked: there is nothing more to see there than what stands beside it."""
    for name in ("why-image", "why-words", "why-features"):
        session.event(name, "chosen")


def _wish(session: Session, name: str) -> None:
    session.trail.scan_wishes[name] = session.taken(name)


# -- which method to believe -------------------------------------------------------------------------------------------


@st.fragment(key="believe")
@safely
def believe() -> None:
    """Every method beside random numbers, on this variant."""
    part("believe")
    session = current()
    job = session.trail.believed
    mine = job is not None and job[0] == session.recipe.active()
    running = job is not None and not job[1].finished
    with st.container(key="card-believe"):
        left, right = st.columns([3, 1], vertical_alignment="center")
        words = f"on {FAITHFUL_EXAMPLES} tune examples, each beside random numbers"
        left.html(markup.title("Which method to believe on this model", words))
        label = "Measuring" if running else "Again" if mine else "Measure"
        help = (
            "Takes the places away that a method names first (deletion) or adds them first (insertion), and asks the "
        )
        help += "model again; slow methods are left out."
        right.button(
            label, key="believe-start", on_click=act, args=(measure,), disabled=running, help=help, width="stretch"
        )
        session.polling["believe"] = running
        polled(_believed, POLL if running else None)


@safely
def _believed() -> None:
    session = current()
    held = session.trail.believed
    if held is None:
        st.html(markup.quiet("Not measured yet. It takes up to a minute."))
    elif held[1].error is not None:
        st.html(markup.warning(str(held[1].error)))
    elif held[1].value is None:
        st.html(markup.quiet("measuring"))
    else:
        if held[0] != session.recipe.active():
            st.html(markup.quiet(f"Measured for another recipe: {held[0].sentence()}."))
        st.html(f'<div class="ce-teaches">{escape(held[1].value.sentence())}.</div>')
        st.html(faithfulness_html(held[1].value))
    if session.polling["believe"] and (held is None or held[1].finished):
        session.polling["believe"] = False
        run_again(session)


def faithfulness_html(found: Faithfulness) -> str:
    """A row for each method, the most faithful first; means with their standard errors."""
    shown = [name for name in MEASURES if name in found.measures]
    rows = []
    for name in [*found.ranking(), "random"]:
        method = found.methods[name]
        cells = []
        for measure in shown:
            mean, error = method.mean(measure)
            cells.append(f"<td>{mean:.3f} <span class='ce-quiet'>± {error:.3f}</span></td>")
        label = METHODS[name].label
        rows.append(f'<tr><td class="left">{escape(label)}</td>{"".join(cells)}</tr>')
    rows_of = markup.table(("method", *(MEASURES[name] for name in shown)), rows)
    left_out = "; ".join(f"{name}: {why}" for name, why in found.left_out)
    note = f"{counted(found.examples, 'example')}; {found.unit}; baseline: {found.baseline}."
    return rows_of + markup.quiet(f"{note} Left out: {left_out}." if left_out else note)


def measure(session: Session) -> None:
    """Start measuring all methods on the variant on screen."""
    wishes, recipe = wanted(session), session.recipe.active()
    variant = session.bench.compress(recipe)
    kept = {name: wishes[name] for name in ("head", "position") if name in wishes}
    session.trail.believed = (
        recipe,
        Background(lambda: variant.faithfulness(examples=FAITHFUL_EXAMPLES, progress=False, **kept)),
    )
