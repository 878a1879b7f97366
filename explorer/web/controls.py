"""One control for one field of a step: made from the field's type, title, description and limits."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import streamlit as st

from explorer.knobs import globs_worth_offering, limits, overrides_text
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
        shown = overrides_text(value)
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
        low, high = limits(type(step), name)
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
    offers = [*(["*"] if name == "layers" else []), *value, *globs_worth_offering(matrices.names), *matrices.names]
    words = {"*": f"all {len(matrices)} matrices"}
    st.multiselect(
        options=list(dict.fromkeys(offers)),
        format_func=lambda option: words.get(option, option),
        accept_new_options=True,
        placeholder="names or globs",
        **given,
    )


def help_of(step: Step, name: str) -> str:
    return type(step).model_fields[name].description or ""
