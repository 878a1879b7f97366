"""Which heads matter, how far attention has moved, and gains that are found by search: guides for removing heads."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import streamlit as st

from explorer.drift import AttentionDrift, attention_drift
from explorer.errors import ExplorerError
from explorer.figures.attention_tuning import tuning_figure
from explorer.figures.template import CONFIG
from explorer.figures.words import change_text, metric_label
from explorer.recipe import Recipe
from explorer.search.heads import HeadRow, HeadTable
from explorer.steps import EditAttention
from explorer.web import markup
from explorer.web.layers_page import cells_table
from explorer.web.look import look_of
from explorer.web.parts import polled, safely
from explorer.web.results import is_dark
from explorer.web.state import Session, act, changes_nothing, current, part, run_again
from explorer.web.workbenches import Background

POLL = 0.4
BY = {
    "cost": "measured cost of switching off",
    "gradient": "gradient importance",
    "confidence": "confidence",
    "entropy": "entropy (most even first)",
}
METHODS = {"gradient": "gradient descent", "swarm": "particle swarm"}


def attends_in_rows(session: Session) -> bool:
    """Whether the chosen model has heads (gates alone have no rows to compare)."""
    return any(not site.is_gate for site in session.bench.attention_sites)


# -- drift -------------------------------------------------------------------------------------------------------------


@st.fragment(key="drift")
@safely
def drift() -> None:
    """How far the attention of this variant has moved, head by head, between noise and a random model."""
    part("drift")
    session = current()
    if not len(session.bench.attention_sites):
        return
    with st.container(key="card-drift"):
        left, right = st.columns([2.2, 0.8], vertical_alignment="center")
        left.html(markup.title("How far attention has moved", "from dense, on 128 tune examples"))
        held = session.trail.drift
        mine = held is not None and held[0] == session.recipe.active()
        running = mine and not held[1].finished
        words = "Compares the maps of both models, beside what a little noise on the inputs does (the floor) and what "
        words += "a model with shuffled weights does (the ceiling)."
        right.button(
            "Measuring" if running else "Again" if mine else "Measure",
            key="drift-start",
            on_click=act,
            args=(measure_drift,),
            disabled=running or changes_nothing(session.recipe),
            help=words,
            width="stretch",
        )
        session.polling["drift"] = running
        polled(_drift, POLL if running else None)


@safely
def _drift() -> None:
    session = current()
    held = session.trail.drift
    if changes_nothing(session.recipe):
        st.html(markup.quiet("Nothing is changed yet: there is nothing to compare."))
    elif held is None:
        st.html(markup.quiet("Not measured yet. It takes a few seconds."))
    else:
        recipe, job = held
        if job.error is not None:
            st.html(markup.warning(str(job.error)))
        elif not job.finished:
            st.html(markup.quiet("measuring"))
        else:
            if recipe != session.recipe.active():
                st.html(markup.quiet(f"Measured for another recipe: {recipe.sentence()}."))
            _drift_grid(job.value)
    if session.polling["drift"] and (held is None or held[1].finished):
        session.polling["drift"] = False
        run_again(session)


def _drift_grid(found: AttentionDrift) -> None:
    st.html(f'<div class="ce-teaches">{escape(found.sentence())}.</div>')
    data, places = drift_data(found)
    cells_table(data, "drift-cells", partial(act, _chosen, places))
    words = "Jensen-Shannon divergence, base 2: 0 the same, 1 no key in common; darker is nearer to a random model. "
    words += "A difference is not a loss: the numbers above say what it costs. Click a head to look at it."
    st.html(markup.quiet(words))


def drift_data(found: AttentionDrift) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    """What the grid shows, and the head of each cell in the order of their places."""
    places: list[tuple[str, int]] = []
    rows = []
    place = found.place()
    most = max(len(moved) for moved in found.change.values())
    for name, moved in found.change.items():
        cells: list[dict[str, Any]] = []
        flags = found.flags.get(name, ("",) * len(moved))
        for head, value in enumerate(moved.tolist()):
            low, high = float(found.floor[name][head]), float(found.ceiling[name][head])
            at = float(place[name][head])
            title = f"{name} head {head}: {value:.3f}; noise {low:.2g}, a random model {high:.2g}"
            title += f" ({flags[head]})" if flags[head] else ""
            text = "–" if value != value else f"{value:.3f}"
            depth = 0.0 if at != at else max(0.0, min(1.0, at))
            flag = f"{flags[head]} " if flags[head] else ""
            cells.append({"text": f"{flag}{text}", "title": title, "depth": -depth, "place": len(places)})
            places.append((name, head))
        floors = float(found.floor[name].nanmean()), float(found.ceiling[name].nanmean())
        bounds = f"{_small(floors[0])} … {_small(floors[1])}"
        rows.append({"name": name, "title": name, "bears": bounds, "cells": cells})
    return {"columns": ["layer", "noise … random", *(f"head {at}" for at in range(most))], "rows": rows}, places


def _small(value: float) -> str:
    return "–" if value != value else "<.001" if value < 0.001 else f"{value:.2f}"


def measure_drift(session: Session) -> None:
    """Start comparing the maps of the variant on screen with the dense ones."""
    bench, recipe = session.bench, session.recipe.active()
    variant = bench.compress(recipe)
    session.trail.drift = (recipe, Background(lambda: attention_drift(bench.dense, variant)))


def _chosen(session: Session, places: list[tuple[str, int]]) -> None:
    chosen = session.event("drift-cells", "chosen")
    if chosen is not None and 0 <= int(chosen["place"]) < len(places):
        look = look_of(session)
        look.layer, look.head = places[int(chosen["place"])]
        look.way = "head"


# -- the table of heads ------------------------------------------------------------------------------------------------


@st.fragment(key="heads-table")
@safely
def heads_table() -> None:
    """What every head is worth, by four measures, and the button that removes the least important."""
    part("heads-table")
    session = current()
    if not attends_in_rows(session):
        return
    job = session.trail.heads_job
    running = job is not None and not job.finished
    with st.container(key="card-heads-table"):
        left, right = st.columns([2.2, 0.8], vertical_alignment="center")
        left.html(markup.title("What each head is worth", "of this recipe"))
        if running:
            right.button("Stop", key="heads-stop", on_click=act, args=(stop_heads,), width="stretch",
                         help="Keep what is measured.")  # fmt: skip
        else:
            words = "Confidence and entropy on calibration examples, the gradient of the loss, and the cost of "
            words += "switching each head off, measured on tune."
            right.button("Measure", key="heads-start", on_click=act, args=(start_heads,), width="stretch", help=words)
        session.polling["heads-table"] = running
        polled(_heads_table, POLL if running else None)


@safely
def _heads_table() -> None:
    session = current()
    job = session.trail.heads_job
    table: HeadTable | None = None if job is None else job.table
    if job is None:
        st.html(markup.quiet("Not measured yet. It takes about as long as one evaluation for each head."))
    elif job.error is not None:
        st.html(markup.warning(str(job.error)))
    elif table is None:
        st.html(markup.quiet("measuring"))
    else:
        if not job.finished:
            known = sum(row.cost is not None for row in table.rows)
            st.progress(known / max(1, len(table.rows)), text=f"{known} of {len(table.rows)} heads")
        _table(session, table, whole=job.finished)
    if session.polling["heads-table"] and (job is None or job.finished):
        session.polling["heads-table"] = False
        run_again(session)


def _table(session: Session, table: HeadTable, whole: bool) -> None:
    if whole:
        st.html(f'<div class="ce-teaches">{escape(markup.sentence(table.sentence()))}</div>')
    wishes = session.trail.scan_wishes
    by = wishes.get("heads-by", "cost")
    st.html(heads_html(table, by if whole else "", session.bench.subject.primary))
    if not whole:
        return
    columns = st.columns([1.6, 1, 1.3], vertical_alignment="bottom")
    with columns[0]:
        st.selectbox("Least important by", list(BY), format_func=lambda name: BY[name],
                     key=session.control("heads-by", by), on_change=act, args=(_wish, "heads-by"),
                     help="What decides which heads go first.")  # fmt: skip
    with columns[1]:
        most = max(1, len(table.rows) - 1)
        key = session.control("heads-count", min(int(wishes.get("heads-count", 1)), most))
        help = "So many heads go; never all of them."
        st.number_input("How many", 1, most, key=key, on_change=act, args=(_wish, "heads-count"), help=help)
    with columns[2]:
        st.button("Remove these heads", key="heads-remove", on_click=act, args=(remove_least, table), width="stretch",
                  help="Adds the step that switches them off.")  # fmt: skip


def heads_html(table: HeadTable, by: str, primary: str) -> str:
    """The table; ranked, least important first, where `by` says how."""
    rows = list(table.ranked(by)) if by else list(table.rows)
    cells = []
    for row in rows:
        off = ' <span class="ce-badge">off</span>' if row.off else ""
        cells.append(
            f'<tr><td class="left">{escape(row.layer)}{off}</td><td>{row.head}</td><td>{_number(row.confidence)}</td>'
            f"<td>{_number(row.entropy)}</td><td>{_number(row.gradient, 4)}</td>{_cost(row, primary)}</tr>"
        )
    label = metric_label(primary).lower()
    head = ("layer", "head", "confidence", "entropy", "gradient", f"{label} when off", "95 %, points")
    return markup.table(head, cells, tall=len(cells) > 12)


def _number(value: float, digits: int = 2) -> str:
    return "–" if value != value else f"{value:.{digits}f}"


def _cost(row: HeadRow, primary: str) -> str:
    if row.cost is None or row.low is None or row.high is None:
        return '<td class="ce-quiet">·</td><td></td>'
    kind = "loss" if row.high < 0 else "gain" if row.low > 0 else ""
    low, high = (change_text(primary, end).removesuffix(" points") for end in (row.low, row.high))
    cost = change_text(primary, row.cost).removesuffix(" points")
    return f'<td class="{kind}">{escape(cost)}</td><td>{low} to {high}</td>'


def start_heads(session: Session) -> None:
    """Measure every head of the recipe on screen."""
    recipe = None if changes_nothing(session.recipe) else session.recipe
    session.trail.heads_job = session.bench.heads_job(recipe)


def stop_heads(session: Session) -> None:
    """Measure no further; what is there stays."""
    if session.trail.heads_job is not None:
        session.trail.heads_job.stop()


def remove_least(session: Session, table: HeadTable) -> None:
    """Switch the least important heads off."""
    wishes = session.trail.scan_wishes
    step = table.least(int(wishes.get("heads-count", 1)), by=wishes.get("heads-by", "cost"))
    _append(session, step)


def _append(session: Session, step: EditAttention) -> None:
    kept = Recipe() if changes_nothing(session.recipe) else session.recipe
    recipe = Recipe([*kept, step])
    session.go(recipe, session.ids_for(recipe) if kept is session.recipe else None)


def _wish(session: Session, name: str) -> None:
    session.trail.scan_wishes[name] = session.taken(name)


# -- gains by search ---------------------------------------------------------------------------------------------------


@st.fragment(key="gains")
@safely
def gains() -> None:
    """The search for a gain of every head, with its convergence."""
    part("gains")
    session = current()
    if not attends_in_rows(session):
        return
    job, wishes = session.trail.gains_job, session.trail.scan_wishes
    running = job is not None and not job.finished
    with st.container(key="card-gains"):
        st.html(markup.title("Find a gain for every head", "loss plus a price on gains, on calibration examples"))
        columns = st.columns([1.3, 1, 0.9], vertical_alignment="bottom")
        with columns[0]:
            st.selectbox("By", list(METHODS), format_func=lambda name: METHODS[name],
                         key=session.control("gains-method", wishes.get("gains-method", "gradient")),
                         on_change=act, args=(_wish, "gains-method"), disabled=running,
                         help="Gradient descent moves all gains at once along the loss; a particle swarm tries many "
                         "and needs no gradients.")  # fmt: skip
        with columns[1]:
            st.number_input("Price of gains", 0.0, 10.0, step=0.05, format="%.3g",
                            key=session.control("gains-weight", float(wishes.get("gains-weight", 0.1))),
                            on_change=act, args=(_wish, "gains-weight"), disabled=running,
                            help="What the mean gain is multiplied by in the objective: the higher, the more heads "
                            "go silent.")  # fmt: skip
        with columns[2]:
            if running:
                st.button("Stop", key="gains-stop", on_click=act, args=(stop_gains,), width="stretch",
                          help="Keep the best so far.")  # fmt: skip
            else:
                st.button("Search", key="gains-start", on_click=act, args=(start_gains,), width="stretch",
                          help="Runs in the background; the gains that it finds are offered as a step.")  # fmt: skip
        session.polling["gains"] = running
        polled(_gains, POLL if running else None)


@safely
def _gains() -> None:
    session = current()
    job = session.trail.gains_job
    if job is None:
        st.html(markup.quiet("Not searched yet."))
    elif job.error is not None:
        st.html(markup.warning(str(job.error)))
    else:
        if not job.finished:
            st.progress(min(1.0, job.share), text=f"step {len(job.history)} of {job.steps}")
        elif job.tuned is not None:
            tuned = job.tuned
            st.plotly_chart(tuning_figure(tuned, dark=is_dark()), theme=None, config=CONFIG, key="gains-figure")
            st.button("Use these gains", key="gains-use", on_click=act, args=(use_gains, tuned), type="primary",
                      help="The recipe with the gains comes on screen and is measured on tune.")  # fmt: skip
    if session.polling["gains"] and (job is None or job.finished):
        session.polling["gains"] = False
        run_again(session)


def start_gains(session: Session) -> None:
    """Search gains for the recipe on screen."""
    wishes = session.trail.scan_wishes
    recipe = None if changes_nothing(session.recipe) else session.recipe
    weight, method = float(wishes.get("gains-weight", 0.1)), wishes.get("gains-method", "gradient")
    session.trail.gains_job = session.bench.tune_heads_job(recipe, method=method, weight=weight)


def stop_gains(session: Session) -> None:
    """Search no further; the best so far is kept."""
    if session.trail.gains_job is None:
        raise ExplorerError("no search is running", where="gains", instead="press Search")
    session.trail.gains_job.stop()


def use_gains(session: Session, tuned: Any) -> None:
    """Bring the recipe with the found gains on screen."""
    session.go(tuned.recipe, session.ids_for(tuned.recipe) if not changes_nothing(session.recipe) else None)
