"""Attribution drift: whether two variants give their answers for the same reasons, beside noise and a random model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from explorer.attention.measures import rank_correlation
from explorer.drift_bounds import deviations, permuted, some_examples, with_noise
from explorer.recipe import Recipe
from explorer.shown import Shown
from explorer.weights.forms import Dense, Form
from explorer.weights.install import Outfit

if TYPE_CHECKING:
    from explorer.attribution.result import Attributions
    from explorer.variant import Variant

EXAMPLES = 64
TOP_FEATURES = 10
TOP_SHARE = 0.2
MEASURES = ("cosine", "rank correlation", "top agreement", "sign agreement", "overlap")


@dataclass(frozen=True, eq=False)
class AttributionDrift(Shown):
    """How alike the attributions of two variants are for the same answers: 1 is the same. A difference is no loss.

    method: by which. measures: each `[examples]` (float64), NaN where it is undefined: cosine; Spearman's rank
    correlation; top agreement, the share of the 10 largest features (by size) that stay so; sign agreement among these
    of the first variant; overlap, intersection over union of the largest 20 %.
    floor: the same of the dense model and itself with a little noise on its inputs (NaN where they cannot bear any);
    ceiling: of the dense model and one whose weights are shuffled.
    """

    method: str
    examples: int
    measures: Mapping[str, Tensor]
    floor: Mapping[str, Tensor]
    ceiling: Mapping[str, Tensor]

    def mean(self, measure: str) -> float:
        """The mean over the examples for which it is defined; NaN where there are none."""
        return _mean(self.measures[measure])

    def place(self, measure: str = "cosine") -> float:
        """Where the drift lies between noise (0) and a random model (1); NaN where these are one."""
        noise, random = _mean(self.floor[measure]), _mean(self.ceiling[measure])
        return (noise - self.mean(measure)) / (noise - random) if noise != random else float("nan")

    def sentence(self) -> str:
        """How alike the reasons are, with floor and ceiling beside it."""
        told = f"{self.mean('cosine'):.2f}"
        noise, random = _mean(self.floor["cosine"]), _mean(self.ceiling["cosine"])
        beside = f"noise alone {noise:.2f}" if noise == noise else "noise unknown"
        return f"same reasons: {told} (cosine of {self.method}; {beside}, a random model {random:.2f})"

    def __str__(self) -> str:
        lines = [f"{'':<18}{'alike':>8}{'noise':>8}{'random':>8}"]
        for name in self.measures:
            values = (self.mean(name), _mean(self.floor[name]), _mean(self.ceiling[name]))
            lines.append(f"{name:<18}" + "".join(f"{value:>8.3f}" for value in values))
        return "\n".join([*lines, f"{self.sentence()}, on {self.examples} examples (a difference, not a loss)"])


def likeness(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """The measures of two attributions `[examples, features]`, each `[examples]` (float64); 1 is the same."""
    first, second = first.to(torch.float64), second.to(torch.float64)
    features = first.shape[1]
    top = min(TOP_FEATURES, features)
    largest = [each.abs().argsort(dim=1, descending=True, stable=True) for each in (first, second)]
    marked = [_marked(order[:, :top], features) for order in largest]
    most = max(1, round(TOP_SHARE * features))
    wide = [_marked(order[:, :most], features) for order in largest]
    nothing = (first == 0).all(1) | (second == 0).all(1)  # of what points nowhere nothing can be said
    found = {
        "cosine": (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)),
        "rank correlation": rank_correlation(first, second),
        "top agreement": (marked[0] & marked[1]).sum(1) / top,
        "sign agreement": ((first.sign() == second.sign()) & marked[0]).sum(1) / top,
        "overlap": (wide[0] & wide[1]).sum(1) / (wide[0] | wide[1]).sum(1),
    }
    alike = (first == second).all(1) & ~nothing
    told = {name: torch.where(alike, 1.0, values.to(torch.float64)) for name, values in found.items()}
    return {name: torch.where(nothing, torch.nan, values) for name, values in told.items()}


def _marked(places: Tensor, features: int) -> Tensor:
    return torch.zeros(len(places), features, dtype=torch.bool).scatter_(1, places, True)


def attribution_drift(
    before: Variant, after: Variant, method: str | None = None, split: str = "tune", examples: int = EXAMPLES
) -> AttributionDrift:
    """How alike the attributions of two variants are, for the answers of the first (blocking).

    method: a name that `v.attribute` knows; by default the one that it takes by itself. Both variants explain the class
    that `before` answers. Raises `ExplorerError` where attributions are not to be had.
    """
    bench = before.workbench
    chosen = some_examples(bench, split, examples)
    target = _targets(before, chosen.inputs)

    def read(variant: Variant, inputs: Any) -> Tensor:
        return _flat(variant.attribute(inputs, method, target))

    own = read(before, chosen.inputs)
    other = own if before.outfit is after.outfit else read(after, chosen.inputs)
    dense = own if before.outfit is bench.dense.outfit else read(bench.dense, chosen.inputs)
    noisy = _noisy(chosen.inputs)
    floor = likeness(dense, dense if noisy is None else read(bench.dense, noisy))
    if noisy is None:
        floor = {name: torch.full_like(values, torch.nan) for name, values in floor.items()}
    ceiling = likeness(dense, read(shuffled_variant(bench.dense), chosen.inputs))
    return AttributionDrift(method or "the default method", len(chosen), likeness(own, other), floor, ceiling)


def _targets(variant: Variant, inputs: Any) -> Tensor | None:
    """The class that the variant answers to each example `[B]`; None for other tasks, where there is one output."""
    if variant.workbench.subject.task != "classification":
        return None
    outputs: Tensor = variant.outputs(inputs)
    return outputs.argmax(1) if outputs.dim() == 2 and outputs.shape[1] > 1 else None


def _flat(found: Attributions) -> Tensor:
    """Attributions of all parts of the inputs side by side, `[examples, features]`."""
    values = [part.values.detach().to("cpu", torch.float64).flatten(1) for part in found.parts.values()]
    return torch.cat(values, dim=1)


def _noisy(inputs: Any) -> Any:
    """Inputs with a little noise on their floats; None where there is nothing that bears any."""
    sizes = deviations(inputs)
    return with_noise(inputs, sizes, torch.Generator().manual_seed(0)) if any(sizes) else None


def shuffled_variant(dense: Variant, seed: int = 0) -> Variant:
    """The dense model with the numbers of every matrix, bias and norm permuted at random among themselves."""
    bench, draw = dense.workbench, torch.Generator().manual_seed(seed)

    def shuffled(form: Form) -> Form:
        return Dense(permuted(form.decode(), draw))

    forms = {name: shuffled(form) for name, form in bench.dense_forms.items()}
    rest = {name: shuffled(form) for name, form in bench.dense_rest.items()}
    return type(dense)(bench, Recipe(), dense.plan, Outfit(forms, rest))


def _mean(values: Tensor) -> float:
    return float(values.nanmean())
