"""What the plain controls of a step do: change a field, add, remove, move, open."""

from __future__ import annotations

from typing import Any

from explorer.errors import ExplorerError
from explorer.recipe import LowRank, Prune, Recipe, Step
from explorer.web.state import Session

NEW_STEPS: dict[str, Step] = {"prune": Prune(sparsity=0.0), "low-rank": LowRank(energy=0.95)}
"""What a step starts with when it is added."""


def read(session: Session, step_id: int, name: str, control: str) -> None:
    """Take a control's value into the step."""
    change_step(session, step_id, **{name: _value(session, step_id, name, session.taken(control))})


def change_step(session: Session, step_id: int, **fields: Any) -> None:
    """Replace fields of a step, with what has to change along with them."""
    position = session.position(step_id)
    step = session.recipe[position]
    if isinstance(step, Prune) and "pattern" in fields and fields["pattern"] != step.pattern:
        fields.update(_for_pattern(step, fields["pattern"]))
    if isinstance(step, Prune) and fields.get("scope") == "matrix" and step.threshold is not None:
        fields.update(
            threshold=None,
            sparsity=round(session.bench.scores(session.recipe, position).sparsity_at(step.threshold), 4),
        )
    changed = step.change(**fields)
    session.go(session.recipe.replace(position, changed), session.trail.now.ids)


def _for_pattern(step: Prune, pattern: str) -> dict[str, Any]:
    """The amount that a pattern takes: N:M sets its own; the others keep the sparsity they had."""
    if pattern == "n:m":
        return {"n": 2, "m": 4, "sparsity": None, "threshold": None, "overrides": {}}
    amount = 0.0 if step.pattern == "n:m" else step.sparsity
    return {"n": None, "m": None, "sparsity": amount if amount is not None else 0.0, "threshold": None}


def _value(session: Session, step_id: int, name: str, value: Any) -> Any:
    """A control's value as the field takes it."""
    step = session.recipe[session.position(step_id)]
    if name == "layers":
        added = [glob for glob in value if glob not in step.layers]
        if "*" in added or not value:
            return ("*",)
        return tuple(glob for glob in value if glob != "*" or not added)
    if name == "exclude":
        return tuple(value)
    if name == "overrides":
        return _overrides(value, whole=isinstance(step, LowRank))
    return value


def _overrides(text: str, whole: bool) -> dict[str, float | None]:
    """ "blocks.0.*=0.3, head=off" as data; raises `ExplorerError` where it is not that."""
    found: dict[str, float | None] = {}
    for part in filter(None, (piece.strip() for piece in text.replace("\n", ",").split(","))):
        glob, sign, amount = (piece.strip() for piece in part.partition("="))
        try:
            found[glob] = None if amount in ("off", "null") else int(amount) if whole else float(amount)
        except ValueError:
            sign = ""
        if not sign or not glob:
            raise ExplorerError(
                f'"{part}" is not name=amount',
                where="own amounts",
                instead="write for example blocks.0.*=0.3, head=off",
            )
    return found


def show(session: Session, step_id: int) -> None:
    """Open the card of a step."""
    session.position(step_id)
    session.trail.open_step = step_id


def add(session: Session, kind: str) -> None:
    """Append a step."""
    step_id = session.next_id
    session.next_id += 1
    session.go(Recipe([*session.recipe, NEW_STEPS[kind]]), (*session.trail.now.ids, step_id))
    session.trail.open_step = step_id


def remove(session: Session, step_id: int) -> None:
    """Take a step out."""
    position = session.position(step_id)
    keep = [place for place in range(len(session.recipe)) if place != position]
    session.go(Recipe([session.recipe[place] for place in keep]), tuple(session.trail.now.ids[place] for place in keep))


def earlier(session: Session, step_id: int) -> None:
    """Move a step up."""
    _shift(session, step_id, -1)


def later(session: Session, step_id: int) -> None:
    """Move a step down."""
    _shift(session, step_id, 1)


def _shift(session: Session, step_id: int, by: int) -> None:
    position = session.position(step_id)
    other = position + by
    if 0 <= other < len(session.recipe):
        steps, ids = list(session.recipe), list(session.trail.now.ids)
        steps[position], steps[other] = steps[other], steps[position]
        ids[position], ids[other] = ids[other], ids[position]
        session.go(Recipe(steps), tuple(ids))
