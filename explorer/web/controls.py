"""One control for one field of a step: made from the field's type, title, description and limits."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import streamlit as st

from explorer.knobs import globs_worth_offering, limits, lists_text, overrides_text
from explorer.names import CRITERIA, EDITS, FACTORISATIONS, PATTERNS
from explorer.recipe import Step
from explorer.steps import LEARNED, EditAttention, GradualPrune
from explorer.web.state import Session, act
from explorer.web.step_moves import read

REGISTRIES: dict[str, Any] = {"criterion": CRITERIA, "pattern": PATTERNS, "method": FACTORISATIONS, "edit": EDITS}
LISTS = ("own_heads", "gains")
"""Fields that hold several numbers for each layer."""
FINE = ("learning_rate", "l1", "group_l1", "weight_decay")
"""Small numbers: they move in thousandths."""
DICT_EXAMPLES = {
    "teachers": "prune,sparsity=0.3=0.5",
    "own_heads": "blocks.0.attn=0 2",
    "gains": "blocks.0.attn=1 0.5 1 0",
}
WORDS = {"global": "model-wide", "matrix": "per matrix"}


def control(session: Session, step_id: int, step: Step, name: str) -> None:
    """The control that suits the type of a field; label, help and limits are the field's own."""
    field = type(step).model_fields[name]
    own, value = f"{name}-{step_id}", getattr(step, name)
    shown: Any = value
    if name in ("layers", "exclude", "heads"):
        shown = list(value)
    elif name in LISTS:
        shown = lists_text(value)
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
    elif name == "heads" and isinstance(step, EditAttention):
        _head_choice(session, step, given)
    elif name in REGISTRIES:
        _registry_choice(step, name, given)
    elif get_origin(field.annotation) is Literal:
        st.selectbox(
            options=list(get_args(field.annotation)), format_func=lambda option: WORDS.get(option, option), **given
        )
    elif get_origin(field.annotation) is dict:
        st.text_input(placeholder=DICT_EXAMPLES.get(name, "blocks.0.*=0.3, head=off"), **given)
    else:
        _number(step, name, given)


def _number(step: Step, name: str, given: dict[str, Any]) -> None:
    """A number: a slider for a share, else a field; one that may be empty can be emptied."""
    annotation = type(step).model_fields[name].annotation
    kinds = get_args(annotation) or (annotation,)
    low, high = limits(type(step), name)
    if float not in kinds:
        most = None if high is None else int(high)
        st.number_input(min_value=int(low or 0), max_value=most, step=1, **given)
    elif high == 1:
        st.slider(min_value=0.0, max_value=1.0, step=0.01, **given)
    else:
        highest = None if high is None else float(high)
        step_size, shape = (0.001, "%.4f") if name in FINE else (1.0, "%.4g") if name == "epochs" else (0.1, "%.4g")
        st.number_input(min_value=float(low or 0), max_value=highest, step=step_size, format=shape, **given)


def _registry_choice(step: Step, name: str, given: dict[str, Any]) -> None:
    annotation, registry = type(step).model_fields[name].annotation, REGISTRIES[name]
    allowed = get_args(annotation) if get_origin(annotation) is Literal else registry.names()
    options = [option for option in allowed if option in registry.names()]
    if name == "criterion" and isinstance(step, GradualPrune):
        options.append(LEARNED)

    def label(option: str) -> str:
        return str(registry[option].label) if option in registry.names() else option

    if name == "pattern":
        st.segmented_control(options=options, format_func=label, required=True, **given)
    else:
        given["help"] += " " + " ".join(f"{entry.label}: {entry.help}" for entry in registry)
        st.selectbox(options=options, format_func=label, **given)


def _layer_choice(session: Session, step: Step, name: str, given: dict[str, Any]) -> None:
    if isinstance(step, EditAttention):
        names, noun = session.bench.attention_sites.names, "attention layers"
    else:
        names, noun = session.bench.matrices().names, "matrices"
    value = list(getattr(step, name))
    offers = [*(["*"] if name == "layers" else []), *value, *globs_worth_offering(names), *names]
    words = {"*": f"all {len(names)} {noun}"}
    st.multiselect(
        options=list(dict.fromkeys(offers)),
        format_func=lambda option: words.get(option, option),
        accept_new_options=True,
        placeholder="names or globs",
        **given,
    )


def _head_choice(session: Session, step: EditAttention, given: dict[str, Any]) -> None:
    most = max((site.heads for site in session.bench.attention_sites), default=0)
    options = sorted({*range(most), *step.heads})
    st.multiselect(options=options, format_func=lambda head: f"head {head}", placeholder="all heads", **given)


def help_of(step: Step, name: str) -> str:
    return type(step).model_fields[name].description or ""
