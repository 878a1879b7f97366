"""The Compare page: whom the change hit, on which examples the two differ, what they bear, where the damage starts."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from explorer.comparison.side_by_side import Comparison, compare
from explorer.comparison.trials import RobustnessJob, robustness_job
from explorer.errors import ExplorerError
from explorer.evaluation.disagreements import Disagreements
from explorer.evaluation.slices import Slice
from explorer.figures.comparison import calibration_figure, confusion_figure, damage_figure, robustness_figure
from explorer.figures.template import CONFIG
from explorer.figures.words import change_text, metric_text
from explorer.recipe import Recipe
from explorer.web import markup
from explorer.web.answers_view import answers_html
from explorer.web.look import look_of
from explorer.web.looks import faces_of
from explorer.web.parts import polled, safely
from explorer.web.results import is_dark
from explorer.web.state import Session, act, changes_nothing, current, part, run_again
from explorer.web.workbenches import Background

POLL = 0.3
SHOWN = 12
"""So many disagreements are drawn; the list says how many more there are."""
EVERY = "all of them"
KINDS = ("broken", "repaired", "both wrong", "farther", "closer")


@dataclass
class Compared:
    """What the page holds of one pair: the comparison, measured in the background, and the trials."""

    before: Recipe
    after: Recipe
    job: Background
    trials: RobustnessJob | None = None

    @property
    def found(self) -> Comparison | None:
        """The comparison, where it is measured."""
        found: Comparison | None = self.job.value
        return found


def pair_of(session: Session) -> tuple[Recipe, Recipe]:
    """The two recipes that are compared: the one that was chosen (dense at first) and the one on screen."""
    chosen = session.trail.scan_wishes.get("compare-with", Recipe())
    return chosen, session.recipe.active()


def started(session: Session) -> Compared | None:
    """The comparison of the present pair, begun where it is not yet; None where both are the same."""
    before, after = pair_of(session)
    if before.active() == after or (changes_nothing(before) and changes_nothing(after)):
        return None
    held = session.trail.compared
    if held is None or (held.before, held.after) != (before, after):
        bench = session.bench
        first, second = bench.compress(before), bench.compress(after)
        held = session.trail.compared = Compared(before, after, Background(lambda: _measured(first, second)))
    return held


def _measured(before: Any, after: Any) -> Comparison:
    """A comparison with everything that the page shows already found."""
    found = compare(before, after)
    _ = found.disagreements, found.slices, found.classes, found.layers
    return found


# -- whom it hit -------------------------------------------------------------------------------------------------------


@st.fragment(key="compared")
@safely
def compared() -> None:
    """Which two, what changed, and for whom."""
    part("compared")
    session = current()
    with st.container(key="card-pair"):
        _choice(session)
        held = started(session)
        running = held is not None and not held.job.finished
        session.polling["compared"] = running
        polled(_head, POLL if running else None)
    if held is None or running or held.found is None:
        return
    left, right = st.columns([1.25, 1], gap="small")
    with left:
        _groups(held.found)
    with right:
        _damage(held.found)
    _disagreements(session, held.found)
    _figures(held.found)


def _choice(session: Session) -> None:
    visited = [recipe.active() for recipe in session.trail.visits]
    options = list(dict.fromkeys([Recipe(), *(r for r in visited if not changes_nothing(r))]))
    before, after = pair_of(session)
    if before not in options:
        options.append(before)
    words = {Recipe(): "the dense model"}
    left, right = st.columns(2, vertical_alignment="bottom")
    left.selectbox(
        "Compare",
        options,
        format_func=lambda recipe: words.get(recipe, recipe.sentence()),
        key=session.control("compare-with", before),
        on_change=act,
        args=(_with,),
        help="The dense model, or a recipe that you have been at.",
    )
    right.html(f'<div class="ce-quiet">with the recipe on screen</div><b>{escape(after.sentence())}</b>')


@safely
def _head() -> None:
    session = current()
    held = started(session)
    if held is None:
        words = (
            "Both are the same model: nothing can differ. Change the recipe on the Compress page, or choose another."
        )
        st.html(f'<div class="ce-empty"><b>Nothing to compare</b>{escape(words)}</div>')
    elif held.job.error is not None:
        st.html(markup.warning(str(held.job.error)))
    elif held.found is None:
        st.html('<div class="ce-empty">comparing</div>')
    else:
        st.html(f'<div class="ce-teaches">{escape(_told(held.found))}</div>')
    if session.polling["compared"] and (held is None or held.job.finished):
        session.polling["compared"] = False
        run_again(session)


def _told(found: Comparison) -> str:
    """What changed in a few plain words, with the interval."""
    quality = found.quality
    primary, change = quality.before.primary, quality.change
    low, high = (change_text(primary, end).removesuffix(" points") for end in (change.low, change.high))
    first = f"{metric_text(primary, quality.before.value)} before, {metric_text(primary, quality.after.value)} after "
    first += f"({change_text(primary, change.delta)}, 95 %: {low} to {high}); {found.disagreements.sentence()}."
    lost = [each for each in (*found.classes, *found.slices) if each.verdict == "loss"]
    if lost:
        worst = min(lost, key=lambda each: each.change.delta)
        first += f" Hit hardest: {worst.name} ({change_text(primary, worst.change.delta)})."
    return first


def _groups(found: Comparison) -> None:
    with st.container(key="card-groups"):
        st.html(markup.title("Whom it hit", "intervals hold for all groups of a table at once"))
        for title, groups in (("class", found.classes), ("slice", found.slices)):
            if groups:
                st.html(groups_html(title, groups, found.quality.before.primary))
        st.html(markup.quiet("“Same” means: surely no more than 3 points. “Cannot tell” means: too few examples."))


def groups_html(title: str, groups: list[Slice], primary: str) -> str:
    """Groups with both values, the change with its interval, and what that shows."""
    rows = []
    for group in groups:
        low, high = (change_text(primary, end).removesuffix(" points") for end in (group.change.low, group.change.high))
        kind = group.verdict if group.verdict in ("loss", "gain") else "ce-quiet"
        change = change_text(primary, group.change.delta).removesuffix(" points")
        rows.append(
            f'<tr><td class="left">{escape(group.name)}</td><td>{group.examples:,}</td>'
            f"<td>{metric_text(primary, group.before)}</td><td>{metric_text(primary, group.after)}</td>"
            f'<td class="{kind}">{change}</td><td>{low} to {high}</td>'
            f'<td class="{kind}">{group.verdict}</td></tr>'
        )
    return markup.table((title, "examples", "before", "after", "change", "95 %", ""), rows, tall=len(rows) > 12)


def _damage(found: Comparison) -> None:
    with st.container(key="card-damage"):
        figure = damage_figure(found.layers, dark=is_dark(), height=400)
        st.plotly_chart(figure, theme=None, config=CONFIG, key="damage-figure")
        st.html(markup.quiet(f"{found.layers.sentence()}."))


# -- on which examples they differ -------------------------------------------------------------------------------------


def _disagreements(session: Session, found: Comparison) -> None:
    wishes = session.trail.scan_wishes
    every = found.disagreements
    with st.container(key="card-disagreements"):
        st.html(markup.title("Where they differ", f"farthest apart first; distance: {every.unit}"))
        if not len(every):
            st.html(markup.quiet(f"{every.sentence()}."))
            return
        known = [kind for kind in KINDS if len(every.of(kind))]  # type: ignore[arg-type]  # each of them is a kind
        columns = st.columns(2, vertical_alignment="bottom")
        with columns[0]:
            _filter(session, "differ-kind", "Which", [EVERY, *known], wishes)
        with columns[1]:
            _filter(session, "differ-group", "In", [EVERY, *every.groups], wishes)
        shown = chosen_of(every, wishes.get("differ-kind", EVERY), wishes.get("differ-group", EVERY))
        st.html(markup.quiet(f"{shown.sentence()}."))
        if len(shown):
            st.html(disagreements_html(session, shown))
            indices = [each.index for each in shown.found[:SHOWN]]
            with st.container(horizontal=True, gap="small", key="differ-look"):
                st.html('<span class="ce-quiet">See its attention on the Attention page:</span>', width="content")
                for index in indices[:6]:
                    st.button(str(index), key=f"look-at-{index}", on_click=act, args=(look_at, index), type="tertiary")


def _filter(session: Session, name: str, label: str, options: list[str], wishes: dict[str, Any]) -> None:
    chosen = wishes.get(name, EVERY)
    key = session.control(name, chosen if chosen in options else EVERY)
    st.selectbox(label, options, key=key, on_change=act, args=(_wish, name))


def chosen_of(every: Disagreements, kind: str, group: str) -> Disagreements:
    """Those of one kind in one group."""
    found = every if kind == EVERY or kind not in KINDS else every.of(kind)  # type: ignore[arg-type]  # one of KINDS
    return found if group == EVERY or group not in every.groups else found.within(group)


def disagreements_html(session: Session, shown: Disagreements) -> str:
    """The first of them as the strip shows examples: both answers, the truth, and how far apart."""
    listed = shown.found[:SHOWN]
    subject = session.bench.subject
    if subject.input == "story":
        rows = [
            markup.row((f"story {each.index}", each.before.label, each.after.label, f"{each.distance:.3f}"), left=3)
            for each in listed
        ]
        return markup.table(("story", "before", "after", "distance"), rows, left=3)
    look = faces_of(subject, [each.index for each in listed])
    html = answers_html(look, [each.after for each in listed], [each.before for each in listed])
    more = f" and {len(shown) - SHOWN:,} more" if len(shown) > SHOWN else ""
    far = ", ".join(f"{each.index} ({each.distance:.2f})" for each in listed)
    return html + markup.quiet(f"Examples {far}{more}; truth: {', '.join(each.truth for each in listed)}")


def look_at(session: Session, index: int) -> None:
    """Have the Attention page show this example."""
    look = look_of(session)
    look.index, look.own, look.own_note, look.place, look.query = index, None, "", None, None
    session.say(f"The Attention page shows example {index} now")


def _figures(found: Comparison) -> None:
    left, right = st.columns(2, gap="small")
    for column, name, draw in (
        (left, "confusion", lambda: confusion_figure(found.confusion, dark=is_dark(), height=460)),
        (right, "calibration", lambda: calibration_figure(found.calibration, dark=is_dark(), height=460)),
    ):
        with column, st.container(key=f"card-{name}"):
            try:
                st.plotly_chart(draw(), theme=None, config=CONFIG, key=f"{name}-figure")
            except ExplorerError as problem:  # tasks without classes or probabilities
                st.html(markup.quiet(markup.sentence(str(problem))))


# -- what they bear ----------------------------------------------------------------------------------------------------


@st.fragment(key="trials")
@safely
def trials() -> None:
    """Both on inputs that are made worse."""
    part("trials")
    session = current()
    held = started(session)
    if held is None:
        return
    job = held.trials
    running = job is not None and not job.finished
    with st.container(key="card-trials"):
        left, right = st.columns([3, 1], vertical_alignment="center")
        left.html(
            markup.title("What both bear", "noise, blur, covered parts, left-out words, attacks: the same for both")
        )
        if running:
            right.button("Stop", key="trials-stop", on_click=act, args=(stop_trials,), width="stretch")
        else:
            words = "Measures both on inputs that are made worse, on up to 512 tune examples, in the background."
            right.button("Try", key="trials-start", on_click=act, args=(start_trials,), width="stretch", help=words)
        session.polling["trials"] = running
        polled(_trials, POLL if running else None)


@safely
def _trials() -> None:
    session = current()
    held = started(session)
    job = None if held is None else held.trials
    if job is None:
        st.html(markup.quiet("Not tried yet."))
    elif job.error is not None:
        st.html(markup.warning(str(job.error)))
    else:
        found = job.robustness
        if not job.finished:
            st.progress(min(1.0, job.share), text=f"{job.share:.0%}")
        if found.curves:
            if job.finished:
                st.html(f'<div class="ce-teaches">{escape(markup.sentence(found.sentence()))}</div>')
            figure = robustness_figure(found, dark=is_dark())
            st.plotly_chart(figure, theme=None, config=CONFIG, key="trials-figure")
    if session.polling["trials"] and (job is None or job.finished):
        session.polling["trials"] = False
        run_again(session)


def start_trials(session: Session) -> None:
    """Try both of the pair."""
    held = started(session)
    if held is None:
        raise ExplorerError("both are the same model", where="Compare", instead="change the recipe first")
    bench = session.bench
    held.trials = robustness_job(bench.compress(held.before), bench.compress(held.after))


def stop_trials(session: Session) -> None:
    """Try no further; the curves that are whole stay."""
    held = session.trail.compared
    if held is not None and held.trials is not None:
        held.trials.cancel()


def _with(session: Session) -> None:
    session.trail.scan_wishes["compare-with"] = session.taken("compare-with")


def _wish(session: Session, name: str) -> None:
    session.trail.scan_wishes[name] = session.taken(name)
