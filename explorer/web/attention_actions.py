"""What can be done to the head that is chosen: buttons that make an edit of it a step of the recipe."""

from __future__ import annotations

from typing import Any

import streamlit as st

from explorer.attending import silent_heads
from explorer.attention.maps import LayerMaps
from explorer.errors import ExplorerError
from explorer.recipe import Recipe
from explorer.steps import EditAttention
from explorer.web.look import Look, look_of
from explorer.web.state import Session, act, changes_nothing


def actions(session: Session, look: Look, layer: LayerMaps) -> None:
    """Buttons that make an edit of the chosen head a step of the recipe."""
    off = look.head in silent_heads(session.bench.edits(session.recipe)).get(layer.name, ())
    with st.container(horizontal=True, gap="small", key="actions-of-head"):
        if off:
            st.button("Switch on", key="head-on", on_click=act, args=(switch_on,), help="Take the edit away again.")
        else:
            words = "Open the gate: all of it passes." if layer.site.is_gate else "The head gives nothing any more."
            label = "Open the gate" if layer.site.is_gate else "Switch off"
            st.button(label, key="head-off", on_click=act, args=(edit_head, "off"), help=words, type="primary")
        if layer.site.is_gate:
            st.button("Make it even", key="head-uniform", on_click=act, args=(edit_head, "uniform"))
        else:
            tips = {
                "sharpen": ("Sharpen", "Temperature 0.5: the largest weights grow."),
                "hard": ("Hardest", "Top 1: each row keeps its largest weight alone (hard attention)."),
                "uniform": ("Uniform", "Every key gets the same weight."),
            }
            for kind, (label, help) in tips.items():
                st.button(label, key=f"head-{kind}", on_click=act, args=(edit_head, kind), help=help)


def edit_head(session: Session, kind: str) -> None:
    """Add an edit of the head that is chosen; heads that are switched off gather in one step."""
    look = look_of(session)
    site = session.bench.attention_sites[look.layer.split("@")[0]]
    heads = () if site.is_gate else (look.head,)
    kept = Recipe() if changes_nothing(session.recipe) else session.recipe
    if kind == "off" and heads:
        gathered = {name: sorted(found) for name, found in silent_heads(session.bench.edits(kept)).items() if found}
        place = next((at for at, step in enumerate(kept) if _is_gathering(step)), None)
        if place is not None:
            gathered.setdefault(site.name, [])
            gathered[site.name] = sorted({*gathered[site.name], look.head})
            step = EditAttention(edit="off", own_heads={name: tuple(found) for name, found in gathered.items()})
            session.go(kept.replace(place, step), session.trail.now.ids if kept is session.recipe else None)
            return
        step = EditAttention(edit="off", own_heads={site.name: heads})
    else:
        edits: dict[str, dict[str, Any]] = {
            "off": {"edit": "off"},
            "sharpen": {"edit": "temperature", "temperature": 0.5},
            "hard": {"edit": "top-k", "k": 1},
            "uniform": {"edit": "uniform"},
        }
        step = EditAttention(layers=site.name, heads=heads, **edits[kind])
    recipe = Recipe([*kept, step])
    session.go(recipe, session.ids_for(recipe) if kept is session.recipe else None)


def _is_gathering(step: Any) -> bool:
    return isinstance(step, EditAttention) and step.edit == "off" and bool(step.own_heads) and step.enabled


def switch_on(session: Session) -> None:
    """Take the head that is chosen out of the steps that switch it off."""
    look = look_of(session)
    site = session.bench.attention_sites[look.layer.split("@")[0]]
    steps, ids = [], []
    for step, number in zip(session.recipe, session.trail.now.ids, strict=True):
        if isinstance(step, EditAttention) and step.edit == "off":
            named = {name: tuple(h for h in heads if name != site.name or h != look.head)
                     for name, heads in step.own_heads.items()}  # fmt: skip
            if step.own_heads:
                named = {name: heads for name, heads in named.items() if heads}
                if not named:
                    continue
                step = step.change(own_heads=named)
            elif step.heads_of(site.name) in ((), (look.head,)) and list(step.layers) in ([site.name], [site.module]):
                others = tuple(head for head in range(site.heads) if head != look.head)
                if step.heads or not others:
                    continue
                step = step.change(heads=others)
            else:
                raise ExplorerError(
                    "this head is off by a step for several layers", where=site.name, instead="change that step below"
                )
        steps.append(step)
        ids.append(number)
    session.go(Recipe(steps), tuple(ids))
