"""What a sensitivity scan asks: which step, on which targets, at which levels, after which recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from explorer.errors import ExplorerError
from explorer.knobs import turned
from explorer.recipe import Recipe, as_recipe
from explorer.steps import Codebook, LowRank, Prune, Quantize, Recover, Step
from explorer.weights.matrices import Matrices, WeightMatrix

if TYPE_CHECKING:
    from explorer.workbench import Workbench

FIELDS: dict[type[Step], str] = {Prune: "sparsity", LowRank: "energy", Quantize: "bits", Codebook: "bits"}
"""The steps that can be scanned, and which of their numbers is turned."""

LEVELS: dict[str, tuple[float, ...]] = {
    "sparsity": (0.3, 0.5, 0.7, 0.8, 0.9, 0.95),
    "energy": (0.99, 0.95, 0.9, 0.8, 0.6),
    "bits": (8, 6, 4, 3, 2),
}
BY = ("matrix", "block", "kind")
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Target:
    """What is changed at once: one matrix, or all of a block or kind that the step may act on."""

    name: str
    matrices: tuple[str, ...]


@dataclass(frozen=True)
class Scan:
    """A scan: `recipes[target, level]` beside `base`. levels: from mild to harsh; None alone where one is left out."""

    step: Step
    field: str
    by: str
    base: Recipe
    targets: tuple[Target, ...]
    levels: tuple[float | None, ...]
    leave_out: bool

    def recipe(self, target: Target, level: float | None) -> Recipe:
        """The base with the step on the target alone, or with the step off there."""
        if level is not None:
            return Recipe([*self.base.steps, alone(self.step, target.matrices, self.field, level)])
        return Recipe(
            step.change(exclude=(*step.exclude, *target.matrices)) if _same_kind(step, self.step) else step
            for step in self.base.steps
        )


def scan_of(bench: Workbench, step: Any, levels: Any, by: str, recipe: Any, leave_out: bool) -> Scan:
    """What is asked, checked. Raises `ExplorerError` for what cannot be scanned."""
    template = template_of(step)
    field = FIELDS[type(template)]
    if by not in BY:
        raise ExplorerError(f'by is "{by}"', where="sensitivity", instead=f"choose one of {', '.join(BY)}")
    base = Recipe() if recipe is None else as_recipe(recipe).active()
    chosen: tuple[float | None, ...] = (None,)
    if leave_out:
        if levels is not None:
            instead = "leave out levels: the recipe sets them"
            raise ExplorerError("a layer is either left out or not", where="sensitivity", instead=instead)
        names = _acting(bench, base, template)
    else:
        if isinstance(template, Prune) and template.pattern == "n:m":
            what = "an N:M pattern sets its own sparsity, so there are no levels to scan"
            raise ExplorerError(what, where="sensitivity", instead="scan another pattern, or use leave_out=True")
        chosen = _levels(template, field, levels)
        names = _alone(bench, template)
    if not names:
        raise ExplorerError("the step acts on no matrix", where="sensitivity", instead="choose other layers")
    known = bench.matrices()
    return Scan(template, field, by, base, targets_of(known, [known[name] for name in names], by), chosen, leave_out)


def template_of(step: Any) -> Step:
    """A step class or a step as the template that is varied. Raises `ExplorerError` for one that has no levels."""
    kind = step if isinstance(step, type) else type(step)
    if kind not in FIELDS:
        known = ", ".join(f"ex.{known.__name__}" for known in FIELDS)
        raise ExplorerError(f"{kind.__name__} cannot be scanned", where="sensitivity", instead=f"use one of {known}")
    if isinstance(step, Step):
        return step
    field = FIELDS[kind]
    made = kind(**{field: LEVELS[field][0]})
    assert isinstance(made, Step)
    return made


def alone(step: Step, names: Sequence[str], field: str, level: float) -> Step:
    """The step on these matrices only, at that level; what it does to other tensors is left out."""
    fields: dict[str, Any] = {"layers": tuple(names), "exclude": (), "overrides": {}, "enabled": True, field: level}
    if "rest" in type(step).model_fields:
        fields["rest"] = None
    return turned(step, **fields)


def targets_of(known: Matrices, chosen: Sequence[WeightMatrix], by: str) -> tuple[Target, ...]:
    """The chosen matrices, each on its own or together by block or kind, in the order of the model."""
    blocks = blocks_of(known)
    together: dict[str, list[str]] = {}
    for matrix in chosen:
        name = {"matrix": matrix.name, "block": blocks[matrix.name], "kind": matrix.kind}[by]
        together.setdefault(name, []).append(matrix.name)
    return tuple(Target(name, tuple(names)) for name, names in together.items())


def blocks_of(matrices: Matrices) -> dict[str, str]:
    """The block of each matrix: the longest numbered beginning of its name that several share, such as "blocks.0".

    A matrix that shares none is in the block of its module ("head").
    """
    beginnings = {matrix.name: _numbered(matrix.name) for matrix in matrices}
    shared = Counter(beginning for each in beginnings.values() for beginning in each)
    return {
        matrix.name: next((start for start in reversed(beginnings[matrix.name]) if shared[start] > 1), matrix.module)
        for matrix in matrices
    }


def _numbered(name: str) -> list[str]:
    pieces = name.split(".")
    return [".".join(pieces[: at + 1]) for at, piece in enumerate(pieces) if piece.isdecimal()]


def _levels(step: Step, field: str, levels: Any) -> tuple[float, ...]:
    asked = LEVELS[field] if levels is None else (levels,) if isinstance(levels, (int, float)) else tuple(levels)
    if not asked:
        raise ExplorerError("there is no level to measure at", where="sensitivity", instead="give at least one")
    checked = {getattr(alone(step, ("*",), field, level), field) for level in asked}
    return tuple(sorted(checked, reverse=field != "sparsity"))


def _alone(bench: Workbench, step: Step) -> list[str]:
    """The matrices that the step may act on; the answers' rows only where the person names them."""
    chosen = [matrix.name for matrix in bench.matrices().select(step.layers, step.exclude)]
    own: dict[str, Any] = dict(getattr(step, "overrides", {}))
    if isinstance(step, Prune) and step.pattern == "row":
        spared = bench.answers_matrices.difference(step.layers, own)
        chosen = [name for name in chosen if name not in spared]
    return [name for name in chosen if name not in own or own[name] is not None]


def _acting(bench: Workbench, base: Recipe, step: Step) -> list[str]:
    """The matrices on which the recipe's steps of that kind act."""
    if not any(_same_kind(other, step) for other in base):
        what = f"the recipe has no {step.label} step to leave a layer out of"
        raise ExplorerError(what, where="sensitivity", instead="give a recipe= that has one")
    first = next(at for at, other in enumerate(base) if _same_kind(other, step))
    if any(isinstance(other, Recover) for other in base.steps[first:]):
        what = "each layer that is left out would be trained for anew"
        raise ExplorerError(what, where="sensitivity", instead="take the training out of the recipe")
    plan = bench.plan(base)
    acting = {entry.matrix for at, other in enumerate(base) if _same_kind(other, step) for entry in plan.acting(at)}
    return [matrix.name for matrix in bench.matrices() if matrix.name in acting]


def _same_kind(step: Step, other: Step) -> bool:
    return type(step) is type(other)
