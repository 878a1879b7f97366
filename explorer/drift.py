"""Attention drift: how far the maps of two variants lie apart, beside what noise does and what a random model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from explorer.drift_bounds import ByHead, Sums, in_batches, pairs, reach_of, some_examples
from explorer.errors import ExplorerError
from explorer.evaluation.pool import as_error
from explorer.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

    from explorer.variant import Variant

NEAR_UNIFORM = 0.98
"""From this normalised entropy on, a head looks everywhere alike."""
NOTHING = 1e-6
"""A head whose reach is below this share of the largest one contributes nothing."""
ALIKE = 0.8
"""Heads that moved at least this share of the farthest one are named with it."""


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
                at = round(float(place[name][head]), 2) + 0.0  # no minus in front of a zero
                line = f"{name:<{width}} {head:>4} {_short(value)} {bounds} {at:>6.2f}"
                if name in self.divergence:
                    entropies_told = (
                        f"{float(self.entropy[0][name][head]):.3f} > {float(self.entropy[1][name][head]):.3f}"
                    )
                    same = f"{float(self.overlap[name][head]):>6.2f} {float(self.correlation[name][head]):>6.2f}"
                    line += f" {entropies_told:>14} {same}  {self.flags[name][head]}"
                lines.append(line.rstrip())
        lines += [f"unavailable: {name}, since {why}" for name, why in self.unavailable]
        return "\n".join([*lines, self.sentence() + " (a difference, not a loss)"])


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
        sums, odd = Sums(), dict(bench.attention_sites.unavailable)
        for inputs in in_batches(chosen, sites):
            for first, second in pairs(before.attention(inputs, globs), after.attention(inputs, globs)):
                sums.add(first, second, odd)
        reached = reach_of(bench, after, chosen, [site for site in sites if not site.is_gate])
    except ExplorerError:
        raise
    except Exception as problem:
        raise as_error(problem) from problem
    least = NOTHING * max((float(reach.max()) for reach in reached.values()), default=0.0)
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
        flags={
            name: _flags(spread[1][name], sums.weight.means()[name], reached.get(_site_name(name)), least)
            for name in moved
        },
        gate_change=sums.gates.means(),
        unavailable=tuple(odd.items()),
    )


def _fitting(bound: ByHead, sums: Sums) -> ByHead:
    """The bound of each layer that was compared; NaN for one that the dense model does not come to as often."""
    compared = {**sums.divergence.means(), **sums.gates.means()}
    return {name: bound.get(name, torch.full_like(moved, torch.nan)) for name, moved in compared.items()}


def _flags(spread: Tensor, weight: Tensor, reach: Tensor | None, least: float) -> tuple[str, ...]:
    """Of each head of a layer: dead, near uniform, or nothing to say."""
    empty = ~(weight > 0)
    if reach is not None and len(reach) == len(empty):
        empty = empty | (reach <= least)
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
