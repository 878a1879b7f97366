"""The numbers of a panel as HTML: quality with its interval, size, sparsity, work, and the change against dense."""

from __future__ import annotations

from explorer.errors import ExplorerError
from explorer.evaluation.quality import Quality
from explorer.figures.html import Markup, Tile, escaped, folded, joined, tiles, toned, warning
from explorer.figures.palette import EITHER
from explorer.figures.result_views import change_sentence, kept_table, quality_tile, size_tiles, work_tile
from explorer.figures.words import metric_label, metric_text, ratio_text, size_text
from explorer.recovery.job import RecoveryJob
from explorer.variant import Variant
from explorer.weights.foretold import SmallestSize


def headline(
    variant: Variant,
    quality: Quality | None,
    dense: Quality | None,
    former: Quality | None,
    error: ExplorerError | None,
) -> Markup:
    """The tiles and the sentence below them.

    Parameters
    ----------
    quality: what is measured of the variant so far; None before the first batch, and then `former`, the last one that
        was shown, stays in its place, dimmed.
    dense: the dense model's quality as far as it is known. error: why the evaluation failed.
    """
    if quality is not None:
        first = quality_tile(quality, dense)
    elif former is not None:
        last = quality_tile(former, dense)
        first = Tile(last.label, last.value, last.notes, old=True)
    else:
        # Three lines, as the measured tile has: the panel below keeps its place when the number comes.
        lines = ["measuring", Markup("&nbsp;"), Markup("&nbsp;")]
        first = Tile(metric_label(variant.workbench.subject.primary), "–", lines, old=True)
    numbers = [first, *size_tiles(variant.size)[:2], work_tile(variant.cost, variant.workbench.dense.cost)]
    if error is not None:
        change: Markup = toned(error, EITHER.loss)
    elif variant.is_dense:
        change = escaped("The dense model: nothing is changed.")
    elif quality is not None and dense is not None:
        change = change_sentence(quality, dense)
    else:
        change = Markup("&nbsp;")
    return joined((tiles(numbers), Markup(f'<div style="min-height:20px">{change}</div>')))


def smallest_words(job: SmallestSize, variant: Variant) -> str:
    """The length of the smallest file in a line, an estimate until it is measured."""
    if job.error is not None:
        return str(job.error)
    known = job.estimate if job.bytes is None else job.bytes
    if known is None:
        return "entropy-coding"
    about = "≈ " if job.bytes is None else ""
    return f"smallest file {about}{size_text(known)} ({ratio_text(variant.size.bytes_dense / known)})"


def layers(variant: Variant) -> Markup:
    """What is left of each matrix; many of them scroll in their place."""
    table = Markup(f'<div style="max-height:460px;overflow:auto">{kept_table(variant.size)}</div>')
    return folded("What is left, layer by layer", table, opened=True)


def messages(message: str, variant: Variant) -> Markup:
    """The last error, and what the plan warns of."""
    told = [warning(f"Step {item.step + 1}: {item.text}") for item in variant.plan.warnings]
    return joined([warning(message), *told] if message else told)


def learning_words(job: RecoveryJob) -> str:
    """How far a recovery is, in a line."""
    if job.waiting:
        return "waits for another recovery to end"
    found = [look.quality for look in job.looks if look.quality is not None]
    now = (
        f"{metric_label(found[-1].primary).lower()} {metric_text(found[-1].primary, found[-1].value)}" if found else ""
    )
    left = "" if job.seconds_left is None else f"about {max(1, round(job.seconds_left))} s left"
    return ", ".join(filter(None, (left, now, f"learns from the {job.source} split" if job.source else "")))
