"""What the Model page says of a sample, as HTML: facts, metrics, the table of matrices, examples of its data."""

from __future__ import annotations

from html import escape
from typing import Any

from explorer.evaluation.quality import Quality
from explorer.figures.words import (
    UNKNOWN,
    count_text,
    counted,
    interval_text,
    metric_label,
    metric_text,
    number_text,
    size_text,
)
from explorer.web import markup
from explorer.web.looks import Views

MOST_CLASSES = 12


def facts_html(subject: Any, size: Any) -> str:
    """Task, parameters, file, splits, classes and how it was trained."""
    lengths = [(name, subject.length(name)) for name in subject.splits]
    pairs = [
        ("Task", subject.task.replace("-", " ")),
        ("Parameters", count_text(size.parameters)),
        ("File", size_text(size.bytes_dense)),
        ("Examples", " · ".join(f"{name} {count_text(length)}" for name, length in lengths if length is not None)),
    ]
    if subject.classes:
        more = ", …" if len(subject.classes) > MOST_CLASSES else ""
        pairs.append(("Classes", f"{len(subject.classes)}: {', '.join(subject.classes[:MOST_CLASSES])}{more}"))
    if subject.heads:
        listed = (f"{head.name} ({counted(len(head.classes), 'class', 'classes')})" for head in subject.heads)
        pairs.append(("Heads", " · ".join(listed)))
    card = subject.card
    if card is not None and card.training and "command" in card.training:
        pairs.append(("Trained by", str(card.training["command"])))
    return markup.facts(pairs, wide=True)


def primary_html(quality: Quality) -> str:
    """The dense model's headline metric with its interval."""
    on = counted(quality.examples, "example")
    if not quality.complete:
        on = f"estimate on {count_text(quality.examples)} of {count_text(quality.total)}"
    mistakes = "" if quality.mistakes is None else f" · {counted(quality.mistakes, 'mistake')}"
    interval = interval_text(quality.primary, quality.low, quality.high)
    return (
        f'<div class="ce-number"><div class="name">{escape(metric_label(quality.primary))}, dense</div>'
        f'<div class="value">{escape(metric_text(quality.primary, quality.value))}</div>'
        f'<div class="detail"><div>95 %: {escape(interval)}</div><div>{on}{mistakes}</div></div></div>'
    )


def metrics_html(dense: Quality, variant: Quality | None, changed: bool) -> str:
    """All metrics of the dense model, and beside them those of the variant on screen where it is another."""
    rows = []
    for name, value in dense.metrics.items():
        cells = [metric_label(name), metric_text(name, value)]
        if changed:
            cells.append(UNKNOWN if variant is None else metric_text(name, variant.metrics.get(name)))
        rows.append(markup.row(cells))
    return markup.table(("Metric", "dense", "this variant") if changed else ("Metric", "dense"), rows)


def architecture_html(bench: Any) -> str:
    """Every tensor of the file: matrices with the rank below which two thin ones are smaller, then the rest.

    The bytes of all rows, the header's included, add up to the file.
    """
    matrices, dense = bench.matrices(), bench.dense
    rows = []
    for matrix in matrices:
        tied = f" (tied with {', '.join(matrix.tied)})" if matrix.tied else ""
        size = dense.forms[matrix.name].decode().element_size() * matrix.count
        cells = (
            matrix.name + tied,
            matrix.kind,
            f"{matrix.rows:,} × {matrix.columns:,}",
            "" if matrix.heads is None else str(matrix.heads),
            count_text(matrix.count),
            size_text(size),
            f"rank {number_text(matrix.break_even, 3)}",
        )
        rows.append(markup.row(cells, left=2))
    in_matrices = {matrix.parameter for matrix in matrices}
    state = bench.subject.model.state_dict()
    for entry in dense.storage.entries:
        if entry.name not in in_matrices:
            tensor = state[entry.name]
            kind = type(bench.subject.model.get_submodule(entry.name.rpartition(".")[0])).__name__
            shape = " × ".join(f"{size:,}" for size in tensor.shape) or "one number"
            cells = (entry.name, kind, shape, "", count_text(tensor.numel()), size_text(entry.size_bytes), "")
            rows.append(markup.row(cells, left=2))
    rows.append(markup.row(("header of the file", "", "", "", "", size_text(dense.storage.header_bytes), ""), left=2))
    total = size_text(dense.storage.size_bytes)
    rows.append(markup.row(("the file", "", "", "", count_text(dense.size.parameters), total, ""), left=2))
    head = ("Tensor", "Kind", "Neurons × inputs", "Heads", "Weights", "Bytes", "Low rank saves below")
    return markup.table(head, rows, left=2, tall=True)


def examples_html(look: Views) -> str:
    """Examples with their targets."""
    pairs = list(zip(look.faces, look.truths, strict=True))
    if look.kind in ("image", "image+text"):
        captions = look.captions or ("",) * len(pairs)
        cells = [
            markup.picture(face, truth, escape(truth), caption_html=caption)
            for (face, truth), caption in zip(pairs, captions, strict=True)
        ]
        return f'<div class="ce-grid{" asked" if look.captions else ""}">{"".join(cells)}</div>'
    if look.kind == "table":
        rows = [f'<tr><td class="left">{escape(truth)}</td>{face}</tr>' for face, truth in pairs]
        return markup.table(("truth", *look.header), rows)
    written = look.kind == "sequence"
    lines = [markup.line(face, f"<b>{escape(truth)}</b>", written=written) for face, truth in pairs]
    return f'<div class="ce-lines one">{"".join(lines)}</div>'
