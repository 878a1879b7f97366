"""Gains: how much each attention head should give, found by gradients or by a swarm."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from explorer.attention.editing import LiveGains
from explorer.drift_bounds import at_once, some_examples
from explorer.errors import ExplorerError
from explorer.evaluation.pool import Locker, Work
from explorer.recipe import Recipe, as_recipe
from explorer.recovery.job import TRAINERS
from explorer.recovery.objective import task_loss
from explorer.shown import Shown
from explorer.steps import EditAttention
from explorer.subjects.examples import batch_length, map_tensors
from explorer.subjects.subject import Subject
from explorer.waiting import watch

if TYPE_CHECKING:
    from explorer.workbench import Workbench

METHODS = ("gradient", "swarm")
EXAMPLES = 256
"""The loss is measured on so many examples, the same at every step."""
MOST_GAIN = 2.0
SILENT = 0.05
"""Gains below this become zero at the end."""
DIGITS = 3
RATE = 0.05
"""Adam's learning rate: a gain can go from one to zero in twenty steps."""
INERTIA, PULL = 0.7, 1.5
"""Of the swarm: how much of its speed a particle keeps, and how strongly its own best and the swarm's best pull."""
FASTEST = 0.5
"""So far a particle may fly in a step, along each gain."""


@dataclass(frozen=True)
class TunedHeads(Shown):
    """Gains of all heads that make task loss + weight * mean |gain| small, on examples of `split`.

    recipe: the given one with the gains as its last step. gains: by layer, one a head. history: (step, objective, loss,
    mean gain) from the start on. loss_before, objective_before: with all gains at one; loss, objective: with `gains`.
    steps: taken of those asked for. What quality it has on tune says `wb.compress(tuned.recipe).evaluate()`.
    """

    model: str
    recipe: Recipe
    gains: Mapping[str, tuple[float, ...]]
    history: tuple[tuple[int, float, float, float], ...]
    loss_before: float
    objective_before: float
    loss: float
    objective: float
    method: str
    weight: float
    steps: int
    split: str
    examples: int
    seconds: float

    def sentence(self) -> str:
        """What was found, in a line."""
        flat = [gain for gains in self.gains.values() for gain in gains]
        silent = sum(gain == 0 for gain in flat)
        told = f"{silent} of {len(flat)} heads are silent, the mean gain is {sum(flat) / len(flat):.2f}"
        return f"{told}; loss {self.loss_before:.4f} > {self.loss:.4f} on {self.examples:,} {self.split} examples"

    def __str__(self) -> str:
        width = max([len(name) for name in self.gains] + [5])
        lines = [
            f"{self.model}, gains by {self.method}: {self.steps} steps in {self.seconds:.1f} s, "
            f"objective {self.objective_before:.4f} > {self.objective:.4f} (loss + {self.weight:g} * mean gain)",
            f"{'layer':<{width}}  gains of the heads",
        ]
        lines += [f"{name:<{width}}  " + "  ".join(f"{gain:.3f}" for gain in own) for name, own in self.gains.items()]
        return "\n".join([*lines, self.sentence()])


@dataclass(frozen=True)
class _Point:
    """A vector of gains with what it is worth."""

    gains: Tensor
    loss: float
    objective: float


class GainsJob(Work):
    """One search for gains, on the trainers' thread: it waits for a recovery that runs, and runs in one piece.

    history: (step, objective, loss, mean gain) so far. share: how far it is, 0 to 1. tuned: the outcome, of the best
    gains so far also where it was stopped. The constructor raises `ExplorerError` for what cannot be asked.
    """

    def __init__(
        self, bench: Workbench, recipe: Recipe, method: str, weight: float, steps: int, particles: int, seed: int
    ) -> None:
        super().__init__(1)
        check_asked(method, weight, steps, particles)
        self.recipe, self.method, self.weight = recipe, method, weight
        self.steps, self.particles, self.seed = steps, particles, seed
        self.split = _source(bench.subject)
        self.sites = [site for site in bench.attention_sites if not site.is_gate]
        if not self.sites:
            raise ExplorerError("this model has no heads", where="tune_heads", instead="choose a model with attention")
        self._bench, self._base = bench, bench.compress(recipe)
        self._chosen = some_examples(bench, self.split, EXAMPLES)
        self.history: tuple[tuple[int, float, float, float], ...] = ()
        self.tuned: TunedHeads | None = None
        self.stopping = False
        self._best: _Point | None = None

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        return 1.0 if self.finished else min(1.0, max(0, len(self.history) - 1) / self.steps)

    @property
    def words(self) -> str:
        """What it does now, in a line."""
        return f"objective {min(entry[1] for entry in self.history):.4f}" if self.history else "starting"

    def stop(self) -> None:
        """Stop after the step that runs; the best so far is the outcome."""
        self.stopping = True

    def cancel(self) -> None:
        super().cancel()
        if self.cancelled:
            self.stopping = True

    # -- on the trainers' thread -------------------------------------------------------------------------------------

    def run_unit(self, number: int, locker: Locker) -> TunedHeads:
        started = time.perf_counter()
        first = next((p for p in self._bench.subject.model.parameters() if p.is_floating_point()), torch.empty(0))
        count = sum(site.heads for site in self.sites)
        gains = torch.ones(count, dtype=first.dtype, device=self._bench.stage.device)
        lives = [part.clone().requires_grad_() for part in gains.split([site.heads for site in self.sites])]
        edits = tuple(LiveGains.of(site, live) for site, live in zip(self.sites, lives, strict=True))
        worn = self._base.outfit
        outfit = replace(worn, edits=(*worn.edits, *edits))
        dressed = type(self._base)(self._bench, self.recipe, self._base.plan, outfit)
        scale = _Scale(self, self._bench.stage.dressed(dressed, locker), edits)
        start = self.note(0, scale.weigh(gains))
        (descend if self.method == "gradient" else swarm)(self, scale, start)
        assert self._best is not None
        found = self._best.gains.clone()
        found[found < SILENT] = 0.0
        last = scale.weigh(_rounded(found))
        if last.objective > start.objective:  # what rounding costs is more than what was gained
            last = start
        return self._told(last, start, time.perf_counter() - started)

    def collect(self, number: int, result: TunedHeads) -> None:
        self.tuned = result

    def note(self, step: int, point: _Point) -> _Point:
        """Keep the point where it is the best, and a line of history."""
        if self._best is None or point.objective < self._best.objective:
            self._best = point
        told = (step, point.objective, point.loss, float(point.gains.abs().mean()))
        self.history = (*self.history, told)
        return point

    def ended(self) -> bool:
        """Whether no further step is to be taken."""
        return self.stopping or TRAINERS.closed

    def _told(self, point: _Point, start: _Point, seconds: float) -> TunedHeads:
        numbers = iter(_rounded(point.gains).tolist())
        gains = {site.name: tuple(round(next(numbers), DIGITS) for _ in range(site.heads)) for site in self.sites}
        step = EditAttention(edit="gain", gains=gains)
        return TunedHeads(
            model=self._bench.name,
            recipe=Recipe([*self.recipe.steps, step]),
            gains=gains,
            history=self.history,
            loss_before=start.loss,
            objective_before=start.objective,
            loss=point.loss,
            objective=point.objective,
            method=self.method,
            weight=self.weight,
            steps=len(self.history) - 1,
            split=self.split,
            examples=len(self._chosen),
            seconds=seconds,
        )


class _Scale:
    """Weighs gains: the task loss of the model that wears them, and its slope where that is asked for."""

    def __init__(self, job: GainsJob, module: nn.Module, edits: Sequence[LiveGains]) -> None:
        self._job, self._module, self._lives = job, module, [edit.live for edit in edits]
        size = at_once([edit.site for edit in edits])
        chosen, device = job._chosen, job._bench.stage.device
        self._parts = []
        for start in range(0, len(chosen), size):
            part = chosen.take(slice(start, start + size))
            self._parts.append(map_tensors((part.inputs, part.targets), lambda tensor: tensor.to(device)))

    def weigh(self, gains: Tensor) -> _Point:
        """The gains `[all heads]` with what they are worth."""
        self._put_on(gains)
        with torch.no_grad():
            loss = sum(float(self._loss(part)) * share for part, share in self._shares())
        return self._point(gains, loss)

    def slope(self, gains: Tensor) -> tuple[_Point, Tensor]:
        """The same, with the gradient of the loss `[all heads]`."""
        self._put_on(gains)
        loss, slope = 0.0, torch.zeros_like(gains)
        for part, share in self._shares():
            with torch.enable_grad():
                value = self._steep_loss(part) * share
                found = torch.autograd.grad(value, self._lives, allow_unused=True, materialize_grads=True)
            loss += float(value.detach())
            slope += torch.cat(found)
        return self._point(gains, loss), slope

    def _put_on(self, gains: Tensor) -> None:
        """Write the gains where the model reads them."""
        with torch.no_grad():
            for live, part in zip(self._lives, gains.split([len(live) for live in self._lives]), strict=True):
                live.copy_(part)

    def _point(self, gains: Tensor, loss: float) -> _Point:
        return _Point(gains.detach().clone(), loss, loss + self._job.weight * float(gains.detach().abs().mean()))

    def _loss(self, part: tuple[Any, Tensor]) -> Tensor:
        subject = self._job._bench.subject
        return task_loss(subject, subject.outputs(self._module, part[0]), part[1], 0.0)

    def _steep_loss(self, part: tuple[Any, Tensor]) -> Tensor:
        """The loss with its history; raises `ExplorerError` where it has none (a score, chosen words)."""
        none = ExplorerError("the loss has no gradient", where="tune_heads", instead='use method="swarm"')
        try:
            value = self._loss(part)
        except ExplorerError as problem:
            raise (none if self._job._bench.subject.task == "score" else problem) from problem
        if not value.requires_grad:
            raise none
        return value

    def _shares(self) -> Iterator[tuple[tuple[Any, Tensor], float]]:
        """Each part with its share of the examples."""
        for part in self._parts:
            yield part, batch_length(part[0]) / len(self._job._chosen)


def descend(job: GainsJob, scale: _Scale, start: _Point) -> None:
    """Adam on the gains (Kingma and Ba 2015), kept between 0 and 2 after every step."""
    gains = start.gains.clone().requires_grad_()
    adam = torch.optim.Adam([gains], lr=RATE)
    for step in range(1, job.steps + 1):
        if job.ended():
            return
        _, slope = scale.slope(gains.detach())
        gains.grad = slope + job.weight / len(slope)  # of mean |gain|, where no gain is below zero
        adam.step()
        with torch.no_grad():
            gains.clamp_(0.0, MOST_GAIN)
        job.note(step, scale.weigh(gains.detach()))


def swarm(job: GainsJob, scale: _Scale, start: _Point) -> None:
    """A particle swarm (Kennedy and Eberhart 1995), one particle from where the search starts; no gradients."""
    draw = torch.Generator().manual_seed(job.seed)
    shape = (job.particles, len(start.gains))

    def drawn() -> Tensor:
        return torch.rand(shape, generator=draw).to(start.gains)

    places = MOST_GAIN * drawn()
    places[0] = start.gains
    speeds = (2 * drawn() - 1) * FASTEST
    own: list[_Point] = [start, *(scale.weigh(place) for place in places[1:])]
    best = min(own, key=lambda point: point.objective)
    for step in range(1, job.steps + 1):
        if job.ended():
            return
        towards_own = torch.stack([point.gains for point in own]) - places
        speeds = INERTIA * speeds + PULL * (drawn() * towards_own + drawn() * (best.gains - places))
        speeds = speeds.clamp(-FASTEST, FASTEST)
        places = (places + speeds).clamp(0.0, MOST_GAIN)
        for at, place in enumerate(places):
            if job.ended():
                return
            point = scale.weigh(place)
            if point.objective < own[at].objective:
                own[at] = point
        best = min(own, key=lambda point: point.objective)
        job.note(step, best)


def tune_heads_job(
    bench: Workbench,
    recipe: Any = None,
    method: str = "gradient",
    weight: float = 0.1,
    steps: int = 40,
    particles: int = 16,
    seed: int = 0,
) -> GainsJob:
    """Start a search. Raises `ExplorerError` for what cannot be asked."""
    bench.check_dense()
    asked = Recipe() if recipe is None else as_recipe(recipe).active()
    job = GainsJob(bench, asked, method, weight, steps, particles, seed)
    TRAINERS.submit(job)
    return job


def tuned_heads(job: GainsJob, progress: bool = True) -> TunedHeads:
    """Wait with a progress bar for what is found; Ctrl+C (or the notebook's stop) keeps the best so far.

    Raises `ExplorerError` where the search failed.
    """
    watch(job, "gains of heads", progress)
    if job.tuned is None:
        raise ExplorerError("the search was cancelled", where="tune_heads", instead="start it again")
    return job.tuned


def check_asked(method: str, weight: float, steps: int, particles: int) -> None:
    """Raise `ExplorerError` for a search that makes no sense."""
    if method not in METHODS:
        instead = f"choose one of {', '.join(METHODS)}"
        raise ExplorerError(f'method is "{method}"', where="tune_heads", instead=instead)
    if not 0 <= weight < float("inf"):
        raise ExplorerError(f"weight is {weight}", where="tune_heads", instead="give 0 or more")
    if steps < 1 or particles < 2:
        told = f"{steps} steps with {particles} particles find nothing"
        raise ExplorerError(told, where="tune_heads", instead="give at least 1 step and 2 particles")


def _source(subject: Subject) -> str:
    """The split that gains are tuned on: calibration, else training; never tune or test."""
    for split in ("calibration", "training"):
        if subject.has(split):
            return split
    told = f"{subject.name} has no data to tune on"
    instead = "give calibration= to ex.load (gains are never tuned on tune or test)"
    raise ExplorerError(told, where="tune_heads", instead=instead)


def _rounded(gains: Tensor) -> Tensor:
    """As a recipe says them."""
    return torch.tensor([round(gain, DIGITS) for gain in gains.tolist()], dtype=gains.dtype, device=gains.device)
