"""Several heads: metrics agree with scikit-learn's, answers name every head, and labels may be missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.evaluation.answers import answers_of
from explorer.evaluation.intervals import wilson
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import Judged, judge, summarise
from explorer.subjects.heads import Head

HEADS = (Head("digit", ("a", "b", "c")), Head("loop", ("no loop", "loop")))


def _random(examples: int, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    draw = torch.Generator().manual_seed(seed)
    outputs = {"digit": torch.randn(examples, 3, generator=draw), "loop": torch.randn(examples, 2, generator=draw)}
    targets = [torch.randint(logits.shape[1], (examples,), generator=draw) for logits in outputs.values()]
    return outputs, torch.stack(targets, dim=1)


def _said(outputs: dict[str, Tensor]) -> Tensor:
    return torch.stack([logits.argmax(1) for logits in outputs.values()], dim=1)


def _judged(outputs: dict[str, Tensor], targets: Tensor, batch: int = 7) -> Judged:
    """From batches, as an evaluation gets them."""
    cuts = [slice(at, at + batch) for at in range(0, len(targets), batch)]
    parts = [judge("multi-task", {n: logits[cut] for n, logits in outputs.items()}, targets[cut]) for cut in cuts]
    return Judged.together(parts)


def _quality(judged: Judged) -> Quality:
    total = len(judged.score)
    return Quality("multi-task", "accuracy", "tune", total, np.arange(total), judged)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), examples=st.integers(1, 60))
def test_metrics_equal_scikit_learn(seed: int, examples: int) -> None:
    outputs, targets = _random(examples, seed)
    said = _said(outputs)
    found = summarise("multi-task", _judged(outputs, targets))
    right = (said == targets).all(dim=1)
    assert found.metrics == pytest.approx(
        {
            "accuracy": float(right.double().mean()),
            "accuracy_digit": metrics.accuracy_score(targets[:, 0], said[:, 0]),
            "accuracy_loop": metrics.accuracy_score(targets[:, 1], said[:, 1]),
        }
    )
    assert (found.low, found.high) == wilson(int(right.sum()), examples)


def test_the_subset_accuracy_is_that_of_scikit_learn_for_several_labels() -> None:
    """Its accuracy of several outputs takes yes and no alone: two heads of two classes each."""
    draw = torch.Generator().manual_seed(3)
    outputs = {name: torch.randn(80, 2, generator=draw) for name in ("one", "other")}
    targets = torch.randint(2, (80, 2), generator=draw)
    found = summarise("multi-task", _judged(outputs, targets)).metrics["accuracy"]
    assert found == pytest.approx(metrics.accuracy_score(targets, _said(outputs)))
    assert 0 < found < 1


def test_predictions_have_a_column_a_head_and_stay_in_order() -> None:
    outputs, targets = _random(20, 1)
    judged = _judged(outputs, targets)
    assert judged.prediction is not None and np.array_equal(judged.prediction, _said(outputs).numpy())
    some = judged.take(np.array([4, 2]))
    assert some.prediction is not None and np.array_equal(some.prediction, _said(outputs).numpy()[[4, 2]])


def test_a_missing_label_counts_neither_way() -> None:
    outputs = {"digit": torch.eye(3) * 9, "loop": torch.tensor([[9.0, 0], [9, 0], [9, 0]])}
    targets = torch.tensor([[0, -100], [0, 0], [-100, 1]])
    judged = judge("multi-task", outputs, targets)
    assert judged.score.tolist() == [1.0, 0.0, 0.0]
    found = summarise("multi-task", judged).metrics
    assert found == {"accuracy": pytest.approx(1 / 3), "accuracy_digit": 0.5, "accuracy_loop": 0.5}
    without = summarise("multi-task", judge("multi-task", outputs, torch.tensor([[0, -100]] * 3))).metrics
    assert np.isnan(without["accuracy_loop"]) and without["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_logit_means_two_classes(shape: tuple[int, ...]) -> None:
    outputs = {"digit": torch.eye(3), "loop": torch.tensor([1.0, -1.0, 2.0]).reshape(shape)}
    judged = judge("multi-task", outputs, torch.tensor([[0, 1], [1, 0], [2, 0]]))
    assert judged.score.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("outputs", "targets", "says"),
    [
        (torch.randn(4, 3), torch.zeros(4, 2), "gives Tensor, not its outputs by head"),
        ({"a": torch.randn(4, 3)}, torch.zeros(4), r"targets have the shape \(4,\) for 1 heads \(a\).*one column"),
        ({"a": torch.randn(4, 3)}, torch.zeros(4, 2).long(), r"the shape \(4, 2\) for 1 heads"),
        ({"a": torch.randn(4, 3)}, torch.tensor([[0], [1], [3], [0]]), "head a: label 3 does not fit"),
        ({"a": torch.randn(4, 3)}, torch.tensor([[0], [1], [-1], [0]]), "head a: label -1 does not fit"),
        ({"a": torch.randn(4, 3)}, torch.tensor([[0], [1], [-100], [0]]), "no label at all"),
        ({"a": torch.full((4, 3), float("nan"))}, torch.zeros(4, 1).long(), "head a: the model's outputs hold NaN"),
    ],
)
def test_what_does_not_fit_is_one_sentence(outputs: object, targets: Tensor, says: str) -> None:
    with pytest.raises(ExplorerError, match=says):
        judge("multi-task", outputs, targets)


def test_an_answer_names_the_class_of_each_head_and_how_sure_it_is() -> None:
    outputs = {"digit": torch.tensor([[0.0, 3.0, 0.0], [4.0, 0.0, 0.0]]), "loop": torch.tensor([[0.0, 9.0], [1, 0]])}
    first, second = answers_of("multi-task", outputs, torch.tensor([[1, 1], [0, 1]]), [5, 2], (), heads=HEADS)
    sure = [torch.softmax(logits, 1).amax(1) for logits in outputs.values()]
    assert (first.index, first.label, first.right) == (5, "b · loop", True)
    assert (second.index, second.label, second.right) == (2, "a · no loop", False)
    assert first.detail == f"{100 * float(sure[0][0]):.0f} % · > 99 %"  # 0.9999 is not all
    assert second.detail == f"{100 * float(sure[0][1]):.0f} % · {100 * float(sure[1][1]):.0f} %"
    assert first.probability is None


def test_changes_count_examples_whose_heads_are_all_right() -> None:
    outputs, targets = _random(40, 5)
    right = {"digit": torch.nn.functional.one_hot(targets[:, 0], 3).float(), "loop": outputs["loop"]}
    before, after = _quality(_judged(outputs, targets)), _quality(_judged(right, targets))
    change = after.against(before)
    was, now = ((_said(given) == targets).all(dim=1) for given in (outputs, right))
    assert (change.broken, change.repaired) == (int((was & ~now).sum()), int((~was & now).sum()))
    assert change.repaired > 0 and change.delta == pytest.approx(float(now.double().mean() - was.double().mean()))
    assert before.mistakes == int((~was).sum()) and before.predictions is not None
    assert after.by_head == {"digit": 1.0, "loop": after.metrics["accuracy_loop"]}
    assert set(after.to_dict()) >= {"accuracy", "accuracy_low", "accuracy_high", "accuracy_digit", "accuracy_loop"}


def test_models_with_one_answer_have_no_heads() -> None:
    judged = judge("classification", torch.eye(3), torch.arange(3))
    assert Quality("classification", "accuracy", "tune", 3, np.arange(3), judged).by_head == {}
