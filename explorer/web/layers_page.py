"""The Layers page: a scan of what each layer bears, cell by cell, and the smallest model within a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import streamlit as st

from explorer.errors import ExplorerError
from explorer.figures.template import CONFIG
from explorer.figures.words import change_text, metric_label, metric_text, size_text
from explorer.recipe import Recipe
from explorer.search.scan import alone
from explorer.search.sensitivity import Cell, Sensitivity, SensitivityJob
from explorer.steps import STEPS
from explorer.web import markup
from explorer.web.component import component
from explorer.web.parts import polled, safely
from explorer.web.results import is_dark
from explorer.web.state import Session, act, changes_nothing, current, part, run_again, write_link

POLL = 0.4
KINDS = ("prune", "low-rank", "quantize", "codebook")
BY = {"matrix": "each matrix", "block": "each block", "kind": "each kind"}
DEEPEST = 0.2
"""A loss of so much (20 points) has the full colour."""

_cells = component("cells")


@st.fragment(key="scan")
@safely
def scan() -> None:
    """What to scan, and the table that fills."""
    part("scan")
    session = current()
    trail = session.trail
    with st.container(key="card-scan"):
        st.html(markup.title("Which layers give?", "one at a time, the rest untouched; stronger colour is more lost"))
        columns = st.columns([1.5, 1, 1.2, 0.8], vertical_alignment="bottom")
        with columns[0]:
            _choice("scan-kind", "Step", list(KINDS), lambda kind: STEPS[kind].label, "What is done to each layer.")
        with columns[1]:
            _choice("scan-by", "To", list(BY), lambda by: BY[by], "What is changed at once.")
        with columns[2]:
            starts = ["dense", "recipe", "without"]
            told = {"dense": "the dense model", "recipe": "this recipe", "without": "leave one out of it"}
            help = "Where each cell starts from. Leave one out: this recipe, but not in that layer; a layer may look "
            help += "harmless alone because the residual path carries what it no longer says."
            _choice("scan-from", "After", starts, lambda start: told[start], help)
        running = trail.scan is not None and not trail.scan.finished
        with columns[3]:
            if running:
                st.button(
                    "Stop", key="scan-stop", on_click=act, args=(stop,), width="stretch", help="Keep what is there."
                )
            else:
                words = "Measures every cell in the background; the numbers come as they are known."
                st.button("Scan", key="scan-start", on_click=act, args=(start,), width="stretch", help=words)
        session.polling["scan"] = running
        polled(_table, POLL if running else None)


def _choice(name: str, label: str, options: list[str], words: Any, help: str) -> None:
    session = current()
    chosen = session.trail.scan_wishes.get(name, options[0])
    key = session.control(name, chosen)
    st.selectbox(label, options, format_func=words, key=key, on_change=act, args=(choose, name), help=help)


@safely
def _table() -> None:
    session = current()
    job = session.trail.scan
    found = None if job is None else job.sensitivity
    if job is not None and job.error is not None:
        st.html(markup.warning(str(job.error)))
    elif job is None:
        words = "Press Scan: every layer is changed alone, at several levels, and measured on the tune split."
        st.html(f'<div class="ce-empty"><b>Nothing is scanned yet</b>{words}</div>')
    elif found is None:
        st.html('<div class="ce-empty">measuring</div>')
    else:
        _result(session, job, found)
    if session.polling["scan"] and (job is None or job.finished):
        session.polling["scan"] = False
        run_again(session)


def _result(session: Session, job: SensitivityJob, found: Sensitivity) -> None:
    total = len(found.scan.targets) * len(found.scan.levels)
    if not job.finished:
        st.progress(len(found.cells) / total, text=f"{len(found.cells)} of {total} cells")
    elif not found.complete:
        st.html(markup.quiet(f"Stopped: {len(found.cells)} of {total} cells are measured."))
    else:
        st.html(f'<div class="ce-teaches">{escape(markup.sentence(found.fragile))}</div>')
    data, chosen = table_data(found)
    cells_table(data, "cells", partial(act, take, chosen))
    base = metric_text(found.base.primary, found.base.value)
    words = f"Change of {metric_label(found.base.primary).lower()} against {base}, on {found.on}. "
    words += "Hover for the 95 % interval and the bytes; click a cell to make it a step of the recipe."
    st.html(markup.quiet(words))
    if session.trail.taken:
        st.html(f'<div class="ce-teaches"><b>Added to the recipe</b>{escape(session.trail.taken)}</div>')
    if job.finished and found.cells:
        with st.expander("As a figure to save"):
            st.plotly_chart(found.figure(dark=is_dark()), theme=None, config=CONFIG, key="scan-figure")


def cells_table(data: dict[str, Any], key: str, on_chosen: Callable[[], None]) -> None:
    """A table whose cells are buttons; `on_chosen` finds which in `session.event(key, "chosen")`."""
    _cells(key=key, data=data, on_chosen_change=on_chosen)


def table_data(found: Sensitivity) -> tuple[dict[str, Any], list[Cell]]:
    """What the table shows, most fragile first, and the cells in the order of their places."""
    chosen: list[Cell] = []
    rows = []
    for name in found.ranked:
        known = {cell.level: cell for cell in found.by_target[name]}
        cells: list[dict[str, Any] | None] = []
        for level in found.scan.levels:
            cell = known.get(level)
            cells.append(None if cell is None else _cell(found, cell, len(chosen)))
            if cell is not None:
                chosen.append(cell)
        bears = found.bears[name]
        borne = "–" if found.scan.leave_out or bears is None else _short(found, bears)
        if None in cells:  # milder levels may still show that it bears less
            borne = ""
        rows.append({"name": name, "title": name, "bears": borne, "cells": cells})
    levels = [_short(found, level) for level in found.scan.levels]
    field = {"sparsity": "sparsity", "energy": "energy", "bits": "bits"}[found.scan.field]
    return {"columns": [f"{found.scan.by} · {field}", "bears", *levels], "rows": rows}, chosen


def _short(found: Sensitivity, level: float | None) -> str:
    if level is None:
        return "left out"
    return f"{level:g}" if found.scan.field == "bits" else f"{100 * level:g} %"


def _cell(found: Sensitivity, cell: Cell, place: int) -> dict[str, Any]:
    primary, change = found.base.primary, cell.change
    low, high = (change_text(primary, end).removesuffix(" points") for end in (change.low, change.high))
    title = f"{cell.target.name}, {found.level_words(cell.level)}: {change_text(primary, change.delta)} "
    title += f"(95 %: {low} to {high}), {size_text(cell.size_bytes)}"
    depth = max(-1.0, min(1.0, change.delta / DEEPEST))
    text = change_text(primary, change.delta).removesuffix(" points")
    return {"text": text, "title": title, "depth": depth, "place": place}


# -- moves -------------------------------------------------------------------------------------------------------------


def choose(session: Session, name: str) -> None:
    """Another step, grouping or start was chosen."""
    session.trail.scan_wishes[name] = session.taken(name)


def start(session: Session) -> None:
    """Scan what is chosen."""
    wishes, recipe = session.trail.scan_wishes, session.recipe
    origin = wishes.get("scan-from", "dense")
    kind = STEPS[wishes.get("scan-kind", KINDS[0])]
    if origin != "dense" and changes_nothing(recipe):
        raise ExplorerError("this recipe changes nothing", where="scan", instead="start from the dense model")
    session.trail.taken = ""
    session.trail.scan = session.bench.sensitivity_job(
        kind,
        by=wishes.get("scan-by", "matrix"),
        recipe=None if origin == "dense" else recipe,
        leave_out=origin == "without",
        quick=True,
    )


def stop(session: Session) -> None:
    """Measure no further; what is there stays."""
    if session.trail.scan is not None:
        session.trail.scan.stop()


def take(session: Session, cells: Sequence[Cell]) -> None:
    """A cell was clicked: its step joins the recipe (or, left out, its layer is spared)."""
    chosen = session.event("cells", "chosen")
    job = session.trail.scan
    if chosen is None or job is None or not 0 <= int(chosen["place"]) < len(cells):
        return
    cell = cells[int(chosen["place"])]
    if cell.level is None:
        session.go(job.scan.recipe(cell.target, None))
        session.trail.taken = f"{cell.target.name} is left out"
        return
    step = alone(job.scan.step, cell.target.matrices, job.scan.field, cell.level)
    kept = Recipe() if changes_nothing(session.recipe) else session.recipe
    session.go(Recipe([*kept, step]))
    session.trail.taken = step.sentence()


# -- the smallest model within a loss ----------------------------------------------------------------------------------


@st.fragment(key="allocation")
@safely
def allocation() -> None:
    """The button that finds each layer its own amount."""
    part("allocation")
    session = current()
    trail = session.trail
    running = trail.allocation is not None and not trail.allocation.finished
    with st.container(key="card-allocation"):
        st.html(markup.title("The smallest model within a loss", "each layer gets the amount that it bears"))
        columns = st.columns([1.5, 2.27, 0.8], vertical_alignment="bottom")  # ends align with those above
        with columns[0]:
            key = session.control("allowed", trail.scan_wishes.get("allowed", 1.0))
            help = "How much of the headline metric may be lost against dense on the tune split, in points."
            st.number_input("Loss allowed, points", 0.0, 100.0, step=0.5, format="%.4g", key=key, on_change=act,
                            args=(choose, "allowed"), help=help)  # fmt: skip
        with columns[1]:
            help = "Where the search starts. This recipe: its steps stay, and the step chosen above comes after them."
            told = {"dense": "the dense model", "recipe": "this recipe"}
            _choice("allocate-from", "Start from", list(told), lambda start: told[start], help)
        with columns[2]:
            if running:
                words = "Keep the best that was found so far."
                st.button("Stop", key="allocate-stop", on_click=act, args=(stop_allocating,), width="stretch",
                          disabled=trail.allocation.stopping, help=words)  # fmt: skip
            else:
                words = "Scans, then tries settings along the way from mild to harsh; what it finds comes on screen."
                st.button("Find it", key="allocate", on_click=act, args=(allocate,), width="stretch", help=words)
        session.polling["allocation"] = running
        polled(_allocated, POLL if running else None)


@safely
def _allocated() -> None:
    session = current()
    job = session.trail.allocation
    if job is None:
        words = "Takes the step that is chosen above. About as long as a scan."
    elif not job.finished:
        st.progress(job.share, text="stopping" if job.stopping else markup.sentence(job.words))
        words = ""
    elif job.error is not None:
        words = ""
        st.html(markup.warning(str(job.error)))
    else:
        words = "Found: it is the recipe on screen now, with an own amount for each layer."
        if session.trail.allocated is not job:
            session.trail.allocated = job
            assert job.recipe is not None
            session.go(job.recipe)
            session.version += 1
            write_link(session)
            run_again(session)
    if words:
        st.html(markup.quiet(words))
    if session.polling["allocation"] and (job is None or job.finished):
        session.polling["allocation"] = False
        run_again(session)


def allocate(session: Session) -> None:
    """Look for the smallest model within the loss."""
    wishes, recipe = session.trail.scan_wishes, session.recipe
    start = None
    if wishes.get("allocate-from", "dense") == "recipe":
        if changes_nothing(recipe):
            raise ExplorerError("this recipe changes nothing", where="allocate", instead="start from the dense model")
        start = recipe
    loss = float(wishes.get("allowed", 1.0)) / 100
    kind = STEPS[wishes.get("scan-kind", KINDS[0])]
    session.trail.allocation = session.bench.allocation_job(kind, max_loss=loss, start=start)


def stop_allocating(session: Session) -> None:
    """Look no further; the best so far comes on screen."""
    if session.trail.allocation is not None:
        session.trail.allocation.stop()
