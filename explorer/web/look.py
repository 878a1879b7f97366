"""Looking at attention: which example, which head, from where; and what both models say and attend to there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.attention.measures import divergence, entropies
from explorer.errors import ExplorerError
from explorer.subjects.axes import Axis
from explorer.subjects.subject import Subject
from explorer.web.state import Session

WAYS = {
    "head": "this head",
    "mean": "all heads of the layer",
    "rollout": "rollout over all layers",
    "gradient": "gradient-weighted rollout",
}
MEASURES = {
    "to": "attention to the chosen place",
    "entropy": "entropy: 0 one key, 1 all alike",
    "confidence": "confidence: the largest weight",
    "change": "change from dense (Jensen-Shannon)",
}
KEPT = 6
"""So many looks at examples are kept."""


@dataclass
class Look:
    """What the Attention page of one sample stands at.

    among: which examples are offered. index: the example of tune. own: inputs of one's own (batch of one), with the
    words about them. layer, head: the head that is looked at. place: the key that was clicked on. query: the position
    from which it is looked (None: the class token, or the mean over all). way, measure: see `WAYS` and `MEASURES`.
    """

    among: str = "all"
    index: int | None = None
    own: Any = None
    own_note: str = ""
    layer: str = ""
    head: int = 0
    place: int | None = None
    query: int | None = None
    way: str = "head"
    measure: str = "to"
    kept: dict[Any, Looked] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """What a model says to one example: [(answer, probability or None)], the likeliest first; `what` is asked."""

    what: str
    answers: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Seen:
    """Both models on one example: the example itself, what they say, the truth and the known evidence."""

    inputs: Any
    before: tuple[Said, ...]
    after: tuple[Said, ...]
    truth: str
    rationale: tuple[int, ...]


@dataclass(frozen=True)
class Looked(Seen):
    """The same with what both attend to."""

    dense: AttentionMaps
    variant: AttentionMaps


def look_of(session: Session) -> Look:
    """The look of the chosen sample."""
    if session.trail.look is None:
        session.trail.look = Look()
    look: Look = session.trail.look
    if look.index is None:
        look.index = telling(session.bench.subject)
    return look


def telling(subject: Subject) -> int:
    """A good first example: of those under the numbers, of a text the one whose known evidence is longest."""
    strip = list(subject.strip) or [0]
    if subject.input == "text":
        rationale = subject.split("tune").rationale
        if rationale is not None:
            return max(strip, key=lambda index: int(rationale[index].sum()))
    return strip[0]


def looked(session: Session) -> Looked:
    """Both models on the example that is chosen, kept for the next move."""
    look = look_of(session)
    bench = session.bench
    key = (session.recipe.active().to_url(), "own" if look.own is not None else look.index, id(look.own), look.way)
    if key in look.kept:
        return look.kept[key]
    inputs, truth, rationale = _example(session, look)
    target = "predicted" if look.way == "gradient" else None
    variant = bench.compress(session.recipe)
    dense = bench.dense.attention(inputs, target=target)
    other = dense if variant.is_dense else variant.attention(inputs, target=target)
    answers = [said(bench.subject, maps.outputs, inputs) for maps in (dense, other)]
    found = Looked(inputs, answers[0], answers[1], truth, rationale, dense, other)
    look.kept[key] = found
    while len(look.kept) > KEPT:
        look.kept.pop(next(iter(look.kept)))
    _settle(look, found)
    return found


def seen(session: Session) -> Seen:
    """Both models on the example that is chosen, without their attention: also for models that have none."""
    look, bench = look_of(session), session.bench
    inputs, truth, rationale = _example(session, look)
    variant = bench.compress(session.recipe)
    before = said(bench.subject, bench.dense.outputs(inputs), inputs)
    after = before if variant.is_dense else said(bench.subject, variant.outputs(inputs), inputs)
    return Seen(inputs, before, after, truth, rationale)


def _example(session: Session, look: Look) -> tuple[Any, str, tuple[int, ...]]:
    """(inputs, truth in words, places of the known evidence) of the example that is chosen."""
    if look.own is not None:
        return look.own, "", ()
    subject = session.bench.subject
    one = subject.split("tune").take(slice(look.index, (look.index or 0) + 1))
    truth = subject.target_label(one.targets[0]) if subject.input != "story" else ""
    rationale = () if one.rationale is None else tuple(one.rationale[0].nonzero().flatten().tolist())
    return one.inputs, truth, rationale


def _settle(look: Look, found: Looked) -> None:
    """Choose a head, and a place worth looking at, where none is chosen or the chosen one is not there."""
    maps = found.variant
    if not maps.found:
        return
    if look.layer not in maps.layers:
        last = [layer for layer in maps.found if not layer.site.is_gate] or list(maps.found)
        look.layer, look.head = last[-1].name, last[-1].heads[0]
    layer = maps[look.layer]
    if look.head not in layer.heads:
        look.head = layer.heads[0]
    labels = layer.keys.labels[0]
    if look.place is not None and (look.place >= len(labels) or labels[look.place] == ""):
        look.place = None
    if look.place is None and layer.keys.name == "words" and found.rationale:
        first = found.rationale[0]
        look.place = first if first < len(labels) and labels[first] != "" else None
    if look.query is not None and look.query >= layer.queries.length:
        look.query = None


# -- what the models say -----------------------------------------------------------------------------------------------


def said(subject: Subject, outputs: Any, inputs: Any) -> tuple[Said, ...]:
    """What a model says to the first example, in the words that its task has."""
    first = _first(outputs)
    if subject.task == "multi-task" and isinstance(outputs, dict):
        return tuple(Said(head.name, _likeliest(outputs[head.name][0], head.classes)) for head in subject.heads)
    if not isinstance(first, Tensor):
        return ()
    if subject.task == "classification":
        logits = first.reshape(-1)
        if logits.numel() == 1:
            logits = torch.cat([torch.zeros_like(logits), logits])
        return (Said("answer", _likeliest(logits, subject.classes)),)
    if subject.task == "sequence":
        ids = first.argmax(-1)
        write = getattr(subject.ways, "written", None)
        text = write(ids[None])[0] if write is not None else " ".join(map(str, ids.tolist()))
        return (Said("answer", ((text, None),)),)
    if subject.task == "language-modeling":
        words = subject.words(inputs)[0] if subject.ways is not None else []
        vocabulary = getattr(subject.ways, "VOCABULARY", None)
        at = max(0, min(len(words), first.shape[0]) - 1)
        names = tuple(vocabulary) if vocabulary is not None else ()
        return (Said("next word", _likeliest(first[at], names)),)
    return (Said("answer", ((f"{float(first.reshape(-1)[0]):.3g}", None),)),)


def _first(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs[0]
    if isinstance(outputs, (tuple, list)) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0][0]
    return None


def _likeliest(logits: Tensor, names: Sequence[str], most: int = 3) -> tuple[tuple[str, float], ...]:
    shares = logits.detach().to(torch.float64).softmax(-1)
    best = shares.topk(min(most, len(shares)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple((names[number] if number < len(names) else str(number), share) for number, share in pairs)


# -- attention on the input --------------------------------------------------------------------------------------------


def chosen_layer(look: Look, maps: AttentionMaps) -> LayerMaps:
    """The layer that is looked at; the first where a variant has not that one."""
    return maps[look.layer] if look.layer in maps.layers else maps.found[0]


def single(layer: LayerMaps, head: int | None, window: int = 0) -> Tensor:
    """`[queries, keys]` of the first example: one head, or the mean of all."""
    weights = layer.weights[0, window] if layer.weights.dim() == 5 else layer.weights[0]
    return weights.mean(0) if head is None else weights[layer.place(head)]


def on_input(look: Look, maps: AttentionMaps) -> tuple[Axis, Tensor]:
    """(what is looked at, how much each place of it gets), for the first example and the way that is chosen."""
    layer = chosen_layer(look, maps)
    if look.way in ("rollout", "gradient"):
        chain = maps.stream()
        rolled = maps.rollout(gradients=look.way == "gradient")[0]
        return chain[0].keys, _from(look, chain[0].queries, rolled)
    rows = single(layer, look.head if look.way == "head" else None)
    if layer.site.is_gate:
        return layer.keys, rows[0]
    return layer.keys, _from(look, layer.queries, rows)


def _from(look: Look, queries: Axis, rows: Tensor) -> Tensor:
    """One row: that of the chosen query, of the class token, or the mean over all that stand for something."""
    if look.query is not None and look.query < len(rows):
        return rows[look.query]
    if queries.first:
        return rows[0]
    valid = [at for at, label in enumerate(queries.labels[0][: len(rows)]) if label != ""]
    return rows[valid].mean(0) if valid else rows.mean(0)


def from_words(look: Look, queries: Axis) -> str:
    """Whose row is shown."""
    if look.query is not None and look.query < queries.length:
        return f"from {queries.labels[0][look.query]}"
    return "from the class token" if queries.first else f"mean over the {queries.name}"


def measure_of(look: Look, found: Looked, layer: LayerMaps, head: int) -> float | None:
    """The number that stands under a head: see `MEASURES`; None where it has none."""
    rows = single(layer, head)
    if layer.site.is_gate:
        return float(rows.mean()) if look.measure != "change" else _gate_change(found, layer, rows)
    if look.measure == "to":
        place = look.place
        labels = layer.keys.labels[0]
        if place is None or place >= rows.shape[-1] or labels[place] == "":
            return None
        return float(_from(look, layer.queries, rows)[place])
    valid = layer.valid_queries[0]
    inside = rows[valid] if len(valid) == len(rows) else rows
    if look.measure == "entropy":
        return _mean(entropies(inside))
    if look.measure == "confidence":
        return _mean(inside.amax(-1))
    if layer.name not in found.dense.layers or head not in found.dense[layer.name].heads:
        return None
    before = single(found.dense[layer.name], head)
    if before.shape != rows.shape:
        return None
    drift = divergence(before, rows)
    return _mean(drift[valid] if len(valid) == len(drift) else drift)


def _gate_change(found: Looked, layer: LayerMaps, rows: Tensor) -> float | None:
    if layer.name not in found.dense.layers:
        return None
    return float((single(found.dense[layer.name], 0) - rows).abs().mean())


def _mean(values: Tensor) -> float | None:
    mean = float(values.to(torch.float64).nanmean())
    return None if np.isnan(mean) else mean


# -- which examples are offered ----------------------------------------------------------------------------------------


def offered(session: Session, among: str) -> list[int]:
    """The examples of tune among which one is chosen; empty where there is none (yet)."""
    bench = session.bench
    total = len(bench.subject.split("tune"))
    if among == "all":
        return list(range(total))
    quality, dense = session.job.quality, session.dense.quality
    if among == "wrong":
        if quality is None or quality.correct is None:
            return []
        return sorted(quality.indices[~quality.correct].tolist())
    if among == "flipped":
        if quality is None or dense is None:
            return []
        _, mine, theirs = np.intersect1d(quality.indices, dense.indices, return_indices=True)
        if quality.predictions is not None and dense.predictions is not None:
            differ = quality.predictions[mine] != dense.predictions[theirs]
            differ = differ if differ.ndim == 1 else differ.any(1)
        else:
            differ = quality.judged.score[mine] != dense.judged.score[theirs]
        return sorted(quality.indices[mine][differ].tolist())
    number = bench.subject.classes.index(among.removeprefix("class "))
    targets = bench.subject.split("tune").targets
    return (targets.reshape(total, -1)[:, 0] == number).nonzero().flatten().tolist()


def kinds_offered(session: Session) -> list[str]:
    """The words of the choice among examples."""
    subject = session.bench.subject
    kinds = ["all"]
    quality = session.job.quality
    if quality is None or quality.correct is not None:
        kinds.append("wrong")
    kinds.append("flipped")
    if subject.task == "classification":
        kinds += [f"class {name}" for name in subject.classes]
    return kinds


def step_to(session: Session, by: int) -> None:
    """The next (or the one before) of the examples offered."""
    look = look_of(session)
    among = offered(session, look.among)
    if not among:
        raise ExplorerError("there is no such example", instead="choose among all")
    now = look.index if look.index is not None else 0
    if now in among:
        look.index = among[(among.index(now) + by) % len(among)]
    else:
        look.index = next((index for index in among if index > now), among[0])
    forget_own(look)


def forget_own(look: Look) -> None:
    """Back to an example of the data."""
    look.own, look.own_note, look.place, look.query = None, "", None, None
