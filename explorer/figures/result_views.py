"""What notebooks show of what came out: variant, size, quality, report, latency, storage, spectrum."""

from __future__ import annotations

from explorer.compression.lowrank import Spectrum
from explorer.evaluation.cost import Cost
from explorer.evaluation.latency import Latency
from explorer.evaluation.quality import Quality
from explorer.figures.html import (
    Column,
    Markup,
    Tile,
    bar,
    escaped,
    folded,
    joined,
    quiet,
    table,
    tiles,
    toned,
    view,
    warning,
)
from explorer.figures.palette import EITHER
from explorer.figures.spectrum import largest_saving_rank
from explorer.figures.storage import encoding_label
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
    number_text,
    ratio_text,
    share_text,
    size_text,
)
from explorer.report import Report, Size
from explorer.shown import html_of
from explorer.variant import Variant
from explorer.weights.packing import Storage

MOST_ROWS = 24
"""Longer tables are folded."""


@html_of(Variant)
def variant_view(variant: Variant) -> str:
    """What is known at once: size, sparsity, and what is left of each matrix."""
    size = variant.size
    return view(
        f"{variant.workbench.name}: {variant.recipe.sentence()}",
        joined(warning(item.text) for item in variant.plan.warnings),
        tiles(size_tiles(size)),
        folded("what is left, layer by layer", kept_table(size), opened=len(size.kept) <= MOST_ROWS),
        quiet("v.report() measures the quality too; v.model is a torch.nn.Module of its own."),
        subtitle="dense: nothing changed" if variant.is_dense else "",
    )


@html_of(Size)
def size_view(size: Size) -> str:
    """Bytes and sparsity, with both denominators."""
    return view("Size", tiles(size_tiles(size)), folded("what is left, layer by layer", kept_table(size)))


def size_tiles(size: Size) -> list[Tile]:
    """Size, sparsity, and how many numbers are held."""
    can_go = size.entries
    return [
        Tile(
            "Size on disk", size_text(size.bytes), [f"dense {size_text(size.bytes_dense)} · {ratio_text(size.ratio)}"]
        ),
        Tile(
            "Sparsity",
            share_text(size.sparsity),
            [f"of {count_text(can_go)} weights that can go", f"{share_text(size.sparsity_all)} of all parameters"],
        ),
        Tile("Numbers held", count_text(size.parameters), [f"{count_text(size.nonzero)} of them not zero"], minor=True),
    ]


def kept_table(size: Size) -> Markup:
    """What is left of each matrix, with its bar."""
    columns = [Column("matrix"), Column(""), Column("kept", right=True), Column("not zero", right=True), Column("form")]
    rows = []
    for item in size.kept.values():
        form = f"rank {item.rank}" if item.rank is not None else ""
        form += f"{counted(item.rows_removed, 'row')} gone" if item.rows_removed else ""
        rows.append([item.name, bar(item.share), share_text(item.share), count_text(item.nonzero), form])
    return table(columns, rows)


@html_of(Quality)
def quality_view(quality: Quality) -> str:
    """All metrics; the primary one with its interval and on how many examples."""
    return view(
        "Quality",
        tiles([quality_tile(quality)]),
        table(
            [Column("metric"), Column("value", right=True)],
            [[metric_label(name), metric_text(name, value)] for name, value in quality.metrics.items()],
        ),
        subtitle=", ".join(filter(None, (quality.task, f"on the {quality.split} split", quality.note))),
    )


def quality_tile(quality: Quality, dense: Quality | None = None) -> Tile:
    """The headline metric: its interval, how many examples and mistakes, and the dense model's value."""
    notes = [f"95 %: {interval_text(quality.primary, quality.low, quality.high)}"]
    on = "" if quality.complete else "estimate "
    notes.append(f"{on}on {count_text(quality.examples)} of {count_text(quality.total)}")
    if quality.mistakes is not None:
        notes[-1] += f", {counted(quality.mistakes, 'mistake')}"
    if dense is not None:
        tail = "" if dense.mistakes is None else f", {counted(dense.mistakes, 'mistake')}"
        notes.append(f"dense {metric_text(dense.primary, dense.value)}{tail}")
    notes += heads_words(quality.by_head, None if dense is None else dense.by_head)
    return Tile(metric_label(quality.primary), metric_text(quality.primary, quality.value), notes)


@html_of(Report)
def report_view(report: Report) -> str:
    """Quality, size and work beside the dense model's."""
    quality, dense = report.quality, report.dense
    numbers = [quality_tile(quality, None if dense is None else dense.quality), *size_tiles(report.size)[:2]]
    numbers.append(work_tile(report.cost, None if dense is None else dense.cost))
    if report.latency is not None:
        numbers.append(_latency_tile(report.latency))
    columns = [Column("metric"), Column("this variant", right=True)]
    rows = [[metric_label(name), metric_text(name, value)] for name, value in quality.metrics.items()]
    if dense is not None:
        columns.append(Column("dense", right=True))
        for row, (name, value) in zip(rows, dense.quality.metrics.items(), strict=True):
            row.append(metric_text(name, value))
    return view(
        report.recipe,
        tiles(numbers),
        change_sentence(quality, dense.quality) if dense is not None else "",
        table(columns, rows),
        folded("what is left, layer by layer", kept_table(report.size)),
        subtitle=f"measured on {counted(quality.examples, 'held-out example')} ({quality.split} split)",
    )


def change_sentence(quality: Quality, dense: Quality) -> Markup:
    """The change against the dense model: called a loss only when its paired interval excludes zero."""
    change = quality.against(dense)
    delta = change_text(quality.primary, quality.value - dense.value)
    broke = ""
    if quality.mistakes is not None:
        low, high = (change_text(quality.primary, end).removesuffix(" points") for end in (change.low, change.high))
        broke = f" ({low} to {high}); {counted(change.broken, 'answer')} broken, {change.repaired} repaired"
    on = (
        "" if change.examples == quality.total else f", on {count_text(change.examples)} of {count_text(quality.total)}"
    )
    if change.is_loss:
        verdict = toned("a loss: its 95 % interval excludes zero", EITHER.loss)
    elif change.low > 0:
        verdict = toned("a gain: its 95 % interval excludes zero", EITHER.gain)
    else:
        verdict = escaped("no change beyond what chance allows")
    return joined((f"Against dense: {delta}{broke}{on} · ", verdict))


def work_tile(cost: Cost, dense: Cost | None = None) -> Tile:
    """Multiply-accumulates of one example, with the sentence that says why they did not move."""
    notes = [f"{large_text(cost.macs_effective, 'MACs')} without zeros"]
    if dense is not None:
        same = cost.macs == dense.macs
        notes.append("same as dense: zeros still multiply" if same else f"dense {large_text(dense.macs, 'MACs')}")
    return Tile("Work an example", large_text(cost.macs, "MACs"), notes, minor=True)


def _latency_tile(latency: Latency) -> Tile:
    notes = [f"dense {duration_text(latency.dense_ms)}", _latency_verdict(latency)]
    return Tile("Speed", duration_text(latency.variant_ms), notes, minor=True)


def _latency_verdict(latency: Latency) -> str:
    return f"{number_text(latency.ratio)} times as fast" if latency.differs else "no difference measured"


@html_of(Latency)
def latency_view(latency: Latency) -> str:
    """Both medians with the middle half of their runs."""
    slowest = max(latency.dense_ms, latency.variant_ms)
    rows = [
        [name, bar(middle / slowest, colour), duration_text(middle), " to ".join(map(duration_text, spread))]
        for name, middle, spread, colour in (
            ("dense", latency.dense_ms, latency.dense_spread, EITHER.dense),
            ("this variant", latency.variant_ms, latency.variant_spread, EITHER.variant),
        )
    ]
    return view(
        "Latency",
        table([Column(""), Column(""), Column("median", right=True), Column("middle half", right=True)], rows),
        quiet(_latency_verdict(latency)),
        subtitle=f"a forward pass on {counted(latency.batch, 'example')}; {latency.runs} runs of each, in turn",
    )


@html_of(Storage)
def storage_view(storage: Storage) -> str:
    """Where the bytes of the file are; the entries add up to its length."""
    ordered = sorted(storage.entries, key=lambda entry: -entry.size_bytes)
    largest = max((max(entry.size_bytes, entry.dense_bytes) for entry in ordered), default=1) or 1
    rows = [
        [
            entry.name,
            bar(entry.size_bytes / largest, EITHER.dense if entry.encoding == "raw" else EITHER.variant),
            count_text(entry.size_bytes),
            count_text(entry.dense_bytes),
            encoding_label(entry.encoding),
        ]
        for entry in ordered
    ]
    columns = [
        Column("tensor"),
        Column(""),
        Column("bytes", right=True),
        Column("dense", right=True),
        Column("written as"),
    ]
    foot = ["file", "", count_text(storage.size_bytes), "", f"{count_text(storage.header_bytes)} of them the header"]
    shown = table(columns, rows[:MOST_ROWS], foot)
    more = (
        folded(f"{len(rows) - MOST_ROWS} smaller tensors", table(columns, rows[MOST_ROWS:])) if rows[MOST_ROWS:] else ""
    )
    return view("Where the bytes are", shown, more, subtitle=f"{size_text(storage.size_bytes)} in all")


@html_of(Spectrum)
def spectrum_view(spectrum: Spectrum) -> str:
    """The ranks that keep given shares of the energy, and where two thin matrices stop being smaller."""
    best = largest_saving_rank(spectrum.break_even)
    rows = []
    for share in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
        rank = spectrum.rank_for(share)
        saves = "smaller" if rank <= best else "no smaller"
        rows.append([share_text(share), str(rank), number_text(spectrum.error(rank)), saves])
    columns = [
        Column("energy", right=True),
        Column("rank", right=True),
        Column("relative error", right=True, help="Frobenius norm of what is lost, over that of the matrix"),
        Column("two thin matrices"),
    ]
    return view(
        f"Spectrum of {spectrum.matrix}",
        table(columns, rows),
        quiet(f"Break-even {number_text(spectrum.break_even)}: ranks up to {best} make it smaller."),
        subtitle=f"{spectrum.rows} by {spectrum.columns}, {len(spectrum.values)} singular values",
    )
