"""The scans of one workbench: started once, joined by whoever asks the same."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any

from explorer.evaluation.pool import Pool
from explorer.recipe import Recipe
from explorer.search.scan import scan_of
from explorer.search.sensitivity import SensitivityJob

if TYPE_CHECKING:
    from explorer.variant import Variant
    from explorer.workbench import Workbench

MOST_SCANS = 8
"""So many scans are kept with their results."""


class Scans:
    """Starts scans of `bench` in `pool`; `make` makes variants that are kept nowhere."""

    def __init__(self, bench: Workbench, pool: Pool, make: Callable[[Recipe], Variant]) -> None:
        self._bench, self._pool, self._make = bench, pool, make
        self._lock = RLock()
        self._jobs: dict[Any, SensitivityJob] = {}

    def start(
        self,
        step: Any,
        levels: Any = None,
        *,
        by: str = "matrix",
        recipe: Any = None,
        leave_out: bool = False,
        quick: bool = False,
    ) -> SensitivityJob:
        """Start (or join) a scan; what its recipe trains is trained first."""
        bench, stage = self._bench, self._bench.stage
        bench.check_dense()
        scan = scan_of(bench, step, levels, by, recipe, leave_out)
        if not bench.coach.ready(scan.base):
            bench.compress(scan.base)
        quick = quick and stage.quick_batches < len(stage.batches("tune"))
        key = (scan, quick)
        with self._lock:
            job = self._jobs.get(key)
            if job is not None and job.join():
                return job
            job = self._jobs[key] = SensitivityJob(bench.name, stage, scan, self._make, quick)
            while len(self._jobs) > MOST_SCANS:
                self._jobs.pop(next(iter(self._jobs)))
        self._pool.submit(job)
        return job
