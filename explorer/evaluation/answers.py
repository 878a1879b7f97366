"""Answers: what a model says to single examples, as people read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explorer.evaluation.tasks import Judged, judge
from explorer.subjects.heads import Head


@dataclass(frozen=True)
class Answer:
    """What a model says to one example.

    index: of the example in its split. label: the class or number; of several heads "8 · loop"; of a sequence its text.
    probability: of that class, in 0..1. right: whether it is the target, where that can be said. detail: for two
    classes, the probability of the second; for several heads, that of each one's class ("98 % · 100 %").
    words: what a language model wrote on.
    """

    index: int
    label: str
    probability: float | None = None
    right: bool | None = None
    detail: str = ""
    words: tuple[str, ...] = ()


def answers_of(
    task: str,
    outputs: Any,
    targets: Tensor,
    indices: Sequence[int],
    classes: Sequence[str],
    score: Any = None,
    heads: Sequence[Head] = (),
    write: Callable[[Tensor], list[str]] | None = None,
) -> list[Answer]:
    """One answer for each example of a batch.

    write: of a sequence, ids `[B, T]` -> texts; without it an answer is only exact or not.
    """
    judged = judge(task, outputs, targets, score)
    if task == "multi-task":
        return [_of_heads(judged, at, index, heads) for at, index in enumerate(indices)]
    if task == "classification":
        assert judged.prediction is not None
        listed = []
        for at, index in enumerate(indices):
            number, probability = int(judged.prediction[at]), float(judged.parts["probability"][at])
            label = classes[number] if number < len(classes) else str(number)
            second = probability if number == 1 else 1 - probability
            two = len(classes) == 2 and int(judged.parts["classes"][at]) == 2
            detail = f"P({classes[1]}) {second:.2f}" if two else ""
            listed.append(Answer(index, label, probability, bool(judged.score[at] == 1), detail))
        return listed
    if task == "regression":
        assert judged.prediction is not None
        return [Answer(index, f"{judged.prediction[at]:.3g}") for at, index in enumerate(indices)]
    if task == "sequence":
        labels = ["exact" if score == 1 else "not exact" for score in judged.score]
        if write is not None:
            labels = write(torch.from_numpy(judged.prediction))
        rights = [bool(score == 1) for score in judged.score]
        return [Answer(i, label, right=right) for i, label, right in zip(indices, labels, rights, strict=True)]
    return [Answer(i, f"{float(s):.3g}") for i, s in zip(indices, judged.score, strict=True)]


def _of_heads(judged: Judged, at: int, index: int, heads: Sequence[Head]) -> Answer:
    assert judged.prediction is not None
    label = " · ".join(head.label(int(number)) for head, number in zip(heads, judged.prediction[at], strict=True))
    sure = " · ".join(_percent(float(judged.parts[f"probability_{head.name}"][at])) for head in heads)
    return Answer(index, label, right=bool(judged.score[at] == 1), detail=sure)


def _percent(probability: float) -> str:
    """ "98 %"; what is not quite sure is never rounded to it."""
    return "> 99 %" if 0.995 <= probability < 1 else f"{100 * probability:.0f} %"


def write_on(run: Callable[[Tensor], Tensor], prompt: Tensor, end: int | None, length: int) -> list[int]:
    """The word ids that a language model writes after `prompt` (`[1, T]` ids), always the likeliest next, up to `end`.

    run: ids `[1, T]` -> logits `[1, T, V]`.
    """
    written: list[int] = []
    ids = prompt
    for _ in range(length):
        word = int(run(ids)[0, -1].argmax())
        if word == end:
            break
        written.append(word)
        ids = torch.cat([ids, ids.new_tensor([[word]])], dim=1)
    return written
