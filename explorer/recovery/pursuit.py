"""The way to a recipe that needs training: one recovery after the other, watched by a face that never waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from explorer.errors import ExplorerError
from explorer.recipe import Recipe
from explorer.recovery.asking import stand_of
from explorer.recovery.job import PaceJob, RecoveryJob
from explorer.steps import Recover

if TYPE_CHECKING:
    from explorer.workbench import Workbench


class Pursuit:
    """Trains what a recipe wants until it can be applied at once.

    Parameters
    ----------
    wanted: the recipe that is aimed at; its training steps that are on and not yet known are trained, in order.
    start: the recipe that was on screen when it began.

    Attributes: `wanted`, with each step as it was really trained (stopped early, say); `job`, the running recovery;
    `notes`, what is to be said about how it went.
    """

    def __init__(self, bench: Workbench, wanted: Recipe, start: Recipe) -> None:
        bench.plan(wanted)
        self._bench = bench
        self.wanted, self.start = wanted, start
        self.notes: list[str] = []
        self.job: RecoveryJob | None = None
        self.place = -1
        self._stopped = False
        self._next()

    @property
    def done(self) -> bool:
        """Whether `wanted` can be applied without waiting."""
        return self.job is None

    def advance(self) -> bool:
        """Go on where the running recovery has ended; says whether all is done. Raises the error of a failed one."""
        if self.job is None:
            return True
        if not self.job.finished:
            return False
        if self.job.error is not None:
            raise self.job.error
        if self.job.trained is None:
            raise ExplorerError("the recovery was stopped before it began", instead="start it again")
        if self.job.trained.note:
            self.notes.append(self.job.trained.note)
        self.wanted = self.wanted.replace(self.place, self.job.final_step.change(enabled=True))
        if self._stopped:
            self.wanted = self._bench.coach.settled(self.wanted)
        self._next()
        return self.done

    def stop(self) -> None:
        """Stop the running recovery soon, its best so far is kept; what would come after it stays off."""
        self._stopped = True
        if self.job is not None:
            self.job.stop()

    def cancel(self) -> None:
        """Give up: nobody waits for it any more."""
        if self.job is not None and not self.job.finished:
            self.job.cancel()

    def _next(self) -> None:
        place = self._bench.coach.waiting_for(self.wanted)
        if place is None:
            self.job = None
            return
        self.place, step = place, self.wanted[place]
        assert isinstance(step, Recover)
        before = self._bench.compress(Recipe(self.wanted.steps[:place]))
        self.job = self._bench.coach.submit(step, stand_of(before))


def pace_of(bench: Workbench, recipe: Recipe, place: int) -> PaceJob:
    """Start (or join) measuring how long the training step at `place` would take, after the steps before it."""
    step = recipe[place]
    assert isinstance(step, Recover)
    return bench.coach.pace(step, stand_of(bench.compress(bench.coach.settled(Recipe(recipe.steps[:place])))))
