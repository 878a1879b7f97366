"""The amount of a step in numbers: sliders and fields beside the chart, and what moving any of them does."""

from __future__ import annotations

from typing import Any

import streamlit as st

from explorer.recipe import LowRank, Prune
from explorer.steps import Codebook, Quantize
from explorer.web import chart
from explorer.web.controls import help_of
from explorer.web.state import Session, act
from explorer.web.step_moves import change_step

PERCENT_GRID, THRESHOLD_GRID = 0.051, 0.000051
"""Half a step of what the sliders and the threshold's field can show."""
LEAST_ENERGY = 1.0
"""In percent, at the left end of the slider: a step keeps at least one singular value anyway."""


def prune_controls(session: Session, step_id: int, step: Prune) -> None:
    """Sparsity and threshold, which move each other."""
    scores = session.bench.scores(session.recipe, session.position(step_id))
    sparsity = step.sparsity if step.sparsity is not None else scores.sparsity_at(step.threshold or 0.0)
    left, right = st.columns([2.2, 1], gap="medium", vertical_alignment="bottom")
    own = f"sparsity-{step_id}"
    with left:
        _percent("Sparsity", session.control(own, round(100 * sparsity, 1)), 0.0, take_sparsity, step_id, own, step)
    if chart.is_share_axis(step):
        return
    threshold = step.threshold if step.threshold is not None else scores.threshold_at(sparsity) if sparsity else 0.0
    own = f"threshold-{step_id}"
    with right:
        st.number_input(
            "Threshold",
            min_value=0.0,
            step=0.001,
            format="%.4f",
            key=session.control(own, float(threshold)),
            on_change=act,
            args=(take_threshold, step_id, own),
            help=help_of(step, "threshold"),
        )


def rank_controls(session: Session, step_id: int, step: LowRank) -> None:
    """Energy and rank, which move each other along the spectrum that is drawn."""
    matrix = session.bench.matrices()[shown_matrix(session, step)]
    spectrum = session.bench.spectrum(matrix.name, session.recipe, session.position(step_id))
    asked = step.rank if step.rank is not None else spectrum.rank_for(step.energy or 1.0)
    energy = step.energy if step.energy is not None else float(spectrum.energy[min(matrix.max_rank, asked) - 1])
    left, right = st.columns([2.2, 1], gap="medium", vertical_alignment="bottom")
    own = f"energy-{step_id}"
    percent = max(LEAST_ENERGY, min(100.0, round(100 * energy, 1)))
    with left:
        _percent("Energy", session.control(own, percent), LEAST_ENERGY, take_energy, step_id, own, step)
    own = f"rank-{step_id}"
    with right:
        st.number_input(
            "Rank",
            min_value=1,
            step=1,
            key=session.control(own, int(asked)),
            on_change=act,
            args=(take_rank, step_id, own),
            help=help_of(step, "rank"),
        )


def _percent(label: str, key: str, least: float, move: Any, step_id: int, own: str, step: Prune | LowRank) -> None:
    st.slider(
        label,
        least,
        100.0,
        step=0.1,
        format="%.1f %%",
        key=key,
        on_change=act,
        args=(move, step_id, own),
        help=help_of(step, label.lower()),
    )


def spectrum_choice(session: Session, step_id: int, step: LowRank) -> None:
    """Which of the step's matrices is drawn."""
    own = f"spectrum-{step_id}"
    st.selectbox(
        "Spectrum of",
        [matrix.name for matrix in session.bench.matrices().select(step.layers, step.exclude)],
        key=session.control(own, shown_matrix(session, step)),
        on_change=act,
        args=(look_at, own),
        help="Which matrix is drawn. The knob moves all matrices of the step.",
    )


def shown_matrix(session: Session, step: LowRank) -> str:
    """The matrix whose spectrum is drawn: the chosen one where the step acts on it, else the largest."""
    acted = session.bench.matrices().select(step.layers, step.exclude)
    if session.trail.matrix in [matrix.name for matrix in acted]:
        return str(session.trail.matrix)
    return max(acted, key=lambda matrix: matrix.max_rank).name


# -- moves -----------------------------------------------------------------------------------------------------------


def take(session: Session, step_id: int, key: str) -> None:
    """The line on the chart was let go."""
    found = session.event(key, "moved")
    if found is None:
        return
    step = session.recipe[session.position(step_id)]
    place = float(found["place"])
    if isinstance(step, LowRank):
        rank = round(place)
        if step.energy is not None:
            spectrum = session.bench.spectrum(shown_matrix(session, step), session.recipe, session.position(step_id))
            change_step(session, step_id, energy=_energy_for(spectrum, rank))
        else:
            change_step(session, step_id, rank=rank)
    elif isinstance(step, (Quantize, Codebook)):
        change_step(session, step_id, bits=round(place))
    elif isinstance(step, Prune) and step.pattern == "n:m":
        change_step(session, step_id, n=round(place))
    elif isinstance(step, Prune) and chart.is_share_axis(step):
        change_step(session, step_id, sparsity=round(float(found["value"]), 4))
    elif place == 0:
        change_step(session, step_id, sparsity=0.0)
    else:
        change_step(session, step_id, threshold=float(f"{found['value']:.6g}"))


def _energy_for(spectrum: Any, rank: int) -> float:
    """A short number that asks for just this rank."""
    exact = float(spectrum.energy[rank - 1])
    for digits in range(3, 9):
        short = round(exact, digits)
        if 0 < short <= 1 and spectrum.rank_for(short) == rank:
            return short
    return min(1.0, exact)


def take_sparsity(session: Session, step_id: int, own: str) -> None:
    """The sparsity slider was moved."""
    change_step(session, step_id, sparsity=round(session.taken(own, within=PERCENT_GRID) / 100, 4))


def take_threshold(session: Session, step_id: int, own: str) -> None:
    """A threshold was typed."""
    change_step(session, step_id, threshold=session.taken(own, within=THRESHOLD_GRID))


def take_energy(session: Session, step_id: int, own: str) -> None:
    """The energy slider was moved."""
    change_step(session, step_id, energy=round(session.taken(own, within=PERCENT_GRID) / 100, 4))


def take_rank(session: Session, step_id: int, own: str) -> None:
    """A rank was typed."""
    change_step(session, step_id, rank=int(session.taken(own)))


def look_at(session: Session, own: str) -> None:
    """Another matrix was chosen for the pictures."""
    session.trail.matrix = session.taken(own)
