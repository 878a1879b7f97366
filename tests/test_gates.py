"""Gates: pass, fail and undecided on constructed answers, and what is always true of a verdict."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from torch import nn

import explorer as ex
from explorer.evaluation import intervals
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import Judged
from explorer.evaluation.tasks import judge as judge_task
from explorer.gates import Checks, Gate, check, judge
from explorer.limits import Limits
from tests.toys import Tied, bench, numbers, perceptron, seeded

ORDER = ["fail", "undecided", "pass"]


def classified(
    prediction: Any, target: Any, classes: int = 2, indices: Any = None, total: int | None = None
) -> Quality:
    """What a classifier said to some examples."""
    prediction, target = np.asarray(prediction), np.asarray(target)
    parts = {"target": target, "loss": np.zeros(len(target)), "classes": np.full(len(target), classes)}
    where = np.arange(len(target)) if indices is None else np.asarray(indices)
    judged = Judged((prediction == target).astype(float), prediction, parts)
    return Quality("classification", "accuracy", "tune", total or len(target), where, judged)


def pair(broken: int, repaired: int, total: int) -> tuple[Quality, Quality]:
    """(dense, variant) of one class: so many right answers broke, so many wrong ones were repaired."""
    before, after = np.zeros(total, int), np.zeros(total, int)
    after[:broken] = 1
    before[broken : broken + repaired] = 1
    return classified(before, np.zeros(total, int)), classified(after, np.zeros(total, int))


def only(checks: Checks) -> Gate:
    (gate,) = checks.gates
    assert checks.verdict == gate.verdict
    return gate


# -- the loss of the headline metric ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "repaired", "total", "verdict", "why"),
    [
        (2, 2, 4000, "pass", "the loss is at most 0.14 points with 95 % confidence; the limit is 0.5 points"),
        (0, 60, 4000, "pass", "no loss with 95 % confidence"),
        (60, 2, 540, "fail", "the loss is at least 8.26 points with 95 % confidence; the limit is 0.5 points"),
        (
            5,
            0,
            540,
            "undecided",
            "540 examples allow a loss between 0.21 points and 2.15 points; the limit is 0.5 points",
        ),
        (2, 2, 54, "undecided", "54 examples allow anything from a loss of 9.49 points to a gain of 9.49 points; the"),
        (0, 0, 1, "undecided", "1 example allows anything from a loss of 79.35 points to a gain of 79.35 points; the"),
    ],
)
def test_loss(broken: int, repaired: int, total: int, verdict: str, why: str) -> None:
    dense, variant = pair(broken, repaired, total)
    gate = only(judge(dense, variant, 1, Limits(max_loss=0.005)))
    assert gate.verdict == verdict
    assert why in gate.why
    assert gate.why.startswith("cannot tell: ") == (verdict == "undecided")
    change = variant.against(dense)
    assert (gate.measured, gate.low, gate.high) == (change.delta, change.low, change.high)
    assert (gate.name, gate.label, gate.unit) == ("max_loss", "Change of accuracy", "points")
    assert gate.limit_text == "at most 0.5 points lost"


def test_the_dense_model_itself_passes_with_no_doubt() -> None:
    dense, _ = pair(0, 0, 3)
    checks = judge(dense, dense, 10, Limits(0.0, 0.0, 1.0, 10))
    assert checks.verdict == "pass" and [gate.verdict for gate in checks.gates] == ["pass"] * 4
    assert {gate.why for gate in checks.gates[:3]} == {"the answers are the dense model's own"}
    equal = judge(*pair(0, 0, 3), 10, Limits(0.0, 0.0, 1.0))  # equal answers, though of two models
    assert [gate.verdict for gate in equal.gates] == ["undecided"] * 3


def test_an_interval_of_a_share_stays_in_its_range() -> None:
    gate = only(judge(*pair(1, 0, 1), 1, Limits(max_loss=0.5)))
    assert gate.low == -1.0 and gate.high is not None and gate.high <= 1.0


def _regression(error: NDArray[Any], examples: int) -> Quality:
    wanted = torch.arange(examples, dtype=torch.float64)
    return Quality(
        "regression",
        "r2",
        "tune",
        examples,
        np.arange(examples),
        judge_task("regression", wanted + torch.tensor(error), wanted),
    )


def test_loss_of_r2_is_a_plain_number() -> None:
    draw = np.random.default_rng(0)
    noise = draw.normal(size=200)
    dense, little, much = (_regression(noise * size, 200) for size in (1.0, 1.01, 9.0))
    small = only(judge(dense, little, 1, Limits(max_loss=0.01)))
    assert small.verdict == "pass" and small.unit == "" and small.limit_text == "at most 0.01 lost"
    assert small.label == "Change of r2" and "point" not in small.why + small.measured_text + small.interval_text
    large = only(judge(dense, much, 1, Limits(max_loss=0.01)))
    assert large.verdict == "fail" and large.measured_text.startswith("−0.0")
    assert only(judge(dense, much, 1, Limits(max_loss=2.5))).verdict == "pass"


def test_answers_that_are_no_numbers_any_more_fail() -> None:
    noise = np.random.default_rng(0).normal(size=50)
    gone = noise.copy()
    gone[3] = np.inf
    with np.errstate(all="ignore"):
        gate = only(judge(_regression(noise, 50), _regression(gone, 50), 1, Limits(max_loss=0.5)))
    assert gate.verdict == "fail" and gate.why == "the variant's r2 is not a finite number"


def _score(values: NDArray[Any]) -> Quality:
    return Quality("score", "score", "tune", len(values), np.arange(len(values)), Judged(values, None, {}))


def test_one_score_says_nothing() -> None:
    gate = only(judge(_score(np.array([3.0])), _score(np.array([2.5])), 1, Limits(max_loss=2)))
    assert gate.verdict == "undecided" and gate.why == "cannot tell: 1 example allows any change at all"
    assert gate.interval_text == "−inf to +inf"


def _language(right: NDArray[Any], tokens: NDArray[Any]) -> Quality:
    parts = {"right": right, "tokens": tokens, "loss": tokens * 0.1}
    judged = Judged(right / tokens, None, parts)
    return Quality("language-modeling", "token_accuracy", "tune", len(right), np.arange(len(right)), judged)


def test_loss_of_words() -> None:
    draw = np.random.default_rng(1)
    tokens = draw.integers(20, 60, 256).astype(float)
    right = np.floor(tokens * 0.9)
    dense = _language(right, tokens)
    little, much = _language(right - (draw.random(256) < 0.05), tokens), _language(right - 4, tokens)
    assert only(judge(dense, little, 1, Limits(max_loss=0.005))).verdict == "pass"
    assert only(judge(dense, much, 1, Limits(max_loss=0.005))).verdict == "fail"


def test_that_no_word_changed_in_two_stories_proves_little() -> None:
    few, many = np.full(2, 30.0), np.full(2000, 30.0)
    assert only(judge(_language(few, few), _language(few, few), 1, Limits(max_loss=0.005))).verdict == "undecided"
    assert only(judge(_language(many, many), _language(many, many), 1, Limits(max_loss=0.005))).verdict == "pass"


# -- the loss of single classes -----------------------------------------------------------------------------------


def by_class(sizes: list[int], broken: list[int]) -> tuple[Quality, Quality]:
    """(dense, variant): dense is always right; of each class so many answers broke."""
    target = np.repeat(np.arange(len(sizes)), sizes)
    after = target.copy()
    for number, lost in enumerate(broken):
        after[np.flatnonzero(target == number)[:lost]] = (number + 1) % len(sizes)
    return classified(target, target, len(sizes)), classified(after, target, len(sizes))


@pytest.mark.parametrize(
    ("sizes", "broken", "verdict", "measured", "why"),
    [
        ([900, 900, 900], [0, 4, 0], "pass", -4 / 900, "the loss of class b is at most 1.37"),
        ([900, 900, 900], [0, 4, 200], "fail", -200 / 900, "the loss of class c is at least 19.09"),
        ([900, 900, 20], [0, 4, 1], "undecided", -1 / 20, "20 examples of class c allow anything from a loss of 29.38"),
        ([900, 20, 20], [0, 0, 1], "undecided", -1 / 20, "the limit is 2 points (1 more of 3 classes: undecided)"),
        ([900, 900, 0], [0, 4, 0], "undecided", None, "cannot tell: no example of class c was measured"),
        ([900, 900, 0], [0, 400, 0], "fail", -400 / 900, "the loss of class b is at least 4"),
    ],
)  # fmt: skip
def test_classes(sizes: list[int], broken: list[int], verdict: str, measured: float | None, why: str) -> None:
    gate = only(judge(*by_class(sizes, broken), 1, Limits(max_class_loss=0.02), classes="abc"))
    assert gate.verdict == verdict
    assert gate.measured == (None if measured is None else pytest.approx(measured))
    assert why in gate.why
    assert (gate.measured_text == "not measured") == (measured is None)


def test_classes_are_judged_together() -> None:
    """Each of three classes at 1 - 0.05 / 3, so that all three intervals hold at once in 95 of 100 cases."""
    sizes, broken = [300, 300, 300], [1, 3, 0]
    gate = only(judge(*by_class(sizes, broken), 1, Limits(max_class_loss=0.2)))
    assert (gate.low, gate.high) == intervals.of_paired_shares(3, 0, 300, 1 - 0.05 / 3)
    half = norm.ppf(1 - 0.05 / 3 / 2)
    assert intervals.deviations(1 - 0.05 / 3) == pytest.approx(half)
    assert "class 1" in gate.why  # a class without a name has its number


def test_a_loss_that_one_class_pays_is_found_where_the_average_hides_it() -> None:
    dense, variant = by_class([500] * 10, [0] * 8 + [40, 0])
    checks = judge(dense, variant, 1, Limits(max_loss=0.02, max_class_loss=0.02))
    assert [gate.verdict for gate in checks.gates] == ["pass", "fail"]
    assert "class 8" in checks.gates[1].why and checks.verdict == "fail"


# -- agreement and bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "total", "verdict", "why"),
    [
        (2, 1000, "pass", "at least 99.27 % of the answers are the same with 95 % confidence; the limit is 98 %"),
        (60, 1000, "fail", "at most 95.3"),
        (15, 1000, "undecided", "cannot tell: 1,000 examples allow anything from 97.5"),
        (0, 50, "undecided", "cannot tell: 50 examples allow anything from 92.87 to 100 %; the limit is 98 %"),
    ],
)
def test_agreement(changed: int, total: int, verdict: str, why: str) -> None:
    """Also between two wrong answers: what counts is that they are the same."""
    target = np.zeros(total, int)
    dense = np.arange(total) % 3
    variant = dense.copy()
    variant[:changed] = (variant[:changed] + 1) % 3
    gate = only(judge(classified(dense, target, 3), classified(variant, target, 3), 1, Limits(min_agreement=0.98)))
    assert gate.verdict == verdict and why in gate.why
    assert gate.measured == 1 - changed / total
    ends = binomtest(total - changed, total).proportion_ci(0.95, method="wilson")
    assert (gate.low, gate.high) == pytest.approx((ends.low, ends.high))


def test_all_answers_the_same_never_fail() -> None:
    """Rounding in an interval's end must not shut out what was measured."""
    for total in range(1, 400):
        target = np.zeros(total, int)
        gate = only(judge(classified(target, target), classified(target, target), 1, Limits(min_agreement=1.0)))
        assert gate.verdict == "undecided", total


def test_bytes_are_exact() -> None:
    dense, variant = pair(1, 1, 3)
    for size, verdict, why in (
        (999, "pass", "the file is 1 byte below the limit"),
        (1000, "pass", "the file is 0 bytes below the limit"),
        (5000, "fail", "the file is 4,000 bytes above the limit"),
    ):
        gate = only(judge(dense, variant, size, Limits(max_bytes=1000)))
        assert (gate.verdict, gate.measured, gate.low, gate.high, gate.why) == (verdict, size, None, None, why)
        assert gate.interval_text == "exact" and gate.limit_text == "at most 1,000 bytes"


# -- what is always true ------------------------------------------------------------------------------------------


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Quality, Quality]:
    """Two classifiers on the same examples, each having seen some of them in its own order."""
    seed, total = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 400))
    wrong = draw(st.floats(0, 1))
    chance = np.random.default_rng(seed)
    target = chance.integers(0, 3, total)
    qualities = []
    for share in (0.05, wrong):
        seen = chance.permutation(total)[: draw(st.integers(max(1, total // 2), total))]
        said = np.where(chance.random(total) < share, chance.integers(0, 3, total), target)
        qualities.append(classified(said[seen], target[seen], 3, seen, total))
    assume(set(qualities[0].indices) & set(qualities[1].indices))
    return qualities[0], qualities[1]


@settings(deadline=None)
@given(pairs(), st.floats(0, 1))
def test_no_verdict_speaks_against_what_was_measured(both: tuple[Quality, Quality], limit: float) -> None:
    for gate in judge(*both, 1, Limits(limit, limit, limit)).gates:
        floor = limit if gate.name == "min_agreement" else -limit
        if gate.measured is not None:
            assert gate.low is not None and gate.high is not None
            assert gate.low <= gate.measured + 1e-12 and gate.measured - 1e-12 <= gate.high
            assert gate.verdict != "pass" or gate.measured >= floor
            assert gate.verdict != "fail" or gate.measured < floor


@settings(deadline=None)
@given(pairs(), st.floats(0, 1), st.floats(0, 1))
def test_a_weaker_limit_is_never_judged_harder(both: tuple[Quality, Quality], one: float, other: float) -> None:
    weak, hard = max(one, other), min(one, other)
    easier = judge(*both, 1, Limits(weak, weak, hard, 2)).gates
    harder = judge(*both, 1, Limits(hard, hard, weak, 1)).gates
    for mild, strict in zip(easier, harder, strict=True):
        assert ORDER.index(mild.verdict) >= ORDER.index(strict.verdict), mild.name


@settings(deadline=None)
@given(pairs(), st.floats(0, 0.3))
def test_where_the_worst_class_passes_all_do(both: tuple[Quality, Quality], limit: float) -> None:
    dense, variant = both
    gate = only(judge(dense, variant, 1, Limits(max_class_loss=limit)))
    _, theirs, mine = np.intersect1d(dense.indices, variant.indices, return_indices=True)
    before, after = dense.judged.take(theirs), variant.judged.take(mine)
    target = before.parts["target"]
    changes = [float((after.score - before.score)[target == number].mean()) for number in np.unique(target)]
    if gate.verdict == "pass":
        assert min(changes) >= -limit and len(changes) == 3
    if min(changes) < -limit:
        assert gate.verdict != "pass"
    if gate.verdict == "fail":
        assert gate.measured == pytest.approx(min(changes)) or gate.measured in changes


def test_the_verdict_over_all_is_the_worst() -> None:
    dense, variant = pair(5, 0, 540)
    limits = {"undecided": Limits(max_loss=0.005, max_bytes=9), "fail": Limits(max_loss=0.005, max_bytes=1)}
    for verdict, limit in limits.items():
        assert judge(dense, variant, 5, limit).verdict == verdict
    assert judge(dense, variant, 5, Limits(max_loss=0.5, max_bytes=9)).verdict == "pass"


# -- what is refused ----------------------------------------------------------------------------------------------


def test_what_does_not_belong_together_is_refused() -> None:
    dense, variant = pair(1, 0, 10)
    with pytest.raises(ex.ExplorerError, match="not measured on the same examples"):
        judge(dense, pair(1, 0, 11)[1], 1, Limits(max_loss=0.1))
    early, late = (classified([0], [0], indices=[place], total=2) for place in (0, 1))
    with pytest.raises(ex.ExplorerError, match="the two have no example in common"):
        judge(early, late, 1, Limits(max_loss=0.1))
    words = np.full(9, 3.0)
    with pytest.raises(
        ex.ExplorerError, match="min_agreement: it compares predicted classes, and the task here is lang"
    ):
        judge(_language(words, words), _language(words, words), 1, Limits(min_agreement=0.9))


# -- on a workbench -----------------------------------------------------------------------------------------------


def test_check_measures_both_and_knows_the_names() -> None:
    wb = ex.load(perceptron(), data=numbers(), classes=["cat", "dog", "cow"], name="pets")
    v = wb.compress(ex.Prune(sparsity=0.9))
    limits = Limits(0.01, 0.01, 0.99, v.size.bytes)
    checks = check(v, limits)
    expected = judge(
        wb.dense.evaluate(), v.evaluate(), v.size.bytes, limits, "pets", "prune 90 %, magnitude", wb.subject.classes
    )
    assert checks == expected and (checks.split, checks.examples, checks.total) == ("tune", 60, 60)
    assert any(name in checks.gates[1].why for name in ("cat", "dog", "cow"))
    assert v.check(max_loss=0.01, max_class_loss=0.01, min_agreement=0.99, max_bytes=v.size.bytes) == checks
    assert wb.recipes_tried == 1


def test_what_changes_nothing_passes_every_limit() -> None:
    wb = bench()
    for recipe in ([], [ex.Prune(sparsity=0.0)], [ex.Prune(sparsity=0.5, enabled=False)]):
        v = wb.compress(recipe)
        assert v.check(max_loss=0, max_class_loss=0, min_agreement=1, max_bytes="1 MB").verdict == "pass"


def test_on_the_test_split_both_are_one_opening() -> None:
    wb = bench()
    v = wb.compress(ex.Prune(sparsity=0.5))
    checks = v.check(max_loss=0.1, split="test")
    assert (checks.split, checks.examples, wb.tests_opened, wb.recipes_tried) == ("test", 30, 1, 1)
    assert checks == judge(
        wb.test(wb.dense), wb.test(v), v.size.bytes, Limits(max_loss=0.1), wb.name, v.recipe.sentence()
    )


def test_the_sealed_split_is_not_opened_for_nothing() -> None:
    wb = bench()
    with pytest.raises(ex.ExplorerError, match="bytes alone are no reason to open the sealed test split"):
        wb.dense.check(max_bytes=7, split="test")
    with pytest.raises(ex.ExplorerError, match="gates are not checked on calibration. Use tune, or once test"):
        wb.dense.check(max_loss=0.1, split="calibration")
    ids = torch.randint(11, (12, 4))
    words = ex.load(seeded(Tied), data=(ids, ids.roll(-1, 1)), test=(ids, ids.roll(-1, 1)), task="language-modeling")
    with pytest.raises(ex.ExplorerError, match="max_class_loss: it compares predicted classes"):
        words.dense.check(max_class_loss=0.1, split="test")
    assert wb.tests_opened == words.tests_opened == 0
    lonely = ex.load(nn.Linear(6, 3), data=numbers())
    with pytest.raises(ex.ExplorerError, match="has no test split"):
        lonely.dense.check(max_loss=0.1, split="test")


# -- how it shows itself ------------------------------------------------------------------------------------------


def test_the_table_is_for_people_and_aligned() -> None:
    dense, variant = pair(5, 0, 540)
    text = str(judge(dense, variant, 500, Limits(0.005, 0.02, 0.9, 400), "digits", "prune 60 %", ["zero", "one"]))
    head, verdict, _, columns, *rows = text.splitlines()
    assert (head, verdict) == ("digits: prune 60 %", "fail on 540 examples of the tune split")
    assert columns.split("  ")[0] == "gate" and len(rows) == 8
    for title, words in (("limit", "at most 0.5 points lost"), ("verdict", "undecided"), ("measured", "−0.93 points")):
        assert rows[0][columns.index(title) :].startswith(words)
    assert all(line.startswith("    ") and not line.startswith("     ") for line in rows[1::2])
    assert "at most 400 bytes" in rows[6] and rows[6].endswith("fail")
    assert repr(judge(dense, variant, 1, Limits(max_bytes=2))).startswith(": \npass on 540")


def test_so_far_says_on_how_many() -> None:
    early = [classified([0, 0], [0, 0], indices=[7, 3], total=540) for _ in range(2)]
    assert judge(early[0], early[1], 1, Limits(max_loss=0.1)).on == "on 2 of 540 examples of the tune split"


def test_to_dict_is_flat_and_goes_into_json() -> None:
    flat = judge(*pair(5, 0, 540), 500, Limits(0.005, max_bytes=400), "digits", "prune 60 %").to_dict()
    assert flat["verdict"] == "fail" and flat["max_loss"] == 0.005 and flat["max_loss_verdict"] == "undecided"
    assert flat["max_loss_low"] < flat["max_loss_measured"] < flat["max_loss_high"]
    assert (flat["max_bytes"], flat["max_bytes_measured"], flat["max_bytes_low"]) == (400, 500, None)
    assert json.loads(json.dumps(flat)) == flat


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.005, "points", "0.5 points"),
        (0.01, "points", "1 point"),
        (0.00004, "points", "0.004 points"),
        (1.0, "points", "100 points"),
        (0.9981, "share", "99.81 %"),
        (1234567, "bytes", "1,234,567 bytes"),
        (0.5, "", "0.5"),
        (1234.5, "", "1,234.5"),
        (0.0, "points", "0 points"),
    ],
)
def test_amounts(value: float, unit: str, text: str) -> None:
    assert Gate("n", "l", 0.0, value, None, None, "pass", "", unit).measured_text.lstrip("+") == text
