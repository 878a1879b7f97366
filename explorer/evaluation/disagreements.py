"""Disagreements: the examples that two models answer otherwise, and how far their answers lie apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.evaluation.answers import Answer, answers_of
from explorer.evaluation.tasks import IGNORED, judge
from explorer.shown import Shown
from explorer.subjects.examples import map_tensors
from explorer.subjects.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["broken", "repaired", "both wrong", "farther", "closer", "other"]
KINDS: tuple[Kind, ...] = ("broken", "repaired", "both wrong", "farther", "closer", "other")
MOST_LINES = 12
"""So many are printed."""


@dataclass(frozen=True)
class Disagreement:
    """One example that two models answer otherwise.

    index: in its split. distance: how far the answers lie apart (see `distances`). before, after: what each says.
    truth: what is right. kind: "broken" (right, then wrong), "repaired", "both wrong"; of numbers and scores "farther"
    from the truth, or "closer". place: of a text, the position at which they lie farthest apart; the answers of a
    language model are the words there.
    """

    index: int
    distance: float
    before: Answer
    after: Answer
    truth: str
    kind: Kind
    place: int | None = None


@dataclass(frozen=True, eq=False)
class Disagreements(Shown):
    """All examples that two models answer otherwise, those whose answers lie farthest apart first.

    examples: how many were compared. distance: the mean over all of them, those with the same answer included.
    unit: what a distance is. groups: names of slices and classes, to look at apart with `within`.
    """

    found: tuple[Disagreement, ...]
    examples: int
    distance: float
    unit: str
    groups: Mapping[str, Tensor]
    group: str = ""

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Disagreement]:
        return iter(self.found)

    def __getitem__(self, place: int) -> Disagreement:
        return self.found[place]

    def of(self, kind: Kind) -> Disagreements:
        """Those of one kind: "broken", "repaired", "both wrong", "farther", "closer"."""
        return replace(self, found=tuple(each for each in self.found if each.kind == kind))

    @property
    def broken(self) -> Disagreements:
        """Right answers that became wrong."""
        return self.of("broken")

    @property
    def repaired(self) -> Disagreements:
        """Wrong answers that became right."""
        return self.of("repaired")

    def within(self, group: str) -> Disagreements:
        """Those in a slice or class; raises `ExplorerError` for a group that is not there, or has no example."""
        if group not in self.groups:
            known = ", ".join(self.groups) or "there is none on this model"
            raise ExplorerError(f'there is no slice "{group}"', where="disagreements", instead=f"use one of: {known}")
        inside = self.groups[group]
        if not bool(inside.any()):
            raise ExplorerError(f'the slice "{group}" has no example', where="disagreements", instead="choose another")
        found = tuple(each for each in self.found if bool(inside[each.index]))
        return replace(self, found=found, examples=int(inside.sum()), distance=float("nan"), group=group)

    def to_frame(self) -> pd.DataFrame:
        """A row for each disagreement."""
        import pandas as pd

        columns = ["index", "distance", "truth", "before", "after", "kind"]
        rows = [(d.index, d.distance, d.truth, d.before.label, d.after.label, d.kind) for d in self.found]
        return pd.DataFrame(rows, columns=columns)

    def sentence(self) -> str:
        """How many there are, and of which kind."""
        where = f" in {self.group}" if self.group else ""
        if not self.found:
            return f"the same answer to all {self.examples:,} examples{where}"
        counts = {kind: len(self.of(kind)) for kind in KINDS}
        told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        return f"another answer to {len(self):,} of {self.examples:,} examples{where}" + (f": {told}" if told else "")

    def __str__(self) -> str:
        lines = [f"{'example':>8}{'distance':>10}  {'truth':<16}{'before':<16}{'after':<16}"]
        for each in self.found[:MOST_LINES]:
            words = "".join(f"{_cut(text):<16}" for text in (each.truth, each.before.label, each.after.label))
            lines.append(f"{each.index:>8}{each.distance:>10.4f}  {words}{each.kind}".rstrip())
        if len(self) > MOST_LINES:
            lines.append(f"and {len(self) - MOST_LINES:,} more")
        return "\n".join([*(lines if self.found else []), f"{self.sentence()} (distance: {self.unit})"])


UNITS = {
    "classification": "L1 of the probabilities, 0 to 2",
    "multi-task": "L1 of the probabilities, 0 to 2, the mean over heads",
    "sequence": "L1 of the probabilities, 0 to 2, the mean over positions",
    "language-modeling": "L1 of the probabilities of the next word, 0 to 2, the mean over positions",
    "regression": "absolute difference, the mean over outputs",
    "score": "absolute difference of the scores",
}
"""Of each task what a distance is."""


def distances(subject: Subject, before: Any, after: Any, targets: Tensor) -> tuple[Tensor, Tensor | None]:
    """How far the outputs of a batch lie apart `[B]` (float64), and for texts at each position `[B, T]`.

    The taxicab distance of the predicted distributions where there are such; see `UNITS`.
    """
    task = subject.task
    if task == "score":
        scores = [torch.from_numpy(judge(task, outputs, targets, subject.score).score) for outputs in (before, after)]
        return (scores[1] - scores[0]).abs(), None
    if task == "multi-task":
        heads = [_taxicab(before[head.name], after[head.name]) for head in subject.heads]
        return torch.stack(heads).mean(0), None
    if task == "regression":
        apart = (after.to(torch.float64) - before.to(torch.float64)).abs()
        return apart.reshape(len(apart), -1).mean(1), None
    if task == "classification":
        return _taxicab(before, after), None
    counted = targets != IGNORED
    each = torch.where(counted, _taxicab(before, after), 0.0)  # (B, T)
    return each.sum(1) / counted.sum(1).clamp_min(1), each


def _taxicab(before: Tensor, after: Tensor) -> Tensor:
    """L1 of softmax over the last dimension (of a single logit, over its two classes)."""
    first, second = _distribution(before), _distribution(after)
    return (first - second).abs().sum(-1)


def _distribution(logits: Tensor) -> Tensor:
    values = logits.to(torch.float64)
    if values.dim() == 1 or (values.dim() == 2 and values.shape[-1] == 1):  # one logit for two classes
        values = torch.stack([torch.zeros_like(values.reshape(-1)), values.reshape(-1)], dim=-1)
    return F.softmax(values, dim=-1)


def disagreements_in(
    subject: Subject, before: Any, after: Any, targets: Tensor, indices: Tensor
) -> tuple[list[Disagreement], Tensor]:
    """The disagreements of one batch, in its order, and the distance of every example in it `[B]`.

    before, after: the outputs of the two models. indices: of the examples in their split, `[B]`.
    """
    apart, places = distances(subject, before, after, targets)
    if subject.task == "language-modeling":
        assert places is not None
        return _of_words(subject, before, after, targets, indices, apart, places), apart
    rows = torch.nonzero(_differs(subject, before, after, apart, targets)).squeeze(1)
    if not len(rows):
        return [], apart
    chosen = targets[rows]
    numbers = indices[rows].tolist()
    told = [_answers(subject, map_tensors(outputs, _rows(rows)), chosen, numbers) for outputs in (before, after)]
    kinds = _kinds(subject, map_tensors(before, _rows(rows)), map_tensors(after, _rows(rows)), chosen)
    found = []
    for at, row in enumerate(rows.tolist()):
        place = int(places[row].argmax()) if places is not None else None
        truth = "" if subject.task == "score" else _truth(subject, chosen[at])
        first, second = told[0][at], told[1][at]
        found.append(Disagreement(numbers[at], float(apart[row]), first, second, truth, kinds[at], place))
    return found, apart


def _rows(rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor[rows]


def _answers(subject: Subject, outputs: Any, targets: Tensor, indices: list[int]) -> list[Answer]:
    write = subject.written if subject.writes else None
    return answers_of(subject.task, outputs, targets, indices, subject.classes, subject.score, subject.heads, write)


def _truth(subject: Subject, target: Tensor) -> str:
    if subject.task == "regression":
        return ", ".join(f"{value:.3g}" for value in target.reshape(-1).tolist())
    return subject.target_label(target)


def _differs(subject: Subject, before: Any, after: Any, apart: Tensor, targets: Tensor) -> Tensor:
    """`[B]`: whether the answers are not the same; numbers and scores are not when they lie apart at all."""
    if subject.task in ("regression", "score"):
        return apart > 0
    said = [judge(subject.task, outputs, targets, subject.score).prediction for outputs in (before, after)]
    assert said[0] is not None and said[1] is not None
    other = torch.from_numpy(said[0] != said[1])
    if subject.task == "sequence":
        other = other & (targets != IGNORED)
    if subject.task == "multi-task":
        other = other & (targets != IGNORED)
    return other.reshape(len(other), -1).any(1)


def _kinds(subject: Subject, before: Any, after: Any, targets: Tensor) -> list[Kind]:
    first, second = (judge(subject.task, outputs, targets, subject.score).score for outputs in (before, after))
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    if subject.task in ("regression", "score"):
        return ["farther" if new < old else "closer" if new > old else "other" for old, new in pairs]
    return [_kind(old == 1, new == 1) for old, new in pairs]


def _kind(before: bool, after: bool) -> Kind:
    return "both wrong" if not (before or after) else "repaired" if after else "broken"


def _of_words(
    subject: Subject, before: Tensor, after: Tensor, targets: Tensor, indices: Tensor, apart: Tensor, places: Tensor
) -> list[Disagreement]:
    """Of a language model: texts with another likeliest next word, told by the position where they lie farthest apart.

    Among the positions with another word, since only these are other answers.
    """
    said = before.argmax(2), after.argmax(2)  # (B, T) each
    other = (said[0] != said[1]) & (targets != IGNORED)
    found = []
    for row in torch.nonzero(other.any(1)).squeeze(1).tolist():
        place = int(torch.where(other[row], places[row], -1.0).argmax())
        wanted = int(targets[row, place])
        index = int(indices[row])
        told = []
        for outputs, words in ((before, said[0]), (after, said[1])):
            word = int(words[row, place])
            sure = float(F.softmax(outputs[row, place].to(torch.float64), dim=-1)[word])
            told.append(Answer(index, _word(subject, word), sure, word == wanted))
        kind = _kind(bool(told[0].right), bool(told[1].right))
        truth = _word(subject, wanted)
        found.append(Disagreement(index, float(apart[row]), told[0], told[1], truth, kind, place))
    return found


def _word(subject: Subject, number: int) -> str:
    try:
        words = subject.words(torch.tensor([[number]]))[0]
    except ExplorerError:  # a model of one's own knows no words
        words = []
    return words[0] if words else f"token {number}"


def _cut(text: str) -> str:
    return text if len(text) <= 14 else text[:13] + "…"
