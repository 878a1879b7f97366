"""`variant.recover(...)`: from a person's wishes to a training step, and from its outcome to a variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from explorer.compression.apply import Stand
from explorer.errors import ExplorerError
from explorer.recipe import Recipe
from explorer.recovery.coach import DENSE
from explorer.steps import GradualPrune, Recover
from explorer.waiting import watch

if TYPE_CHECKING:
    from explorer.variant import Variant


def recover(
    variant: Variant,
    epochs: float | None,
    seconds: float | None,
    teacher: Any,
    progress: bool,
    wishes: Mapping[str, Any],
) -> Variant:
    """See `Variant.recover`."""
    bench, fields = variant.workbench, dict(wishes)
    if epochs is not None and seconds is not None:
        raise ExplorerError("both epochs and seconds are given", where="recover", instead="give one of them")
    if seconds is not None and not seconds > 0:
        raise ExplorerError(f"seconds is {seconds!r}", where="recover", instead="give a number above 0")
    if epochs is not None:
        fields["epochs"] = epochs
    distill, teachers = teachers_from(teacher, variant)
    if teacher is not None:
        fields = {**fields, "distill": distill, "teachers": teachers}
    step = (GradualPrune if "sparsity" in fields else Recover)(**fields)
    before = stand_of(variant)
    if seconds is not None:
        step = step.change(epochs=_epochs_in(bench.coach.pace(step, before), step, seconds))
    job = watch(bench.coach.submit(step, before), step.label.lower(), progress)
    bench.check_dense()
    recipe = Recipe([*variant.recipe, job.final_step])
    worn = replace(bench.worn(bench.coach.outcome(job)), edits=bench.edits(recipe))
    made = type(variant)(bench, recipe, bench.plan(recipe), worn)
    made.note = job.trained.note if job.trained is not None else ""
    return bench.keep(made)


def stand_of(variant: Variant) -> Stand:
    """What a variant is, as what a training starts from."""
    steps = variant.recipe.active().to_url()
    return Stand(variant.outfit.forms, variant.outfit.rest, steps)


def teachers_from(asked: Any, variant: Variant) -> tuple[float, dict[str, float]]:
    """(the weight of the dense teacher, those of others by their recipes) from what a person gives as `teacher=`."""
    if asked is None:
        return 0.0, {}
    listed = asked.items() if isinstance(asked, Mapping) else [(one, 1.0) for one in _list(asked)]
    found: dict[str, float] = {}
    for one, weight in listed:
        found[_name_of(one, variant)] = float(weight)
    return found.pop(DENSE, 0.0), found


def _list(asked: Any) -> list[Any]:
    return list(asked) if isinstance(asked, (list, tuple)) else [asked]


def _name_of(teacher: Any, variant: Variant) -> str:
    if isinstance(teacher, str):
        if teacher != DENSE:
            Recipe.from_url(teacher)
        return teacher
    if not isinstance(teacher, type(variant)):
        raise ExplorerError(
            f"{type(teacher).__name__} is no teacher", where="teacher=", instead='give "dense" or a variant'
        )
    if teacher.workbench is not variant.workbench:
        other = teacher.workbench.subject
        raise ExplorerError(
            f"the teacher is of {other.name} ({other.task}), not of {variant.workbench.name}",
            where="teacher=",
            instead="give a variant of the same workbench",
        )
    return DENSE if teacher.is_dense else teacher.recipe.active().to_url()


def _epochs_in(pace: Any, step: Recover, seconds: float) -> float:
    """How many epochs fit into so many seconds, by a measurement of a few steps."""
    pace.wait()
    if pace.error is not None:
        raise pace.error
    return max(1e-3, float(f"{step.epochs * seconds / pace.seconds:.3g}"))
