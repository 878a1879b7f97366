"""What a session is looking at: sample, recipe, undo, history. The recipe is the only truth; widgets follow it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from explorer.errors import ExplorerError
from explorer.jobs import Job
from explorer.recipe import Prune, Recipe
from explorer.recovery.pursuit import Pursuit
from explorer.web.trail import Moment, Trail
from explorer.web.workbenches import FIRST, dense_job, known_samples, workbench
from explorer.weights.foretold import SmallestSize
from explorer.workbench import Workbench

log = logging.getLogger(__name__)

KEY = "explorer"
START = Recipe([Prune(sparsity=0.0)])
"""What a first visit finds: one knob that stands at nothing, so that there is something to drag."""
QUICK = 0.12
"""Seconds that a fast evaluation is waited for, so that its numbers come in the first paint."""
MOST_UNDO = 200


class NotMoved(Exception):
    """A control that reports the value which it shows anyway: nothing is to be done."""


@dataclass
class Session:
    """Everything that one browser tab holds."""

    sample: str = FIRST
    trails: dict[str, Trail] = field(default_factory=dict)
    next_id: int = 1
    version: int = 0  # grows with every action; components drop what they hold for themselves when it does
    message: str | None = None
    link: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)  # the fragments of the page that is open
    polling: dict[str, bool] = field(default_factory=dict)  # which of the page's fragments poll now
    gates: dict[str, float | None] = field(default_factory=dict)  # the limits that were typed, in the fields' units
    painted: bool = False  # background curves start after the first paint
    controls: dict[str, tuple[int, Any, Any]] = field(default_factory=dict)  # see `control`: key, asked, held
    smallest: dict[tuple[str, Recipe], SmallestSize] = field(default_factory=dict)  # of the recipes it was asked for
    events: dict[str, float] = field(default_factory=dict)  # of components: when the last one that was taken happened
    own_rerun: bool = False  # the next full run was asked for by the app: its address may lag behind

    # -- controls ----------------------------------------------------------------------------------------------------

    def control(self, name: str, value: Any) -> str:
        """The widget key under which a control stands now, showing `value`.

        A control whose value was changed by anything but itself gets a new key, so a new widget. Else a browser that
        has not heard of the change yet sends the old value along with its next poll, which Streamlit takes for a
        move of the person.
        """
        count, asked, held = self.controls.get(name, (0, value, value))
        if asked != value:
            count, held = count + 1, value
        self.controls[name] = (count, value, held)
        key = f"{name}-{count}"
        st.session_state[key] = held
        return key

    def taken(self, name: str, within: float = 0.0) -> Any:
        """In a callback: the value to which the control `name` was moved.

        within: a smaller difference is no move: browsers round the number that they show to the control's own grid.
        """
        count, asked, held = self.controls[name]
        value = st.session_state[f"{name}-{count}"]
        if value == held or (within and abs(value - asked) <= within):
            self.controls[name] = (count, asked, value)  # what the browser holds, so that it is not corrected again
            raise NotMoved
        self.controls[name] = (count, value, value)
        return value

    def event(self, key: str, name: str) -> dict[str, Any] | None:
        """In a callback: what a component reports under `name`; None when it was taken before."""
        found: dict[str, Any] | None = getattr(st.session_state.get(key), name, None)
        if found is None or self.events.get(key) == found.get("at"):
            return None
        self.events[key] = found["at"]
        return found

    # -- where we are ----------------------------------------------------------------------------------------------

    @property
    def bench(self) -> Workbench:
        """The workbench of the chosen sample."""
        return workbench(self.sample)

    @property
    def trail(self) -> Trail:
        """What was done with the chosen sample."""
        if self.sample not in self.trails:
            self.trails[self.sample] = Trail(self.moment(START))
            self.trails[self.sample].visits.append(START)
            self.trails[self.sample].open_step = self.trails[self.sample].now.ids[0]
        return self.trails[self.sample]

    @property
    def recipe(self) -> Recipe:
        """The recipe on screen."""
        return self.trail.now.recipe

    @property
    def job(self) -> Job:
        """The evaluation of the recipe on screen. It is joined once: whoever joins a job has to cancel it once."""
        trail = self.trail
        job = trail.jobs.get(trail.now.recipe)
        if job is None:
            job = trail.jobs[trail.now.recipe] = self.bench.submit(trail.now.recipe)
        return job

    @property
    def dense(self) -> Job:
        """The evaluation of the dense model."""
        return dense_job(self.sample)

    def position(self, step_id: int) -> int:
        """Where the step with this id stands now; raises `ExplorerError` when it is gone."""
        if step_id not in self.trail.now.ids:
            raise ExplorerError("this step is no longer in the recipe", instead="use undo to bring it back")
        return self.trail.now.ids.index(step_id)

    def moment(self, recipe: Recipe, ids: tuple[int, ...] | None = None) -> Moment:
        """A recipe with ids for its steps: those given, or new ones."""
        if ids is None:
            ids = tuple(range(self.next_id, self.next_id + len(recipe)))
            self.next_id += len(recipe)
        return Moment(recipe, ids)

    # -- moves -----------------------------------------------------------------------------------------------------

    def go(self, recipe: Recipe, ids: tuple[int, ...] | None = None) -> None:
        """Make `recipe` the one on screen: checked first, remembered for undo, measured in the background.

        A training step whose outcome is not known is switched off on the way: pages never wait for a training.
        """
        self.bench.plan(recipe)  # raises before anything has changed
        recipe = self.bench.coach.settled(recipe)
        trail = self.trail
        if recipe == trail.now.recipe and ids in (None, trail.now.ids):
            return
        trail.past = [*trail.past, trail.now][-MOST_UNDO:]
        trail.future = []
        trail.recovered = ""
        self._arrive(self.moment(recipe, ids))

    def pursue(self, recipe: Recipe) -> None:
        """Train what `recipe` needs, in the background; it comes on screen when that is done."""
        if self.trail.pursuit is not None:
            raise ExplorerError("a recovery is running", instead="stop it, or wait until it is done")
        self.trail.pursuit = Pursuit(self.bench, recipe, self.recipe)

    def visit(self, recipe: Recipe) -> None:
        """Put a recipe into the history without going there."""
        if recipe not in self.trail.visits:
            self.trail.visits.append(recipe)
            self.trail.left[recipe] = self.bench.submit(recipe)

    def ids_for(self, recipe: Recipe) -> tuple[int, ...]:
        """The ids of the steps on screen, and new ones for steps that follow."""
        ids = self.trail.now.ids[: len(recipe)]
        missing = len(recipe) - len(ids)
        self.next_id += missing
        return (*ids, *range(self.next_id - missing, self.next_id))

    def undo(self) -> None:
        """Back to the state before the last move."""
        trail = self.trail
        if trail.past:
            trail.future.append(trail.now)
            self._arrive(trail.past.pop())

    def redo(self) -> None:
        """Forward again after an undo."""
        trail = self.trail
        if trail.future:
            trail.past.append(trail.now)
            self._arrive(trail.future.pop())

    def choose(self, sample: str) -> None:
        """Look at another sample; what was done with this one stays."""
        workbench(sample)
        self._leave()
        self.sample = sample

    def adopt(self, link: dict[str, str]) -> None:
        """Take over the sample and the recipe of a link; on an error the state stays and the error is raised."""
        sample = link.get("model", self.sample)
        bench = workbench(sample)
        recipe = None
        if "recipe" in link:
            try:
                recipe = Recipe.from_url(link["recipe"])
                bench.plan(recipe)
            except ExplorerError as problem:
                self.sample = sample  # the sample is known, only the recipe is not
                raise problem.at("the recipe in the link") from problem
        self.choose(sample)
        fresh = sample not in self.trails
        if recipe is not None:
            self.go(recipe)
            if self.recipe != recipe:  # a training of the link is not known here: it is done now
                if self.trail.pursuit is not None:
                    self.trail.pursuit.cancel()
                self.trail.pursuit = Pursuit(bench, recipe, self.recipe)
            if fresh:  # nothing was done yet that undo could bring back
                self.trail.past, self.trail.visits = [], [recipe]
            if self.trail.now.ids and self.trail.open_step not in self.trail.now.ids:
                self.trail.open_step = self.trail.now.ids[0]

    def say(self, message: str) -> None:
        """Show one sentence at the top of the page until the next move."""
        self.message = message

    def _arrive(self, moment: Moment) -> None:
        moment = Moment(self.bench.coach.settled(moment.recipe), moment.ids)
        self.bench.compress(moment.recipe)  # first, so that an error comes before any change
        self._leave()
        trail = self.trail
        if moment.ids and trail.open_step not in moment.ids:
            trail.open_step = next((step for step in moment.ids if step not in trail.now.ids), moment.ids[-1])
        trail.now = moment
        _ = self.job  # starts now, while the page is drawn
        if moment.recipe not in trail.visits:
            trail.visits.append(moment.recipe)

    def _leave(self) -> None:
        """Stop measuring what is no longer on screen (the dense model's numbers are always wanted)."""
        if self.sample in self.trails:
            trail = self.trail
            if trail.resumed is not None and not trail.left[trail.resumed].finished:
                trail.left[trail.resumed].cancel()
            trail.resumed = None
            job = trail.jobs.get(self.recipe)
            if job is not None and not job.finished:
                job.cancel()
                trail.left[self.recipe] = trail.jobs.pop(self.recipe)

    def catch_up(self) -> bool:
        """While nothing else is measured, finish visits that were interrupted, one by one; whether there is work left.

        So every move leaves its dot on the history, and none of them delays the recipe on screen.
        """
        trail = self.trail
        if not self.job.finished:
            return True
        if trail.resumed is not None and not trail.left[trail.resumed].finished:
            return True
        trail.resumed = next((recipe for recipe in reversed(trail.left) if _unfinished(trail.left[recipe])), None)
        if trail.resumed is not None:
            trail.left[trail.resumed] = self.bench.submit(trail.resumed)
        return trail.resumed is not None

    # -- the address bar -------------------------------------------------------------------------------------------

    def here(self) -> dict[str, str]:
        """The link parameters that open this very state."""
        return {"model": self.sample, "recipe": self.recipe.to_url()}


def _unfinished(job: Job) -> bool:
    return job.error is None and (job.quality is None or not job.quality.complete)


def current() -> Session:
    """The session of this browser tab."""
    if KEY not in st.session_state:
        st.session_state[KEY] = Session()
    session: Session = st.session_state[KEY]
    return session


def open_session() -> Session:
    """At the start of every full run: take over a link that was opened, forget the fragments of the last page."""
    session = current()
    asked = {name: st.query_params[name] for name in ("model", "recipe") if name in st.query_params}
    travelled = asked != session.link and not session.own_rerun and ("recipe" in asked or not session.link)
    session.own_rerun = False
    if asked and travelled:  # a link that was opened, or the browser's own back and forward
        try:
            session.adopt(asked)
        except ExplorerError as problem:
            session.say(str(problem))
        except Exception:
            log.exception("a link could not be opened")
            session.say("This link could not be opened. The sample that usually opens first is shown.")
            session.sample = FIRST
    session.parts = []
    return session


def write_link(session: Session) -> None:
    """Let the address bar hold sample and recipe (page switches drop them, so this runs every time)."""
    here = session.here()
    if {name: st.query_params.get(name) for name in here} != here:
        st.query_params.update(here)
    session.link = here


def act(change: Callable[..., None], *arguments: Any) -> None:
    """The one wrapper of all callbacks: an error becomes a message and leaves the state; then the page is refreshed."""
    session = current()
    before = {
        name: replace(trail, past=list(trail.past), future=list(trail.future), visits=list(trail.visits))
        for name, trail in session.trails.items()
    }
    sample, message = session.sample, session.message
    session.message = None
    try:
        change(session, *arguments)
    except NotMoved:
        session.message = message
        return
    except ExplorerError as problem:
        session.sample, session.trails = sample, before
        session.say(str(problem))
    except Exception:
        log.exception("a callback failed")
        session.sample, session.trails = sample, before
        session.say("That did not work, and nothing was changed. The details are in the terminal that runs the app.")
    session.version += 1
    write_link(session)
    refresh(session, whole=session.sample != sample)


def refresh(session: Session, whole: bool = False) -> None:
    """Run the fragments of the open page again; the whole page when the sample has changed."""
    if whole:
        run_again(session)
    elif session.parts:
        st.rerun(list(session.parts))


def run_again(session: Session) -> None:
    """A full run, asked for from inside a fragment (when a job has finished, so that polling stops)."""
    session.own_rerun = True
    st.rerun()


def part(name: str) -> None:
    """Note, while a page is drawn, that it has the fragment `name`."""
    parts = current().parts
    if name not in parts:
        parts.append(name)


def changes_nothing(recipe: Recipe) -> bool:
    """Whether each step that is on stands at zero, as on a first visit."""
    return all(
        isinstance(step, Prune) and 0.0 in (step.sparsity, step.threshold) and not step.overrides
        for step in recipe.active()
    )


def samples() -> list[str]:
    """The names of the samples that can be chosen."""
    return list(known_samples())
