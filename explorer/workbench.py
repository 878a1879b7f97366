"""The workbench: one subject, and everything that can be tried on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from threading import RLock
from typing import Any

import torch

from explorer import shown
from explorer.attending import edits_of, planned, sites_of
from explorer.attention.editing import Edit
from explorer.attention.sites import Sites
from explorer.attributing import kept_attributions
from explorer.compression.apply import Model, Stand, apply_plan, decomposition, score_index
from explorer.compression.lowrank import Spectrum
from explorer.compression.memory import Memory
from explorer.compression.order import ScoreIndex
from explorer.compression.plan import Plan, answers_matrices, resolve
from explorer.compression.pruning import without_biases
from explorer.curves import own_field, positions, turner
from explorer.drift_bounds import Bounds
from explorer.errors import ExplorerError
from explorer.evaluation.pool import Pool
from explorer.evaluation.quality import Quality
from explorer.first_look import check_labels, check_weights, first_look, with_class_names
from explorer.jobs import CurveJob, Job, Stage
from explorer.recipe import Recipe, as_recipe
from explorer.recovery.coach import Coach
from explorer.recovery.material import source_of
from explorer.recovery.remembered import with_zeros
from explorer.search.asking import Searching
from explorer.search.heads_job import HeadJobs
from explorer.search.scans import Scans
from explorer.shown import Shown
from explorer.steps import EditAttention, Recover
from explorer.subjects.examples import tensors_in
from explorer.subjects.subject import Subject
from explorer.variant import Variant
from explorer.weights.clone import contents, digest, watermarks
from explorer.weights.forms import Dense
from explorer.weights.install import Outfit
from explorer.weights.matrices import Matrices, find_matrices
from explorer.weights.threads import one_thread

POOL = Pool()
"""The one worker pool of the process."""

KEPT_BYTES = 512 * 2**20
MANY_WEIGHTS = 2**22
"""From this many compressible weights on, compressing uses all threads."""


class Workbench(Searching, Shown):
    """One subject with its dense model, and the variants that recipes make of it.

    Raises `ExplorerError` when the weights hold NaN or the model cannot be run on its data. Safe to use from several
    threads; one result a recipe is kept for everybody.
    """

    def __init__(self, subject: Subject, embeddings: bool = False) -> None:
        self.subject = subject
        self._lock = RLock()
        check_weights(subject)
        self._marks, self._contents = watermarks(subject.model), contents(subject.model)
        self.digest = digest(subject.model)
        look = first_look(subject, find_matrices(subject.model, embeddings))
        self._matrices, self.work, self._answers = look.matrices, look.work, look.answers
        self.subject = subject = with_class_names(subject, look.answers)
        check_labels(subject)
        self.can_run_thin = look.can_run_thin
        self.stage = Stage(subject, self._matrices)
        self.dense_forms = {
            matrix.name: Dense(matrix.view(subject.model.get_parameter(matrix.parameter).detach()))
            for matrix in self._matrices
        }
        in_matrices = {matrix.parameter for matrix in self._matrices}
        self.dense_rest = {
            name: Dense(parameter.detach().reshape(1, -1))
            for name, parameter in subject.model.named_parameters()
            if name not in in_matrices
        }
        self.answers_matrices = answers_matrices(self._matrices, self._answers)
        self.coach = Coach(self)
        self._start = Model(self.dense_forms, self.dense_rest, Memory(KEPT_BYTES), self.coach.train, self.coach.known)
        self._variants: dict[str, Variant] = {}
        self._sizes: dict[str, int] = {}
        self._jobs: dict[tuple[int, str], Job] = {}
        self._curves: dict[Any, CurveJob] = {}
        self._scans = Scans(self, POOL, self._unkept)
        self.drift_bounds = Bounds(self)
        self.attributions = kept_attributions()
        self._head_jobs = HeadJobs(self, POOL)
        self._tried: set[str] = set()
        self.tests_opened = 0
        empty = Recipe()
        self.dense = Variant(self, empty, resolve(empty, self._matrices), Outfit({}, {}))
        self._variants[""] = self.dense
        self.variant = self.dense

    @property
    def name(self) -> str:
        """The subject's name."""
        return self.subject.name

    @property
    def recipes_tried(self) -> int:
        """How many different recipes were evaluated on the tune split, without the points of curves.

        Choosing the best of many is selection.
        """
        return len(self._tried)

    @cached_property
    def data_digest(self) -> str:
        """A fingerprint of the tune split."""
        state = hashlib.blake2b(digest_size=8)
        examples = self.subject.split("tune")
        for tensor in [*tensors_in(examples.inputs), examples.targets]:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            state.update(flat.view(torch.uint8).numpy().data)
        return state.hexdigest()

    # -- from recipe to variant ------------------------------------------------------------------------------------

    def matrices(self) -> Matrices:
        """Every weight matrix, and what is not compressible."""
        return self._matrices

    def plan(self, recipe: Any) -> Plan:
        """A dry run: what would happen to which matrix, and warnings."""
        asked = as_recipe(recipe)
        plan = resolve(asked, self._matrices, self._answers, lambda at, step: planned(at, step, self.attention_sites))
        if any(step.enabled and isinstance(step, Recover) for step in asked):
            source_of(self.subject)
        return plan

    def compress(self, recipe: Any) -> Variant:
        """The variant that the recipe makes; also takes a step, a list, a dict, YAML text or a path."""
        asked = as_recipe(recipe)
        key = asked.active().to_url()
        with self._lock:
            kept = self._variants.get(key)
        if kept is not None and kept.recipe == asked:
            return kept
        self.check_dense()
        plan = self.plan(asked)
        if kept is not None:
            return Variant(self, asked, plan, kept.outfit)
        return self._keep(key, Variant(self, asked, plan, self._outfit(plan)))

    def _outfit(self, plan: Plan) -> Outfit:
        # On small matrices a second thread only waits for the first, most of all where others use the cores.
        with torch.no_grad(), one_thread() if self._matrices.total < MANY_WEIGHTS else nullcontext():
            worn = self.worn(apply_plan(plan, self._start))
        edits = self.edits(plan.recipe)
        return replace(worn, edits=edits) if edits else worn

    @cached_property
    def attention_sites(self) -> Sites:
        """Where the model attends: its attention layers and gates, found by one watched forward pass."""
        return sites_of(self)

    def edits(self, recipe: Recipe) -> tuple[Edit, ...]:
        """What the recipe's edits of attention change while the model runs."""
        if not any(step.enabled and isinstance(step, EditAttention) for step in recipe):
            return ()
        return edits_of(recipe, self.attention_sites, self)

    def worn(self, stand: Stand) -> Outfit:
        """A stand as what a clone can wear: biases of removed rows are gone, too."""
        if not stand.forms and not stand.rest:  # what changes nothing is the dense model, with its results
            return self.dense.outfit
        return Outfit(stand.forms, without_biases(stand.forms, stand.rest, self.dense_rest, self._matrices))

    def keep(self, variant: Variant) -> Variant:
        """Keep a variant that was made elsewhere (by a recovery) as the result of its recipe."""
        key = variant.recipe.active().to_url()
        with self._lock:
            self._forget(key)
            return self._keep(key, variant)

    def _keep(self, key: str, variant: Variant) -> Variant:
        """Keep the variant for whoever asks next, unless another thread was first; the oldest go when room is short."""
        with self._lock:
            first = self._variants.setdefault(key, variant)
            if first is not variant:
                return Variant(self, variant.recipe, variant.plan, first.outfit)
            self._sizes[key] = sum(form.resident_bytes for form in variant.outfit.forms.values())
            oldest = [name for name in self._variants if name not in ("", key)]
            while oldest and sum(self._sizes.values()) > KEPT_BYTES:
                self._forget(oldest.pop(0))
            return variant

    def _forget(self, key: str) -> None:
        """Let go of a variant and of its results."""
        if key in self._variants:
            outfit = self._variants.pop(key).outfit
            del self._sizes[key]
            for split in self.subject.splits if outfit is not self.dense.outfit else ():
                self._jobs.pop((id(outfit), split), None)

    def adopt(self, variant: Variant) -> None:
        """Take a loaded variant as the current one, and as the result of its recipe."""
        variant.outfit = replace(variant.outfit, forms=with_zeros(variant.outfit.forms, variant.plan))
        self.variant = variant
        if not variant.is_dense:
            self.keep(variant)
            steps = variant.recipe.active()
            if len(steps) and isinstance(steps[len(steps) - 1], Recover):  # so that a next step needs no training anew
                key = steps.to_url()
                self.coach.remember(key, Stand(variant.outfit.forms, variant.outfit.rest, key, key))

    # -- measuring -------------------------------------------------------------------------------------------------

    def submit(self, recipe: Any, split: str = "tune") -> Job:
        """Start (or join) the evaluation of a recipe or variant in the worker pool; returns at once."""
        variant = recipe if isinstance(recipe, Variant) else self.compress(recipe)
        if split == "test":
            raise ExplorerError("the test split is sealed", instead="open it once, at the end, with wb.test(variant)")
        return self._submit(variant, split)

    def _submit(self, variant: Variant, split: str) -> Job:
        if variant.workbench is not self:
            raise ExplorerError(
                f"this variant is of {variant.workbench.name} on another workbench",
                where=self.name,
                instead="compress its recipe here: wb.compress(variant.recipe)",
            )
        self.check_dense()
        key = (id(variant.outfit), split)
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and job.join():
                return job
            job = Job(self.stage, variant, split, self.subject.strip if split == "tune" else ())
            self._jobs[key] = job
            while len(self._jobs) > 1000:
                self._jobs.pop(next(iter(self._jobs)))
            if split == "tune" and not variant.is_dense:
                self._tried.add(variant.recipe.active().to_url())
        POOL.submit(job)
        return job

    def evaluate(self, variant: Variant, split: str = "tune") -> Quality:
        """The quality of a variant on a split (blocking)."""
        quality = _result(self.submit(variant, split))
        self.check_dense()
        return quality

    def probe(self, outfit: Outfit) -> Job:
        """Start measuring something in the making, behind urgent work, on few examples where there are many."""
        variant = Variant(self, Recipe(), self.dense.plan, outfit)
        job = Job(self.stage, variant, "tune", (), self.stage.quick_batches)
        job.urgent = False
        POOL.submit(job)
        return job

    def test(self, variant: Any) -> Quality:
        """Open the sealed test split for one variant. Each opening is counted in `tests_opened`."""
        return self._open_test(variant)[0]

    def test_beside_dense(self, variant: Any) -> tuple[Quality, Quality]:
        """The same for a variant and the dense model at once: (dense, variant), counted as one opening."""
        quality, dense = self._open_test(variant, self.dense)
        return dense, quality

    def _open_test(self, *variants: Any) -> list[Quality]:
        if not self.subject.has("test"):
            raise ExplorerError(f"{self.name} has no test split", instead="give test= to ex.load")
        chosen = [variant if isinstance(variant, Variant) else self.compress(variant) for variant in variants]
        jobs = [self._submit(variant, "test") for variant in chosen]
        qualities = [_result(job) for job in jobs]
        with self._lock:
            self.tests_opened += 1
            self._tried.update(variant.recipe.active().to_url() for variant in chosen if not variant.is_dense)
        return [replace(quality, note=self.sealed_words) for quality in qualities]

    @property
    def sealed_words(self) -> str:
        """How often the sealed split was opened, after how many recipes: choosing the best of many is selection."""
        times = {0: "unopened", 1: "opened once", 2: "opened twice"}.get(self.tests_opened)
        tried = f"{self.recipes_tried} recipe{'' if self.recipes_tried == 1 else 's'} tried"
        return f"{times or f'opened {self.tests_opened} times'}, {tried}"

    def curve(
        self, recipe: Any, position: int, values: Sequence[float] | None = None, field: str | None = None
    ) -> CurveJob:
        """Start (or join) the accuracy curve of one knob: the step at `position`, its `field` at each of `values`.

        field: sparsity, threshold, n (of N:M), rank or energy; by default the one that the step sets. Runs behind
        urgent work, coarse first.
        """
        asked = as_recipe(recipe)
        if not 0 <= position < len(asked):
            raise ExplorerError(
                f"there is no step {position + 1}", where="curve", instead=f"the recipe has {len(asked)}"
            )
        field = field or own_field(asked[position])
        chosen = tuple(values) if values is not None else positions(self, asked, position, field)
        if not chosen:
            raise ExplorerError("there is no value to measure at", where="curve", instead="give at least one")
        make = turner(asked, position, field)
        turned = sum(step.enabled for step in asked.steps[:position])  # its place among the steps that are on
        key = (make(chosen[0]).active().to_url(), turned, field, chosen)
        with self._lock:
            job = self._curves.get(key)
            if job is not None and job.join():
                return job
            job = CurveJob(self.stage, field, chosen, lambda value: self._unkept(make(value)))
            self._curves[key] = job
            while len(self._curves) > 200:
                self._curves.pop(next(iter(self._curves)))
        POOL.submit(job)
        return job

    def _unkept(self, recipe: Recipe) -> Variant:
        plan = self.plan(recipe)
        return Variant(self, recipe, plan, self._outfit(plan))

    # -- what the knobs show -----------------------------------------------------------------------------------------

    def scores(self, recipe: Any, position: int) -> ScoreIndex:
        """The scores that the Prune step at `position` ranks (or would, were it on), after the steps before it."""
        asked = as_recipe(recipe)
        if not 0 <= position < len(asked):
            raise ExplorerError(f"there is no step {position + 1}", instead=f"the recipe has {len(asked)}")
        as_if_on = asked.replace(position, asked[position].change(enabled=True))
        with torch.no_grad():
            return score_index(self.plan(as_if_on), position, self._start)

    def spectrum(self, matrix: str, recipe: Any = None, position: int | None = None) -> Spectrum:
        """The singular values of a matrix: of the dense model, or after the first `position` steps of a recipe."""
        known = self._matrices[matrix]
        asked = as_recipe(recipe) if recipe is not None else Recipe()
        before = Recipe(asked.steps[: len(asked) if position is None else position])
        with torch.no_grad():
            values = decomposition(self.plan(before), len(before), matrix, self._start).values
        return Spectrum(matrix, values.to(torch.float64).cpu().numpy(), known.rows, known.columns)

    def live(self, recipe: Any = None) -> Any:
        """The knobs with their numbers, in a notebook cell."""
        return shown.open_panel(self, as_recipe(recipe) if recipe is not None else Recipe())

    # -- the promise that the dense model stays ----------------------------------------------------------------------

    def check_dense(self) -> None:
        """Raise `ExplorerError` when the dense model is no longer the one that was loaded."""
        marks, found = watermarks(self.subject.model), contents(self.subject.model)
        if marks == self._marks and found == self._contents:
            return
        if digest(self.subject.model) != self.digest:
            raise ExplorerError(
                "the weights of the dense model have changed since it was loaded",
                where=self.name,
                instead="load it again with ex.load (v.model is a copy that is yours to change)",
            )
        self._marks, self._contents = marks, found

    def __str__(self) -> str:
        lengths = ", ".join(f"{name} {self.subject.length(name):,}" for name in self.subject.splits)
        kinds = f"{len(self._matrices)} weight matrices with {self._matrices.total:,} weights"
        return f"{self.subject.title} ({self.name}): {self.subject.task}, {kinds}; examples: {lengths}"


def _result(job: Job) -> Quality:
    job.wait()
    if job.error is not None:
        raise job.error
    if job.quality is None or not job.quality.complete:
        raise ExplorerError("the evaluation was stopped before its end", instead="evaluate again")
    return job.quality
