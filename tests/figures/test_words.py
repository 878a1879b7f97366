"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.figures import words


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (293_000, "293 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (1_240_000, "1.24 MB"),
        (344_000_000, "344 MB"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_sizes_are_decimal_with_three_digits(size: float | None, text: str) -> None:
    assert words.size_text(size) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (0.508, "50.8 %"), (1, "100.0 %"), (0.00001, "< 0.1 %"), (0.99999, "> 99.9 %"), (None, "–")],
)
def test_shares(share: float | None, text: str) -> None:
    assert words.share_text(share) == text


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 2))
def test_a_share_is_never_rounded_to_nothing_or_all(share: float, digits: int) -> None:
    text = words.share_text(share, digits)
    if share > 0:
        assert text != words.share_text(0, digits)
    if share < 1 - 1e-9:
        assert text != words.share_text(1, digits)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.055, "0.055"), (1200, "1,200"), (42.66, "42.7"), (-0.25, "−0.25"), (1e-9, "1.00e−09"), (32.0, "32")],
)
def test_numbers(value: float, text: str) -> None:
    assert words.number_text(value) == text


def test_numbers_below_each_other_keep_their_zeros() -> None:
    assert words.number_text(24.0, zeros=True) == "24.0"


@settings(deadline=None)
@given(st.floats(1e-5, 1e9))
def test_a_number_is_told_to_three_digits(value: float) -> None:
    assert float(words.number_text(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.961, "96.1 %"),
        ("token_accuracy", 0.5, "50.0 %"),
        ("r2", 0.9134, "0.913"),
        ("perplexity", 1.408, "1.41"),
        ("perplexity", 2.5e9, "2.50e+09"),
        ("mean_absolute_error", 1234.5, "1,234"),
        ("accuracy", None, "–"),
    ],
)
def test_metrics(metric: str, value: float | None, text: str) -> None:
    assert words.metric_text(metric, value) == text


def test_intervals_name_their_unit_once() -> None:
    assert words.interval_text("accuracy", 0.941, 0.974) == "94.1–97.4 %"
    assert words.interval_text("r2", 0.5, 0.7) == "0.500–0.700"
    assert words.interval_text("score", -math.inf, math.inf) == "–"


def test_changes_have_a_sign_and_nothing_has_both() -> None:
    assert words.change_text("accuracy", -0.021) == "−2.1 points"
    assert words.change_text("accuracy", 0.0001) == "±0.0 points"
    assert words.change_text("r2", 0.12) == "+0.120"


def test_ratios_say_when_it_grew() -> None:
    assert words.ratio_text(1.86) == "÷ 1.86"
    assert words.ratio_text(1.0) == "÷ 1.00"
    assert words.ratio_text(0.8333) == "× 1.20 larger"


def test_work_and_time() -> None:
    assert words.large_text(2_314_000, "MACs") == "2.31 M MACs"
    assert words.large_text(12, "MACs") == "12 MACs"
    assert words.duration_text(0.42) == "0.42 ms"
    assert words.duration_text(34.14) == "34.1 ms"
    assert words.duration_text(2600) == "2.60 s"


def test_names_of_metrics() -> None:
    assert words.metric_label("balanced_accuracy") == "Balanced accuracy"
    assert words.metric_label("my_own_score") == "My own score"
    assert not words.higher_is_better("perplexity")


def test_the_accuracy_of_a_head_is_a_share_with_the_name_of_the_head() -> None:
    assert words.metric_label("accuracy_loop") == "Accuracy, loop"
    assert words.metric_text("accuracy_loop", 0.9731) == "97.3 %"
    assert words.change_text("accuracy_loop", -0.021) == "−2.1 points"
    assert words.heads_words({"digit": 0.983, "loop": 1.0}) == ["digit 98.3 %", "loop 100.0 %"]
    assert words.heads_words({"digit": 0.983}, {"digit": 0.99}) == ["digit 98.3 %, dense 99.0 %"]
    assert words.heads_words({}, {}) == []


def test_counts_agree_with_their_noun() -> None:
    assert words.counted(1, "mistake") == "1 mistake"
    assert words.counted(2100, "matrix", "matrices") == "2,100 matrices"


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(8, 40))
def test_short_names_keep_their_end(name: str, length: int) -> None:
    short = words.shortened(name, length)
    assert len(short) <= max(length, len(name)) and (len(short) == length or short == name)
    assert name.endswith(short.rsplit("…", 1)[-1]) or "…" in name
