"""Measuring heads in the worker pool: maps and gradients on calibration examples, then one head off after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from explorer.attending import silent_heads
from explorer.attention.editing import Edit, LiveGains
from explorer.attention.measures import entropies
from explorer.attention.reading import Wanted, read_attention
from explorer.drift_bounds import RowMeans, at_once, some_examples
from explorer.errors import ExplorerError
from explorer.evaluation.pool import Locker, Pool, Work
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import IGNORED, Judged
from explorer.limits import IN_POINTS
from explorer.recipe import Recipe, as_recipe
from explorer.recovery.objective import task_loss
from explorer.search.heads import HeadRow, HeadTable
from explorer.steps import EditAttention
from explorer.subjects.examples import Examples, map_tensors, tensors_in
from explorer.subjects.subject import Subject
from explorer.waiting import watch_batches

if TYPE_CHECKING:
    from explorer.variant import Variant
    from explorer.workbench import Workbench

MOST_TABLES = 8
"""So many tables are kept."""


@dataclass(frozen=True, eq=False)
class _Reading:
    """What some examples say of the heads: entropies, confidences, and sums of absolute slopes `[heads]` by layer."""

    entropy: RowMeans
    confidence: RowMeans
    slopes: Mapping[str, Tensor] | None
    examples: int


class HeadJob(Work):
    """One table of heads in the pool, behind urgent work: maps and gradients first, then one head off after another.

    rows: so far, with the costs that are known; table: these as a result (None until maps and gradients are there).
    progress: 0 to 1.
    """

    urgent = False

    def __init__(self, bench: Workbench, recipe: Recipe, examples: int, measured: bool) -> None:
        sites = [site for site in bench.attention_sites if not site.is_gate]
        if not sites:
            raise ExplorerError("this model has no heads", where="heads", instead=bench.attention_sites.what_there_is())
        self.recipe = recipe
        self.split = "calibration" if bench.subject.has("calibration") else "tune"
        self._bench, self._stage, self._sites = bench, bench.stage, sites
        self._chosen = some_examples(bench, self.split, examples)
        self._base = bench.compress(recipe)
        size = at_once(sites)
        self._parts = [slice(start, start + size) for start in range(0, len(self._chosen), size)]
        off = silent_heads(bench.edits(recipe))
        self._off = {(site.name, head) for site in sites for head in off.get(site.name, ())}
        heads = [(site.name, head) for site in sites for head in range(site.heads)]
        self._plan: list[tuple[str, int] | None] = [None, *(head for head in heads if head not in self._off)]
        self._each = len(bench.stage.batches("tune")) if measured else 0
        self._outfits: dict[int, Variant] = {}
        self._making = Lock()
        self._readings: dict[int, _Reading] = {}
        self._judged: dict[int, dict[int, Judged]] = {}
        self._qualities: dict[int, Quality] = {}
        self._still: tuple[HeadRow, ...] = ()
        self.done_units = 0
        super().__init__(len(self._parts) + self._each * len(self._plan))

    # -- for whoever watches -----------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """How far it is, 0 to 1."""
        return self.done_units / self.units

    @property
    def rows(self) -> tuple[HeadRow, ...]:
        """As far as they are known; empty until maps and gradients are there."""
        base = self._qualities.get(0)
        if base is None:
            return self._still
        known = {self._plan[at]: quality.against(base) for at, quality in self._qualities.copy().items()}
        found = []
        for row in self._still:
            change = known.get((row.layer, row.head))
            known_row = row if change is None else replace(row, cost=change.delta, low=change.low, high=change.high)
            found.append(known_row)
        return tuple(found)

    @property
    def table(self) -> HeadTable | None:
        """What is known so far."""
        rows, subject = self.rows, self._bench.subject
        if not rows:
            return None
        in_points, base = subject.task in IN_POINTS, self._qualities.get(0)
        counts = (self.split, len(self._chosen), subject.primary, in_points)
        return HeadTable(self._bench.name, self.recipe, rows, *counts, base)

    def stop(self) -> None:
        """Stop (unless others wait for it, too); what was measured stays."""
        self.cancel()

    # -- on the workers ----------------------------------------------------------------------------------------------

    def run_unit(self, number: int, locker: Locker) -> _Reading | Judged:
        if number < len(self._parts):
            return self._read(self._chosen.take(self._parts[number]), locker)
        at, batch = divmod(number - len(self._parts), self._each)
        return self._stage.judge(self._stage.dressed(self._variant(at), locker), "tune", batch)

    def _variant(self, at: int) -> Variant:
        """The base, or the base with one head off: one object each, so that workers need not dress anew."""
        asked = self._plan[at]
        if asked is None:
            return self._base
        with self._making:
            if at not in self._outfits:
                step = EditAttention(edit="off", own_heads={asked[0]: (asked[1],)})
                self._outfits[at] = self._edited(self._bench.edits(Recipe(step)))
            return self._outfits[at]

    def _edited(self, edits: Sequence[Edit]) -> Variant:
        worn = self._base.outfit
        return type(self._base)(self._bench, self.recipe, self._base.plan, replace(worn, edits=(*worn.edits, *edits)))

    def _read(self, examples: Examples, locker: Locker) -> _Reading:
        """The maps of some examples, and the slopes of each example's loss along a factor on each head."""
        subject, sites = self._bench.subject, self._bench.attention_sites
        inputs = map_tensors(examples.inputs, lambda tensor: tensor.to(self._stage.device))
        module = self._stage.dressed(self._base, locker)
        names = tuple(site.name for site in self._sites)
        maps = read_attention(subject, module, inputs, sites, Wanted(names))
        entropy, confidence = RowMeans(), RowMeans()
        for layer in maps.found:
            if not layer.site.is_gate:
                name, valid = layer.name.split("@")[0], layer.valid_queries
                entropy.add(name, entropies(layer.weights), valid)
                confidence.add(name, layer.weights.to(torch.float64).amax(-1), valid)
        slopes = self._slopes(Examples(inputs, examples.targets.to(self._stage.device)), locker)
        return _Reading(entropy, confidence, slopes, len(examples))

    def _slopes(self, examples: Examples, locker: Locker) -> Mapping[str, Tensor] | None:
        """The sum over examples of |dL/dxi| by layer `[heads]`; None where the loss has no gradient."""
        kind = next((p.dtype for p in self._bench.subject.model.parameters() if p.is_floating_point()), torch.float32)
        lives = [
            torch.ones(len(examples), site.heads, dtype=kind, device=self._stage.device, requires_grad=True)
            for site in self._sites
        ]
        live = [LiveGains.of(site, ones) for site, ones in zip(self._sites, lives, strict=True)]
        module = self._stage.dressed(self._edited(live), locker)
        with torch.enable_grad():
            losses = losses_of(self._bench.subject, module, examples)
            if losses is None or not losses.requires_grad:
                return None
            slopes = torch.autograd.grad(losses.sum(), lives, allow_unused=True, materialize_grads=True)
        return {
            site.name: slope.detach().to("cpu", torch.float64).abs().sum(0)
            for site, slope in zip(self._sites, slopes, strict=True)
        }

    # -- taking results ----------------------------------------------------------------------------------------------

    def collect(self, number: int, result: _Reading | Judged) -> None:
        self.done_units += 1
        if isinstance(result, _Reading):
            self._readings[number] = result
            if len(self._readings) == len(self._parts):
                self._still = tuple(self._first_rows())
            return
        at, batch = divmod(number - len(self._parts), self._each)
        known = self._judged.setdefault(at, {})
        known[batch] = result
        if len(known) == self._each:
            numbers = sorted(known)
            self._qualities[at] = self._stage.quality("tune", numbers, [known[number] for number in numbers])
            del self._judged[at]
            self._outfits.pop(at, None)

    def _first_rows(self) -> Iterator[HeadRow]:
        """Rows without costs; sums in the order of the examples, whichever worker was first."""
        readings = [self._readings[number] for number in sorted(self._readings)]
        entropy, confidence = RowMeans(), RowMeans()
        for reading in readings:
            entropy.include(reading.entropy)
            confidence.include(reading.confidence)
        spread, sure = entropy.means(), confidence.means()
        for site in self._sites:
            if site.name not in spread:  # this recipe's model never comes there
                continue
            parts = [reading.slopes[site.name] for reading in readings if reading.slopes is not None]
            steep = torch.stack(parts).sum(0) / len(self._chosen) if parts else torch.full((site.heads,), torch.nan)
            for head in range(site.heads):
                told = (float(sure[site.name][head]), float(spread[site.name][head]), float(steep[head]))
                off = (site.name, head) in self._off
                yield HeadRow(site.name, head, site.kind, *told, off=off)


class HeadJobs:
    """The tables of one workbench: started once, joined by whoever asks the same."""

    def __init__(self, bench: Workbench, pool: Pool) -> None:
        self._bench, self._pool = bench, pool
        self._lock = RLock()
        self._jobs: dict[Any, HeadJob] = {}

    def start(self, recipe: Any = None, examples: int = 256, measured: bool = True) -> HeadJob:
        """Start (or join) a table of the heads of a recipe; what it trains is trained first."""
        self._bench.check_dense()
        asked = Recipe() if recipe is None else as_recipe(recipe).active()
        self._bench.compress(asked)
        key = (asked.to_url(), examples, measured)
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and job.join():
                return job
            job = self._jobs[key] = HeadJob(self._bench, asked, examples, measured)
            while len(self._jobs) > MOST_TABLES:
                self._jobs.pop(next(iter(self._jobs)))
        self._pool.submit(job)
        return job


def watched_heads(job: HeadJob, progress: bool = True) -> HeadTable:
    """Wait for a table with a progress bar; Ctrl+C (or the notebook's stop) keeps what is there.

    Raises `ExplorerError` where it failed, or was stopped before anything was known.
    """
    watch_batches(job, "heads", progress)
    found = job.table
    if found is None:
        raise ExplorerError("the table was stopped before anything was known", where="heads", instead="start it again")
    return found


def losses_of(subject: Subject, module: nn.Module, examples: Examples) -> Tensor | None:
    """`[examples]`: the task's loss of each example on its own; 0 for one without any label.

    None where a score of the person's own has no gradient.
    """
    outputs = subject.outputs(module, examples.inputs)
    losses = []
    for at in range(len(examples)):
        targets = examples.targets[at : at + 1]
        one = map_tensors(outputs, lambda tensor, at=at: tensor[at : at + 1])
        if not targets.is_floating_point() and bool((targets == IGNORED).all()):
            losses.append(tensors_in(one)[0].sum() * 0.0)
            continue
        try:
            losses.append(task_loss(subject, one, targets, 0.0))
        except ExplorerError:
            if subject.task == "score":
                return None
            raise
    return torch.stack(losses)
