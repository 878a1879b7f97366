"""Tasks: metrics agree with scikit-learn's, and what cannot belong together is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.evaluation.tasks import Judged, change_between, judge, summarise


def _measured(task: str, outputs: Tensor, targets: Tensor, batch: int = 7) -> dict[str, float]:
    """The metrics, from batches, as an evaluation gets them."""
    parts = [judge(task, outputs[at : at + batch], targets[at : at + batch]) for at in range(0, len(targets), batch)]
    return summarise(task, Judged.together(parts)).metrics


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 6), examples=st.integers(2, 60))
def test_classification_metrics_equal_scikit_learn(seed: int, classes: int, examples: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(examples, classes, generator=draw) * 3
    targets = torch.randint(classes, (examples,), generator=draw)
    given_classes, wanted = logits.argmax(1).numpy(), targets.numpy()
    measured = _measured("classification", logits, targets)
    recalls = metrics.recall_score(wanted, given_classes, labels=np.unique(wanted), average="macro")
    expected = {
        "accuracy": metrics.accuracy_score(wanted, given_classes),
        "balanced_accuracy": recalls,
        "f1_macro": metrics.f1_score(wanted, given_classes, average="macro"),
        "log_loss": metrics.log_loss(wanted, logits.double().softmax(1).numpy(), labels=range(classes)),
    }
    assert measured == pytest.approx(expected, rel=1e-5)
    if len(np.unique(wanted)) == classes:  # scikit-learn warns about classes that only predictions have
        assert measured["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(wanted, given_classes))


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
def test_one_logit_means_two_classes(shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    logit = torch.randn(40, generator=draw)
    targets = (logit + torch.randn(40, generator=draw) > 0).long()
    measured = _measured("classification", logit.reshape(shape), targets)
    assert measured["accuracy"] == metrics.accuracy_score(targets, logit > 0)
    assert measured["log_loss"] == pytest.approx(F.binary_cross_entropy_with_logits(logit, targets.float()).item())


@pytest.mark.parametrize("targets", [torch.tensor([[1], [0], [2]]), torch.tensor([1.0, 0.0, 2.0])])
def test_targets_may_stand_in_a_column_or_be_whole_floats(targets: Tensor) -> None:
    assert _measured("classification", torch.eye(3)[[1, 0, 2]], targets)["accuracy"] == 1


def test_a_class_is_right_or_wrong_and_has_its_probability() -> None:
    judged = judge("classification", torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    assert judged.score.tolist() == [1.0, 0.0]
    assert judged.prediction is not None and judged.prediction.tolist() == [0, 1]
    assert judged.parts["probability"] == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))])


def test_half_precision_logits_are_judged_in_single() -> None:
    logits = torch.tensor([[60000.0, -60000.0]], dtype=torch.float16)
    assert np.isfinite(judge("classification", logits, torch.tensor([1])).parts["loss"]).all()


@pytest.mark.parametrize(
    ("outputs", "targets", "says"),
    [
        (
            torch.randn(4, 3),
            torch.tensor([0, 1, 2, 3]),
            "label 3 does not fit a model with 3 classes. Labels go from 0",
        ),
        (torch.randn(4, 3), torch.tensor([0, -1, 2, 2]), "label -1 does not fit"),
        (torch.randn(4), torch.tensor([0, 1, 2, 1]), "label 2 does not fit a model with 2 classes"),
        (torch.randn(4, 3), torch.tensor([0.5, 1, 2, 1]), "fractions, not class numbers"),
        (torch.randn(4, 3, 5), torch.tensor([0, 1, 2, 1]), "classification wants logits"),
        (torch.randn(4, 3), torch.zeros(4, 3).long(), "classification wants logits"),
        (torch.randn(8, 3), torch.tensor([0, 1, 2, 1]), "classification wants logits"),
        ({"a": torch.randn(4, 3)}, torch.tensor([0, 1, 2, 1]), "gives dict, not a tensor. Give forward="),
    ],
)
def test_labels_that_do_not_fit_are_refused(outputs: object, targets: Tensor, says: str) -> None:
    with pytest.raises(ExplorerError, match=says):
        judge("classification", outputs, targets)


@pytest.mark.parametrize("task", ["classification", "regression", "language-modeling"])
def test_an_answer_that_is_no_number_is_no_answer(task: str) -> None:
    """The first NaN of a row would pass for its largest logit, and now and then for a right answer."""
    shape = (2, 3, 4) if task == "language-modeling" else (2, 3)
    outputs = torch.zeros(shape)
    outputs[0, 0] = float("nan")
    with pytest.raises(ExplorerError, match="the model's outputs hold NaN. Compress less"):
        judge(task, outputs, torch.zeros(shape[:-1]).long())
    masked = torch.tensor([[1.0, float("-inf")], [0.0, float("-inf")]])  # a class that is ruled out is no fault
    assert judge("classification", masked, torch.tensor([0, 0])).score.tolist() == [1.0, 1.0]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), outputs=st.integers(1, 4), examples=st.integers(3, 50))
def test_regression_metrics_equal_scikit_learn(seed: int, outputs: int, examples: int) -> None:
    draw = np.random.default_rng(seed)
    wanted = draw.normal(size=(examples, outputs)) * 10.0 ** draw.integers(-2, 3, outputs) + 5
    given_values = wanted + draw.normal(size=wanted.shape) * wanted.std(0) * draw.random(outputs)
    measured = _measured("regression", torch.from_numpy(given_values), torch.from_numpy(wanted))
    expected = {
        "r2": metrics.r2_score(wanted, given_values),
        "mean_absolute_error": metrics.mean_absolute_error(wanted, given_values),
        "root_mean_squared_error": metrics.root_mean_squared_error(wanted, given_values),
    }
    assert measured == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("given_values", [[3.0, 3.0, 3.0], [3.0, 4.0, 3.0]])
def test_r2_of_constant_targets_is_as_in_scikit_learn(given_values: list[float]) -> None:
    wanted = torch.full((3,), 3.0)
    outputs = torch.tensor(given_values)
    assert _measured("regression", outputs, wanted)["r2"] == metrics.r2_score(wanted, outputs)


def test_a_column_of_outputs_meets_a_line_of_targets() -> None:
    targets = torch.arange(5.0)
    assert _measured("regression", targets[:, None] * 2, targets)["mean_absolute_error"] == 2


@pytest.mark.parametrize("shape", [(4, 2), (8,), (2, 4)])
def test_numbers_of_other_shape_are_refused_also_where_the_counts_agree(shape: tuple[int, ...]) -> None:
    targets = torch.randn(4, 2) if shape != (4, 2) else torch.randn(4)
    with pytest.raises(ExplorerError, match="different shapes"):
        judge("regression", torch.randn(shape), targets)


def test_perplexity_and_token_accuracy_by_hand() -> None:
    """Two texts of three and one counted words; the model gives each right word the probability p."""
    targets = torch.tensor([[0, 1, 2, -100], [1, -100, -100, -100]])
    chances = torch.tensor([[[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8], [1, 0, 0]], [[0.3, 0.6, 0.1]] * 4])
    judged = judge("language-modeling", chances.log().clamp_min(-50), targets)
    assert judged.score == pytest.approx([2 / 3, 1.0])
    summary = summarise("language-modeling", judged)
    assert summary.metrics["token_accuracy"] == 0.75
    assert summary.metrics["perplexity"] == pytest.approx((0.7 * 0.4 * 0.8 * 0.6) ** (-1 / 4), rel=1e-5)
    assert summary.low < 0.75 < summary.high


def test_exact_match_wants_every_counted_word() -> None:
    targets = torch.tensor([[0, 1, -100], [1, 1, 0]])
    logits = F.one_hot(torch.tensor([[0, 1, 1], [1, 0, 0]]), 2).float() * 9
    measured = summarise("sequence", judge("sequence", logits, targets)).metrics
    assert measured["exact_match"] == 0.5
    assert measured["token_accuracy"] == 0.8


@pytest.mark.parametrize(
    ("outputs", "targets", "says"),
    [
        (torch.randn(2, 3, 5), torch.full((2, 3), 5), "token 5 does not fit a model with 5 words"),
        (torch.randn(2, 3, 5), torch.full((2, 3), -7), "token -7 does not fit"),
        (torch.randn(2, 4, 5), torch.zeros(2, 3), "wants logits"),
        (torch.randn(2, 5), torch.zeros(2, 5), "wants logits"),
    ],
)
def test_words_that_do_not_fit_are_refused(outputs: Tensor, targets: Tensor, says: str) -> None:
    with pytest.raises(ExplorerError, match=says):
        judge("language-modeling", outputs, targets.long())


def test_a_score_of_ones_own_gives_one_value_an_example() -> None:
    judged = judge("score", torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]), lambda o, t: -(o - t).abs())
    assert judged.score.tolist() == [0.0, -2.0]
    assert summarise("score", judged).metrics == {"score": -1.0}
    with pytest.raises(ExplorerError, match="one value an example"):
        judge("score", torch.ones(2), torch.ones(2), lambda o, t: (o - t).mean())


def test_the_change_is_that_of_the_metric_on_screen() -> None:
    draw = torch.Generator().manual_seed(3)
    values = torch.randn(40, 2, generator=draw) * torch.tensor([50.0, 1.0])
    logits = torch.randn(40, 6, 5, generator=draw)
    words = torch.randint(5, (40, 6), generator=draw)
    words[:, 3:][torch.rand(40, 3, generator=draw) < 0.5] = -100
    noise = [torch.randn(40, 2, generator=draw) for _ in range(2)]
    cases = [
        ("regression", values + noise[0] * 0.1, values + noise[1] * 0.5, values),
        ("language-modeling", logits, logits + torch.randn(logits.shape, generator=draw), words),
        ("sequence", logits, logits + torch.randn(logits.shape, generator=draw), words),
        ("classification", logits[:, 0], logits[:, 1], words[:, 0]),
    ]
    primary = {"regression": "r2", "language-modeling": "token_accuracy", "sequence": "exact_match"}
    for task, old, new, targets in cases:
        before, after = judge(task, old, targets), judge(task, new, targets)
        change, low, high = change_between(task, before, after)
        name = primary.get(task, "accuracy")
        assert change == pytest.approx(summarise(task, after).metrics[name] - summarise(task, before).metrics[name])
        assert low < change < high or task == "sequence"
        there = change_between(task, before, before)
        assert there[0] == 0 and there[1] <= 0 <= there[2]


def test_together_and_take_keep_every_part_in_order() -> None:
    logits, targets = torch.randn(9, 3), torch.randint(3, (9,))
    whole = judge("classification", logits, targets)
    joined = Judged.together(
        [judge("classification", logits[:4], targets[:4]), judge("classification", logits[4:], targets[4:])]
    )
    assert joined.score.tolist() == whole.score.tolist()
    some = joined.take(np.array([5, 0]))
    assert some.prediction is not None and whole.prediction is not None
    assert some.prediction.tolist() == whole.prediction[[5, 0]].tolist()
    assert some.parts["target"].tolist() == targets[[5, 0]].tolist()
