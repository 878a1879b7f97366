"""Recoveries as work for a thread of their own: watched, stopped with the best so far kept, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from explorer.compression.apply import Stand
from explorer.evaluation.pool import Locker, Pool, Work, available_cores
from explorer.evaluation.quality import Quality
from explorer.jobs import Job
from explorer.recovery.training import Moment, Trained, Training
from explorer.steps import Recover

TRAINERS = Pool(1)
"""Recoveries wait for each other: two at once would both take twice as long."""
MANY_WEIGHTS = 2**20
"""From so many trained weights on, a training uses all cores; below, a second thread only waits for the first."""
PACE_STEPS = 5
"""Steps that are taken, and thrown away, to measure how long one takes."""


@dataclass(frozen=True)
class Look:
    """A moment with the quality on tune that was measured there (still streaming in, or None before it begins)."""

    moment: Moment
    job: Job | None

    @property
    def quality(self) -> Quality | None:
        """As far as it is measured."""
        return None if self.job is None else self.job.quality


class RecoveryJob(Work):
    """One recovery in the background.

    Parameters
    ----------
    step: what is asked. before: what is trained. prepare: makes the training (called on the trainer's thread, since it
        copies the model). probe: starts the evaluation of what is trained so far. keep: takes the outcome.

    Attributes: `looks`, every moment so far; `source`, the split that is learnt from; `trained`, the outcome.
    """

    def __init__(
        self,
        step: Recover,
        before: Stand,
        prepare: Callable[[Recover, Stand], Training],
        probe: Callable[[Training], Job],
        keep: Callable[[RecoveryJob], None],
    ) -> None:
        super().__init__(1)
        self.step, self.before = step, before
        self.looks: list[Look] = []
        self.trained: Trained | None = None
        self.source = ""
        self.total_steps = 0
        self.done_steps = 0
        self.started: float | None = None
        self.ended: float | None = None
        self._prepare, self._probe, self._keep = prepare, probe, keep
        self.stopping = False
        self._training: Training | None = None

    # -- for whoever watches ---------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether it waits for another recovery to end."""
        return self.started is None and not self.finished

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return self.done_steps / self.total_steps if self.total_steps else 0.0

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return 0.0 if self.started is None else (self.ended or time.perf_counter()) - self.started

    @property
    def seconds_left(self) -> float | None:
        """How long it will still take by its pace so far; None before the first steps are done."""
        return self.seconds * (1 / self.share - 1) if self.share > 0 else None

    @property
    def words(self) -> str:
        """What it does now, in a line."""
        if self.waiting:
            return "waits for another recovery"
        measured = [look.quality for look in self.looks if look.quality is not None]
        return f"{measured[-1].primary} {measured[-1].value:.4f}" if measured else ""

    @property
    def final_step(self) -> Recover:
        """The step that makes this outcome again: as asked, with the epoch at which it was stopped by hand."""
        if self.trained is None or self.done_steps >= self.total_steps or self.trained.note:
            return self.step
        return self.step.change(until=float(f"{self.trained.epochs:.6g}"))

    def stop(self) -> None:
        """Stop soon; the best so far is the outcome."""
        self.stopping = True

    def cancel(self) -> None:
        super().cancel()
        if self.cancelled:
            self.stopping = True

    # -- on the trainer's thread -------------------------------------------------------------------------------------

    def run_unit(self, number: int, locker: Locker) -> Trained:
        self.started = time.perf_counter()
        training = self._training = self._prepare(self.step, self.before)
        self.source, self.total_steps = training.material.source, training.stop_at
        with _Threads(training):
            return training.run(self._look, self._progress)

    def collect(self, number: int, result: Trained) -> None:
        self.ended = time.perf_counter()
        self.trained, self._training = result, None
        self._keep(self)

    def _look(self, moment: Moment) -> None:
        assert self._training is not None
        self.looks = [*self.looks, Look(moment, self._probe(self._training))]

    def _progress(self, done: int) -> bool:
        """Called after every step; says whether to stop."""
        self.done_steps = done
        return self.stopping or TRAINERS.closed


class PaceJob(Work):
    """How long a recovery would take, measured by a few steps of it that are thrown away.

    seconds: for the whole training with its looks; None until it is known.
    """

    urgent = False

    def __init__(self, step: Recover, before: Stand, prepare: Callable[[Recover, Stand], Training]) -> None:
        super().__init__(1)
        self.seconds: float | None = None
        self._step, self._before, self._prepare = step, before, prepare

    def run_unit(self, number: int, locker: Locker) -> float:
        training = self._prepare(self._step.change(until=None), self._before)
        with _Threads(training):
            pace = training.pace(PACE_STEPS)
        return pace * training.steps

    def collect(self, number: int, result: float) -> None:
        self.seconds = result


class _Threads:
    """As many threads as pay for the size of what is trained; the former number afterwards."""

    def __init__(self, training: Training) -> None:
        weights = sum(leaf.numel() for leaf in training.trainee.leaves)
        self._wanted = available_cores() if weights >= MANY_WEIGHTS else 1

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self._wanted)

    def __exit__(self, *problem: Any) -> None:
        torch.set_num_threads(self._before)
