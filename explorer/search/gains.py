"""Gains: how much each attention head should give, found by gradients or by a swarm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from explorer.recipe import Recipe
from explorer.shown import Shown


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
        parts = gains.split([site.heads for site in self.sites])  # views: what is written into `gains` is worn
        edits = tuple(LiveGains.of(site, part) for site, part in zip(self.sites, parts, strict=True))
        worn = self._base.outfit
        outfit = replace(worn, edits=(*worn.edits, *edits))
        dressed = type(self._base)(self._bench, self.recipe, self._base.plan, outfit)
        scale = _Scale(self, self._bench.stage.dressed(dressed, locker), gains, edits)
        start = self._note(0, scale.weigh(gains.clone()))
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

    def _note(self, step: int, point: _Point) -> _Point:
        """Keep the point where it is the best, and a line of history."""
        if self._best is None or point.objective < self._best.objective:
            self._best = point
        told = (step, point.objective, point.loss, float(point.gains.abs().mean()))
        self.history = (*self.history, told)
        return point

    @property
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

    def __init__(self, job: GainsJob, module: nn.Module, gains: Tensor, edits: Sequence[LiveGains]) -> None:
        self._job, self._module, self._gains, self._edits = job, module, gains, edits
        size = at_once([edit.site for edit in edits])
        chosen, device = job._chosen, job._bench.stage.device
        self._parts = []
        for start in range(0, len(chosen), size):
            part = chosen.take(slice(start, start + size))
            self._parts.append(map_tensors((part.inputs, part.targets), lambda tensor: tensor.to(device)))

    def weigh(self, gains: Tensor) -> _Point:
        """The gains `[all heads]` with what they are worth."""
        with torch.no_grad():
            self._gains.copy_(gains)
            loss = sum(float(self._loss(part)) * share for part, share in self._shares())
        return _Point(gains.clone(), loss, loss + self._job.weight * float(gains.abs().mean()))

    def slope(self, gains: Tensor) -> tuple[_Point, Tensor]:
        """The same, with the gradient of the loss `[all heads]`."""
        with torch.no_grad():
            self._gains.copy_(gains)
        loss, slope = 0.0, torch.zeros_like(gains)
        lives = [edit.live for edit in self._edits]
        for part, share in self._shares():
            with torch.enable_grad():
                for live in lives:
                    live.requires_grad_(True)
                value = self._loss(part) * share
                if not value.requires_grad:
                    told = "the loss has no gradient"
                    raise ExplorerError(told, where="tune_heads", instead='use method="swarm"')
                slopes = torch.autograd.grad(value, lives, allow_unused=True, materialize_grads=True)
            loss += float(value.detach())
            slope += torch.cat(slopes)
        return _Point(gains.clone(), loss, loss + self._job.weight * float(gains.abs().mean())), slope
