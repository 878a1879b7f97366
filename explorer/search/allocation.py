"""Allocation: how much each matrix gives, within a limit that is really measured. It runs beside whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from explorer.errors import ExplorerError
from explorer.evaluation.pool import as_error
from explorer.limits import Limits
from explorer.recipe import Recipe, as_recipe
from explorer.search.attention_weights import attention_weights
from explorer.search.path import path_of, recipe_of
from explorer.search.scan import template_of
from explorer.search.sensitivity import Sensitivity, SensitivityJob
from explorer.waiting import watch

if TYPE_CHECKING:
    from explorer.variant import Variant
    from explorer.workbench import Workbench

ATTENTION = "attention"
BEYOND = 3
"""So many settings behind the border are tried, too: the real loss does not rise at every one."""
STOP_SECONDS = 0.05


@dataclass(frozen=True)
class Tried:
    """A setting of the path as it really is: its recipe, the loss against dense, and exact bytes."""

    recipe: Recipe
    loss: float
    size_bytes: int


class Stopped(Exception):
    """Somebody has stopped the search; what was tried until then counts."""


class AllocationJob:
    """The recipe of the smallest model within `max_loss`, or of the one that loses least within `max_bytes`.

    A scan first, then settings of its path from mild to harsh, by bisection, each compressed and measured. It runs in
    a thread of its own; `wait()` waits, `stop()` keeps the best so far. The constructor raises `ExplorerError` for
    what cannot be asked.

    start: the steps that come before, kept as they are; the dense model where it is empty. scan: the scan, once it
    has begun. tried: what was measured after it. recipe: what was found. error: why nothing was.
    """

    def __init__(
        self,
        bench: Workbench,
        step: Any,
        limits: Limits,
        by: str | None = None,
        levels: Any = None,
        start: Any = None,
    ) -> None:
        if by not in (None, ATTENTION):
            raise ExplorerError(f'by is "{by}"', where="allocate", instead=f'use by="{ATTENTION}" or leave it out')
        limits.check_task(bench.subject.task)
        self.template = template_of(step)
        self.start = Recipe() if start is None else as_recipe(start).active()
        bench.plan(self.start)
        self.scan: SensitivityJob | None = None
        self.tried: dict[int, Tried] = {}
        self.recipe: Recipe | None = None
        self.error: ExplorerError | None = None
        self._bench, self._limits, self._by, self._levels = bench, limits, by, levels
        self._settings: int | None = None  # how many the path has
        self._stopping, self._finished = Event(), Event()
        Thread(target=self._run, name="allocation", daemon=True).start()

    # -- how far it is -----------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether a recipe or an error is there."""
        return self._finished.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping.is_set()

    @property
    def planned(self) -> int:
        """How many settings are tried at most, as far as that is known."""
        most = self._settings
        if most is None:
            most = 0 if self.scan is None else len(self.scan.scan.targets) * len(self.scan.scan.levels)
        return min(most, ceil(log2(most + 1)) + BEYOND)

    @property
    def share(self) -> float:
        """How far it is, 0 to 1, in batches measured; it jumps to the end where fewer settings suffice."""
        if self.finished:
            return 1.0
        if self.scan is None:
            return 0.0
        each = len(self._bench.stage.batches("tune"))
        total = self.scan.units + each * self.planned
        done = self.scan.units if self._settings is not None else self.scan.done_units
        return min(1.0, (done + each * len(self.tried)) / total)

    @property
    def words(self) -> str:
        """What it does now, in a line."""
        if self.scan is None:
            return "starting"
        if self._settings is None:
            return (
                f"scanning: {len(self.scan.cells)} of {len(self.scan.scan.targets) * len(self.scan.scan.levels)} cells"
            )
        best = self._best()
        told = f", best so far {best.size_bytes:,} bytes" if best is not None else ""
        return f"trying settings: {len(self.tried)} of at most {self.planned}{told}"

    def stop(self) -> None:
        """Stop soon; the best setting so far is the result, where one keeps the limit."""
        self._stopping.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is finished (or `timeout` seconds); says whether it is."""
        return self._finished.wait(timeout)

    # -- on its thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.recipe = self._look()
        except Stopped:
            self.error = self._nothing()
        except Exception as problem:  # told by whoever waits: a thread has nobody above it
            self.error = as_error(problem)
        finally:
            self._finished.set()

    def _look(self) -> Recipe:
        bench = self._bench
        first = self._start_alone()
        weights = attention_weights(bench) if self._by == ATTENTION else {}
        path = path_of(self._scanned(), weights)
        self._settings = len(path)
        recipes = [recipe_of(bench, self.template, setting, self.start) for setting in path]
        try:
            border = _first(len(recipes), lambda at: self._is_border(at, recipes[at]))
            if self._limits.max_bytes is None:
                for at in range(border + 1, min(border + 1 + BEYOND, len(recipes))):
                    self._try(at, recipes[at])
        except Stopped:
            pass
        best = self._best()
        if best is None or best.size_bytes >= first.size_bytes:
            raise self._nothing()
        return best.recipe

    def _start_alone(self) -> Tried:
        """What the search starts from, measured; raises `ExplorerError` where it needs no search, or allows none."""
        first = self._measured(self.start)
        what = "the dense model" if not len(self.start) else "the recipe to start from"
        most, loss = self._limits.max_bytes, self._limits.max_loss
        if most is not None and first.size_bytes <= most:
            told = f"{what} has {first.size_bytes:,} bytes already"
            raise ExplorerError(told, where="allocate", instead="allow fewer")
        if loss is not None and first.loss > loss + 1e-9:
            told = f"{what} loses {first.loss:.4g} of {self._bench.subject.primary} already"
            raise ExplorerError(told, where="allocate", instead="allow more loss, recover it, or start from dense")
        return first

    def _scanned(self) -> Sensitivity:
        start = self.start if len(self.start) else None
        self.scan = scan = self._bench.sensitivity_job(self.template, self._levels, recipe=start, quick=True)
        while not scan.wait(STOP_SECONDS):
            if self.stopping:
                scan.stop()
                break
        if scan.error is not None:
            raise scan.error
        found = scan.sensitivity
        if found is None or not found.complete:
            raise ExplorerError("the scan was stopped before its end", where="allocate", instead="start it again")
        return found

    def _is_border(self, at: int, recipe: Recipe) -> bool:
        """Whether the setting is the first of those that are asked for (small enough), or that are not (a loss)."""
        if self._limits.max_bytes is None:
            return not self._keeps(self._try(at, recipe))
        return self._keeps(self._try(at, recipe))

    def _try(self, at: int, recipe: Recipe) -> Tried:
        if at not in self.tried:
            if self.stopping:
                raise Stopped
            self.tried[at] = self._measured(recipe)
        return self.tried[at]

    def _measured(self, recipe: Recipe) -> Tried:
        """Compress and, where a loss is asked for, measure on all tune examples."""
        variant: Variant = self._bench.compress(recipe)
        loss = 0.0
        if self._limits.max_loss is not None:
            job = self._bench.submit(variant)
            while not job.wait(STOP_SECONDS):
                if self.stopping:
                    job.cancel()
                    raise Stopped
            loss = self._bench.dense.evaluate().value - variant.evaluate().value
        return Tried(recipe, loss, variant.size.bytes)

    def _keeps(self, item: Tried) -> bool:
        if self._limits.max_bytes is not None:
            return item.size_bytes <= self._limits.max_bytes
        assert self._limits.max_loss is not None
        return item.loss <= self._limits.max_loss + 1e-9

    def _best(self) -> Tried | None:
        """Of those that keep the limit the smallest; within a size the mildest, which is the first on the path."""
        good = {at: item for at, item in self.tried.copy().items() if self._keeps(item)}
        if self._limits.max_bytes is not None:
            return good[min(good)] if good else None
        return min(good.values(), key=lambda item: (item.size_bytes, item.loss), default=None)

    def _nothing(self) -> ExplorerError:
        """Why no setting will do."""
        if self.stopping:
            return ExplorerError("stopped before a setting was found", where="allocate", instead="start it again")
        if not self.tried:
            told = "no level saves a byte on any matrix"
            return ExplorerError(told, where="allocate", instead="give harsher levels")
        most = self._limits.max_bytes
        if most is not None:
            smallest = min(item.size_bytes for item in self.tried.values())
            told = f"no setting has at most {most:,} bytes: the closest has {smallest:,}"
            return ExplorerError(told, where="allocate", instead="allow more bytes, or give harsher levels")
        closest = min(self.tried.values(), key=lambda item: (item.loss, item.size_bytes))
        return ExplorerError(
            f"no setting loses at most {self._limits.max_loss:g}: the closest loses {closest.loss:.4g} of "
            f"{self._bench.subject.primary} at {closest.size_bytes:,} bytes ({closest.recipe.to_url()})",
            where="allocate",
            instead="allow more loss, or give milder levels",
        )


def allocation_job(
    bench: Workbench,
    step: Any,
    *,
    max_loss: float | None = None,
    max_bytes: int | str | None = None,
    by: str | None = None,
    levels: Any = None,
    start: Any = None,
) -> AllocationJob:
    """Start looking. Raises `ExplorerError` for what cannot be asked."""
    if (max_loss is None) == (max_bytes is None):
        raise ExplorerError("one limit is needed", where="allocate", instead="give either max_loss or max_bytes")
    return AllocationJob(bench, step, Limits.of(max_loss=max_loss, max_bytes=max_bytes), by, levels, start)


def outcome(job: AllocationJob, progress: bool = True) -> Recipe:
    """Wait with a progress bar for what is found; Ctrl+C (or the notebook's stop) keeps the best so far.

    Raises `ExplorerError` where nothing keeps the limit, or nothing did until it was stopped.
    """
    watch(job, f"allocate: {job.template.label.lower()}", progress)
    assert job.recipe is not None
    return job.recipe


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first of `count` places at which something holds, by bisection; `count` where it does not at the last."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
