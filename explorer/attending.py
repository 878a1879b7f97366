"""Attention on a workbench: its sites, what a step does to which, and the edits that a recipe makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from explorer.attention.editing import Edit
from explorer.attention.edits import NEEDS_FUSED, NEEDS_PLACES, OF_GATES
from explorer.attention.sites import Site, Sites, find_sites
from explorer.compression.plan import PlanEntry
from explorer.errors import ExplorerError
from explorer.names import EDITS
from explorer.recipe import Recipe
from explorer.steps import EditAttention
from explorer.subjects.examples import map_tensors
from explorer.weights.install import PrivateModel

if TYPE_CHECKING:
    from explorer.workbench import Workbench

PROBED = 2
"""So many examples show where attention happens."""


def sites_of(bench: Workbench) -> Sites:
    """The attention sites of the dense model, found on its first tune examples."""
    module = PrivateModel(bench.subject.model, bench.matrices()).module
    inputs = bench.subject.split("tune").take(slice(0, PROBED)).inputs
    sizes: list[int] = []
    map_tensors(inputs, lambda tensor: sizes.append(tensor[:1].numel()))
    run = lambda model: bench.stage.outputs(model, inputs)  # noqa: E731  (one expression, used once)
    return find_sites(module, run, min(PROBED, len(bench.subject.split("tune"))), bench.subject.gates, sum(sizes))


def planned(position: int, step: EditAttention, sites: Sites) -> list[PlanEntry]:
    """What the step does at each site, or why it leaves it alone.

    Raises `ExplorerError` for globs that mean no attention, and for heads that no chosen layer has.
    """
    chosen = sites.select(tuple(step.layers), tuple(step.exclude))
    for glob in (*step.own_heads, *step.gains):
        sites.select((glob,))
    asked = [head for site in chosen for head in step.heads_of(site.name)]
    if asked and all(not _heads(step, site) for site in chosen if step.heads_of(site.name)):
        most = max(site.heads for site in chosen)
        raise ExplorerError(f"there is no head {max(asked)}", instead=f"heads go from 0 to {most - 1}")
    entries = []
    for site in chosen:
        reason = _why_not(step, site)
        entries.append(PlanEntry(position, site.name, "" if reason else _what(step, site), reason))
    return entries


def edits_of(recipe: Recipe, sites: Sites, bench: Workbench) -> tuple[Edit, ...]:
    """The edits of all steps that are on, in their order."""
    found = []
    for step in recipe:
        if step.enabled and isinstance(step, EditAttention):
            for site in sites.select(tuple(step.layers), tuple(step.exclude)):
                if _why_not(step, site) is None:
                    found.append(_edit(step, site, bench))
    return tuple(found)


def silent_heads(edits: Sequence[Edit]) -> dict[str, set[int]]:
    """The heads that some edits switch off (or multiply by nothing), by layer."""
    found: dict[str, set[int]] = {}
    for edit in edits:
        if edit.site.is_gate:
            continue
        if edit.gains:
            heads = {head for head, gain in enumerate(edit.gains) if gain == 0}
        elif edit.step.edit == "off" or (edit.step.edit == "gain" and edit.step.gain == 0):
            heads = set(edit.heads or range(edit.site.heads))
        else:
            continue
        if heads:
            found.setdefault(edit.site.name, set()).update(heads)
    return found


def _edit(step: EditAttention, site: Site, bench: Workbench) -> Edit:
    gains = step.gains.get(site.name, ())
    grid, first = None, 0
    if site.kind == "self" and step.edit in NEEDS_PLACES:
        axis = bench.subject.axis(bench.subject.split("tune").take(slice(0, 1)).inputs, site.keys)
        grid, first = axis.grid, axis.first
    return Edit(site, step, () if gains else _heads(step, site), tuple(gains), grid, first)


def _heads(step: EditAttention, site: Site) -> tuple[int, ...]:
    """The heads that are meant and there; all of them (as an empty tuple) where none are named."""
    return tuple(head for head in step.heads_of(site.name) if head < site.heads)


def _why_not(step: EditAttention, site: Site) -> str | None:
    """Why the step leaves a site alone, or None."""
    if step.gains and step.gain is None and site.name not in step.gains:
        return "it has no gains of its own"
    if step.gains.get(site.name) and len(step.gains[site.name]) != site.heads:
        raise ExplorerError(
            f"{len(step.gains[site.name])} gains for {site.heads} heads", where=site.name, instead="give one a head"
        )
    named = bool(step.own_heads or step.heads)
    if step.own_heads and not step.heads and not step.heads_of(site.name):
        return "none of its heads is named"
    if named and not _heads(step, site):
        return f"it has no head {max(step.heads_of(site.name))}: its heads go from 0 to {site.heads - 1}"
    if site.is_gate and step.edit not in OF_GATES:
        return f"it is a gate, whose values are no rows ({EDITS[step.edit].label.lower()} has no meaning)"
    if step.edit in NEEDS_FUSED and not site.fused:
        return "its queries and keys are not known: only the fused attention hands them over"
    if step.edit in NEEDS_PLACES and site.kind != "self":
        return "its queries and keys are not the same positions"
    return None


def _what(step: EditAttention, site: Site) -> str:
    if site.name in step.gains:
        return "gains " + ", ".join(f"{gain:g}" for gain in step.gains[site.name])
    heads = _heads(step, site)
    amounts = ", ".join(f"{name} {value:g}" for name, value in step.amounts.items())
    who = _numbered("head", heads) if heads else "the gate" if site.is_gate else "all heads"
    if site.is_gate and step.edit == "off":
        return "the gate stays open (one everywhere)"
    return f"{EDITS[step.edit].label.lower()}{f' ({amounts})' if amounts else ''}: {who}"


def _numbered(word: str, numbers: Sequence[int]) -> str:
    return f"{word}{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def as_tensors(bench: Workbench, inputs: Any) -> Any:
    """Inputs as the model takes them: tensors as they are, raw examples prepared by the subject."""
    found: list[bool] = []
    map_tensors(inputs, lambda tensor: found.append(True))
    return inputs if found and not isinstance(inputs, list) else bench.subject.prepare(inputs)
