"""What can be searched on a workbench: which layers and heads give, and the recipe that keeps a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from explorer.recipe import Recipe
from explorer.search.allocation import AllocationJob, allocation_job, outcome
from explorer.search.gains import GainsJob, TunedHeads, tune_heads_job, tuned_heads
from explorer.search.heads import HeadTable
from explorer.search.heads_job import HeadJob, HeadJobs, watched_heads
from explorer.search.scans import Scans
from explorer.search.sensitivity import Sensitivity, SensitivityJob, watched

if TYPE_CHECKING:
    from explorer.workbench import Workbench


class Searching:
    """The searches of a workbench. Each has a twin that returns its job at once (`..._job`)."""

    _scans: Scans
    _head_jobs: HeadJobs

    def sensitivity_job(self, step: Any, levels: Sequence[float] | None = None, **wishes: Any) -> SensitivityJob:
        """Start (or join) what `sensitivity` waits for: `.cells` so far, `.stop()` keeps them; returns at once."""
        return self._scans.start(step, levels, **wishes)

    def sensitivity(
        self,
        step: Any,
        levels: Sequence[float] | None = None,
        *,
        by: str = "matrix",
        recipe: Any = None,
        leave_out: bool = False,
        quick: bool = False,
        progress: bool = True,
    ) -> Sensitivity:
        """What each matrix (block, kind) bears of a step class or template on tune, alone or left out (blocking)."""
        job = self.sensitivity_job(step, levels, by=by, recipe=recipe, leave_out=leave_out, quick=quick)
        return watched(job, progress)

    def allocate(
        self,
        step: Any,
        *,
        max_loss: float | None = None,
        max_bytes: int | str | None = None,
        by: str | None = None,
        levels: Sequence[float] | None = None,
        start: Any = None,
        progress: bool = True,
    ) -> Recipe:
        """A recipe with an own amount for each matrix that keeps the limit on tune, against dense (blocking).

        by="attention": the losses of blocks with confident attention count up to twice. start: a recipe to start from
        instead of dense; its steps come first. An interrupt (Ctrl+C, the notebook's stop) keeps the best so far.
        """
        limits: dict[str, Any] = {"max_loss": max_loss, "max_bytes": max_bytes, "by": by, "levels": levels}
        return outcome(self.allocation_job(step, start=start, **limits), progress)

    def allocation_job(self, step: Any, **wishes: Any) -> AllocationJob:
        """Start what `allocate` waits for: `.share`, `.words`, `.stop()` keeps the best so far; returns at once."""
        return allocation_job(self._bench, step, **wishes)

    def heads_job(self, recipe: Any = None, examples: int = 256, measured: bool = True) -> HeadJob:
        """Start (or join) what `heads` waits for: `.rows` so far, `.progress`, `.stop()`; returns at once."""
        return self._head_jobs.start(recipe, examples, measured)

    def heads(self, recipe: Any = None, examples: int = 256, measured: bool = True, progress: bool = True) -> HeadTable:
        """What each attention head is worth: how sure, its gradient, and what tune loses without it (blocking)."""
        return watched_heads(self.heads_job(recipe, examples, measured), progress)

    def tune_heads_job(self, recipe: Any = None, **wishes: Any) -> GainsJob:
        """Start what `tune_heads` waits for: `.history`, `.share`, `.stop()` keeps the best so far; returns at once."""
        return tune_heads_job(self._bench, recipe, **wishes)

    def tune_heads(self, recipe: Any = None, *, progress: bool = True, **wishes: Any) -> TunedHeads:
        """Gains 0 to 2 of all heads that make calibration loss + weight * mean |gain| small (blocking).

        method: "gradient" or "swarm"; weight (0.1), steps (40), particles (16) and seed (0) of the search.
        """
        return tuned_heads(self.tune_heads_job(recipe, **wishes), progress)

    @property
    def _bench(self) -> Workbench:
        """Itself, as what it is: only a workbench is searched."""
        from explorer.workbench import Workbench

        assert isinstance(self, Workbench)
        return self
