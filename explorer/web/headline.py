"""The numbers, first and in one place: quality, size, sparsity; quieter, work and speed."""

from __future__ import annotations

import time
from html import escape
from typing import Any

import streamlit as st

from explorer.evaluation.quality import Quality
from explorer.figures.words import (
    change_text,
    count_text,
    counted,
    duration_text,
    heads_words,
    interval_text,
    large_text,
    metric_label,
    metric_text,
    ratio_text,
    share_text,
    size_text,
)
from explorer.web import markup
from explorer.web.state import QUICK, Session, act, changes_nothing
from explorer.web.workbenches import LatencyJob
from explorer.weights.foretold import SmallestSize

LONG = 2.0
"""Seconds after which a running evaluation can be stopped."""
UNIT = {
    "image": "image",
    "text": "sentence",
    "image+text": "question",
    "sequence": "text",
    "table": "row",
    "story": "story",
}
"""What one example is called, by the kind of input."""


def example_word(session: Session) -> str:
    """What one example of the chosen sample is called."""
    return UNIT.get(session.bench.subject.input, "example")


def latest(session: Session) -> tuple[Quality | None, bool]:
    """The quality to show, and whether it is an old one that waits for its successor."""
    quality = session.job.quality
    if quality is not None:
        session.trail.shown = quality
        return quality, False
    return session.trail.shown, True


def dense_quality(session: Session) -> Quality | None:
    """The dense model's quality as far as it is known."""
    quality: Quality | None = session.dense.quality
    return quality


def numbers(session: Session) -> None:
    """Draw the five cards."""
    job = session.job
    variant = session.bench.compress(session.recipe)
    columns = st.columns([1.3, 1.1, 1.1, 1.15, 1.15], gap="small")
    of = session.recipe.to_url()
    cards = [
        quality_card(session, of),
        size_card(session, variant.size, of),
        sparsity_card(variant.size, of),
        work_card(session, variant, of),
    ]
    for column, name, card in zip(columns, ("quality", "size", "sparsity", "work"), cards, strict=False):
        with column, st.container(key=f"card-{name}"):
            st.html(card)
            if name == "quality" and not job.finished and time.perf_counter() - job.started > LONG:
                help = "Keep the estimate that stands here, and measure no further."
                st.button("stop", key="stop-job", on_click=act, args=(stop,), help=help, type="tertiary")
            if name == "size" and _smallest(session) is None and not changes_nothing(session.recipe):
                help = "Measures the file of save(smallest=True): what is changed, entropy-coded on top."
                st.button(
                    "measure the smallest", key="smallest", on_click=act, args=(squeeze,), help=help, type="tertiary"
                )
    with columns[4], st.container(key="card-speed"):
        speed_card(session, variant)
    if job.error is not None:
        st.html(markup.warning(str(job.error)))


def card_html(
    name: str,
    value: str,
    details: list[str],
    *,
    extra: str = "",
    old: bool = False,
    minor: bool = False,
    help: str = "",
    of: str = "",
) -> str:
    """One card. `value` and `name` are escaped here; `details` and `extra` are HTML.

    of: the recipe that the number belongs to, for whoever reads the page: cards are painted one after another.
    """
    kinds = "ce-number" + (" minor" if minor else "")
    lines = "".join(f"<div>{line}</div>" for line in details)
    number = f'<span class="{"ce-old" if old else ""}">{escape(value)}</span>{extra}'
    return (
        f'<div class="{kinds}" title="{escape(help)}" data-of="{escape(of)}"><div class="name">{escape(name)}</div>'
        f'<div class="value">{number}</div><div class="detail">{lines}</div></div>'
    )


def quality_card(session: Session, of: str) -> str:
    """Accuracy (or what the task has in its place) with its interval, mistakes and the dense value."""
    quality, old = latest(session)
    dense = dense_quality(session)
    if quality is None:
        return card_html(metric_label(session.bench.subject.primary), "–", ["measuring"], old=True, of=of)
    primary, seen = quality.primary, count_text(quality.examples)
    if quality.complete:
        first = f"95 %: {escape(interval_text(primary, quality.low, quality.high))}"
    else:
        done = 100 * quality.examples / max(1, quality.total)
        bar = f'<span class="ce-progress"><i style="width:{done:.0f}%"></i></span>'
        first = f"on {seen} of {count_text(quality.total)}{bar}"
    stories = session.bench.subject.input == "story"
    second = f"on {counted(quality.examples, *(('story', 'stories') if stories else ('example',)))}"
    if "perplexity" in quality.metrics:
        second = f"perplexity {quality.metrics['perplexity']:.3g}, {second}"
    if quality.mistakes is not None:
        second = f"{counted(quality.mistakes, 'mistake')} of {seen}"
    details = [f'<span class="{"ce-old" if old else ""}">{words}</span>' for words in (first, second)]
    if dense is not None and not dense.complete:
        details.append("dense: still measuring")
    elif dense is not None:
        tail = "" if dense.mistakes is None else f", {counted(dense.mistakes, 'mistake')}"
        details.append(f"dense {metric_text(primary, dense.value)}{tail}")
    beside = dense.by_head if dense is not None and dense.complete else None
    kind = "ce-old" if old else ""
    details += [f'<span class="{kind}">{escape(words)}</span>' for words in heads_words(quality.by_head, beside)]
    return card_html(
        metric_label(primary),
        metric_text(primary, quality.value),
        details,
        extra=_delta(session, quality, dense, old),
        old=old,
        help="Measured on the held-out tune split. The interval is 95 %.",
        of=of,
    )


def _delta(session: Session, quality: Quality, dense: Quality | None, old: bool) -> str:
    """The paired change against the dense model: red only for a loss whose interval excludes zero."""
    if dense is None or old or not dense.complete or changes_nothing(session.recipe):
        return ""
    change = quality.against(dense)
    kind, words = "", "within what chance allows"
    if change.is_loss:
        kind, words = "loss", "a loss: its 95 % interval excludes zero"
    elif change.low > 0:
        kind, words = "gain", "a gain: its 95 % interval excludes zero"
    shown = escape(change_text(quality.primary, change.delta))
    return f'<span class="delta {kind}" title="against the dense model, paired: {words}">{shown}</span>'


def size_card(session: Session, size: Any, of: str) -> str:
    """The length of the file that saving would write; entropy-coded as well, where that was asked for."""
    ratio = escape(ratio_text(size.ratio)) + (" in size" if size.ratio >= 1.005 else "")
    return card_html(
        "Size on disk",
        size_text(size.bytes),
        [f"dense {size_text(size.bytes_dense)}", ratio, *_smallest_line(_smallest(session), size.bytes_dense)],
        help="The length of the one weights file that saving writes, to the byte.",
        of=of,
    )


def _smallest(session: Session) -> SmallestSize | None:
    """The smallest file of the recipe on screen, where it was asked for."""
    return session.smallest.get((session.sample, session.recipe))


def _smallest_line(job: SmallestSize | None, bytes_dense: int) -> list[str]:
    """The length of the smallest file, an estimate until it is measured; nothing where nobody asked."""
    if job is None:
        return []
    if job.error is not None:
        return [escape(str(job.error))]
    known = job.estimate if job.bytes is None else job.bytes
    if known is None:
        return ['<span class="ce-old">entropy-coding</span>']
    about = "≈ " if job.bytes is None else ""
    words = "an estimate from a part of the weights; it is being measured" if about else "measured, to the byte"
    words = f"What is changed, entropy-coded on top: {ratio_text(bytes_dense / known)} in size, {words}"
    return [f'<span class="ce-nowrap" title="{escape(words)}">smallest {about}{size_text(known)}</span>']


def sparsity_card(size: Any, of: str) -> str:
    """The share of zeros, over the weights that can go and over all parameters."""
    return card_html(
        "Sparsity",
        share_text(size.sparsity),
        [
            f"of {count_text(size.entries)} that can go",
            f"{share_text(size.sparsity_all)} of all {count_text(size.parameters)}",
        ],
        help="The share of zeros among the numbers that the model runs with.",
        of=of,
    )


def work_card(session: Session, variant: Any, of: str) -> str:
    """Multiplications for one example, with the sentence that explains why zeros alone leave them."""
    dense = session.bench.dense.cost.macs
    cost = variant.cost
    if cost.macs < dense:
        words = [f"dense {large_text(dense, 'MACs')}", "thin layers multiply less"]
    elif cost.macs_effective < cost.macs:
        words = ["same as dense: zeros still multiply", f"{large_text(cost.macs_effective)} without the zeros"]
    else:
        words = ["multiply-accumulates"]
    return card_html(
        f"Work per {example_word(session)}",
        large_text(cost.macs, "MACs"),
        words,
        minor=True,
        help="Multiply-accumulate operations of one forward pass, counted exactly.",
        of=of,
    )


def speed_card(session: Session, variant: Any) -> None:
    """Time for one example, measured beside the dense model when asked."""
    name = f"Speed per {example_word(session)}"
    job = session.trail.latency.get(session.recipe.active())
    if job is None:
        st.html(f'<div class="ce-number"><div class="name">{escape(name)}</div></div>')
        st.button(
            "measure",
            key="measure-latency",
            on_click=act,
            args=(measure,),
            help="Times this variant and the dense model in turns, for about two seconds.",
            type="tertiary",
        )
        st.html('<div class="ce-number"><div class="detail">beside the dense model, about 2 s</div></div>')
        return
    if not job.finished:
        st.html(card_html(name, "measuring", ["in turns with the dense model"], minor=True, old=True))
        return
    if job.latency is None:
        st.html(card_html(name, "–", [escape(str(job.error))], minor=True))
        return
    found: Any = job.latency
    words = (
        "no faster: zeros alone do not help"
        if 0.95 <= found.ratio <= 1.05
        else "slower"
        if found.ratio < 1
        else "faster"
    )
    spread = f"{duration_text(found.variant_spread[0])}–{duration_text(found.variant_spread[1])}"
    details = [f"dense {duration_text(found.dense_ms)} · {words}", f"middle half {spread}, batch {found.batch}"]
    st.html(card_html(name, duration_text(found.variant_ms), details, minor=True))


def stop(session: Session) -> None:
    """Measure the recipe on screen no further; what was measured stays, with its "on n of N"."""
    session.job.cancel()


def squeeze(session: Session) -> None:
    """Start measuring the smallest file of the recipe on screen; what takes no longer than a blink is waited for."""
    recipe = session.recipe
    job = session.smallest[session.sample, recipe] = session.bench.compress(recipe).measure_smallest()
    job.wait(QUICK)


def measure(session: Session) -> None:
    """Start the latency measurement of the variant on screen."""
    active = session.recipe.active()
    session.trail.latency[active] = LatencyJob(session.bench.compress(active))


def busy(session: Session) -> bool:
    """Whether numbers of the page are still to come."""
    timing = session.trail.latency.get(session.recipe.active())
    smallest = _smallest(session)
    asked = [job for job in (timing, smallest) if job is not None]
    unfinished = not session.dense.finished or not all(job.finished for job in asked)
    return session.catch_up() or unfinished
