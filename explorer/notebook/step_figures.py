"""The figure that belongs to a step: its scores, its spectrum or its curve, and the accuracy curve of its knob."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explorer.figures.knob import knob_figure
from explorer.figures.spectrum import spectrum_figure
from explorer.figures.threshold import threshold_figure
from explorer.jobs import CurveJob
from explorer.names import CRITERIA
from explorer.recipe import LowRank, Prune, Recipe, Step
from explorer.steps import Codebook, EditAttention, Quantize, Recover
from explorer.workbench import Workbench


def has_threshold(step: Step) -> bool:
    """Whether one threshold says what the step removes (not so for N:M, nor when each matrix has its own)."""
    return isinstance(step, Prune) and step.pattern != "n:m" and (step.scope == "global" or step.threshold is not None)


def knob_of(step: Step) -> str:
    """The field whose accuracy curve is drawn with the step."""
    if isinstance(step, LowRank):
        return "rank"
    if isinstance(step, (Quantize, Codebook)):
        return "bits"
    if isinstance(step, Prune) and step.pattern == "n:m":
        return "n"
    return "threshold" if has_threshold(step) else "sparsity"


def start_curve(bench: Workbench, recipe: Recipe, position: int) -> CurveJob:
    """Start (or join) the accuracy curve of the step's knob."""
    return bench.curve(recipe, position, field=knob_of(recipe[position]))


def amounts(bench: Workbench, recipe: Recipe, position: int) -> dict[str, float]:
    """What the knobs of a step stand at that the step does not set itself, and the largest threshold worth offering."""
    step = recipe[position]
    if isinstance(step, Prune) and step.pattern != "n:m":
        scores = bench.scores(recipe, position)
        if not scores.total:
            return {}
        most = float(scores.histogram().edges[-1])
        if step.threshold is not None:
            return {"sparsity": scores.sparsity_at(step.threshold), "most": most}
        return {"threshold": scores.threshold_at(step.sparsity or 0.0), "most": most}
    if isinstance(step, LowRank):
        spectrum = bench.spectrum(drawn_matrix(bench, step), recipe, position)
        if step.rank is None:
            return {"rank": spectrum.rank_for(step.energy or 1.0)}
        return {"energy": float(spectrum.energy[min(step.rank, len(spectrum.energy)) - 1])}
    return {}


def drawn_matrix(bench: Workbench, step: Step) -> str:
    """The matrix whose spectrum stands for a low-rank step: the largest that it acts on."""
    return max(bench.matrices().select(step.layers, step.exclude), key=lambda matrix: matrix.max_rank).name


def step_figure(
    bench: Workbench, recipe: Recipe, position: int, curve: Sequence[Any], dense: float | None, height: int
) -> Any:
    """The Plotly figure of the step at `position`, with the points of its curve that are known.

    None for a training step, whose curves are drawn while it runs, and for an edit of attention.
    """
    step = recipe[position]
    if isinstance(step, (Recover, EditAttention)):
        return None
    given: dict[str, Any] = {
        "curve": curve,
        "dense": dense,
        "primary": bench.subject.primary,
        "caption": f"{bench.name}: {recipe.sentence()}",
        "height": height,
    }
    if isinstance(step, LowRank):
        spectrum = bench.spectrum(drawn_matrix(bench, step), recipe, position)
        rank = step.rank if step.rank is not None else spectrum.rank_for(step.energy or 1.0)
        return spectrum_figure(spectrum, min(rank, len(spectrum.values)), **given)
    if isinstance(step, (Quantize, Codebook)):
        axis = "Bits of an index into shared values" if isinstance(step, Codebook) else "Bits of a weight"
        return knob_figure(given.pop("curve"), float(step.bits), axis=axis, span=(1.0, 8.0), **given)
    assert isinstance(step, Prune)
    if not has_threshold(step):
        grouped = step.pattern == "n:m"
        axis = f"N: how many of each {step.m} neighbouring inputs are kept" if grouped else "Sparsity of each matrix"
        span = (0.0, float(step.m or 4)) if grouped else (0.0, 1.0)
        at = float(step.n or 0) if grouped else step.sparsity
        return knob_figure(given.pop("curve"), at, axis=axis, span=span, **given)
    scores = bench.scores(recipe, position)
    threshold = step.threshold if step.threshold is not None else scores.threshold_at(step.sparsity or 0.0)
    of_rows, magnitude = step.pattern == "row", step.criterion == "magnitude"
    name = CRITERIA[step.criterion].label
    return threshold_figure(
        scores.histogram(),
        threshold,
        removed=scores.count_below(threshold),
        total=scores.total,
        symbol="|w|" if magnitude and not of_rows else f"{name} score",
        axis="|w|, magnitude of a weight"
        if magnitude and not of_rows
        else f"Score of a {'row' if of_rows else 'weight'}, {name}",
        units="rows" if of_rows else "weights",
        **given,
    )
