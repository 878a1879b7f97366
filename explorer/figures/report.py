"""A report as one HTML page: recipe, numbers beside the dense model's, plan and figures; it needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from explorer.compression.plan import Plan
from explorer.figures.layers import layers_figure
from explorer.figures.palette import FONT, LIGHT
from explorer.figures.storage import bytes_figure
from explorer.figures.template import CONFIG
from explorer.figures.words import (
    change_text,
    count_text,
    counted,
    heads_words,
    interval_text,
    large_text,
    metric_label,
    metric_text,
    ratio_text,
    share_text,
    size_text,
)
from explorer.report import Report
from explorer.version import __version__
from explorer.weights.packing import Storage


def headline(report: Report) -> str:
    """The numbers that come first, in a line: "Accuracy 97.3 % (dense 98.0 %), 48.9 kB (÷ 1.62), ..."."""
    dense = report.dense or report
    quality, size = report.quality, report.size
    metric = f"{metric_label(quality.primary)} {metric_text(quality.primary, quality.value)}"
    beside = metric_text(quality.primary, dense.quality.value)
    return (
        f"{metric} (dense {beside}), {size_text(size.bytes)} ({ratio_text(size.ratio)}), "
        f"sparsity {share_text(size.sparsity)}"
    )


def report_page(name: str, plan: Plan, report: Report, storage: Storage) -> str:
    """The whole page as HTML text; the same arguments give the same text.

    Parameters
    ----------
    name: what was compressed, as the person called it.
    plan: with the recipe that it resolves. report: of the variant, beside the dense model's. storage: of its file.
    """
    sentence = plan.recipe.sentence()
    caption = f"{name}: {sentence}"
    figures = [
        layers_figure(report.size.kept, caption=caption),
        bytes_figure(
            storage.entries, header_bytes=storage.header_bytes, dense_bytes=report.size.bytes_dense, caption=caption
        ),
    ]
    body = [
        f"<header><h1>{escape(name)}</h1><p>{escape(sentence)}</p></header>",
        _cards(report),
        *(f'<p class="warning">{escape(warning.text)}</p>' for warning in plan.warnings),
        _section("Numbers", _numbers(report), _measured_on(report)),
        f"<script>{get_plotlyjs()}</script>",
        *(_figure(figure, position) for position, figure in enumerate(figures)),
        _section("Recipe", _code("As YAML", plan.recipe.to_yaml()), _code("As Python", plan.recipe.to_python())),
        _section("What happened to which matrix", *_steps(plan)),
        f"<footer>Compression Explorer {escape(__version__)}</footer>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(caption)}</title>\n<style>{_style()}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


# -- the numbers ----------------------------------------------------------------------------------------------------


def _cards(report: Report) -> str:
    dense = report.dense or report
    quality, size, cost = report.quality, report.size, report.cost
    detail = f"95 %: {interval_text(quality.primary, quality.low, quality.high)}"
    if quality.mistakes is not None:
        detail += f"; {counted(quality.mistakes, 'mistake')} of {count_text(quality.examples)}"
        detail += f", dense {count_text(dense.quality.mistakes)}"
    beside = None if report.dense is None else dense.quality.by_head
    detail = "; ".join([detail, *heads_words(quality.by_head, beside)])
    same_work = (
        "same as dense: zeros still multiply"
        if cost.macs == dense.cost.macs
        else f"dense {large_text(dense.cost.macs, 'MACs')}"
    )
    cards = [
        (metric_label(quality.primary), metric_text(quality.primary, quality.value), detail),
        ("Size on disk", size_text(size.bytes), f"dense {size_text(size.bytes_dense)}, {ratio_text(size.ratio)}"),
        ("Sparsity", share_text(size.sparsity), f"of the weights that can go; {share_text(size.sparsity_all)} of all"),
        ("Work an example", large_text(cost.macs, "MACs"), same_work),
    ]
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><span>{escape(label)}</span><b>{escape(value)}</b><small>{escape(detail)}</small></div>'
            for label, value, detail in cards
        )
        + "</div>"
    )


def _numbers(report: Report) -> str:
    own, beside = report.to_dict(), (report.dense or report).to_dict()
    rows = [[_label(name), _text(name, beside.get(name)), _text(name, value)] for name, value in own.items()]
    return _table(("", "dense", "variant"), rows)


def _measured_on(report: Report) -> str:
    quality = report.quality
    seen, total = count_text(quality.examples), count_text(quality.total)
    said = f"Measured on {seen} of the {total} examples of the {quality.split} split."
    if report.dense is not None:
        change = quality.against(report.dense.quality)
        low, high = (change_text(quality.primary, end) for end in (change.low, change.high))
        kind = f"Change of {metric_label(quality.primary).lower()}"
        said += f" {kind}: {change_text(quality.primary, change.delta)}, 95 % from {low} to {high} (paired)."
        if quality.mistakes is not None:
            said += f" Answers broken: {count_text(change.broken)}, repaired: {count_text(change.repaired)}."
    return f"<p>{escape(said)}</p>"


_NAMES = {
    "examples": "Examples",
    "mistakes": "Mistakes",
    "sparsity": "Sparsity of the weights that can go",
    "sparsity_all": "Sparsity of all parameters",
    "parameters": "Numbers held",
    "nonzero": "of them not zero",
    "bytes_dense": "Size of the dense file",
    "bytes": "Size of the file",
    "ratio": "Times smaller",
    "macs": "Work an example",
    "macs_effective": "Work without zeros",
    "latency_ms": "Time",
    "latency_dense_ms": "Time of the dense model",
}


def _label(name: str) -> str:
    metric, _, end = name.rpartition("_")
    if end in ("low", "high") and metric:
        return f"{metric_label(metric)}, 95 % {end}"
    return _NAMES.get(name) or metric_label(name)


def _text(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.startswith("sparsity"):
        return share_text(value)
    if name.startswith("bytes"):
        return f"{count_text(value)} bytes"
    if name.startswith("macs"):
        return large_text(value, "MACs")
    if name.startswith("latency"):
        return f"{value:.3g} ms"
    if name == "ratio":
        return ratio_text(value)
    if isinstance(value, int):
        return count_text(value)
    return metric_text(name.removesuffix("_low").removesuffix("_high"), value)


# -- the parts of the page ------------------------------------------------------------------------------------------


def _steps(plan: Plan) -> Iterable[str]:
    for position, step in enumerate(plan.recipe):
        entries = [entry for entry in plan.entries if entry.step == position]
        off = "" if step.enabled else " (off)"
        rows = [[entry.matrix, f"left as it is: {entry.skipped}" if entry.skipped else entry.what] for entry in entries]
        yield f"<h3>{position + 1} · {escape(step.sentence())}{off}</h3>" + _table(("matrix", "what"), rows, words=True)


def _figure(figure: go.Figure, position: int) -> str:
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG, div_id=f"figure-{position}")
    alt = escape((figure.layout.meta or {}).get("alt", ""), quote=True)
    return f'<figure class="card" role="img" aria-label="{alt}">{drawn}</figure>'


def _section(title: str, *parts: str) -> str:
    return f'<section class="card"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def _code(title: str, text: str) -> str:
    return f"<h3>{escape(title)}</h3><pre>{escape(text)}</pre>"


def _style() -> str:
    colours = "".join(f"--{name.replace('_', '-')}: {value}; " for name, value in asdict(LIGHT).items())
    rules = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    return f":root {{ {colours}--font: {FONT}; }}\n{rules}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table{' class=words' if words else ''}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
