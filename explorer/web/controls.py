"""One control for one field of a step: made from the field's type, title, description and limits."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import streamlit as st

from explorer.names import CRITERIA, FACTORISATIONS, PATTERNS
from explorer.recipe import Step
from explorer.web.state import Session, act
from explorer.web.step_moves import read

REGISTRIES: dict[str, Any] = {"criterion": CRITERIA, "pattern": PATTERNS, "method": FACTORISATIONS}
WORDS = {"global": "model-wide", "matrix": "per matrix"}


def control(session: Session, step_id: int, step: Step, name: str) -> None:
    """The control that suits the type of a field; label, help and limits are the field's own."""
    field = type(step).model_fields[name]
    own, value = f"{name}-{step_id}", getattr(step, name)
    shown: Any = value
    if name in ("layers", "exclude"):
        shown = list(value)
    elif get_origin(field.annotation) is dict:
        shown = ", ".join(f"{glob}={'off' if amount is None else amount}" for glob, amount in value.items())
    given: dict[str, Any] = {
        "label": field.title or name,
        "key": session.control(own, shown),
        "help": help_of(step, name),
        "on_change": act,
        "args": (read, step_id, name, own),
    }
    if name in ("layers", "exclude"):
        _layer_choice(session, step, name, given)
    elif name in REGISTRIES:
        _registry_choice(name, field.annotation, given)
    elif get_origin(field.annotation) is Literal:
        st.selectbox(
            options=list(get_args(field.annotation)), format_func=lambda option: WORDS.get(option, option), **given
        )
    elif get_origin(field.annotation) is dict:
        st.text_input(placeholder="blocks.0.*=0.3, head=off", **given)
    else:
        low, high = _limits(step, name)
        st.number_input(min_value=int(low or 0), max_value=None if high is None else int(high), step=1, **given)


def _registry_choice(name: str, annotation: Any, given: dict[str, Any]) -> None:
    registry = REGISTRIES[name]
    allowed = get_args(annotation) if get_origin(annotation) is Literal else registry.names()
    options = [option for option in allowed if option in registry.names()]

    def label(option: str) -> str:
        return str(registry[option].label)

    if name == "pattern":
        st.segmented_control(options=options, format_func=label, required=True, **given)
    else:
        given["help"] += " " + " ".join(f"{entry.label}: {entry.help}" for entry in registry)
        st.selectbox(options=options, format_func=label, **given)


def _layer_choice(session: Session, step: Step, name: str, given: dict[str, Any]) -> None:
    matrices = session.bench.matrices()
    value = list(getattr(step, name))
    options = list(
        dict.fromkeys([*(["*"] if name == "layers" else []), *value, *groups(matrices.names), *matrices.names])
    )
    words = {"*": f"all {len(matrices)} matrices"}
    st.multiselect(
        options=options,
        format_func=lambda option: words.get(option, option),
        accept_new_options=True,
        placeholder="names or globs",
        **given,
    )


def groups(names: list[str]) -> list[str]:
    """Globs that are worth offering: each ending or beginning that several matrices share."""
    found: dict[str, int] = {}
    for name in names:
        pieces = name.split(".")
        for cut in range(1, len(pieces)):
            for glob in ("*." + ".".join(pieces[cut:]), ".".join(pieces[:cut]) + ".*"):
                found[glob] = found.get(glob, 0) + 1
    return [glob for glob, count in found.items() if 2 <= count < len(names)]


def help_of(step: Step, name: str) -> str:
    return type(step).model_fields[name].description or ""


def is_rare(step: Step, name: str) -> bool:
    extra = type(step).model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("rare"))


def _limits(step: Step, name: str) -> tuple[float | None, float | None]:
    """The lowest and the highest value that the field takes."""
    schema = type(step).model_json_schema()["properties"][name]
    options = [schema, *schema.get("anyOf", ())]
    low = next((option[word] for option in options for word in ("minimum", "exclusiveMinimum") if word in option), None)
    high = next((option["maximum"] for option in options if "maximum" in option), None)
    return low, high
