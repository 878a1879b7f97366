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
    interval_text,
    large_text,
    metric_label,
    metric_text,
    ratio_text,
    share_text,
    size_text,
)
from explorer.web import markup
from explorer.web.state import Session, act, changes_nothing
from explorer.web.workbenches import LatencyJob

LONG = 2.0
"""Seconds after which a running evaluation can be stopped."""
UNIT = {"image": "image", "text": "sentence", "table": "row", "story": "story"}
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
        size_card(variant.size, of),
        sparsity_card(variant.size, of),
        work_card(session, variant, of),
    ]
    for column, name, card in zip(columns, ("quality", "size", "sparsity", "work"), cards, strict=False):
        with column, st.container(key=f"card-{name}"):
            st.html(card)
            if name == "quality" and not job.finished and time.perf_counter() - job.started > LONG:
                help = "Keep the estimate that stands here, and measure no further."
                st.button("stop", key="stop-job", on_click=act, args=(stop,), help=help, type="tertiary")
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


def size_card(size: Any, of: str) -> str:
    """The length of the file that saving would write."""
    return card_html(
        "Size on disk",
        size_text(size.bytes),
        [
            f"dense {size_text(size.bytes_dense)}",
            escape(ratio_text(size.ratio)) + (" in size" if size.ratio >= 1.005 else ""),
        ],
        help="The length of the one weights file that saving writes, to the byte.",
        of=of,
    )


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


def measure(session: Session) -> None:
    """Start the latency measurement of the variant on screen."""
    active = session.recipe.active()
    session.trail.latency[active] = LatencyJob(session.bench.compress(active))


def busy(session: Session) -> bool:
    """Whether numbers of the page are still to come."""
    timing = session.trail.latency.get(session.recipe.active())
    unfinished = not session.dense.finished or (timing is not None and not timing.finished)
    return session.catch_up() or unfinished
