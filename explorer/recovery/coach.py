"""Who recovers what: starts trainings, keeps their outcomes by recipe, and lets whoever asks the same share one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING

import torch

from explorer.compression.apply import Stand
from explorer.errors import ExplorerError
from explorer.jobs import Job
from explorer.recipe import Recipe
from explorer.recovery.job import TRAINERS, PaceJob, RecoveryJob
from explorer.recovery.material import source_of
from explorer.recovery.objective import Teacher
from explorer.recovery.training import Training
from explorer.steps import GradualPrune, Recover
from explorer.waiting import watch
from explorer.weights.install import Edit, PrivateModel

if TYPE_CHECKING:
    from explorer.workbench import Workbench

KEPT_BYTES = 1024 * 2**20
MOST_JOBS = 12
DENSE = "dense"


class Coach:
    """The recoveries of one workbench: one outcome for each recipe, whoever asked for it."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._lock = RLock()
        self._stands: dict[str, Stand] = {}
        self._jobs: dict[str, RecoveryJob] = {}
        self._paces: dict[str, PaceJob] = {}

    # -- outcomes --------------------------------------------------------------------------------------------------

    def known(self, steps: str) -> Stand | None:
        """What a recipe (as text) that ends with a training led to, where that is known."""
        with self._lock:
            return self._stands.get(steps)

    def remember(self, steps: str, stand: Stand) -> None:
        """Keep an outcome; the oldest go when room is short."""
        with self._lock:
            self._stands[steps] = stand
            while len(self._stands) > 1 and sum(s.resident_bytes for s in self._stands.values()) > KEPT_BYTES:
                self._stands.pop(next(iter(self._stands)))

    def ready(self, recipe: Recipe) -> bool:
        """Whether the recipe can be applied without training first."""
        return self.waiting_for(recipe) is None

    def waiting_for(self, recipe: Recipe) -> int | None:
        """The place of the first training step whose outcome is not known; None where none is needed."""
        first = None
        for at in range(len(recipe) - 1, -1, -1):
            if recipe[at].enabled and isinstance(recipe[at], Recover):
                if self.known(until(recipe, at)) is not None:
                    break
                first = at
        return first

    def settled(self, recipe: Recipe) -> Recipe:
        """The recipe with every training step off whose outcome is not known: what can be shown at once."""
        place = self.waiting_for(recipe)
        if place is None:
            return recipe
        later = [step.change(enabled=False) if isinstance(step, Recover) else step for step in recipe.steps[place:]]
        return Recipe([*recipe.steps[:place], *later])

    # -- trainings -------------------------------------------------------------------------------------------------

    def train(self, step: Recover, before: Stand, steps: str) -> Stand:
        """The outcome of a training step (blocking, with a progress bar); an interrupt keeps the best so far."""
        return self.outcome(watch(self.submit(step, before), step.label.lower()))

    def submit(self, step: Recover, before: Stand) -> RecoveryJob:
        """Start (or join) a training of what `before` holds; its outcome is remembered under its final recipe."""
        source_of(self._bench.subject)
        key = joined(before.steps, step)
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and not job.stopping and job.join():
                return job
            job = RecoveryJob(step, before, self._prepare, partial(self._probe, before), self._keep)
            self._jobs[key] = job
            while len(self._jobs) > MOST_JOBS:
                self._jobs.pop(next(iter(self._jobs)))
        TRAINERS.submit(job)
        return job

    def pace(self, step: Recover, before: Stand) -> PaceJob:
        """Start (or join) measuring how long a training would take; the kinds of forms decide, not their numbers."""
        kinds = ";".join(sorted(f"{name}:{form.kind}" for name, form in before.forms.items()))
        key = f"{Recipe([step.change(seed=0, until=None)]).to_url()}|{kinds}"
        with self._lock:
            job = self._paces.get(key)
            if job is not None and job.join():
                return job
            job = self._paces[key] = PaceJob(step, before, self._prepare)
        TRAINERS.submit(job)
        return job

    def outcome(self, job: RecoveryJob) -> Stand:
        """What a finished job led to."""
        assert job.trained is not None
        steps, before = joined(job.before.steps, job.final_step), job.before
        return Stand({**before.forms, **job.trained.forms}, {**before.rest, **job.trained.rest}, steps, steps)

    def _keep(self, job: RecoveryJob) -> None:
        """Called before anybody who waits is told that the job is done."""
        stand = self.outcome(job)
        self.remember(stand.steps, stand)

    # -- on the trainer's thread -------------------------------------------------------------------------------------

    def _prepare(self, step: Recover, before: Stand) -> Training:
        bench = self._bench
        matrices = bench.matrices()
        names = {matrix.name for matrix in matrices.select(step.layers, step.exclude)}
        chosen = None if len(names) == len(matrices) else names
        pruned = set(names)
        if isinstance(step, GradualPrune) and step.pattern == "row":
            pruned -= bench.answers_matrices.difference(step.layers)  # their rows are the answers
        with torch.no_grad():
            return Training(
                step,
                bench.subject,
                matrices,
                {**bench.dense_forms, **before.forms},
                {**bench.dense_rest, **bench.worn(before).rest},  # without the biases of removed rows
                chosen,
                pruned,
                self._teachers(step),
                PrivateModel(bench.subject.model, matrices).module,
                self._edits(before),
            )

    def _edits(self, before: Stand) -> tuple[Edit, ...]:
        """The edits of attention in the steps until then: a training learns under them."""
        return self._bench.edits(Recipe.from_url(before.steps))

    def _teachers(self, step: Recover) -> list[Teacher]:
        bench, found = self._bench, []
        asked = {**({DENSE: step.distill} if step.distill else {}), **step.teachers}
        for name, weight in asked.items():
            recipe = Recipe() if name == DENSE else Recipe.from_url(name)
            if not self.ready(recipe):
                what = f'the teacher "{name}" has to be trained first'
                raise ExplorerError(what, where=step.label, instead="compress its recipe before")
            model = PrivateModel(bench.subject.model, bench.matrices()).wear(bench.compress(recipe).outfit)
            found.append(Teacher(model, weight))
        return found

    def _probe(self, before: Stand, training: Training) -> Job:
        forms, rest = training.trainee.forms()
        stand = Stand({**before.forms, **forms}, {**before.rest, **rest})
        return self._bench.probe(replace(self._bench.worn(stand), edits=self._edits(before)))


def until(recipe: Recipe, position: int) -> str:
    """The active steps up to and with the one at `position`, as text: what its outcome is known by."""
    return Recipe(recipe.steps[: position + 1]).active().to_url()


def joined(before: str, step: Recover) -> str:
    """The text of some steps and one more."""
    return ";".join(filter(None, (before, Recipe([step.change(enabled=True)]).to_url())))
