"""Applying a plan: from the dense matrices, step by step, to the forms that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from explorer.compression.coding import code, round_rest
from explorer.compression.factorising import factorise, singular
from explorer.compression.lowrank import Singular
from explorer.compression.memory import Memory
from explorer.compression.order import ScoreIndex
from explorer.compression.plan import Plan
from explorer.compression.pruning import index_of, pieces_of, prune
from explorer.errors import ExplorerError
from explorer.recipe import Recipe
from explorer.steps import Codebook, EditAttention, LowRank, Prune, Quantize, Recover
from explorer.weights.forms import Dense, Form


@dataclass(frozen=True)
class Stand:
    """What a model is after some steps.

    forms: of the changed matrices. rest: of other changed tensors, as rows. steps: those steps as text (what results
    depend on); trained: the steps until the last one that trained.
    """

    forms: Mapping[str, Form]
    rest: Mapping[str, Form] = field(default_factory=dict)
    steps: str = ""
    trained: str = ""

    @property
    def resident_bytes(self) -> int:
        """Memory that the forms take."""
        return sum(form.resident_bytes for form in (*self.forms.values(), *self.rest.values()))


Train = Callable[[Recover, Stand, str], Stand]
"""`train(step, before, steps)`: what a training step makes of a stand; `steps` are all steps until then, as text."""


def _no_training(step: Recover, before: Stand, steps: str) -> Stand:
    raise ExplorerError(f"{step.label} needs data and a model to train", instead="use wb.compress")


def _nothing_known(steps: str) -> None:
    return None


@dataclass(frozen=True)
class Model:
    """What steps start from.

    matrices: the dense form of every matrix; rest: all other parameters, as rows. Never written to. memory: what is
    kept between calls. train: who does the training steps; known: what they led to before, by all steps as text.
    """

    matrices: Mapping[str, Dense]
    rest: Mapping[str, Dense]
    memory: Memory
    train: Train = _no_training
    known: Callable[[str], Stand | None] = _nothing_known


def apply_plan(plan: Plan, model: Model) -> Stand:
    """What the plan makes of the model."""
    last = max((at for at, step in enumerate(plan.recipe) if step.enabled), default=None)
    if last is None:
        return Stand({})
    if isinstance(plan.recipe[last], Recover):
        return _stand(plan, last + 1, model)
    before = _stand(plan, last, model)  # kept: while the last step's knob moves, the others stand still
    return _after(plan, last, before, model)


def score_index(plan: Plan, position: int, model: Model) -> ScoreIndex:
    """The scores that the Prune step at `position` ranks, after the active steps before it.

    Matrices with a sparsity of their own are not among them.
    """
    step = plan.recipe[position]
    if not isinstance(step, Prune):
        raise ExplorerError(f"step {position + 1} is no Prune step: it ranks no scores")
    before = _stand(plan, position, model)
    entries = [entry for entry in plan.acting(position) if step.scope == "matrix" or entry.amount is None]
    return index_of(step, pieces_of(entries, {**model.matrices, **before.forms}, step), model.memory, before.steps)


def decomposition(plan: Plan, position: int, matrix: str, model: Model, method: str = "svd") -> Singular:
    """The singular value decomposition of a matrix after the first `position` steps."""
    before = _stand(plan, position, model)
    form = before.forms.get(matrix, model.matrices[matrix])
    return singular(method, matrix, form, model.memory, before.trained)


def _stand(plan: Plan, position: int, model: Model) -> Stand:
    """What the model is before the step at `position`; of a known training, nothing before it counts."""
    if position == 0:
        return Stand({})
    step = plan.recipe[position - 1]
    if not step.enabled:
        return _stand(plan, position - 1, model)
    steps = Recipe(plan.recipe.steps[:position]).active().to_url()
    if isinstance(step, Recover):
        known = model.known(steps)
        return known if known is not None else _after(plan, position - 1, _stand(plan, position - 1, model), model)
    before = partial(_stand, plan, position - 1, model)
    stand = model.memory.recall(("stand", steps), lambda: _after(plan, position - 1, before(), model))
    assert isinstance(stand, Stand)
    return stand


def _after(plan: Plan, position: int, before: Stand, model: Model) -> Stand:
    """What the step at `position` makes of what it finds."""
    steps = Recipe(plan.recipe.steps[: position + 1]).active().to_url()
    entries = plan.acting(position)
    if not entries or isinstance(plan.recipe[position], EditAttention):  # an edit of attention changes no weight
        return replace(before, steps=steps)
    step, found = plan.recipe[position], {**model.matrices, **before.forms}
    changed: Mapping[str, Form] = {}
    rest = before.rest
    if isinstance(step, Prune):
        changed = prune(step, entries, found, model.memory, before.steps)
    elif isinstance(step, LowRank):
        kept = (model.memory, before.trained)
        changed = {entry.matrix: factorise(step, entry, found[entry.matrix], *kept) for entry in entries}
    elif isinstance(step, (Quantize, Codebook)):
        changed = {entry.matrix: code(step, entry, found[entry.matrix]) for entry in entries}
        if step.rest is not None:
            parameters = {name: before.rest.get(name, form) for name, form in model.rest.items()}
            rest = {**before.rest, **round_rest(parameters, step.rest)}
    else:
        assert isinstance(step, Recover)
        return replace(model.train(step, before, steps), steps=steps, trained=steps)
    return Stand({**before.forms, **changed}, rest, steps, before.trained)
