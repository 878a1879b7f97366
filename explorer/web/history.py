"""Where the session has been: every recipe with its quality and bytes; a click or the list brings one back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from explorer.evaluation.quality import Quality
from explorer.figures.words import is_share, metric_label, metric_text, size_text
from explorer.jobs import Job
from explorer.recipe import Recipe
from explorer.web.component import component
from explorer.web.state import Session, act, changes_nothing

_plot = component("history")


def history_card(session: Session) -> None:
    """Draw the plot of all recipes that were visited, and the list of them."""
    dots = visited(session)
    with st.container(key="card-history"):
        st.html('<p class="ce-title">Where you have been<small>click a dot to go back</small></p>')
        _plot(
            key="history",
            data=_drawing(session, dots),
            height=192,
            on_chosen_change=partial(act, _clicked, [dot.recipe for dot in dots]),
        )
        words = [dot.words for dot in dots]
        st.selectbox(
            "Go back to",
            range(len(dots)),
            format_func=lambda place: words[place],
            index=None,
            key=session.control("history-list", None),
            placeholder=f"or choose from a list of {len(dots)}",
            label_visibility="collapsed",
            on_change=act,
            args=(_listed, [dot.recipe for dot in dots]),
        )


@dataclass(frozen=True)
class Dot:
    """One result that was visited; the dense model is the first.

    recipe: what brings it back. active: its steps that are on, empty for the dense model. partial: "on 96 of 540"
    while the value is an estimate. words: all of it in a line.
    """

    recipe: Recipe
    active: Recipe
    current: bool
    size_bytes: int
    quality: Quality | None
    name: str
    words: str

    @property
    def value(self) -> float | None:
        """The primary metric, as far as it is known."""
        return None if self.quality is None else float(self.quality.value)

    @property
    def partial(self) -> str:
        """ "on 96 of 540" while the value is an estimate, else empty."""
        return _partial(self.quality)


def visited(session: Session) -> list[Dot]:
    """The dense model and every recipe of this session, with the numbers that are known; one dot a result."""
    results: dict[Recipe, tuple[Recipe, Job | None]] = {Recipe(): (Recipe(), session.dense)}
    for recipe in session.trail.visits:
        active = _result_of(recipe)
        job = session.trail.jobs.get(recipe) or session.trail.left.get(recipe)
        first, best = results.get(active, (recipe, job))
        # The dense model comes back with the knobs that stood at nothing, where there were such.
        results[active] = (first if len(first) else recipe, job if _seen(job) > _seen(best) else best)
    return [_dot(session, recipe, active, job) for active, (recipe, job) in results.items()]


def _dot(session: Session, recipe: Recipe, active: Recipe, job: Job | None) -> Dot:
    if active not in session.trail.sizes:
        session.trail.sizes[active] = session.bench.compress(active).size.bytes
    size, quality = session.trail.sizes[active], None if job is None else job.quality
    name = recipe.sentence() if len(active) else "dense"
    value = metric_text(session.bench.subject.primary, None if quality is None else quality.value)
    words = " · ".join(filter(None, (value, size_text(size), _partial(quality), name)))
    return Dot(recipe, active, active == _result_of(session.recipe), size, quality, name, words)


def _result_of(recipe: Recipe) -> Recipe:
    """What decides a recipe's result: the steps that are on, none where they change nothing."""
    active = recipe.active()
    return Recipe() if changes_nothing(active) else active


def _seen(job: Job | None) -> int:
    return 0 if job is None or job.quality is None else int(job.quality.examples)


def _partial(quality: Quality | None) -> str:
    return "" if quality is None or quality.complete else f"on {quality.examples:,} of {quality.total:,}"


def _drawing(session: Session, dots: list[Dot]) -> dict[str, Any]:
    primary = session.bench.subject.primary
    sizes = [dot.size_bytes for dot in dots]
    values = [dot.value for dot in dots if dot.value is not None] or [0.0, 1.0]
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, 0.02 if is_share(primary) else 0.01 * (abs(high) + 1e-9))
    top = min(high + room, max(high, 1.0)) if is_share(primary) else high + room
    unit, factor = ("MB", 1e6) if max(sizes) >= 1e6 else ("kB", 1e3)
    return {
        "label": f"{metric_label(primary)} against size of every recipe visited",
        "sizes": [0, 1.04 * max(sizes)],
        "values": [low - room, top],
        "yticks": _ticks(low - room, top, 4, 0.01 if is_share(primary) else 1.0, " %" if is_share(primary) else ""),
        "xticks": _ticks(0, 1.04 * max(sizes), 6, factor),
        "axis": f"size on disk, {unit}",
        "dots": [
            {
                "place": place,
                "size": dot.size_bytes,
                "value": dot.value,
                "words": dot.words,
                "dense": not len(dot.active),
                "current": dot.current,
                "partial": bool(dot.partial),
            }
            for place, dot in enumerate(dots)
        ],
    }


def _ticks(low: float, high: float, most: int, unit: float, suffix: str = "") -> list[list[Any]]:
    """At most so many round numbers between `low` and `high`, as [value, label in the unit]."""
    first, last = low / unit, high / unit
    span = max(last - first, 1e-9)
    power = 10.0 ** np.floor(np.log10(span))
    step = next(power * factor for factor in (0.1, 0.2, 0.5, 1, 2, 5, 10) if span / (power * factor) <= most)
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    marks = np.arange(np.ceil(first / step - 1e-9) * step, last + 1e-9, step)
    return [[float(mark * unit), f"{abs(mark) if abs(mark) < 1e-9 else mark:,.{digits}f}{suffix}"] for mark in marks]


def _clicked(session: Session, recipes: list[Recipe]) -> None:
    chosen = session.event("history", "chosen")
    if chosen is not None and 0 <= int(chosen["place"]) < len(recipes):
        session.go(recipes[int(chosen["place"])])


def _listed(session: Session, recipes: list[Recipe]) -> None:
    place = session.taken("history-list")
    if place is not None:
        session.go(recipes[place])
