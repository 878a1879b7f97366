"""What the plain controls of a step do: change a field, add, remove, move, open."""

from __future__ import annotations

from typing import Any

from explorer.knobs import NEW_STEPS, lists_from, overrides_from, turned
from explorer.recipe import Prune, Recipe
from explorer.steps import EditAttention, Recover
from explorer.web.state import Session


def read(session: Session, step_id: int, name: str, control: str) -> None:
    """Take a control's value into the step; a training step that is switched on may have to be trained first."""
    value = _value(session, step_id, name, session.taken(control))
    place = session.position(step_id)
    if name == "enabled" and value and isinstance(session.recipe[place], Recover):
        wanted = session.recipe.replace(place, session.recipe[place].change(enabled=True))
        if not session.bench.coach.ready(wanted):
            session.pursue(wanted)
            return
    change_step(session, step_id, **{name: value})


def change_step(session: Session, step_id: int, **fields: Any) -> None:
    """Turn fields of a step, with what has to change along with them."""
    position = session.position(step_id)
    step = session.recipe[position]
    if isinstance(step, Prune) and step.threshold is not None and _other_scores(step, fields):
        scores = session.bench.scores(session.recipe, position)
        fields["sparsity"] = round(scores.sparsity_at(step.threshold), 4)
    session.go(session.recipe.replace(position, turned(step, **fields)), session.trail.now.ids)


def _other_scores(step: Prune, fields: dict[str, Any]) -> bool:
    """Whether a threshold would mean something else afterwards, so that the share that goes is kept in its place."""
    changed = any(fields.get(name, getattr(step, name)) != getattr(step, name) for name in ("pattern", "criterion"))
    return changed or fields.get("scope") == "matrix"


def _value(session: Session, step_id: int, name: str, value: Any) -> Any:
    """A control's value as the field takes it."""
    step = session.recipe[session.position(step_id)]
    if name == "layers":
        added = [glob for glob in value if glob not in step.layers]
        known = session.bench.attention_sites if isinstance(step, EditAttention) else session.bench.matrices()
        if "*" in added or not value or set(known.names) <= set(value):
            return ("*",)
        return tuple(glob for glob in value if glob != "*" or not added)
    if name in ("exclude", "heads"):
        return tuple(value)
    if name in ("own_heads", "gains"):
        return lists_from(value, whole=name == "own_heads")
    if name == "teachers":
        return overrides_from(value, whole=False)
    if name == "overrides":
        return overrides_from(value, whole=not isinstance(step, Prune))
    return value


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
