"""Which method to believe on a variant: faithfulness of attributions, measured on a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from explorer.attributing import attribute, ground_of
from explorer.attribution.baselines import baselines_of
from explorer.attribution.faithfulness import (
    Faithfulness,
    MethodFaithfulness,
    Score,
    faithfulness_of,
    features_of,
    listed,
    present_features,
)
from explorer.attribution.inputs import Part
from explorer.attribution.question import bearable, rows_that_fit
from explorer.attribution.reading import Asked, parts_on
from explorer.attribution.scoring import Scores, positions_of
from explorer.errors import ExplorerError
from explorer.names import METHODS
from explorer.subjects.examples import Examples, map_tensors, tensors_in

if TYPE_CHECKING:
    from explorer.variant import Variant

SLOW = ("kernel-shap", "lime")
"""Left out unless they are asked for by name."""


def faithfulness(
    variant: Variant, methods: Sequence[str] | None, examples: int, split: str, asked: Asked, progress: Any
) -> Faithfulness:
    """Each method's faithfulness on the first examples of a split in the order of evaluation."""
    bench, subject = variant.workbench, variant.workbench.subject
    if split == "test":
        raise ExplorerError("the test split is sealed", where="faithfulness", instead='measure on split="tune"')
    if examples < 1:
        raise ExplorerError(f"{examples} examples are none", where="faithfulness", instead="give 1 or more")
    names = listed(methods, [name for name in METHODS.names() if name not in SLOW])
    batches = bench.stage.batches(split)
    order = torch.cat([batches[number][2] for number in range(len(batches))])[:examples]
    chosen = subject.split(split).take(order)
    inputs = map_tensors(chosen.inputs, lambda tensor: tensor.to(bench.stage.device))
    ground = ground_of(bench)
    parts, tensors = parts_on(ground, inputs), tensors_in(inputs)
    target, baseline, left_out = None, "", []
    found: dict[str, MethodFaithfulness] = {}
    there = present_features(parts, tensors)
    rationale, judged = _rationale(chosen, parts)
    score: Score | None = None
    for name in names:
        own = Asked(name, target, asked.baseline, None, None, asked.seed, asked.position, asked.head)
        try:
            seen = attribute(variant, inputs, own, progress)
        except ExplorerError as problem:
            if methods is not None or name == "random":
                raise
            left_out.append((name, problem.what))
            continue
        if score is None:
            target, baseline = seen.target, seen.baseline
            starts, _, _ = baselines_of(parts, tensors, asked.baseline, ground.means(), ground.split)
            score = _scoring(variant, inputs, parts, starts, seen.target, asked)
        note = seen.note if seen.method != seen.asked else ""
        with variant._running:
            found[name] = faithfulness_of(name, features_of(seen), there, score, rationale, note, judged)
    known = 0 if rationale is None else int((rationale & there).any(1).sum())
    unit = "probability of the predicted class" if _by_class(variant) else "output"
    return Faithfulness(bench.name, split, len(order), found, baseline, unit, known, left_out=tuple(left_out))


def _by_class(variant: Variant) -> bool:
    return variant.workbench.subject.task in ("classification", "multi-task", "sequence", "language-modeling")


def _scoring(
    variant: Variant, inputs: Any, parts: Sequence[Part], starts: Sequence[Tensor], target: Tensor, asked: Asked
) -> Score:
    """`score(kept [B, features])`: the target's probability (or output) with the other features at the baseline."""
    subject = variant.workbench.subject
    tensors = tensors_in(inputs)
    raw = [tensors[part.at] for part in parts]
    scores = Scores(subject, variant._dressed(), inputs, parts, asked.head)
    positions = positions_of(subject, inputs, parts, asked.position)
    rows = rows_that_fit(scores, [tensor[:1] for tensor in (*raw, *tensors, positions)])
    starts, _ = bearable(scores, starts, tensors, positions, rows)
    by_class = _by_class(variant)

    def score(kept: Tensor) -> Tensor:
        kept = kept.to(positions.device)
        mixed, first = [], 0
        for part, whole, start in zip(parts, raw, starts, strict=True):
            shown = kept[:, first : first + part.count].gather(
                1, part.mask().flatten(1).expand(len(whole), -1).to(kept.device)
            )
            mixed.append(torch.where(shown.view(whole.shape), whole, start))
            first += part.count
        found = []
        with torch.no_grad():
            for at in range(0, len(positions), rows):
                end = at + rows
                outputs = scores(*(tensor[at:end] for tensor in (*mixed, *tensors, positions)))
                outputs = outputs.softmax(1) if by_class and outputs.shape[1] > 1 else outputs
                found.append(outputs.gather(1, target[at:end, None].to(outputs.device)).squeeze(1))
        return torch.cat(found).cpu()

    return score


def _rationale(chosen: Examples, parts: Sequence[Part]) -> tuple[Tensor | None, Tensor | None]:
    """(`[B, features]`, the known rationale; `[features]`, the part that it is of); None where none fits."""
    known = chosen.rationale
    if known is None:
        return None, None
    for part in parts:
        first = known.shape[1] - part.count
        if first == 0 or (part.kind == "image" and first in (1, 2)):
            width = sum(other.count for other in parts)
            placed, judged = torch.zeros(len(known), width, dtype=torch.bool), torch.zeros(width, dtype=torch.bool)
            start = sum(other.count for other in parts[: parts.index(part)])
            placed[:, start : start + part.count] = known[:, first:].cpu()
            judged[start : start + part.count] = True
            return placed, judged
    return None, None
