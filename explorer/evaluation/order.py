"""The order in which examples are evaluated: stratified and seeded, so that the first batch already speaks for all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from explorer.subjects.examples import Examples, Inputs

SEED = 20261


def evaluation_order(targets: Tensor, by_class: bool) -> Tensor:
    """A permutation of the examples, the same each time; with `by_class` every stretch of it has all classes.

    Each example of a class stands at its share of the way through its class, so that any first n examples hold each
    class in proportion.
    """
    generator = np.random.default_rng(SEED)
    shuffled = generator.permutation(len(targets))
    if not by_class:
        return torch.from_numpy(shuffled)
    labels = targets.reshape(len(targets), -1)[:, 0].numpy()[shuffled]
    way = np.empty(len(shuffled))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        way[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return torch.from_numpy(shuffled[np.argsort(way, kind="stable")])


class Batches:
    """A split cut into batches in evaluation order, made once: (inputs, targets, indices) each.

    The layout (order and batch size) is part of what a result depends on: other batches, other last digits.
    """

    def __init__(self, examples: Examples, batch_size: int, by_class: bool) -> None:
        order = evaluation_order(examples.targets, by_class)
        self.total = len(examples)
        self._batches: list[tuple[Inputs, Tensor, Tensor]] = []
        for start in range(0, self.total, batch_size):
            indices = order[start : start + batch_size]
            part = examples.take(indices)
            self._batches.append((part.inputs, part.targets, indices))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> tuple[Inputs, Tensor, Tensor]:
        return self._batches[number]
