"""Reading attention: one forward pass with everything noted, within a memory budget, with gradients where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from explorer.attention.capture import Seen, capturing, with_heads
from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.attention.sites import Site, Sites, watching_gates
from explorer.errors import ExplorerError
from explorer.subjects.axes import Axis, plain_axis
from explorer.subjects.examples import batch_length, map_tensors
from explorer.subjects.subject import Subject

MOST_BYTES = 2**30
"""So much memory maps may take at once."""
SURELY_SMALL = 2**24
"""Below this many bytes the size is not looked into beforehand."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a reading.

    layers, exclude: names or globs of attention layers. heads: their numbers, None for all. target: which output the
    gradients are of ("predicted", a class number, or one an example), None for no gradients. position: of outputs with
    positions (texts), the one that counts.
    """

    layers: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    heads: tuple[int, ...] | None = None
    target: Any = None
    position: int = -1
    most_bytes: int = MOST_BYTES


def read_attention(
    subject: Subject, module: nn.Module, inputs: Any, sites: Sites, wanted: Wanted, caption: str = ""
) -> AttentionMaps:
    """The attention of `module` (a private clone, dressed) on `inputs`.

    Raises `ExplorerError` for unknown layers and heads, for a model without attention, and for maps that would not fit
    in memory (before they are computed).
    """
    chosen = {(site.module, site.number): site for site in sites.select(wanted.layers, wanted.exclude)}
    for site in chosen.values():
        beyond = [head for head in wanted.heads or () if head >= site.heads]
        if beyond and not site.is_gate:
            raise ExplorerError(
                f"there is no head {beyond[0]}", where=site.name, instead=f"heads go from 0 to {site.heads - 1}"
            )
    batch = batch_length(inputs)
    if not batch:
        raise ExplorerError("there is no example to look at", where="attention", instead="give at least one")
    _refuse_too_much(subject, module, inputs, sites, chosen, wanted, batch)
    if wanted.target is None:
        with torch.no_grad():
            taken, outputs = _run(subject, module, inputs, sites, chosen, wanted, batch)
        gradients: list[Tensor | None] = [None] * len(taken)
    else:
        with torch.enable_grad(), _with_gradients(module):
            taken, outputs = _run(subject, module, inputs, sites, chosen, wanted, batch)
            score = _score(outputs, wanted, batch)
            gradients = [_slope(score, site, calls) for site, calls in taken]
    layers = []
    for (site, calls), slope in zip(taken, gradients, strict=True):
        still = torch.cat([call.shaped(call.raw) for call in calls], -2).detach()
        numbers = tuple(range(still.shape[-3])) if wanted.heads is None or site.is_gate else wanted.heads
        layers.append(LayerMaps(site, still, numbers, *axes_of(subject, inputs, site, still), slope))
    told = "" if wanted.target is None else f"class {wanted.target}" if wanted.target != "predicted" else "predicted"
    given = map_tensors(outputs, lambda tensor: tensor.detach())
    pictures = subject.picture(inputs).detach().cpu().numpy() if subject.input in ("image", "image+text") else None
    return AttentionMaps(tuple(layers), given, sites.unavailable, told, caption, pictures)


@dataclass(frozen=True)
class Call:
    """One attention, of one call of its module.

    raw: its rows as the pass went on with them, which is what gradients are of. shaped: these, or their gradients, as
    maps.
    """

    raw: Tensor
    shaped: Callable[[Tensor], Tensor]


def _slope(score: Tensor, site: Site, calls: list[Call]) -> Tensor:
    """The gradients of the score with respect to a map, in its shape; zero where it has no part in the score."""
    raws = [call.raw for call in calls]
    if not all(raw.requires_grad for raw in raws):
        raise ExplorerError("no weight of the model reaches this map", where=site.name, instead="leave target out")
    found = torch.autograd.grad(score, raws, allow_unused=True, retain_graph=True)
    slopes = [torch.zeros_like(raw) if slope is None else slope for raw, slope in zip(raws, found, strict=True)]
    return torch.cat([call.shaped(slope) for call, slope in zip(calls, slopes, strict=True)], -2).detach()


def _of_heads(weights: Tensor, site: Site, wanted: Wanted) -> Tensor:
    """The wanted heads of a map."""
    return weights if wanted.heads is None or site.is_gate else weights[..., list(wanted.heads), :, :]


def axes_of(subject: Subject, inputs: Any, site: Site, weights: Tensor) -> tuple[Axis, Axis]:
    """What the queries and the keys of a map are."""
    count, queries, keys = batch_length(inputs), int(weights.shape[-2]), int(weights.shape[-1])
    if site.is_gate:
        one = Axis("gate", (("gate",),) * count)
        if site.kind == "spatial gate" and site.grid is not None:
            rows, columns = site.grid
            places = tuple(f"row {row + 1}, column {column + 1}" for row in range(rows) for column in range(columns))
            return one, Axis("places", (places,) * count, site.grid)
        return one, plain_axis("channels", count, keys)
    if site.kind == "window":
        return plain_axis("window places", count, queries), plain_axis("window places", count, keys)
    if site.kind == "self":
        axis = subject.axis(inputs, keys)
        return axis, axis
    key_axis = subject.axis(inputs, keys)
    return subject.axis(inputs, queries, beside=key_axis), key_axis


def _run(
    subject: Subject,
    module: nn.Module,
    inputs: Any,
    sites: Sites,
    chosen: dict[tuple[str, int], Site],
    wanted: Wanted,
    batch: int,
) -> tuple[list[tuple[Site, list[Call]]], Any]:
    """(site and its calls, of which each is a query more, in the order of the pass; outputs)."""
    calls: dict[tuple[str, int], list[Call]] = {}
    shown: dict[tuple[str, int], Site] = {}

    def take(seen: Seen) -> None:
        key = (seen.module, seen.number)
        site = chosen[key]

        def shaped(raw: Tensor) -> Tensor:
            return _of_heads(as_map(seen.turned(raw), site, batch), site, wanted)

        few = wanted.target is None and wanted.heads is not None  # keep no more than is asked for
        calls.setdefault(key, []).append(Call(shaped(seen.raw).clone(), _same) if few else Call(seen.raw, shaped))
        shown[key] = site

    def gate(name: str, output: Tensor) -> None:
        site = chosen.get((name, -1))
        if site is not None:
            grid = (int(output.shape[-2]), int(output.shape[-1])) if site.kind == "spatial gate" else None
            calls.setdefault((name, -1), []).append(Call(output, lambda raw: raw.flatten(1)[:, None, None, :]))
            shown[(name, -1)] = replace(site, grid=grid)

    gates = [site.module for site in chosen.values() if site.is_gate]
    with watching_gates(module, gates, gate), capturing(take, module, lambda *key: key in chosen):
        outputs = subject.outputs(module, inputs)
    never = [site.name for key, site in chosen.items() if key not in calls]
    if never and len(never) == len(chosen):
        raise ExplorerError("a forward pass never comes there", where=never[0], instead=sites.what_there_is())
    taken: list[tuple[Site, list[Call]]] = []
    for key, listed in calls.items():
        site = shown[key]
        shapes = {call.shaped(call.raw).shape for call in listed}
        if len(listed) > 1 and not site.is_gate and len(shapes) == 1 and next(iter(shapes))[-2] == 1:
            taken.append((site, listed))  # a decoder that asks step by step: each step is a query
        else:
            taken += [
                (site if not at else replace(site, name=f"{site.name}@{at + 1}"), [call])
                for at, call in enumerate(listed)
            ]
    return taken, outputs


def _same(rows: Tensor) -> Tensor:
    return rows


def as_map(rows: Tensor, site: Site, batch: int) -> Tensor:
    """Rows, keys last, as the map of a site: `[batch, (windows,) heads, queries, keys]`."""
    weights = with_heads(rows, site.heads if rows.dim() == 3 else None)
    if site.kind != "window":
        return weights
    return weights.unflatten(0, (batch, -1)) if weights.dim() == 4 else weights.flatten(1, -4)


@contextmanager
def _with_gradients(module: nn.Module) -> Iterator[None]:
    """The clone's numbers require gradients, so that every map has some; afterwards they do not."""
    moved = [p for p in module.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        for parameter in moved:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in moved:
            parameter.requires_grad_(False)


def _score(outputs: Any, wanted: Wanted, batch: int) -> Tensor:
    """The sum of the wanted outputs over the examples: a number."""
    first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
    if not isinstance(first, Tensor):
        raise ExplorerError("the outputs are no tensor", where="target=", instead="leave target out")
    values = first.reshape(batch, -1) if first.dim() <= 1 else first
    if values.dim() == 3:
        values = values[:, wanted.position]
    if wanted.target == "predicted":
        return values.amax(-1).sum()
    target = torch.as_tensor(wanted.target, device=values.device).expand(batch)
    if not 0 <= int(target.min()) <= int(target.max()) < values.shape[-1]:
        raise ExplorerError(
            f"there is no output {wanted.target}", where="target=", instead=f"give 0 to {values.shape[-1] - 1}"
        )
    return values.gather(-1, target[:, None]).sum()


def _refuse_too_much(
    subject: Subject,
    module: nn.Module,
    inputs: Any,
    sites: Sites,
    chosen: dict[tuple[str, int], Site],
    wanted: Wanted,
    batch: int,
) -> None:
    """Raise `ExplorerError` where the maps of all examples would not fit; looks at one example first."""
    rough = sum(site.heads * site.queries * site.keys * site.calls for site in chosen.values()) * 4 * batch
    if rough < SURELY_SMALL and _size_of(inputs) <= 4 * sites.size:
        return
    total = 0

    def take(seen: Seen) -> None:
        nonlocal total
        site = chosen[seen.module, seen.number]
        share = len(wanted.heads) / site.heads if wanted.heads is not None and wanted.target is None else 1.0
        total += int(seen.raw.numel() * seen.raw.element_size() * share)

    one = map_tensors(inputs, lambda tensor: tensor[:1])
    with torch.no_grad(), capturing(take, module, lambda *key: key in chosen, light=True):
        subject.outputs(module, one)
    if total * batch > wanted.most_bytes:
        size, most = f"{total * batch / 2**30:.2g} GiB", f"{wanted.most_bytes / 2**30:.2g} GiB"
        raise ExplorerError(
            f"the maps of {batch} examples would take {size}, and {most} are allowed",
            where="attention",
            instead="choose layers=, heads= or fewer examples, or raise most_bytes=",
        )


def _size_of(inputs: Any) -> float:
    """Numbers an example has."""
    total = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor[:1].numel()
        return tensor

    map_tensors(inputs, count)
    return total
