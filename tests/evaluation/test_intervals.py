"""Intervals: known values, constructed pairs, and how often they hold the truth in a simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from explorer.evaluation import intervals
from explorer.evaluation.intervals import Z


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [  # Newcombe 1998, table I, method 3; and the ends
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_gives_the_published_values(successes: int, total: int, low: float, high: float) -> None:
    assert intervals.wilson(successes, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_the_root_of_the_score_equation() -> None:
    """The ends are the shares at which the observed one lies exactly Z deviations away."""
    for successes, total in ((3, 10), (530, 540), (1, 4000)):
        for end in intervals.wilson(successes, total):
            assert abs(successes / total - end) == pytest.approx(Z * sqrt(end * (1 - end) / total), rel=1e-9)


@given(total=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilson_stays_in_range_and_holds_the_share(total: int, share: float) -> None:
    successes = round(share * total)
    low, high = intervals.wilson(successes, total)
    assert 0 <= low <= successes / total + 1e-12
    assert successes / total - 1e-12 <= high <= 1


def test_nothing_seen_says_nothing() -> None:
    assert intervals.wilson(0, 0) == (0.0, 1.0)
    assert intervals.of_mean(np.array([1.0])) == (float("-inf"), float("inf"))
    assert intervals.of_ratio(np.array([1.0]), np.array([2.0])) == (0.0, 1.0)
    assert intervals.of_r2(np.ones((1, 1)), np.ones((1, 1))) == (float("-inf"), 1.0)
    assert intervals.of_paired_change(np.zeros(0), np.zeros(0)) == (0.0, float("-inf"), float("inf"))
    assert intervals.of_paired_change(np.array([0.5]), np.array([0.7]))[1] == float("-inf")


def test_a_mean_has_the_normal_interval() -> None:
    low, high = intervals.of_mean(np.array([1.0, 2.0, 3.0, 4.0]))
    half = Z * sqrt(5 / 3) / 2
    assert (low, high) == pytest.approx((2.5 - half, 2.5 + half))


def test_paired_change_by_hand() -> None:
    """Of 21 answers 7 broke and 1 was repaired: the published score interval (Fagerland, Lydersen and Laake 2014)."""
    before, after = np.ones(21), np.ones(21)
    after[:7] = 0
    before[7:8] = 0
    change, low, high = intervals.of_paired_change(before, after)
    assert change == pytest.approx(-6 / 21)
    assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@given(confidence=st.floats(0.5, 0.9999))
def test_other_confidences_are_points_of_the_normal_distribution(confidence: float) -> None:
    assert intervals.deviations(confidence) == pytest.approx(norm.ppf((1 + confidence) / 2))


def test_ninety_five_percent_is_what_nobody_asked_otherwise() -> None:
    assert intervals.deviations() == intervals.deviations(0.95) == Z
    draw = np.random.default_rng(7)
    for before, after in ((draw.integers(0, 2, (2, 60)).astype(float)), draw.random((2, 60))):
        assert intervals.of_paired_change(before, after) == intervals.of_paired_change(before, after, 0.95)


def test_surer_intervals_are_wider() -> None:
    before, after = np.ones(100), np.ones(100)
    after[:8] = 0
    for numbers in (after, after * 0.7):
        change, low, high = intervals.of_paired_change(before, numbers)
        same, lower, higher = intervals.of_paired_change(before, numbers, 0.995)
        assert change == same
        assert lower < low < change < high < higher
    assert lower + higher == pytest.approx(low + high)  # of numbers: about the same middle
    assert (higher - lower) / (high - low) == pytest.approx(norm.ppf(0.9975) / Z)


def test_paired_change_turns_its_sign_with_the_direction() -> None:
    draw = np.random.default_rng(0)
    before, after = draw.integers(0, 2, 60).astype(float), draw.integers(0, 2, 60).astype(float)
    change, low, high = intervals.of_paired_change(before, after)
    assert intervals.of_paired_change(after, before) == pytest.approx((-change, -high, -low))


def test_pairs_make_it_narrower_than_two_shares_apart() -> None:
    """The same accuracies, 95 and 93 of 100: a loss that only a few examples carry is known better than two shares."""
    before, after = np.ones(1000), np.ones(1000)
    before[:50] = 0
    after[:70] = 0
    _, low, high = intervals.of_paired_change(before, after)
    apart = Z * sqrt(0.05 * 0.95 / 1000 + 0.07 * 0.93 / 1000)
    assert high - low < 2 * apart
    assert high < 0  # 20 broken and none repaired: a loss beyond doubt


def test_no_change_seen_does_not_prove_that_there_is_none() -> None:
    change, low, high = intervals.of_paired_change(np.ones(20), np.ones(20))
    assert change == 0
    assert low == pytest.approx(-high)
    assert high == pytest.approx(Z**2 / (20 + Z**2))


def test_paired_change_of_numbers_is_that_of_their_difference() -> None:
    draw = np.random.default_rng(1)
    before = draw.normal(size=50)
    after = before + draw.normal(0.3, 0.1, size=50)
    assert intervals.of_paired_change(before, after)[1:] == pytest.approx(intervals.of_mean(after - before))


def test_ratio_change_is_the_difference_of_the_ratios() -> None:
    draw = np.random.default_rng(2)
    wholes = draw.integers(1, 30, (80, 2)).astype(float)
    before, after = draw.random((80, 2)) * wholes, draw.random((80, 2)) * wholes
    change, low, high = intervals.of_ratio_change(after - before, wholes)
    shares = [(parts.sum(0) / wholes.sum(0)).mean() for parts in (before, after)]
    assert change == pytest.approx(shares[1] - shares[0])
    assert low < change < high


def _covered(inside: list[bool]) -> float:
    return sum(inside) / len(inside)


def test_wilson_covers() -> None:
    draw = np.random.default_rng(3)
    for share, total in ((0.98, 128), (0.9, 540), (0.5, 40)):
        seen = draw.binomial(total, share, 2000)
        ends = [intervals.wilson(int(successes), total) for successes in seen]
        assert _covered([low <= share <= high for low, high in ends]) > 0.925


def test_paired_change_covers_also_where_changes_are_rare() -> None:
    draw = np.random.default_rng(4)
    for broken, repaired, total in ((0.05, 0.01, 300), (0.01, 0.01, 128), (0.005, 0.0, 128)):
        inside = []
        for _ in range(1000):
            kind = draw.random(total)
            before = (kind >= repaired).astype(float)
            after = (kind < 1 - broken).astype(float)
            _, low, high = intervals.of_paired_change(before, after)
            inside.append(low <= repaired - broken <= high)
        assert _covered(inside) > 0.93, (broken, repaired, total)


@pytest.mark.parametrize(
    ("lost", "won", "total", "confidence", "low", "high"),
    [
        (7, 1, 21, 0.95, -0.517, -0.026),  # Fagerland, Lydersen and Laake 2014, airway hyper-responsiveness
        (25, 28, 618, 0.9, -0.0148, 0.0247),  # R, PropCIs::scoreci.mp(25, 28, 618, 0.9)
        (0, 0, 540, 0.95, -(Z**2) / (540 + Z**2), Z**2 / (540 + Z**2)),  # solved by hand
    ],
)
def test_paired_shares_have_the_published_values(
    lost: int, won: int, total: int, confidence: float, low: float, high: float
) -> None:
    assert intervals.of_paired_shares(lost, won, total, confidence) == pytest.approx(
        (low, high), abs=5e-4 if won else 1e-9
    )


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 400), st.floats(0.8, 0.9999))
def test_paired_shares_hold_what_was_seen_and_turn_with_the_direction(
    lost: int, won: int, kept: int, confidence: float
) -> None:
    total = lost + won + kept
    low, high = intervals.of_paired_shares(lost, won, total, confidence)
    if total:
        assert -1 <= low <= (won - lost) / total <= high <= 1
    assert intervals.of_paired_shares(won, lost, total, confidence) == pytest.approx((-high, -low), abs=1e-9)
    lower, higher = intervals.of_paired_shares(lost, won, total, (1 + confidence) / 2)
    assert lower <= low + 1e-12 and high - 1e-12 <= higher


def test_nobody_calls_a_loss_impossible_that_he_could_not_have_seen() -> None:
    """Where one in a hundred answers breaks, how often is it said that fewer do? At most 2.5 % are promised."""
    for total in (100, 200, 300, 540, 1000):
        chance = binom(total, 0.01)
        sure = [lost for lost in range(60) if intervals.of_paired_shares(lost, 0, total)[0] > -0.01]
        assert sum(chance.pmf(lost) for lost in sure) < 0.03, total


def test_intervals_of_many_classes_cover_together() -> None:
    """Bonferroni: that all of ten intervals hold at once happens in 95 of 100 cases, or more."""
    draw = np.random.default_rng(8)
    inside = []
    for _ in range(300):
        ends = []
        for broken in np.linspace(0.01, 0.1, 10):
            low, high = intervals.of_paired_shares(int(draw.binomial(200, broken)), 0, 200, 1 - 0.05 / 10)
            ends.append(low <= -broken <= high)
        inside.append(all(ends))
    assert _covered(inside) > 0.93


def test_ratio_of_whole_texts_covers() -> None:
    """The words of a text are right together or wrong together: counting single words would be too sure."""
    draw = np.random.default_rng(5)
    inside = []
    for _ in range(600):
        length = draw.integers(5, 40, 120).astype(float)
        own = draw.beta(8, 2, 120)
        right = np.floor(own * length)
        truth = np.floor(draw.beta(8, 2, 4000) * (many := draw.integers(5, 40, 4000))).sum() / many.sum()
        low, high = intervals.of_ratio(right, length)
        inside.append(low <= truth <= high)
    assert 0.9 < _covered(inside) < 0.99


def test_r2_of_outputs_on_different_scales_covers() -> None:
    """One output is large and well known, one small and hardly: R² is the average of both, and so is its interval."""
    draw = np.random.default_rng(6)
    scale, noise = np.array([100.0, 1.0]), np.array([10.0, 0.8])
    truth = float((1 - noise**2 / scale**2).mean())
    inside = []
    for _ in range(600):
        wanted = draw.normal(size=(150, 2)) * scale
        given_errors = (draw.normal(size=(150, 2)) * noise) ** 2
        spreads = (wanted - wanted.mean(0)) ** 2
        low, high = intervals.of_r2(given_errors, spreads)
        value = float((1 - given_errors.sum(0) / spreads.sum(0)).mean())
        assert low < value < high
        inside.append(low <= truth <= high)
    assert _covered(inside) > 0.91
