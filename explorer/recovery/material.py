"""What a recovery learns from: training examples where the subject has them, else the calibration split."""

from __future__ import annotations

from math import ceil

import torch

from explorer.errors import ExplorerError
from explorer.steps import Recover
from explorer.subjects.examples import Examples
from explorer.subjects.subject import Subject

BATCH = 64
WATCHED = 256
"""Of varied training examples so many are looked at, to tell the best moment."""
WATCH_SEED = 7919


class Material:
    """Batches to learn from, and examples that are only watched. Never of tune or test.

    source: "training" or "calibration". varied: whether the sample varies its examples as in its own training.
    length: how many examples an epoch has. watched: what the best moment is told by; None where nothing is held back.
    """

    def __init__(self, subject: Subject, step: Recover) -> None:
        self.source = source_of(subject)
        self._subject, self._draw = subject, torch.Generator().manual_seed(step.seed)
        self._examples = subject.split(self.source)
        trial = subject.training_batch(1, torch.Generator().manual_seed(0)) if self.source == "training" else None
        self.varied = trial is not None
        self.watched: Examples | None = None
        total = len(self._examples)
        places = torch.randperm(total, generator=torch.Generator().manual_seed(WATCH_SEED))
        back = min(round(step.hold_back * total), total - 1)
        if self.varied:
            if step.hold_back:
                self.watched = subject.training_batch(WATCHED, torch.Generator().manual_seed(WATCH_SEED))
        elif back:
            self.watched = self._examples.take(places[:back].sort().values)
            places = places[back:]
        self._places = places.sort().values
        self.length = len(self._places)
        self.batch_size = min(step.batch_size or BATCH, self.length)
        self.batches = ceil(self.length / self.batch_size)
        self._order: list[torch.Tensor] = []

    def batch(self) -> Examples:
        """The next batch; each epoch goes through all examples in another order, or draws fresh variations."""
        if self.varied:
            drawn = self._subject.training_batch(self.batch_size, self._draw)
            assert drawn is not None
            return drawn
        if not self._order:  # parts of one size, so that none is left with a single example (BatchNorm needs two)
            mixed = self._places[torch.randperm(self.length, generator=self._draw)]
            self._order = list(mixed.tensor_split(self.batches))
        return self._examples.take(self._order.pop(0))


def source_of(subject: Subject) -> str:
    """The split that is learnt from; raises `ExplorerError` where there is none."""
    for split in ("training", "calibration"):
        if subject.has(split):
            return split
    raise ExplorerError(
        f"{subject.name} has no data to learn from",
        where="recovery",
        instead="give training= or calibration= to ex.load (tune and test are never learnt from)",
    )
