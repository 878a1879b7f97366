"""The live panel: knobs, numbers and pictures of a workbench in a notebook cell."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import torch

from explorer.errors import ExplorerError
from explorer.evaluation.quality import Quality
from explorer.figures.examples import Face, faces_of, strip_html
from explorer.figures.html import joined, quiet
from explorer.jobs import CurveJob, Job
from explorer.knobs import NEW_STEPS
from explorer.notebook.controls import StepControls
from explorer.notebook.numbers import headline, layers, learning_words, messages, smallest_words
from explorer.notebook.places import FIGURE_HEIGHT, Moves, Places
from explorer.notebook.step_figures import amounts, start_curve, step_figure
from explorer.notebook.trail import Trail
from explorer.recipe import Prune, Recipe, Step, as_recipe
from explorer.recovery.pursuit import Pursuit
from explorer.steps import Recover
from explorer.variant import Variant
from explorer.weights.foretold import SmallestSize
from explorer.workbench import Workbench

POLL_SECONDS = 0.12
CURVE_SECONDS = 0.6


class LivePanel:
    """The knobs of a recipe with their numbers; every turn compresses at once and measures in the background.

    Size and sparsity are exact at once; the quality streams in, and the next turn interrupts it. An empty recipe
    starts with one Prune step at 0 %, so that there is a knob to turn and nothing is changed yet.

    Attributes
    ----------
    recipe: as the knobs stand. variant: the model that it makes. quality: what is measured of it so far, or None.
    controls: one `StepControls` a step; `panel.controls[0].knobs["sparsity"].value = 0.5` turns a knob.
    message: the last error as text, "" when there is none.
    """

    def __init__(self, bench: Workbench, recipe: Recipe | None = None) -> None:
        self.bench = bench
        asked = recipe if recipe is not None and len(recipe) else Recipe([Prune(sparsity=0.0)])
        self.variant: Variant = self._compressed(asked)
        self.recipe = self.variant.recipe
        self.controls: list[StepControls] = []
        self.message = ""
        self._lock = threading.RLock()
        self._turn = 0
        self._step = 0  # the step whose figure is drawn: the last one that was turned
        self._trail = Trail()
        self._faces = _faces(bench)
        self._dense: Job = bench.submit(Recipe())
        self._job: Job | None = None
        self._curve: CurveJob | None = None
        self._former: Quality | None = None
        self._pursuit: Pursuit | None = None
        self._smallest: SmallestSize | None = None
        moves = Moves(
            self.undo,
            self.redo,
            self._revisit,
            self._add,
            self._switch,
            self._shift,
            self._remove,
            self.recover,
            self.stop,
            self.squeeze,
        )
        self._places = Places(bench.subject.title, bench.name, moves, attends=bool(len(bench.attention_sites)))
        self.widget = self._places.widget
        self._go(self.variant)

    # -- what a program may ask -----------------------------------------------------------------------------------

    @property
    def quality(self) -> Quality | None:
        """What is measured of the variant so far."""
        return None if self._job is None else self._job.quality

    def set(self, recipe: Any) -> None:
        """Go to a recipe, as if its knobs had been turned; raises `ExplorerError` and stays where that cannot be."""
        self._go(self._compressed(as_recipe(recipe)))

    def undo(self) -> None:
        """One step back on the way that was gone."""
        self._follow(self._trail.undo())

    def redo(self) -> None:
        """One step forth again."""
        self._follow(self._trail.redo())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the quality is measured (or `timeout` seconds); says whether it is."""
        done = self._job is None or (self._job.wait(timeout) and self._dense.wait(timeout))
        self._draw_results()
        return done

    def close(self) -> None:
        """Stop measuring and take the panel away."""
        with self._lock:
            self._turn += 1
            if self._pursuit is not None:
                self._pursuit.cancel()
            for work in (self._job, self._curve):
                if work is not None and not work.finished:
                    work.cancel()
        self.widget.close()

    def squeeze(self) -> None:
        """Measure the smallest file of the variant in the background; the panel shows an estimate meanwhile."""
        with self._lock:
            if self._smallest is not None:
                return
            job, turn, variant = self.variant.measure_smallest(), self._turn, self.variant
            self._smallest = job
        threading.Thread(target=self._watch_smallest, args=(job, turn, variant), daemon=True).start()

    def _watch_smallest(self, job: SmallestSize, turn: int, variant: Variant) -> None:
        finished = False
        while not finished:
            finished = job.wait(POLL_SECONDS)
            with self._lock:
                if turn != self._turn:
                    job.cancel()
                    return
                self._places.show_smallest(smallest_words(job, variant))

    # -- moving ---------------------------------------------------------------------------------------------------

    def _go(self, variant: Variant, remember: bool = True, step: int | None = None) -> None:
        """Take the variant as the current one: everything on the panel follows. Nothing changes when that fails.

        remember: whether undo leads back from here. step: the step that was turned; its figure is drawn from now on.
        """
        job = self.bench.submit(variant)
        with self._lock:
            self._turn += 1
            if self._job is not None and not self._job.finished:
                self._job.cancel()
            self.variant, self.recipe, self._job, self.message = variant, variant.recipe, job, ""
            self._smallest = None
            self._places.show_smallest("")
            if remember:
                self._trail.go(self.recipe, variant.size)
            self._step = min(self._step if step is None else step, max(0, len(self.recipe) - 1))
            self._show_controls()
            self._draw_results()
            threading.Thread(target=self._watch, args=(self._turn, job), daemon=True).start()

    def _compressed(self, recipe: Recipe) -> Variant:
        """The variant of a recipe, of which training steps that are not known yet are off: knobs never wait."""
        self.bench.plan(recipe)
        return self.bench.compress(self.bench.coach.settled(recipe))

    # -- recovering -----------------------------------------------------------------------------------------------

    def recover(self, step: Recover | None = None) -> None:
        """Recover what the knobs stand at, in the background; the panel goes there when it is done."""
        place = len(self.recipe) - 1
        last = self.recipe[place] if len(self.recipe) else None
        if step is None and isinstance(last, Recover) and not last.enabled:
            self._pursue(self.recipe.replace(place, last.change(enabled=True, until=None)))
        else:
            self._pursue(Recipe([*self.recipe, step if step is not None else NEW_STEPS["recover"]]))

    def stop(self) -> None:
        """Stop the recovery that runs; the best so far is kept."""
        if self._pursuit is not None:
            self._pursuit.stop()

    def wait_recovered(self, timeout: float = 600.0) -> bool:
        """Wait until no recovery runs any more; says whether that is so."""
        until = time.monotonic() + timeout
        while self._pursuit is not None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return self._pursuit is None

    def _pursue(self, recipe: Recipe) -> None:
        if self._pursuit is not None:
            self._failed(ExplorerError("a recovery is running", instead="stop it, or wait until it is done"))
            return
        try:
            self._pursuit = Pursuit(self.bench, recipe, self.recipe)
        except ExplorerError as problem:
            self._failed(problem)
            return
        threading.Thread(target=self._watch_recovery, args=(self._pursuit,), daemon=True).start()

    def _watch_recovery(self, pursuit: Pursuit) -> None:
        """Show how far the recovery is; at its end go to what it led to."""
        try:
            while not pursuit.advance():
                job = pursuit.job
                if job is not None:
                    self._places.show_learning(job.share, learning_words(job))
                    job.wait(POLL_SECONDS)
            told = " ".join(pursuit.notes)
            variant = self.bench.compress(pursuit.wanted)
            if self.recipe == pursuit.start:
                self._go(variant)
            else:
                self._trail.meet(pursuit.wanted, variant.size)
                told = "The recovery is done: choose it in the list of visits."
            self._places.show_learning(None, told)
        except ExplorerError as problem:
            self._places.show_learning(None, "")
            self._failed(problem)
        finally:
            self._pursuit = None

    def _follow(self, recipe: Recipe | None) -> None:
        if recipe is not None:
            self._go(self._compressed(recipe), remember=False)

    def _try(self, recipe: Recipe, step: int | None = None) -> None:
        """Go there from a button: an error becomes a message, and the state stays."""
        try:
            self._go(self._compressed(recipe), step=step)
        except ExplorerError as problem:
            self._show_controls()
            self._failed(problem)

    def _failed(self, problem: ExplorerError) -> None:
        self.message = str(problem)
        self._places.message.value = messages(self.message, self.variant)

    def _step_changed(self, position: int, step: Step) -> None:
        self._go(self._compressed(self.recipe.replace(position, step)), step=position)

    def _revisit(self, place: int) -> None:
        self._try(self._trail.visits[place].recipe)

    def _add(self, step: Step) -> None:
        self._try(Recipe([*self.recipe, step]), step=len(self.recipe))

    def _switch(self, position: int, on: bool) -> None:
        wanted = self.recipe.replace(position, self.recipe[position].change(enabled=on))
        if on and not self.bench.coach.ready(wanted):
            self._show_controls()
            self._pursue(wanted)
            return
        self._try(wanted)

    def _remove(self, position: int) -> None:
        self._try(Recipe(step for at, step in enumerate(self.recipe) if at != position))

    def _shift(self, position: int, by: int) -> None:
        steps, other = list(self.recipe), position + by
        if 0 <= other < len(steps):
            steps[position], steps[other] = steps[other], steps[position]
            self._try(Recipe(steps))

    # -- measuring, beside the kernel -----------------------------------------------------------------------------

    def _watch(self, turn: int, job: Job) -> None:
        """Draw what comes in, quality first, then the curve of the knob, until all is there or another turn is made."""
        curve = self._start_curve(turn)
        points, drawn_at = -1, 0.0
        told: tuple[object, ...] | None = None
        while turn == self._turn:
            waiting = [work for work in (job, self._dense, curve) if work is not None and not work.finished]
            known = (job.state, job.quality, len(job.answers or ()), self._dense.state)
            if known != told:
                told = known
                self._draw_results(turn)
            measured = [] if curve is None else curve.points
            if len(measured) != points and (not waiting or time.monotonic() - drawn_at > CURVE_SECONDS):
                points, drawn_at = len(measured), time.monotonic()
                self._draw_figure(measured, turn)
            if not waiting:
                break
            waiting[0].wait(POLL_SECONDS)

    def _start_curve(self, turn: int) -> CurveJob | None:
        """The accuracy curve of the drawn step's knob; the one before it is let go."""
        with self._lock:
            recipe, step = self.recipe, self._step
            if turn != self._turn:
                return None
        curve = None
        if len(recipe) and recipe[step].enabled:
            # The curve is an extra: where a knob has none, the numbers stand without it.
            with suppress(ExplorerError):
                curve = start_curve(self.bench, recipe, step)
        with self._lock:
            if turn != self._turn:
                before = curve
            else:
                before, self._curve = self._curve, curve
        if before is not None and not before.finished:
            before.cancel()
        return curve

    # -- drawing --------------------------------------------------------------------------------------------------

    def _draw_results(self, turn: int | None = None) -> None:
        """The numbers, the strip and the list of visits, with what is known now; nothing for a turn that is over."""
        with self._lock:
            if turn is not None and turn != self._turn:
                return
            quality, dense, places, trail = self.quality, self._dense.quality, self._places, self._trail
            visit = trail.meet(self.recipe, self.variant.size)
            if quality is not None:
                self._former = visit.quality = quality
            error = None if self._job is None else self._job.error
            places.head.value = headline(self.variant, quality, dense, self._former, error)
            answers = self._by_place(None if self._job is None else self._job.answers)
            places.strip.value = strip_html(self._faces, answers, self._by_place(self._dense.answers))
            places.layers.value = layers(self.variant)
            places.message.value = messages(self.message, self.variant)
            places.undo.disabled, places.redo.disabled = not trail.can_undo, not trail.can_redo
            places.list_visits([item.words for item in trail.visits], trail.visits.index(visit))

    def _by_place(self, answers: list[Any] | None) -> list[Any]:
        """The answers in the order of the strip, None where one is not there yet."""
        found = {answer.index: answer for answer in answers or ()}
        return [found.get(index) for index in self.bench.subject.strip]

    def _draw_figure(self, points: list[Any], turn: int) -> None:
        with self._lock:
            if turn != self._turn:
                return
            if not len(self.recipe):
                self._places.picture.clear()
                return
            dense = self._dense.quality
            value = dense.value if dense is not None and dense.complete else None
            figure = step_figure(self.bench, self.recipe, self._step, points, value, FIGURE_HEIGHT)
            if figure is None:
                self._places.picture.clear()
            else:
                self._places.picture.show(figure)

    def _show_controls(self) -> None:
        """Set the knobs to the recipe; they are made anew only where the kinds of steps changed."""
        if [type(control.step) for control in self.controls] != [type(step) for step in self.recipe]:
            self.controls = [self._controls(position, step) for position, step in enumerate(self.recipe)]
            self._places.lay_out(self.controls)
        for position, (control, step) in enumerate(zip(self.controls, self.recipe, strict=True)):
            control.show(step, amounts(self.bench, self.recipe, position))
            self._places.switch_to(position, step.enabled)

    def _controls(self, position: int, step: Step) -> StepControls:
        return StepControls(self.bench, step, lambda new: self._step_changed(position, new), self._failed)

    # -- showing itself -------------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The live widget, and for a saved notebook the numbers as they stand."""
        still = quiet("The knobs are live while the notebook's kernel runs: run this cell again.")
        numbers = joined((self._places.head.value, self._places.strip.value, still))
        return {**(self.widget._repr_mimebundle_() or {}), "text/plain": str(self), "text/html": numbers}

    def __str__(self) -> str:
        measured = "measuring" if self.quality is None else str(self.quality)
        return f"live panel on {self.bench.name}: {self.recipe.sentence()}\n{self.variant.size}\n{measured}"


def _faces(bench: Workbench) -> list[Face]:
    """The examples of the strip; an input that cannot be shown leaves the strip empty, not the panel."""
    subject = bench.subject
    if not subject.strip:
        return []
    try:
        return faces_of(subject, subject.split("tune").take(torch.tensor(list(subject.strip))))
    except ExplorerError:
        return []
