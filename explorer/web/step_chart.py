"""The drawn knob of a step in place: its chart, the plain controls beside it, and the curve that grows meanwhile."""

from __future__ import annotations

from functools import partial
from typing import Any

from explorer.jobs import CurveJob
from explorer.recipe import LowRank, Prune, Recipe, Step
from explorer.steps import Codebook, Quantize, Recover
from explorer.web import chart
from explorer.web.amounts import prune_controls, rank_controls, shown_matrix, spectrum_choice, take
from explorer.web.parts import polled, safely
from explorer.web.state import Session, act, current, run_again

DRAWN_FIELDS = ("sparsity", "threshold", "rank", "energy")
"""The fields that the chart and its sliders stand for; the other controls are made from the step's fields."""
CURVE_POLL = 0.4
BLANK: dict[str, dict[str, Any]] = {
    "n": {"n": 0},
    "bits": {"bits": 8},
    "rank": {"rank": 1, "energy": None},
    "energy": {"rank": 1, "energy": None},
    "threshold": {"threshold": None, "sparsity": 0.0},
    "sparsity": {"threshold": None, "sparsity": 0.0},
}
"""What a step is without its knob: as long as that stays, so does its curve."""


def step_chart(session: Session, step_id: int, step: Step) -> None:
    """Draw the chart of an open step and the controls that move with it."""
    if isinstance(step, LowRank):
        spectrum_choice(session, step_id, step)
    job = _curve(session, step_id, step, _data(session, step_id, step))
    waiting = step.enabled and (job is None or not job.finished)
    session.polling["chart"] = waiting
    polled(_draw, CURVE_POLL if waiting else None, step_id)
    if isinstance(step, Prune) and step.pattern != "n:m":
        prune_controls(session, step_id, step)
    elif isinstance(step, LowRank):
        rank_controls(session, step_id, step)


def stop_other_curves(session: Session) -> None:
    """Curves of steps that are closed or gone need not be measured further."""
    for step_id in list(session.trail.curves):
        if step_id != session.trail.open_step or step_id not in session.trail.now.ids:
            session.trail.curves.pop(step_id)[1].cancel()


@safely
def _draw(step_id: int) -> None:
    session = current()
    if step_id not in session.trail.now.ids:
        return
    step = session.recipe[session.position(step_id)]
    data = _data(session, step_id, step)
    job = _curve(session, step_id, step, data)
    after = session.recipe.steps[session.position(step_id) :]
    if any(isinstance(later, Recover) and later.enabled for later in after):
        data["curveLabel"] += ", before recovery"
    chart.add_curve(data, job, data.pop("spectrum", None))
    if session.recipe == Recipe([Prune(sparsity=0.0)]) and len(session.trail.visits) == 1:
        data["invite"] = "Where will it break? Drag this line."
    key = f"chart-{step_id}"
    chart.draw(data, key, partial(act, take, step_id, key))
    if session.polling["chart"] and job is not None and job.finished and session.painted:
        run_again(session)


def _data(session: Session, step_id: int, step: Step) -> dict[str, Any]:
    position = session.position(step_id)
    if isinstance(step, LowRank):
        spectrum = session.bench.spectrum(shown_matrix(session, step), session.recipe, position)
        return {**chart.spectrum_data(session, step, spectrum), "spectrum": spectrum}
    if isinstance(step, (Quantize, Codebook)):
        return chart.bits_data(session, step)
    assert isinstance(step, Prune)
    if step.pattern == "n:m":
        return chart.kept_data(session, step)
    scores = session.bench.scores(session.recipe, position)
    return (
        chart.share_data(session, step, scores)
        if chart.is_share_axis(step)
        else chart.threshold_data(session, step, scores)
    )


def _curve(session: Session, step_id: int, step: Step, data: dict[str, Any]) -> CurveJob | None:
    """The curve of this knob: started after the first paint, kept until something else than the knob has changed."""
    position = session.position(step_id)
    field, values = chart.curve_values(step, data)
    blank = BLANK[field]
    key = (session.recipe.replace(position, step.change(**blank)).active(), position, field, tuple(values))
    held = session.trail.curves.get(step_id)
    if held is not None and held[0] == key:
        return held[1]
    if not session.painted or not step.enabled:
        return None
    if held is not None:
        held[1].cancel()
    job = session.bench.curve(session.recipe, position, values, field=field)
    session.trail.curves[step_id] = (key, job)
    return job
