"""Recovering on the page: the button that says how long it takes, the training while it runs, and how it went."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from math import isfinite
from typing import Any

import streamlit as st

from explorer.errors import ExplorerError
from explorer.figures.palette import EITHER
from explorer.figures.words import metric_label, metric_text
from explorer.knobs import NEW_STEPS
from explorer.recipe import Recipe
from explorer.recovery.pursuit import Pursuit, pace_of
from explorer.steps import Recover
from explorer.web import markup
from explorer.web.parts import polled, safely
from explorer.web.state import Session, act, changes_nothing, current, run_again, write_link

POLL = 0.3
"""Seconds between looks at a recovery that runs."""
WIDTH, HEIGHT = 260, 64


def recovery_card(session: Session) -> None:
    """The card under the steps: recover what the steps have broken.

    Only a recovery that runs is polled: the time that one would take is there at the next draw, whatever brings it.
    """
    with st.container(key="card-recover"):
        polled(_draw, POLL if session.trail.pursuit is not None else None)


@safely
def _draw() -> None:
    session = current()
    pursuit = session.trail.pursuit
    if pursuit is not None:
        if _arrived(session, pursuit):
            write_link(session)
            run_again(session)
        else:
            _running(session, pursuit)
        return
    _offer(session)


def _offer(session: Session) -> None:
    """The button, with the time that a few measured steps foretell."""
    place, said = training_place(session.recipe), session.trail.recovered
    pace = _pace(session)
    nothing = changes_nothing(session.recipe)
    trained = place is not None and session.recipe[place].enabled
    again = " further" if trained else ""
    wanted, at = _wanted(session)
    label = f"{wanted[at].label}{again}" + ("" if not pace else f" · {_about(pace)}")
    words = said or "Train a little, zeros, ranks and codes kept: usually most of the loss comes back."
    left, right = st.columns([1, 1.3], vertical_alignment="center", gap="small")
    with left:
        st.button(
            label,
            key="recover",
            width="stretch",
            on_click=act,
            args=(start,),
            disabled=nothing,
            help="Nothing is compressed yet, so there is nothing to recover." if nothing else _help(session),
        )
    with right:
        st.html(markup.quiet(words))


def _about(seconds: float) -> str:
    """A foretold time, no more exact than it can be."""
    if seconds < 9.5:
        return f"about {max(1, round(seconds))} s"
    return f"about {5 * round(seconds / 5)} s" if seconds < 90 else f"about {round(seconds / 60)} min"


def _help(session: Session) -> str:
    source = "training data" if session.bench.subject.has("training") else "calibration split"
    return f"Learns from the {source} and from the dense model's answers; never from tune or test."


def _running(session: Session, pursuit: Pursuit) -> None:
    """Progress, time left, loss and tune metric as they come, and stop."""
    job = pursuit.job
    assert job is not None
    if job.waiting:
        words = "waits for another recovery to end"
    else:
        left = job.seconds_left
        words = "starting" if left is None else f"{_about(left)} left"
        words += f", learns from the {job.source} split" if job.source else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.html(markup.title("Recovering", words), width="stretch")
        st.button(
            "Stop",
            key="stop-recovery",
            on_click=act,
            args=(stop,),
            disabled=job.stopping,
            help="Stop now and keep the best so far.",
        )
    st.progress(min(1.0, job.share))
    st.html(_curves(session, job.looks))


def _curves(session: Session, looks: Any) -> str:
    """Two small curves: the loss, and the metric on tune."""
    primary = session.bench.subject.primary
    losses = [(look.moment.epoch, look.moment.watched) for look in looks]
    found = [(look.moment.epoch, look.quality) for look in looks if look.quality is not None]
    values = [(epoch, quality.value) for epoch, quality in found]
    last = "" if not losses else f"{losses[-1][1]:.3g}"
    parts = ["" if not found or found[-1][1].complete else f"on {found[-1][1].examples:,} of {found[-1][1].total:,}"]
    now = "" if not values else metric_text(primary, values[-1][1])
    return (
        '<div class="ce-learning">'
        f"{_curve('loss, lower is better', last, losses)}"
        f"{_curve(f'{metric_label(primary).lower()} on tune {parts[0]}'.strip(), now, values)}</div>"
    )


def _curve(label: str, now: str, points: list[tuple[float, float]]) -> str:
    told = escape(f"{label}: {now}")
    return (
        f"<figure><figcaption>{escape(label)} <b>{escape(now)}</b></figcaption>"
        f'<img src="{_drawn(points)}" alt="{told}"></figure>'
    )


def _drawn(points: list[tuple[float, float]]) -> str:
    """The points as a small line, in the address of a picture (a page takes no drawing as text)."""
    known = [(x, y) for x, y in points if isfinite(x) and isfinite(y)]
    line = ""
    if known:
        first, last = known[0][0], known[-1][0]
        low, high = min(y for _, y in known), max(y for _, y in known)
        spots = [
            (
                6 + (WIDTH - 12) * (x - first) / max(1e-9, last - first),
                HEIGHT - 6 - (HEIGHT - 12) * (y - low) / max(1e-9, high - low),
            )
            for x, y in known
        ]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        line = f'<polyline points="{way}" fill="none" stroke="{EITHER.variant}" stroke-width="1.8"/>'
        line += f'<circle cx="{spots[-1][0]:.1f}" cy="{spots[-1][1]:.1f}" r="3.5" fill="{EITHER.variant}"/>'
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="xMinYMid"'  # under its caption, also on wide screens
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{line}</svg>'
    return f"data:image/svg+xml;base64,{b64encode(drawing.encode()).decode()}"


def training_place(recipe: Recipe) -> int | None:
    """Where the last training step is that nothing but steps which are off follows; None where there is none."""
    for place in range(len(recipe) - 1, -1, -1):
        if isinstance(recipe[place], Recover):
            return place
        if recipe[place].enabled:
            return None
    return None


def _pace(session: Session) -> float | None:
    """Seconds that the recovery would take; 0 where there is nothing to recover, None until it is measured."""
    if changes_nothing(session.recipe):
        return 0.0
    wanted, place = _wanted(session)
    if not session.painted:
        return None
    job = pace_of(session.bench, wanted, place)
    if job.finished:
        return job.seconds or 0.0
    return None


def _wanted(session: Session) -> tuple[Recipe, int]:
    """(the recipe that the button aims at, where its training step is)."""
    recipe, place = session.recipe, training_place(session.recipe)
    if place is not None and not recipe[place].enabled:
        return recipe.replace(place, recipe[place].change(enabled=True, until=None)), place
    return Recipe([*recipe, NEW_STEPS["recover"]]), len(recipe)


# -- moves -------------------------------------------------------------------------------------------------------------


def start(session: Session) -> None:
    """Recover what is on screen."""
    session.pursue(_wanted(session)[0])


def stop(session: Session) -> None:
    """Stop the recovery that runs; the best so far is kept."""
    if session.trail.pursuit is not None:
        session.trail.pursuit.stop()


def _arrived(session: Session, pursuit: Pursuit) -> bool:
    """Go on with a recovery; when all is trained, go to its recipe. Says whether the page has to be drawn anew."""
    trail = session.trail
    try:
        if not pursuit.advance():
            return False
    except ExplorerError as problem:
        trail.pursuit = None
        session.say(str(problem))
        return True
    trail.pursuit = None
    trail.recovered = " ".join(f"{note[:1].upper()}{note[1:]}." for note in pursuit.notes)
    if session.recipe == pursuit.start:
        session.go(pursuit.wanted, session.ids_for(pursuit.wanted))
    else:  # the person has gone on meanwhile: the result waits in the history
        session.visit(pursuit.wanted)
        session.say("The recovery is done: its dot waits in the history, since the recipe has changed meanwhile")
    session.version += 1
    return True
