"""Zeros that a file does not tell apart: weights that were pruned, and others that were rounded to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from explorer.compression.plan import Plan, PlanEntry
from explorer.steps import GradualPrune, LowRank, Prune, Step
from explorer.weights.coded import Quantised
from explorer.weights.forms import Factors, Form, Zeros


def with_zeros(forms: Mapping[str, Form], plan: Plan) -> dict[str, Form]:
    """The forms of a loaded variant: of rounded ones, the recipe says whether their zeros stay in a recovery.

    Such a matrix is written with a mask or as a list of codes, whatever is shorter. Where the recipe has pruned it,
    every zero counts as removed, also a small weight that was rounded to it; where not, none does. (A codebook holds
    zeros in a value of their own, and needs no mask.)
    """
    pruned = _pruned(plan)
    return {name: _told(form, name in pruned) for name, form in forms.items()}


def _pruned(plan: Plan) -> set[str]:
    """The matrices that a step prunes, with no low rank after it that would fill the zeros."""
    found: set[str] = set()
    for position, step in enumerate(plan.recipe):
        for entry in plan.acting(position):
            if isinstance(step, LowRank):
                found.discard(entry.matrix)
            elif _removes(step, entry):
                found.add(entry.matrix)
    return found


def _removes(step: Step, entry: PlanEntry) -> bool:
    if isinstance(step, GradualPrune):
        return step.sparsity > 0
    if not isinstance(step, Prune):
        return False
    return bool(step.sparsity or step.threshold or step.n is not None) if entry.amount is None else entry.amount > 0


def _told(form: Form, pruned: bool) -> Form:
    if isinstance(form, Factors):
        return Factors(_told(form.left, pruned), _told(form.right, pruned))
    if not isinstance(form, Quantised):
        return form
    if not pruned:
        return replace(form, zeros=None)
    return form if form.zeros is not None else form.masked(Zeros(form.codes != form.zero_codes))
