"""The loop of a recovery: train, look, keep the best moment."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.recovery.holds import PlainHold
from explorer.recovery.material import Material
from explorer.recovery.objective import Objective, Teacher, pull
from explorer.recovery.rising import RisingSparsity
from explorer.recovery.trainee import Trainee
from explorer.steps import GradualPrune, Recover
from explorer.subjects.examples import map_tensors
from explorer.subjects.subject import Subject
from explorer.weights.forms import Form, Zeros
from explorer.weights.install import Edit
from explorer.weights.matrices import Matrices

LOOKS = 12
"""How often a training is looked at (loss, best moment, tune metric)."""
WARM_UP = 0.1
DIVERGED = 4.0
"""A watched loss so many times the first one counts as diverged ..."""
LEAST_LOSS = 0.25
"""... or so many times this, where the first one was smaller."""
BATCHNORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Forms = dict[str, Form]


@dataclass(frozen=True)
class Moment:
    """What is known at one look.

    epoch: how far it is. loss: the mean training loss since the look before (nan at the start). watched: the loss on
    examples that are only watched, or the training loss where there are none.
    """

    epoch: float
    loss: float
    watched: float


@dataclass(frozen=True)
class Trained:
    """The outcome: the forms of all matrices, those of the rest, and what is to be said about it.

    best: the epoch whose weights these are; epochs: how far the training came. note: a sentence, or "".
    """

    forms: Forms
    rest: Forms
    best: float
    epochs: float
    note: str = ""


class Training:
    """One recovery, ready to run.

    Parameters
    ----------
    forms: of every matrix. rest: of all other parameters and changed buffers, as rows. pruned: the matrices of which
        a `GradualPrune` removes something. teachers: models to learn from. dense: for features and attention maps.
    edits: what runs otherwise in the model that is trained (edited attention).
    """

    def __init__(
        self,
        step: Recover,
        subject: Subject,
        matrices: Matrices,
        forms: Mapping[str, Form],
        rest: Mapping[str, Form],
        chosen: set[str] | None,
        pruned: set[str],
        teachers: Sequence[Teacher],
        dense: nn.Module,
        edits: Sequence[Edit] = (),
    ) -> None:
        self.step, self._subject = step, subject
        self.material = Material(subject, step)
        only_looked_at = step.update == "batchnorm"
        self.trainee = Trainee(subject.model, matrices, forms, rest, set() if only_looked_at else chosen, edits)
        self._matrices = matrices
        self._objective = Objective(step, subject, dense, teachers)
        self.steps = max(1, round(step.epochs * self.material.batches))
        self._looks = {round(self.steps * number / LOOKS) for number in range(1, LOOKS + 1)}
        until = self.steps if step.until is None else round(step.until * self.material.batches)
        self.stop_at = min(self.steps, until)
        self._rising: RisingSparsity | None = None
        if isinstance(step, GradualPrune):
            plain = {name: parts for name, parts in self.trainee.plain().items() if name in pruned and parts}
            if not plain:
                raise ExplorerError(
                    "no chosen matrix can be pruned while training", where=step.label, instead="put it first"
                )
            self._rising = RisingSparsity(step, plain, self.steps)
        leaves = self.trainee.leaves
        self._device = next((p.device for p in subject.model.parameters()), torch.device("cpu"))
        if only_looked_at:
            return
        if not leaves:
            raise ExplorerError("nothing is trained", where=step.label, instead="choose other layers")
        decaying = {id(leaf) for leaf in self.trainee.decaying}
        groups = [
            {"params": [leaf for leaf in leaves if id(leaf) in decaying], "weight_decay": step.weight_decay},
            {"params": [leaf for leaf in leaves if id(leaf) not in decaying], "weight_decay": 0.0},
        ]
        self._optimiser = torch.optim.AdamW([group for group in groups if group["params"]], lr=step.learning_rate)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._rate)

    def run(self, look: Callable[[Moment], None], progress: Callable[[int], bool]) -> Trained:
        """Train to the end, or until `progress(steps done)` says so; `look` is told every moment.

        The best moment by the watched loss counts, the start included; while a `GradualPrune` goes on, only moments
        after its last cut are compared.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.step.seed)
            if self.step.update == "batchnorm":
                return self._estimate_batchnorm(look, progress)
            return self._train(look, progress)

    def _train(self, look: Callable[[Moment], None], progress: Callable[[int], bool]) -> Trained:
        first = self._watched()
        best = _Best(first, 0, self._copy())
        look(Moment(0.0, math.nan, first))
        losses: list[float] = []
        note, done, stopped = "", 0, False
        while done < self.stop_at and not stopped:
            if self._rising is not None:
                if self._rising.before(done):
                    best = _Best(math.inf, done, None)  # only what has the same zeros can be compared
                self.trainee.keep_biases_gone(self._matrices)
            losses.append(self._step())
            if done == 0 and self.material.watched is None:
                first = losses[0]  # of the start, on one batch: all that is known of it
                best = best if best.state is None else replace(best, watched=first)
            done += 1
            stopped = progress(done)
            sound = math.isfinite(losses[-1])
            if done in self._looks or done == self.stop_at or stopped or not sound:
                watched = self._watched(losses) if sound else math.inf
                look(Moment(self._epoch(done), sum(losses) / len(losses), watched))
                losses = []
                if not sound and self._rising is not None and (best.state is None or done <= self._rising.last_cut):
                    raise ExplorerError(
                        f"the loss diverged after {self._epoch(done):.2g} epochs, before the final sparsity was learnt",
                        where=self.step.label,
                        instead="give a smaller learning_rate",
                    )
                if best.state is None or watched < best.watched:
                    best = _Best(watched, done, self._copy())
                if not sound or (self._rising is None and watched > DIVERGED * max(first, LEAST_LOSS)):
                    note = f"the loss diverged after {self._epoch(done):.2g} epochs; the best moment before it is kept"
                    break
        self._restore(best)
        forms, rest = self.trainee.forms()
        return Trained(forms, rest, self._epoch(best.step), self._epoch(done), note)

    def pace(self, steps: int) -> float:
        """Seconds that one training step takes, its share of the looks included: medians, after a first try."""
        looking, stepping = [], []
        take = self._pass if self.step.update == "batchnorm" else self._step
        with torch.random.fork_rng(devices=[]):
            for _ in range(steps + 1):
                began = time.perf_counter()
                take()
                stepped = time.perf_counter()
                self._watched([1.0])
                stepping.append(stepped - began)
                looking.append(time.perf_counter() - stepped)
        return median(stepping[1:]) + median(looking[1:]) * (LOOKS + 1) / self.steps

    def _step(self) -> float:
        """One step of the optimiser; returns the loss."""
        self.trainee.module.train()
        batch = self._placed(self.material.batch())
        student = self.trainee.dress()
        if self.step.adversarial:
            batch = self._objective.moved_against(student, batch)
            student = self.trainee.dress()
        loss = self._objective.loss(student, batch)
        if self.step.l1 or self.step.group_l1:
            loss = loss + pull(self.step, [held.weight() for held in self.trainee.holds.values() if held.leaves])
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trainee.leaves, 1.0)
        value = float(loss.detach())
        if math.isfinite(value):
            self._optimiser.step()
            self._schedule.step()
        return value

    def _watched(self, losses: Sequence[float] = ()) -> float:
        """The loss on what is only watched, in eval mode; the mean training loss where nothing is."""
        examples = self.material.watched
        if examples is None:
            return sum(losses) / len(losses) if losses else math.inf
        self.trainee.module.eval()
        student = self.trainee.dress()
        total = 0.0
        with torch.no_grad():
            for at in range(0, len(examples), 256):
                part = self._placed(examples.take(slice(at, at + 256)))
                total += float(self._objective.loss(student, part)) * len(part)
        return total / len(examples) if math.isfinite(total) else math.inf

    def _pass(self) -> None:
        """One batch through the model, without learning."""
        with torch.no_grad():
            self._subject.outputs(self.trainee.module, self._placed(self.material.batch()).inputs)

    def _estimate_batchnorm(self, look: Callable[[Moment], None], progress: Callable[[int], bool]) -> Trained:
        """Means and variances of BatchNorm over the whole material, plain averages; nothing else changes."""
        found = [module for module in self.trainee.module.modules() if isinstance(module, BATCHNORM)]
        if not found:
            raise ExplorerError("this model has no BatchNorm", where=self.step.label, instead="train the weights")
        self.trainee.module.eval()
        momenta = [module.momentum for module in found]
        for module in found:
            module.reset_running_stats()
            module.momentum = None  # a plain average over all batches
            module.train()
        done, stopped = 0, False
        while done < self.stop_at and not stopped:
            self._pass()
            done += 1
            stopped = progress(done)
        for module, momentum in zip(found, momenta, strict=True):
            module.momentum = momentum
        epoch = self._epoch(done)
        look(Moment(epoch, math.nan, self._watched()))
        forms, rest = self.trainee.forms()
        return Trained(forms, rest, epoch, epoch)

    def _rate(self, number: int) -> float:
        """The share of the learning rate at a step: up in a line, then down a cosine to zero."""
        warm = max(1, round(WARM_UP * self.steps))
        if number < warm:
            return (number + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (number - warm) / max(1, self.steps - warm)))

    def _epoch(self, steps: int) -> float:
        return steps / self.material.batches

    def _placed(self, batch: Any) -> Any:
        if self._device.type == "cpu":
            return batch
        moved = map_tensors(batch.inputs, lambda tensor: tensor.to(self._device))
        return type(batch)(moved, batch.targets.to(self._device))

    def _copy(self) -> _State:
        """The leaves, buffers and masks as they are now."""
        leaves = [leaf.detach().clone() for leaf in self.trainee.leaves]
        buffers = [buffer.detach().clone() for buffer in self.trainee.module.buffers()]
        return _State(leaves, buffers, [held.zeros for held in self._plain()])

    def _restore(self, best: _Best) -> None:
        if best.state is None:
            return
        with torch.no_grad():
            for leaf, value in zip(self.trainee.leaves, best.state.leaves, strict=True):
                leaf.copy_(value)
            for buffer, value in zip(self.trainee.module.buffers(), best.state.buffers, strict=True):
                buffer.copy_(value)
        for held, zeros in zip(self._plain(), best.state.zeros, strict=True):
            held.zeros = zeros
        if self._rising is not None:
            self.trainee.keep_biases_gone(self._matrices)

    def _plain(self) -> list[PlainHold]:
        return [held for parts in self.trainee.plain().values() for held in parts]


@dataclass(frozen=True)
class _State:
    """Everything that a training changes."""

    leaves: list[Tensor]
    buffers: list[Tensor]
    zeros: list[Zeros | None]


@dataclass(frozen=True)
class _Best:
    """The best moment so far: its watched loss, the step it was at, and how everything stood (None: nothing yet)."""

    watched: float
    step: int
    state: _State | None
