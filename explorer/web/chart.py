"""The picture that is a knob: threshold on the histogram, rank on the spectrum, with the measured curve above.

The component (chart.js) draws; here its data are made from the engine's results. Positions are whole numbers along
the axis, and for each of them the engine's exact count goes along, so that what stands beside the line during a drag
is exact, not interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from explorer.figures.words import counted, is_share, metric_label, number_text
from explorer.jobs import CurveJob
from explorer.knobs import limits, removed_by_groups
from explorer.recipe import LowRank, Prune, Step
from explorer.steps import Codebook, Quantize
from explorer.web.component import component
from explorer.web.state import Session

POSITIONS = 640
"""Where a threshold can stand along its axis."""
BARS = 64
CURVE_POINTS = 33
"""How many points of the accuracy curve are measured (the issue asks for 24 at least)."""
TAIL = 14
"""Positions that the last bar, of all scores beyond the axis, takes."""

_chart = component("chart")


def draw(data: dict[str, Any], key: str, on_move: Callable[[], None]) -> None:
    """Mount the chart; `on_move`, called when the line was let go, finds where in `session.event(key, "moved")`."""
    _chart(key=key, data=data, height=310, on_moved_change=on_move)


# -- pruning ---------------------------------------------------------------------------------------------------------


def is_share_axis(step: Prune) -> bool:
    """Whether the knob is a share: scores that compete inside each matrix have no common threshold."""
    return step.scope == "matrix" and step.threshold is None


def threshold_data(session: Session, step: Prune, scores: Any) -> dict[str, Any]:
    """The chart of a Prune step: scores as bars, the line at its threshold."""
    noun = "neurons" if step.pattern == "row" else "weights"
    fine = _fine_histogram(session, scores)
    upper = float(fine.edges[-1])
    below = np.concatenate([[0], np.cumsum(fine.counts)]).astype(int)
    coarse = np.asarray(fine.counts).reshape(BARS, -1).sum(axis=1)
    width = POSITIONS // BARS
    bars = [[start * width, (start + 1) * width, int(count)] for start, count in enumerate(coarse)]
    if fine.beyond:
        bars.append([POSITIONS + 3, POSITIONS + 3 + width, int(fine.beyond)])
    threshold = step.threshold if step.threshold is not None else float(scores.threshold_at(step.sparsity or 0.0))
    removed = (
        scores.count_below(threshold) if step.threshold is not None else round((step.sparsity or 0.0) * scores.total)
    )
    place = min(POSITIONS, threshold / upper * POSITIONS) if upper > 0 and removed else 0
    return {
        **_common(session),
        "kind": "threshold",
        "last": POSITIONS,
        "offset": 0,
        "tail": TAIL,
        "upper": upper,
        "place": float(place),
        "threshold": threshold if removed else 0.0,
        "removed": int(removed),
        "total": int(scores.total),
        "counts": below.tolist(),
        "bars": bars,
        "ticks": _ticks(upper),
        "symbol": "|w|" if step.criterion == "magnitude" and step.pattern != "row" else "score",
        "noun": noun,
        "axis": "|w|, magnitude of a weight"
        if step.criterion == "magnitude" and step.pattern != "row"
        else f"score of {'a neuron' if step.pattern == 'row' else 'a weight'} by {step.criterion}",
        "label": "Threshold",
    }


def share_data(session: Session, step: Prune, scores: Any) -> dict[str, Any]:
    """The chart of a Prune step whose scores compete inside each matrix: the axis is the share that goes."""
    last = 400
    return {
        **_common(session),
        "kind": "share",
        "last": last,
        "offset": 0,
        "tail": 0,
        "upper": 1.0,
        "place": (step.sparsity or 0.0) * last,
        "total": int(scores.total),
        "bars": [[0, last, 1]],
        "ticks": [[last * tenth / 5, f"{20 * tenth} %"] for tenth in range(6)],
        "noun": "neurons" if step.pattern == "row" else "weights",
        "axis": "share that goes in each matrix",
        "label": "Sparsity of each matrix",
    }


def kept_data(session: Session, step: Prune) -> dict[str, Any]:
    """The chart of an N:M pattern: the axis is N, how many of each M neighbouring inputs are kept."""
    n, m = step.n if step.n is not None else 2, step.m or 4
    every = max(1, round(m / 16))
    chosen = session.bench.matrices().select(step.layers, step.exclude)
    return {
        **_common(session),
        "kind": "kept",
        "last": m,
        "offset": 0,
        "tail": 0,
        "upper": float(m),
        "place": float(n),
        "total": m,
        "shares": [removed_by_groups(chosen, kept, m) for kept in range(m + 1)],
        "bars": [[place, place + 1, 1] for place in range(m)],
        "ticks": [[place, str(place)] for place in range(0, m + 1, every)],
        "noun": "weights",
        "axis": f"N: how many of every {m} neighbouring inputs are kept",
        "label": "Keep N",
    }


def bits_data(session: Session, step: Quantize | Codebook) -> dict[str, Any]:
    """The chart of a coding step: the axis is how many bits each weight (or its index) takes."""
    low, high = limits(type(step), "bits")
    least, last = int(low or 1), int(high or 8)
    return {
        **_common(session),
        "kind": "bits",
        "last": last,
        "least": least,
        "offset": 0.5,
        "tail": 0.5,
        "upper": float(last),
        "place": float(step.bits),
        "total": last,
        "bars": [[bits - 0.5, bits + 0.5, float(bits)] for bits in range(1, last + 1)],
        "ticks": [[bits, str(bits)] for bits in range(least, last + 1)],
        "noun": "values",
        "axis": "bits of an index into shared values" if isinstance(step, Codebook) else "bits of a weight",
        "label": "Bits",
    }


def curve_values(step: Step, data: dict[str, Any]) -> tuple[str, list[float]]:
    """Which field the accuracy curve moves, and through which values."""
    if data["kind"] == "bits":
        return "bits", [float(bits) for bits in range(int(data["least"]), int(data["last"]) + 1)]
    if isinstance(step, Prune):
        if data["kind"] == "kept":
            return "n", [float(place) for place in range(int(data["last"]) + 1)]
        if data["kind"] == "share":
            return "sparsity", np.linspace(0, 1, CURVE_POINTS).round(4).tolist()
        return "threshold", [float(value) for value in np.linspace(0, data["upper"], CURVE_POINTS)]
    last = int(data["last"])
    ranks = sorted({int(rank) for rank in np.linspace(1, last, min(last, CURVE_POINTS)).round()})
    if isinstance(step, LowRank) and step.energy is not None:
        return "energy", sorted({float(data["energy"][rank - 1]) for rank in ranks})
    return "rank", [float(rank) for rank in ranks]


# -- low rank --------------------------------------------------------------------------------------------------------


def spectrum_data(session: Session, step: LowRank, spectrum: Any) -> dict[str, Any]:
    """The chart of a LowRank step on one matrix: singular values as bars, the line at the rank that is kept."""
    values = np.asarray(spectrum.values, dtype=float)
    energy = np.asarray(spectrum.energy, dtype=float)
    last = len(values)
    rank = step.rank if step.rank is not None else spectrum.rank_for(step.energy)
    every = max(1, round(last / 8))
    return {
        **_common(session),
        "kind": "rank",
        "last": last,
        "offset": 0.5,
        "tail": 0.5,
        "upper": float(last),
        "place": float(min(last, rank)),
        "bars": [[place + 0.5, place + 1.5, float(value)] for place, value in enumerate(values)],
        "energy": energy.round(9).tolist(),
        "breakEven": float(spectrum.break_even),
        "ticks": [[rank, str(rank)] for rank in [1, *range(every, last + 1, every)] if rank == 1 or rank > 1],
        "noun": "singular values",
        "axis": f"singular values of {spectrum.matrix}, largest first",
        "label": "Rank",
    }


# -- the curve above -------------------------------------------------------------------------------------------------


def add_curve(data: dict[str, Any], curve: CurveJob | None, spectrum: Any = None) -> None:
    """Put the points measured so far into the data, as `[position, value, low, high]` sorted along the axis."""
    points: Sequence[Any] = () if curve is None else list(curve.points)
    rows = []
    for point in points:
        if data["kind"] == "bits":
            place = float(point.x)
        elif data["kind"] == "rank":
            place = (
                float(spectrum.rank_for(point.x)) if curve is not None and curve.field == "energy" else float(point.x)
            )
        else:
            place = point.x / data["upper"] * data["last"] if data["upper"] else 0.0
        rows.append([place, float(point.value), float(point.low), float(point.high)])
    data["curve"] = sorted(rows)
    if curve is not None and not curve.finished:
        data["curveLabel"] += f" · {counted(len(rows), 'point')} so far"
        data["growing"] = True
    elif curve is not None and curve.examples and curve.total and curve.examples < curve.total:
        data["curveLabel"] += f" · on {curve.examples:,} of {curve.total:,}"


def _common(session: Session) -> dict[str, Any]:
    primary = session.bench.subject.primary
    dense = session.dense.quality
    quality = session.job.quality
    return {
        "version": session.version,
        "share": is_share(primary),
        "dense": None if dense is None else float(dense.value),
        "now": None if quality is None else float(quality.value),
        "curve": [],
        "curveLabel": f"{metric_label(primary).lower()} if the line stood here",
        "growing": False,
        "energy": None,
        "breakEven": None,
        "invite": None,
    }


def _fine_histogram(session: Session, scores: Any) -> Any:
    """The counts at every position, kept while the very same scores are asked for again (each move of the knob)."""
    held = session.trail.histogram
    if held is None or held[0] is not scores:
        upper = _round_axis(float(scores.histogram(bins=1).edges[-1]))
        held = session.trail.histogram = (scores, scores.histogram(bins=POSITIONS, upper=upper))
    return held[1]


def _round_axis(upper: float) -> float:
    """The end of the axis, moved out so that every position is a short number: it goes into links."""
    if upper <= 0:
        return 1.0
    step = upper / POSITIONS
    unit = 10.0 ** (np.floor(np.log10(step)) - 1)
    return float(f"{POSITIONS * unit * np.ceil(step / unit):.6g}")


def _ticks(upper: float) -> list[list[Any]]:
    """Round numbers along a threshold axis, and the last bar's "more"."""
    if upper <= 0:
        return [[0, "0"]]
    step = 10.0 ** np.floor(np.log10(upper))
    step = next(step * factor for factor in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if upper / (step * factor) <= 7)
    marks = np.arange(0, upper * 0.93, step)
    ticks: list[list[Any]] = [[float(mark / upper * POSITIONS), number_text(float(mark), 2)] for mark in marks]
    return [*ticks, [POSITIONS + TAIL / 2, "more"]]
