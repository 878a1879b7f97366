"""Faithfulness: a planted truth is found, and the gradient family beats random against the known rationales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

import explorer as ex
from explorer.attribution.faithfulness import against_rationale, faithfulness_of, mean_and_error
from tests.attribution.test_methods import linear, sample


def planted() -> ex.Workbench:
    """A linear model in which two of ten columns decide."""
    model = nn.Linear(10, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[1, :2] = 3.0
        model.bias.zero_()
    x = torch.randn(80, 10, generator=torch.Generator().manual_seed(0))
    rationale = torch.zeros(80, 10, dtype=torch.bool)
    rationale[:, :2] = True
    data = ex.Examples(x, (x[:, :2].sum(1) > 0).long(), rationale)
    return ex.load(model, data=data, task="classification")


def test_on_a_planted_model_the_true_columns_are_found_and_random_is_beaten() -> None:
    found = planted().dense.faithfulness(["input-x-gradient", "saliency"], examples=60, progress=False)
    assert set(found.methods) == {"input-x-gradient", "saliency", "random"}
    assert found.methods["saliency"].mean("average_precision")[0] == pytest.approx(1.0)
    assert found.methods["random"].mean("average_precision")[0] < 0.6
    mean, error = found.advantage("input-x-gradient")
    assert mean > 3 * error > 0
    assert found.sentence().startswith("believe input-x-gradient on this model")
    assert "random" in str(found) and len(found.to_frame()) == 3


def test_curves_start_and_end_at_the_whole_input_and_the_baseline() -> None:
    wb = linear()
    found = wb.dense.faithfulness(["integrated-gradients"], examples=20, progress=False)
    own = found.methods["integrated-gradients"]
    torch.testing.assert_close(own.deletion_curve[:, 0], own.insertion_curve[:, -1])
    torch.testing.assert_close(own.deletion_curve[:, -1], own.insertion_curve[:, 0])
    order = torch.cat([wb.stage.batches("tune")[n][2] for n in range(len(wb.stage.batches("tune")))])[:20]
    outputs = wb.dense.outputs(wb.subject.split("tune").take(order).inputs)
    torch.testing.assert_close(own.deletion_curve[:, 0].float(), outputs.softmax(1).amax(1))


def test_measures_by_hand() -> None:
    values = torch.tensor([[3.0, 1.0, 2.0, 0.0, -1.0]])
    there = torch.tensor([[True, True, True, True, False]])
    weight = torch.tensor([4.0, 1.0, 2.0, 0.5, 100.0])
    own = faithfulness_of("m", values, there, lambda kept: ((kept & there) * weight).sum(1), None)
    assert float(own.measures["comprehensiveness"]) == 4.0  # one of four is the top fifth, at least one
    assert float(own.measures["sufficiency"]) == 3.5
    assert own.deletion_curve[0, [0, 5, 10]].tolist() == [7.5, 1.5, 0.0]
    assert own.insertion_curve[0, [0, 5, 10]].tolist() == [0.0, 6.0, 7.5]
    assert bool(own.measures["precision"].isnan().all())


def test_average_precision_is_that_of_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(0)
    values, evidence = torch.randn(20, 15, generator=draw), torch.rand(20, 15, generator=draw) < 0.3
    place = torch.argsort(torch.argsort(values, dim=1, descending=True), dim=1)
    found = against_rationale(place, torch.ones_like(evidence), evidence)["average_precision"]
    for at in range(20):
        if bool(evidence[at].any()):
            expected = average_precision_score(evidence[at].numpy(), values[at].numpy())
            assert float(found[at]) == pytest.approx(expected)
        else:
            assert bool(found[at].isnan())


def test_the_standard_error_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=50)
    mean, error = mean_and_error(torch.from_numpy(values))
    assert (mean, error) == pytest.approx((values.mean(), values.std(ddof=1) / 50**0.5))


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("negation-text", ["integrated-gradients", "saliency", "input-x-gradient", "smoothgrad", "gradient-shap"]),
        ("scene-digits", ["integrated-gradients", "saliency", "input-x-gradient"]),
        ("scene-vqa", ["integrated-gradients", "saliency", "input-x-gradient"]),
    ],
)
def test_the_gradient_family_finds_the_known_rationale_better_than_chance(name: str, methods: list[str]) -> None:
    found = sample(name).dense.faithfulness(methods, examples=64, progress=False)
    random = found.methods["random"].measures["average_precision"]
    for method in methods:
        ahead, error = mean_and_error((found.methods[method].measures["average_precision"] - random)[~random.isnan()])
        assert ahead > 2 * error, method


def test_bad_questions_are_told() -> None:
    wb = linear()
    with pytest.raises(ex.ExplorerError, match="sealed"):
        wb.dense.faithfulness(split="test", progress=False)
    with pytest.raises(ex.ExplorerError, match="examples are none"):
        wb.dense.faithfulness(examples=0, progress=False)
    with pytest.raises(ex.ExplorerError, match='called "grad"'):
        wb.dense.faithfulness(["grad"], progress=False)


def test_methods_that_are_not_right_are_left_out_with_the_reason() -> None:
    found = sample("digits-vit").dense.faithfulness(examples=4, progress=False)
    assert dict(found.left_out)["deeplift"].startswith("DeepLIFT is not right on this model")
    assert "left out: deeplift" in str(found)
