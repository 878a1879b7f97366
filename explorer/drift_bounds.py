"""What attention drift is measured with: means over rows, noise, a random model, and how far heads reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from explorer.attention.editing import LiveGains
from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.attention.measures import divergence, entropies, overlap, rank_correlation
from explorer.attention.reading import Wanted, read_attention
from explorer.attention.sites import Site
from explorer.errors import ExplorerError
from explorer.subjects.examples import Examples, batch_length, map_tensors, tensors_in
from explorer.weights.clone import full_copy
from explorer.weights.install import PrivateModel

if TYPE_CHECKING:
    from explorer.variant import Variant
    from explorer.workbench import Workbench

ByHead = Mapping[str, Tensor]
NOISE = 0.01
"""The noise of the floor: so much of the standard deviation of the inputs (or of embedded tokens)."""
TOP_KEYS = 3
MOST_AT_ONCE = 32
MEMORY_BYTES = 2**28
"""So much the maps of one reading, with what is computed from them, may take."""
COPIES = 8
"""Measures hold about so many double-precision copies of the maps that they compare."""
MOST_BOUNDS = 8


def some_examples(bench: Workbench, split: str, examples: int) -> Examples:
    """The first `examples` of a split in the order of evaluation; raises `ExplorerError` for the sealed split."""
    if split == "test":
        raise ExplorerError("the test split is sealed", instead="use tune")
    if examples < 1:
        raise ExplorerError(f"{examples} examples tell nothing", where="examples=", instead="give at least one")
    bench.subject.split(split)
    batches, indices, found = bench.stage.batches(split), [], 0
    for number in range(len(batches)):
        if found < examples:
            indices.append(batches[number][2])
            found += len(indices[-1])
    return bench.subject.split(split).take(torch.cat(indices)[:examples])


def at_once(sites: Sequence[Site]) -> int:
    """So many examples may be read at a time, by the size of their maps."""
    numbers = sum(site.heads * site.queries * site.keys * site.calls for site in sites)
    return int(max(1, min(MOST_AT_ONCE, MEMORY_BYTES // (8 * COPIES * max(1, numbers)))))


def in_batches(chosen: Examples, sites: Sequence[Site]) -> Iterator[Any]:
    size = at_once(sites)
    for start in range(0, len(chosen), size):
        yield chosen.take(slice(start, start + size)).inputs


class RowMeans:
    """Means over the valid rows of each head, added up batch by batch."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, Tensor] = {}
        self._undefined: dict[str, Tensor] = {}

    def add(self, layer: str, values: Tensor, valid: Tensor) -> None:
        """Values `[batch, (windows,) heads, queries]` and which of them count `[batch, queries]`; NaN is undefined."""
        inside = torch.ones_like(values, dtype=torch.bool)
        if values.shape[-1] == valid.shape[-1]:
            inside = inside & valid.reshape(len(valid), *[1] * (values.dim() - 2), -1)
        values, inside = values.movedim(-2, 0).flatten(1), inside.movedim(-2, 0).flatten(1)
        known = inside & ~values.isnan()
        parts = (torch.where(known, values, 0.0).sum(1), known.sum(1), (inside & ~known).sum(1))
        for total, part in zip((self._sums, self._rows, self._undefined), parts, strict=True):
            total[layer] = total[layer] + part.cpu() if layer in total else part.cpu()

    def include(self, other: RowMeans) -> None:
        """Add what another has added up."""
        for mine, theirs in (
            (self._sums, other._sums),
            (self._rows, other._rows),
            (self._undefined, other._undefined),
        ):
            for layer, part in theirs.items():
                mine[layer] = mine[layer] + part if layer in mine else part

    def means(self) -> dict[str, Tensor]:
        """`[heads]` of each layer; NaN for a head of which no row is defined."""
        return {layer: total / self._rows[layer] for layer, total in self._sums.items()}

    def undefined(self) -> dict[str, Tensor]:
        """`[heads]` of each layer: how many valid rows were left out."""
        return dict(self._undefined)


class Sums:
    """All measures of two readings, added up."""

    def __init__(self) -> None:
        self.divergence, self.overlap, self.correlation, self.gates = (RowMeans() for _ in range(4))
        self.entropy, self.confidence = (RowMeans(), RowMeans()), (RowMeans(), RowMeans())
        self.weight = RowMeans()

    def add(self, first: LayerMaps, second: LayerMaps, odd: dict[str, str]) -> None:
        """One layer of one batch; of maps that are not of one shape it is noted that they cannot be compared."""
        name, valid = first.name, first.valid_queries
        if first.weights.shape != second.weights.shape:
            odd[name] = "the maps of the two variants have different shapes"
            return
        if first.site.is_gate:
            apart = (first.weights.double() - second.weights.double()).abs().mean(-1)
            self.gates.add(name, apart, torch.ones(len(apart), 1, dtype=torch.bool))
            return
        self.divergence.add(name, divergence(first.weights, second.weights), valid)
        kept, empty = overlap(first.weights, second.weights, TOP_KEYS), _empty(first.weights) | _empty(second.weights)
        self.overlap.add(name, torch.where(empty, torch.nan, kept), valid)
        self.correlation.add(name, rank_correlation(first.weights, second.weights), valid)
        for at, layer in enumerate((first, second)):
            self.entropy[at].add(name, entropies(layer.weights), valid)
            self.confidence[at].add(name, layer.weights.to(torch.float64).amax(-1), valid)
        self.weight.add(name, second.weights.to(torch.float64).sum(-1), valid)


def _empty(weights: Tensor) -> Tensor:
    """Which rows look nowhere."""
    return ~(weights > 0).any(-1)


def pairs(first: AttentionMaps, second: AttentionMaps) -> Iterator[tuple[LayerMaps, LayerMaps]]:
    """The layers that both readings have, together."""
    for layer in first.found:
        if layer.name in second.layers:
            yield layer, second[layer.name]


@dataclass(frozen=True)
class Bound:
    """What noise does to each head (or gate) of the dense model, and what shuffled weights do."""

    floor: ByHead
    ceiling: ByHead


class Bounds:
    """The bounds of one workbench, found once for the same examples and layers, whoever asks."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._lock = RLock()
        self._known: dict[tuple[Any, ...], Bound] = {}

    def of(self, layers: tuple[str, ...], examples: int, split: str) -> Bound:
        """The bounds on these examples; whoever asks meanwhile waits for them."""
        key = (layers, examples, split)
        with self._lock:
            if key not in self._known:
                self._known[key] = _bound(self._bench, layers, examples, split)
                while len(self._known) > MOST_BOUNDS:
                    self._known.pop(next(iter(self._known)))
            return self._known[key]


# -- noise, and a random model ---------------------------------------------------------------------------------------


def _bound(bench: Workbench, layers: tuple[str, ...], examples: int, split: str) -> Bound:
    """Read the dense model as it is, with noise on its inputs, and with shuffled weights."""
    chosen, sites = some_examples(bench, split, examples), bench.attention_sites.select(layers)
    dense = PrivateModel(bench.subject.model, bench.matrices()).module
    random = shuffled(dense)
    draw = torch.Generator().manual_seed(0)
    sizes = deviations(chosen.inputs)
    ids = any(not (tensor.is_floating_point() or tensor.dtype == torch.bool) for tensor in tensors_in(chosen.inputs))
    tables = [part for part in dense.modules() if isinstance(part, nn.Embedding)] if ids else []

    def read(module: nn.Module, inputs: Any) -> AttentionMaps:
        moved = map_tensors(inputs, lambda tensor: tensor.to(bench.stage.device))
        return read_attention(bench.subject, module, moved, bench.attention_sites, Wanted(layers))

    def noisy(inputs: Any) -> AttentionMaps:
        with _noise_on(tables, draw):
            return read(dense, with_noise(inputs, sizes, draw))

    floor, ceiling = Sums(), Sums()
    odd: dict[str, str] = {}
    with torch.no_grad():
        for inputs in in_batches(chosen, sites):
            still = read(dense, inputs)
            for sums, other in ((floor, noisy(inputs)), (ceiling, read(random, inputs))):
                for first, second in pairs(still, other):
                    sums.add(first, second, odd)
    found = [{**sums.divergence.means(), **sums.gates.means()} for sums in (floor, ceiling)]
    if not tables and not any(sizes):  # nothing can bear noise, so that what it does is not known
        found[0] = {name: torch.full_like(moved, torch.nan) for name, moved in found[0].items()}
    return Bound(found[0], found[1])


def shuffled(module: nn.Module, seed: int = 0) -> nn.Module:
    """A full copy of a module with the numbers of each Parameter permuted at random among themselves."""
    copy, draw = full_copy(module), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.copy_(permuted(parameter, draw))
    return copy.eval()


def permuted(tensor: Tensor, draw: torch.Generator) -> Tensor:
    """The numbers of a tensor in a random order."""
    order = torch.randperm(tensor.numel(), generator=draw).to(tensor.device)
    return tensor.flatten()[order].reshape(tensor.shape)


def deviations(inputs: Any) -> list[float]:
    """The standard deviation of each tensor of floats, 0 for others."""
    return [
        float(tensor.to(torch.float64).std(correction=0)) if tensor.is_floating_point() else 0.0
        for tensor in tensors_in(inputs)
    ]


def with_noise(inputs: Any, sizes: Sequence[float], draw: torch.Generator) -> Any:
    """Inputs with a little noise on their floats, each tensor by its own standard deviation."""
    left = iter(sizes)

    def moved(tensor: Tensor) -> Tensor:
        size = next(left)
        if not size:
            return tensor
        return tensor + NOISE * size * torch.randn(tensor.shape, generator=draw).to(tensor)

    return map_tensors(inputs, moved)


@contextmanager
def _noise_on(tables: Sequence[nn.Module], draw: torch.Generator) -> Iterator[None]:
    """The same noise on what embeddings give; the hooks are gone afterwards, come what may."""

    def add(part: nn.Module, args: Any, output: Tensor) -> Tensor:
        noise = torch.randn(output.shape, generator=draw).to(output)
        return output + NOISE * output.std(correction=0) * noise

    handles = [table.register_forward_hook(add) for table in tables]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# -- heads that give nothing -----------------------------------------------------------------------------------------


def reach_of(bench: Workbench, variant: Variant, chosen: Examples, sites: Sequence[Site]) -> ByHead:
    """How far each head reaches, by layer `[heads]`: what turning it a little does to the outputs, over all examples.

    It is the slope of a random projection of the outputs along a factor on what the head gives: zero where its values,
    its rows or its part of the output projection are. Empty where outputs have no slope (chosen words, not scores).
    """
    if not sites:
        return {}
    clone, draw = PrivateModel(bench.subject.model, bench.matrices()), torch.Generator().manual_seed(0)
    total = {site.name: torch.zeros(site.heads, dtype=torch.float64) for site in sites}
    for inputs in in_batches(chosen, sites):
        moved = map_tensors(inputs, lambda tensor: tensor.to(bench.stage.device))
        count = batch_length(moved)
        ones = [torch.ones(count, site.heads, device=bench.stage.device, requires_grad=True) for site in sites]
        edits = tuple(LiveGains.of(site, live) for site, live in zip(sites, ones, strict=True))
        module = clone.wear(replace(variant.outfit, edits=(*variant.outfit.edits, *edits)))
        with torch.enable_grad():
            outputs = tensors_in(bench.subject.outputs(module, moved))
            seen = [output for output in outputs if output.requires_grad]
            if not seen:
                return {}
            drawn = [torch.randn(output.shape, generator=draw).to(output) for output in seen]
            slopes = torch.autograd.grad(seen, ones, drawn, allow_unused=True)
        for site, slope in zip(sites, slopes, strict=True):
            if slope is not None:
                total[site.name] += slope.detach().to("cpu", torch.float64).abs().sum(0)
    return total
