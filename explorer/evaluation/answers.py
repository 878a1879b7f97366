"""Answers: what a model says to single examples, as people read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explorer.evaluation.tasks import judge


@dataclass(frozen=True)
class Answer:
    """What a model says to one example.

    index: of the example in its split. label: the class or number. probability: of that class, in 0..1.
    right: whether it is the target, where that can be said. detail: for two classes, the probability of the second.
    words: what a language model wrote on.
    """

    index: int
    label: str
    probability: float | None = None
    right: bool | None = None
    detail: str = ""
    words: tuple[str, ...] = ()


def answers_of(
    task: str, outputs: Any, targets: Tensor, indices: Sequence[int], classes: Sequence[str], score: Any = None
) -> list[Answer]:
    """One answer for each example of a batch."""
    judged = judge(task, outputs, targets, score)
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
        return [
            Answer(i, "exact" if s == 1 else "not exact", right=bool(s == 1))
            for i, s in zip(indices, judged.score, strict=True)
        ]
    return [Answer(i, f"{float(s):.3g}") for i, s in zip(indices, judged.score, strict=True)]


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
