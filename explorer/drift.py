"""Attention drift: how far the maps of two variants lie apart, beside what noise does and what a random model does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from explorer.evaluation.pool import as_error
from explorer.shown import Shown
from explorer.subjects.examples import Examples, map_tensors, tensors_in
from explorer.weights.clone import full_copy
from explorer.weights.install import PrivateModel

if TYPE_CHECKING:
    import pandas as pd

    from explorer.variant import Variant
    from explorer.workbench import Workbench

NOISE = 0.01
"""The noise of the floor: so much of the standard deviation of the inputs (or of embedded tokens)."""
NEAR_UNIFORM = 0.98
"""From this normalised entropy on, a head looks everywhere alike."""
NOTHING = 1e-6
"""A head whose reach is below this share of the largest one contributes nothing."""
ALIKE = 0.8
"""Heads that moved at least this share of the farthest one are named with it."""
TOP_KEYS = 3
MOST_AT_ONCE = 32
MEMORY_BYTES = 2**28
"""So much the maps of one reading, with what is computed from them, may take."""
COPIES = 8
"""Measures hold about so many double-precision copies of the maps that they compare."""
MOST_BOUNDS = 8

ByHead = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class AttentionDrift(Shown):
    """How the attention of two variants differs, per layer and head: a difference, which is not better or worse.

    All mappings go from the layer's name to `[heads]` (float64), means over the valid queries of all examples.

    before, after: the two recipes in words. divergence: Jensen-Shannon, base 2, 0 (the same) to 1; NaN for a head with
    empty rows. entropy_change: of the normalised entropy, after minus before. overlap: the share of the 3 largest keys
    that stayed among them. correlation: Spearman's, over the rows that have a ranking; undefined: how many had none.
    floor: the divergence that a little noise on the inputs makes in the dense model (NaN where its inputs cannot bear
    any); ceiling: that of a model whose weights are shuffled. entropy, confidence: (before, after). flags: for every
    head "dead" (turning it up or down changes no output), "near uniform", or "". gate_change: of gates, which have no
    rows, the mean absolute difference `[1]`; their floor and ceiling are in the same unit.
    """

    model: str
    before: str
    after: str
    split: str
    examples: int
    divergence: ByHead
    entropy_change: ByHead
    overlap: ByHead
    correlation: ByHead
    undefined: ByHead
    floor: ByHead
    ceiling: ByHead
    entropy: tuple[ByHead, ByHead]
    confidence: tuple[ByHead, ByHead]
    flags: Mapping[str, tuple[str, ...]]
    gate_change: ByHead = field(default_factory=dict)
    unavailable: tuple[tuple[str, str], ...] = ()

    @property
    def layers(self) -> list[str]:
        """The names of the attention layers, then of the gates."""
        return [*self.divergence, *self.gate_change]

    @property
    def change(self) -> ByHead:
        """What moved: the divergence of each head, and the mean absolute difference of each gate."""
        return {**self.divergence, **self.gate_change}

    def place(self) -> ByHead:
        """Where the drift of each head lies between its noise (0) and a random model (1); NaN where these are one.

        Below 0 it is less than what noise does, above 1 more than what a random model does.
        """
        found = {}
        for name, moved in self.change.items():
            low, span = self.floor[name], self.ceiling[name] - self.floor[name]
            found[name] = torch.where(span > 0, (moved - low) / span, torch.nan)
        return found

    def sentence(self) -> str:
        """What moved most, beside noise and a random model."""
        dead = [f"{name} head {head}" for name, flags in self.flags.items() for head in _where(flags, "dead")]
        silent = f"; {_listed(dead)} {'gives' if len(dead) == 1 else 'give'} nothing" if dead else ""
        known = {name: moved for name, moved in self.change.items() if bool((~moved.isnan()).any())}
        if not known:
            return f"no head can be compared{silent}"
        name, moved = max(known.items(), key=lambda item: float(item[1].nan_to_num(-1.0).max()))
        most = float(moved.nan_to_num(-1.0).max())
        top = int(moved.nan_to_num(-1.0).argmax())
        if most == 0:
            return f"no head moved{silent}"
        noise, random = float(self.floor[name][top]), float(self.ceiling[name][top])
        what = "mean change" if name in self.gate_change else "divergence"
        told = f"noise {'unknown' if noise != noise else f'{noise:.2g}'}, a random model {random:.2g}"
        if most <= noise:
            return f"no head moved farther than noise moves it: at most {what} {most:.2g} in {name} ({told}){silent}"
        with_it = [head for head, value in enumerate(moved.tolist()) if value >= ALIKE * most]
        who = "" if name in self.gate_change else f" {_numbered(with_it)}"
        size = f"{what} {most:.2g}" if len(with_it) == 1 else f"{what} up to {most:.2g}"
        return f"{name}{who} moved most: {size}, {told}{silent}"

    def to_frame(self) -> pd.DataFrame:
        """A row for each head, and for each gate."""
        import pandas as pd

        place, rows = self.place(), []
        for name in self.divergence:
            for head in range(len(self.divergence[name])):
                row: dict[str, Any] = {"layer": name, "head": head, "divergence": float(self.divergence[name][head])}
                row |= {"floor": float(self.floor[name][head]), "ceiling": float(self.ceiling[name][head])}
                row |= {"place": float(place[name][head]), "overlap": float(self.overlap[name][head])}
                row |= {"correlation": float(self.correlation[name][head])}
                row |= {"undefined": int(self.undefined[name][head])}
                for told, pair in (("entropy", self.entropy), ("confidence", self.confidence)):
                    row |= {f"{told}_before": float(pair[0][name][head]), f"{told}_after": float(pair[1][name][head])}
                rows.append({**row, "flag": self.flags[name][head]})
        for name, moved in self.gate_change.items():
            bounds = {"floor": float(self.floor[name][0]), "ceiling": float(self.ceiling[name][0])}
            rows.append({"layer": name, "gate_change": float(moved[0]), **bounds, "place": float(place[name][0])})
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        width = max([len(name) for name in self.layers] + [5])
        place = self.place()
        lines = [
            f"{self.model}: from {self.before} to {self.after}, on {self.examples} {self.split} examples",
            f"{'layer':<{width}} {'head':>4} {'moved':>8} {'noise':>8} {'random':>8} {'place':>6} "
            f"{'entropy':>14} {'top 3':>6} {'ranks':>6}",
        ]
        for name, moved in self.change.items():
            for head, value in enumerate(moved.tolist()):
                bounds = f"{_short(float(self.floor[name][head]))} {_short(float(self.ceiling[name][head]))}"
                line = f"{name:<{width}} {head:>4} {_short(value)} {bounds} {float(place[name][head]):>6.2f}"
                if name in self.divergence:
                    entropies_told = f"{float(self.entropy[0][name][head]):.3f} > {float(self.entropy[1][name][head]):.3f}"
                    same = f"{float(self.overlap[name][head]):>6.2f} {float(self.correlation[name][head]):>6.2f}"
                    line += f" {entropies_told:>14} {same}  {self.flags[name][head]}"
                lines.append(line.rstrip())
        lines += [f"unavailable: {name}, since {why}" for name, why in self.unavailable]
        return "\n".join([*lines, self.sentence() + " (a difference, not a loss)"])


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


def attention_drift(
    before: Variant,
    after: Variant,
    examples: int = 128,
    split: str = "tune",
    layers: str | Sequence[str] = "*",
) -> AttentionDrift:
    """How far the attention of `after` is from that of `before`, two variants of one workbench (blocking).

    Parameters
    ----------
    examples: on so many of the split, the first in the order of evaluation (fewer where it has fewer).
    layers: names or globs of attention layers.

    Raises `ExplorerError` for a model without attention, the sealed split, and variants of two workbenches. The first
    call also measures the noise and the random model, which are kept on the workbench.
    """
    bench = before.workbench
    if after.workbench is not bench:
        instead = "compress its recipe here: wb.compress(variant.recipe)"
        raise ExplorerError("the two variants are of two workbenches", where="attention_drift", instead=instead)
    globs = (layers,) if isinstance(layers, str) else tuple(layers)
    sites = bench.attention_sites.select(globs)
    chosen = some_examples(bench, split, examples)
    try:
        bound = bench.drift_bounds.of(globs, len(chosen), split)
        pairs = _pairs(lambda inputs: before.attention(inputs, globs), lambda inputs: after.attention(inputs, globs))
        sums, odd = _Sums(), dict(bench.attention_sites.unavailable)
        for inputs in _in_batches(chosen, sites):
            for first, second in pairs(inputs):
                sums.add(first, second, odd)
        reached = _reach(bench, after, chosen, [site for site in sites if not site.is_gate])
    except ExplorerError:
        raise
    except Exception as problem:
        raise as_error(problem) from problem
    moved = sums.divergence.means()
    told = tuple(variant.recipe.sentence() if len(variant.recipe) else "dense" for variant in (before, after))
    spread = (sums.entropy[0].means(), sums.entropy[1].means())
    return AttentionDrift(
        model=bench.name,
        before=told[0],
        after=told[1],
        split=split,
        examples=len(chosen),
        divergence=moved,
        entropy_change={name: spread[1][name] - spread[0][name] for name in moved},
        overlap=sums.overlap.means(),
        correlation=sums.correlation.means(),
        undefined=sums.correlation.undefined(),
        floor=_fitting(bound.floor, sums),
        ceiling=_fitting(bound.ceiling, sums),
        entropy=spread,
        confidence=(sums.confidence[0].means(), sums.confidence[1].means()),
        flags={name: _flags(spread[1][name], sums.weight.means()[name], reached.get(_site_name(name))) for name in moved},
        gate_change=sums.gates.means(),
        unavailable=tuple(odd.items()),
    )


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


def _in_batches(chosen: Examples, sites: Sequence[Site]) -> Iterator[Any]:
    size = at_once(sites)
    for start in range(0, len(chosen), size):
        yield chosen.take(slice(start, start + size)).inputs


class _Sums:
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
        self.overlap.add(name, overlap(first.weights, second.weights, TOP_KEYS), valid)
        self.correlation.add(name, rank_correlation(first.weights, second.weights), valid)
        for at, layer in enumerate((first, second)):
            self.entropy[at].add(name, entropies(layer.weights), valid)
            self.confidence[at].add(name, layer.weights.to(torch.float64).amax(-1), valid)
        self.weight.add(name, second.weights.to(torch.float64).sum(-1), valid)


def _pairs(before: Any, after: Any) -> Any:
    """Of inputs: the layers that both readings have, together."""

    def read(inputs: Any) -> Iterator[tuple[LayerMaps, LayerMaps]]:
        first, second = before(inputs), after(inputs)
        for layer in first.found:
            if layer.name in second.layers:
                yield layer, second[layer.name]

    return read


def _fitting(bound: ByHead, sums: _Sums) -> ByHead:
    """The bound of each layer that was compared; NaN for one that the dense model does not come to as often."""
    compared = {**sums.divergence.means(), **sums.gates.means()}
    return {name: bound.get(name, torch.full_like(moved, torch.nan)) for name, moved in compared.items()}


# -- noise, and a random model ---------------------------------------------------------------------------------------


def _bound(bench: Workbench, layers: tuple[str, ...], examples: int, split: str) -> Bound:
    """Read the dense model as it is, with noise on its inputs, and with shuffled weights."""
    chosen, sites = some_examples(bench, split, examples), bench.attention_sites.select(layers)
    dense = PrivateModel(bench.subject.model, bench.matrices()).module
    random = shuffled(dense)
    draw = torch.Generator().manual_seed(0)
    sizes = _deviations(chosen.inputs)
    ids = any(not (tensor.is_floating_point() or tensor.dtype == torch.bool) for tensor in tensors_in(chosen.inputs))
    tables = [part for part in dense.modules() if isinstance(part, nn.Embedding)] if ids else []

    def read(module: nn.Module, inputs: Any) -> AttentionMaps:
        moved = map_tensors(inputs, lambda tensor: tensor.to(bench.stage.device))
        return read_attention(bench.subject, module, moved, bench.attention_sites, Wanted(layers))

    def noisy(inputs: Any) -> AttentionMaps:
        with _noise_on(tables, draw):
            return read(dense, _with_noise(inputs, sizes, draw))

    floor, ceiling = _Sums(), _Sums()
    odd: dict[str, str] = {}
    with torch.no_grad():
        for inputs in _in_batches(chosen, sites):
            still = read(dense, inputs)
            for sums, other in ((floor, noisy(inputs)), (ceiling, read(random, inputs))):
                for first, second in _pairs(lambda _, still=still: still, lambda _, other=other: other)(inputs):
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
            order = torch.randperm(parameter.numel(), generator=draw).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return copy.eval()


def _deviations(inputs: Any) -> list[float]:
    """The standard deviation of each tensor of floats, 0 for others."""
    return [
        float(tensor.to(torch.float64).std(correction=0)) if tensor.is_floating_point() else 0.0
        for tensor in tensors_in(inputs)
    ]


def _with_noise(inputs: Any, sizes: Sequence[float], draw: torch.Generator) -> Any:
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


def _reach(bench: Workbench, variant: Variant, chosen: Examples, sites: Sequence[Site]) -> ByHead:
    """How far each head reaches, by layer `[heads]`: what turning it a little does to the outputs, summed over examples.

    It is the slope of a random projection of the outputs along a factor on what the head gives: zero where its values,
    its rows or its part of the output projection are. Empty where outputs have no slope (chosen words, not scores).
    """
    if not sites:
        return {}
    clone, draw = PrivateModel(bench.subject.model, bench.matrices()), torch.Generator().manual_seed(0)
    total = {site.name: torch.zeros(site.heads, dtype=torch.float64) for site in sites}
    for inputs in _in_batches(chosen, sites):
        moved = map_tensors(inputs, lambda tensor: tensor.to(bench.stage.device))
        count = int(tensors_in(moved)[0].shape[0])
        ones = [torch.ones(count, site.heads, device=bench.stage.device, requires_grad=True) for site in sites]
        edits = tuple(LiveGains.of(site, live) for site, live in zip(sites, ones, strict=True))
        module = clone.wear(replace(variant.outfit, edits=(*variant.outfit.edits, *edits)))
        with torch.enable_grad():
            outputs = tensors_in(bench.subject.outputs(module, moved))
            seen = [output for output in outputs if output.requires_grad]
            if not seen:
                return {}
            projected = sum((output * torch.randn(output.shape, generator=draw).to(output)).sum() for output in seen)
            slopes = torch.autograd.grad(projected, ones, allow_unused=True)
        for site, slope in zip(sites, slopes, strict=True):
            if slope is not None:
                total[site.name] += slope.detach().to("cpu", torch.float64).abs().sum(0)
    return total


def _flags(spread: Tensor, weight: Tensor, reach: Tensor | None) -> tuple[str, ...]:
    """Of each head of a layer: dead, near uniform, or nothing to say."""
    empty = ~(weight > 0)
    if reach is not None and len(reach) == len(empty):
        empty = empty | (reach <= 0)
    return tuple(
        "dead" if gone else "near uniform" if value >= NEAR_UNIFORM else ""
        for gone, value in zip(empty.tolist(), spread.tolist(), strict=True)
    )


def _site_name(layer: str) -> str:
    """The site of a map: "attn@2" is the second call of "attn" in one pass."""
    return layer.split("@")[0]


def _where(flags: Sequence[str], flag: str) -> list[int]:
    return [head for head, own in enumerate(flags) if own == flag]


def _numbered(heads: Sequence[int]) -> str:
    return f"head{'' if len(heads) == 1 else 's'} {_listed([str(head) for head in heads])}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _short(value: float) -> str:
    return f"{value:>8.4f}"
