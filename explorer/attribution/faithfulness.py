"""Faithfulness: whether what a method names is what the model uses, beside random numbers and with its spread.

Features are taken away (exchanged for the baseline) in the order of their values, and the output is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from explorer.attribution.inputs import Part, present
from explorer.attribution.result import Attributions
from explorer.names import METHODS
from explorer.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

SHARES = tuple(step / 10 for step in range(11))
"""The shares of the features at which the curves are measured."""
TOP = 0.2
"""The share of the features that counts as the top."""
MEASURES = {
    "deletion": "lower is better",
    "insertion": "higher is better",
    "comprehensiveness": "higher is better",
    "sufficiency": "lower is better",
    "precision": "higher is better",
    "recall": "higher is better",
    "average_precision": "higher is better",
}
"""What is measured of each example. deletion and insertion are areas under their curves."""

Score = Callable[[Tensor], Tensor]
"""`score(kept [N, features])` -> `[N]`: the target's score of the examples with only these features left."""


@dataclass(frozen=True, eq=False)
class MethodFaithfulness:
    """One method on the examples: each measure `[examples]` (NaN where it has no meaning), and the curves.

    deletion_curve, insertion_curve: `[examples, shares]`. note: what stood in for what, or why there is nothing.
    """

    method: str
    measures: Mapping[str, Tensor]
    deletion_curve: Tensor
    insertion_curve: Tensor
    note: str = ""

    def mean(self, measure: str) -> tuple[float, float]:
        """(mean, standard error) over the examples that have a value."""
        values = self.measures[measure]
        return mean_and_error(values[~values.isnan()])

    @property
    def gap(self) -> Tensor:
        """`[examples]`: insertion minus deletion, higher is better."""
        return self.measures["insertion"] - self.measures["deletion"]


@dataclass(frozen=True, eq=False)
class Faithfulness(Shown):
    """Which method to believe on a model.

    methods: by name, "random" among them. shares: of the features, along the curves. unit: of the scores. left_out:
    (method, why) for those that are not right here. rationale: how many examples have a known one.
    """

    model: str
    split: str
    examples: int
    methods: Mapping[str, MethodFaithfulness]
    baseline: str
    unit: str
    rationale: int = 0
    shares: tuple[float, ...] = SHARES
    left_out: tuple[tuple[str, str], ...] = field(default=())

    @property
    def measures(self) -> list[str]:
        """The measures that there are here."""
        return [name for name in MEASURES if self.rationale or name not in ("precision", "recall", "average_precision")]

    def advantage(self, method: str) -> tuple[float, float]:
        """(mean, standard error) of insertion minus deletion, beyond that of random on the same examples."""
        return mean_and_error(self.methods[method].gap - self.methods["random"].gap)

    def ranking(self) -> list[str]:
        """The methods but random, the most faithful first."""
        names = [name for name in self.methods if name != "random"]
        return sorted(names, key=lambda name: -self.advantage(name)[0])

    def sentence(self) -> str:
        """Which method to believe here."""
        ranked = self.ranking()
        if not ranked:
            return "no method was measured"
        mean, error = self.advantage(ranked[0])
        told = f"insertion minus deletion {mean:+.3f} ± {error:.3f} beyond random, on {self.examples} examples"
        if not mean > 2 * error:
            return f"no method is surely better than random here: {ranked[0]} has {told}"
        best = self.methods[ranked[0]].gap
        equal = []
        for name in ranked[1:]:
            behind, spread = mean_and_error(best - self.methods[name].gap)
            if behind <= 2 * spread and self.advantage(name)[0] > 2 * self.advantage(name)[1]:
                equal.append(name)
        also = f"; {', '.join(equal)} cannot be told from it" if equal else ""
        return f"believe {ranked[0]} on this model: {told}{also}"

    def to_frame(self) -> pd.DataFrame:
        """A row for each method: the mean and the standard error of each measure."""
        import pandas as pd

        rows = []
        for name in [*self.ranking(), "random"]:
            own = self.methods[name]
            row: dict[str, Any] = {"method": name}
            for measure in self.measures:
                row[measure], row[f"{measure}_error"] = own.mean(measure)
            row["beyond_random"], row["beyond_random_error"] = self.advantage(name)
            rows.append({**row, "note": own.note})
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        names = [*self.ranking(), "random"]
        width = max(len(name) for name in names)
        lines = [
            f"{self.model}, {self.examples} {self.split} examples, {self.unit}, baseline: {self.baseline}",
            f"{'method':<{width}} " + " ".join(f"{measure.replace('_', ' '):>17}" for measure in self.measures),
        ]
        for name in names:
            cells = []
            for measure in self.measures:
                mean, error = self.methods[name].mean(measure)
                cells.append(f"{mean:.3f} ± {error:.3f}".rjust(17))
            lines.append(f"{name:<{width}} " + " ".join(cells))
        lines += [f"{name}: {own.note}" for name, own in self.methods.items() if own.note and name != "random"]
        lines += [f"left out: {name}, since {why}" for name, why in self.left_out]
        return "\n".join([*lines, self.sentence()])


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of `[n]` and its standard error; NaN without values, and an error of NaN for one."""
    exact = values.to(torch.float64)
    if not len(exact):
        return float("nan"), float("nan")
    return float(exact.mean()), float(exact.std() / len(exact) ** 0.5) if len(exact) > 1 else float("nan")


def features_of(attributions: Attributions) -> Tensor:
    """`[B, features]`: the values of all parts' features, one part after the other."""
    return torch.cat([part.features for part in attributions.parts.values()], 1).to(torch.float64)


def present_features(parts: Sequence[Part], tensors: Sequence[Tensor]) -> Tensor:
    """`[B, features]`: which features there are (no padding)."""
    return torch.cat([part.features(_number(part, present(part, tensors[part.at]))) > 0 for part in parts], 1).cpu()


def _number(part: Part, there: Tensor) -> Tensor:
    return there.to(torch.float32) if part.grid is not None else there


def faithfulness_of(
    name: str,
    values: Tensor,
    there: Tensor,
    score: Score,
    rationale: Tensor | None,
    note: str = "",
    judged: Tensor | None = None,
) -> MethodFaithfulness:
    """How faithful values `[B, features]` are to a model.

    Parameters
    ----------
    there: `[B, features]`, which features there are. score: the model's score with only some features left.
    rationale: `[B, features]`, where the evidence is known to be, or None. judged: `[features]`, those of the part
        that the rationale is of; it is compared with these alone.
    """
    count = there.sum(1)
    place = _places(values, there)
    deletion = torch.stack([score(place >= (share * count).round()[:, None]) for share in SHARES], 1).to(torch.float64)
    insertion = torch.stack([score(place < (share * count).round()[:, None]) for share in SHARES], 1).to(torch.float64)
    top = (TOP * count).round().clamp_min(1)[:, None]
    whole = deletion[:, 0]
    compared = there if judged is None else there & judged
    measures = {
        "deletion": torch.trapezoid(deletion, dx=SHARES[1], dim=1),
        "insertion": torch.trapezoid(insertion, dx=SHARES[1], dim=1),
        "comprehensiveness": whole - score(place >= top).to(torch.float64),
        "sufficiency": whole - score(place < top).to(torch.float64),
        **against_rationale(_places(values, compared), compared, rationale),
    }
    return MethodFaithfulness(name, measures, deletion, insertion, note)


def _places(values: Tensor, there: Tensor) -> Tensor:
    """`[B, features]`: the rank of each feature, the largest value first (0), what is not there last."""
    order = torch.argsort(torch.where(there, values, -torch.inf), dim=1, descending=True, stable=True)
    return order.argsort(1)


def against_rationale(place: Tensor, there: Tensor, rationale: Tensor | None) -> dict[str, Tensor]:
    """Precision and recall of the top fifth, and average precision, against a known rationale; NaN without one.

    place: `[B, features]` ranks from 0. Average precision is the mean, over the places of the rationale, of the
    precision down to each (as scikit-learn has it, without ties).
    """
    names = ("precision", "recall", "average_precision")
    if rationale is None:
        return {name: torch.full((len(place),), torch.nan, dtype=torch.float64) for name in names}
    evidence = rationale & there
    size = evidence.sum(1).to(torch.float64)
    size = torch.where(size > 0, size, torch.nan)
    top = (TOP * there.sum(1)).round().clamp_min(1)
    hits = (evidence & (place < top[:, None])).sum(1).to(torch.float64)
    ranked = evidence.gather(1, place.argsort(1)).to(torch.float64)  # (B, features), the largest value first
    precision = ranked.cumsum(1) / torch.arange(1, ranked.shape[1] + 1)
    found = (hits / top + 0 * size, hits / size, (precision * ranked).sum(1) / size)
    return dict(zip(names, found, strict=True))


def listed(methods: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """The methods to measure, "random" among them; raises `ExplorerError` for an unknown one."""
    wanted = list(default if methods is None else [methods] if isinstance(methods, str) else methods)
    return [METHODS[name].name for name in dict.fromkeys([*wanted, "random"])]
