"""Numbers as people read them: sizes, shares, counts, times and metrics, each with its unit.

Plain text with plain spaces; whoever puts it into HTML keeps number and unit on one line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

UNKNOWN = "–"
"""Stands where a number is not known (an en dash)."""

METRIC_LABELS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "F1, macro",
    "precision_macro": "Precision, macro",
    "recall_macro": "Recall, macro",
    "log_loss": "Log loss",
    "r2": "R²",
    "mean_absolute_error": "Mean absolute error",
    "mean_squared_error": "Mean squared error",
    "root_mean_squared_error": "Root mean squared error",
    "exact_match": "Exact match",
    "token_accuracy": "Token accuracy",
    "perplexity": "Perplexity",
    "loss": "Loss",
    "score": "Score",
}

_SHARES = {"accuracy", "balanced_accuracy", "exact_match", "token_accuracy"}
OF_HEAD = "accuracy_"
"""How the accuracy of one head of several is called, before the head's name."""
_LOWER_IS_BETTER = {
    "perplexity",
    "loss",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
}


def size_text(size_bytes: float | None) -> str:
    """A number of bytes in decimal units: "293 kB", "1.24 MB"."""
    if not _known(size_bytes):
        return UNKNOWN
    assert size_bytes is not None
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    amount = size_bytes
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            return f"{_three_digits(amount)} {unit}"
    raise AssertionError("unreachable")


def count_text(count: float | None) -> str:
    """A whole number with thousands apart: "131,712"."""
    return f"{count:,.0f}" if _known(count) else UNKNOWN


def large_text(count: float | None, unit: str = "") -> str:
    """A large count in three digits with k, M, G or T: "2.31 M MACs"."""
    if not _known(count):
        return UNKNOWN
    assert count is not None
    amount, prefix = float(count), ""
    for following in ("k", "M", "G", "T"):
        if amount < 999.5:
            break
        amount, prefix = amount / 1000, following
    digits = f"{amount:.0f}" if not prefix else _three_digits(amount)
    return " ".join(filter(None, (digits, f"{prefix} {unit}".strip())))


def share_text(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1 as a percentage: "50.8 %".

    What is not quite nothing or not quite all is never rounded to it: "< 0.1 %", "> 99.9 %".
    """
    if not _known(share):
        return UNKNOWN
    assert share is not None
    percent, step = 100 * share, 10.0**-digits
    if 0 < percent < step / 2:
        return f"< {step:.{digits}f} %"
    if 100 - step / 2 <= percent < 100 - 1e-9:
        return f"> {100 - step:.{digits}f} %"
    return f"{percent:.{digits}f} %"


def ratio_text(ratio: float | None) -> str:
    """How many times smaller: "÷ 1.86"; "× 1.20 larger" when it grew."""
    if not _known(ratio) or not ratio:
        return UNKNOWN
    if ratio >= 0.995:
        return f"÷ {_three_digits(ratio)}"
    return f"× {_three_digits(1 / ratio)} larger"


def duration_text(milliseconds: float | None) -> str:
    """A time: "0.42 ms", "34.1 ms", "2.6 s"."""
    if not _known(milliseconds):
        return UNKNOWN
    assert milliseconds is not None
    if milliseconds < 999.5:
        return f"{_three_digits(milliseconds)} ms"
    return f"{_three_digits(milliseconds / 1000)} s"


def number_text(value: float | None, digits: int = 3, zeros: bool = False) -> str:
    """A number with `digits` significant digits and no exponent where it can be helped: "0.055", "1,200".

    zeros: keep those at the end ("24.0"), for numbers that stand below each other.
    """
    if not _known(value):
        return UNKNOWN
    assert value is not None
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    if power < -5:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    text = f"{value:,.{max(0, digits - 1 - power)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text and not zeros else text).replace("-", "−")


def metric_label(metric: str) -> str:
    """The name of a metric for people: "Balanced accuracy" for "balanced_accuracy"."""
    if metric.startswith(OF_HEAD) and metric not in METRIC_LABELS:
        return f"{METRIC_LABELS['accuracy']}, {metric.removeprefix(OF_HEAD)}"
    return METRIC_LABELS.get(metric, metric.replace("_", " ").replace("-", " ").capitalize())


def metric_text(metric: str, value: float | None) -> str:
    """The value of a metric: shares as "96.1 %", the others as "0.913" or "1.41"."""
    if not _known(value):
        return UNKNOWN
    assert value is not None
    if is_share(metric):
        return share_text(value)
    if metric == "perplexity":
        return f"{value:,.2f}" if value < 1e6 else f"{value:.2e}"
    return f"{value:.3f}" if abs(value) < 100 else number_text(value, 4)


def interval_text(metric: str, low: float | None, high: float | None) -> str:
    """A 95 % interval in the unit of its metric, which stands once: "94.1–97.4 %"."""
    if not _known(low) or not _known(high):
        return UNKNOWN
    assert low is not None and high is not None
    if is_share(metric):
        return f"{100 * low:.1f}–{100 * high:.1f} %"
    return f"{metric_text(metric, low)}–{metric_text(metric, high)}"


def change_text(metric: str, delta: float | None) -> str:
    """A change of a metric with its sign: "−2.1 points" for shares, "+0.12" for the others."""
    if not _known(delta):
        return UNKNOWN
    assert delta is not None
    amount = f"{abs(100 * delta):.1f}" if is_share(metric) else f"{abs(delta):.3f}"
    sign = "±" if float(amount) == 0 else "−" if delta < 0 else "+"
    return f"{sign}{amount} points" if is_share(metric) else f"{sign}{amount}"


def heads_words(heads: Mapping[str, float], dense: Mapping[str, float] | None = None) -> list[str]:
    """The accuracy of each head of several, with the dense model's: "digit 98.3 %, dense 98.9 %"."""
    beside = {name: f", dense {share_text(value)}" for name, value in (dense or {}).items()}
    return [f"{name} {share_text(value)}{beside.get(name, '')}" for name, value in heads.items()]


def is_share(metric: str) -> bool:
    """Whether a metric is a share from 0 to 1, shown in percent."""
    return metric in _SHARES or metric.startswith(OF_HEAD)


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better (perplexities and errors are better when low)."""
    return metric not in _LOWER_IS_BETTER


def counted(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: "1 mistake", "21 mistakes"."""
    return f"{count_text(count)} {one if count == 1 else many or one + 's'}"


def shortened(name: str, length: int = 28) -> str:
    """A long dotted name with its middle left out: "encoder.layers.…out_proj". Ends tell layers apart."""
    if len(name) <= length:
        return name
    tail = (length - 1) * 2 // 3
    return f"{name[: length - 1 - tail]}…{name[len(name) - tail :]}"


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _three_digits(amount: float) -> str:
    """Three significant digits without an exponent: "1.86", "12.4", "293", "1,240"."""
    if amount == 0:
        return "0"
    digits = 2 if amount < 9.995 else 1 if amount < 99.95 else 0
    return f"{amount:,.{digits}f}"
