"""What is special about `cancer-tab`: columns with units, and a linear model that does as well."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_breast_cancer
from torch import nn

from explorer.errors import ExplorerError
from explorer.subjects.cards import Card
from explorer.subjects.samples import sample_cards, sample_folder, sample_module

NAME = "cancer-tab"


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model: nn.Module = sample_module(NAME, "model").build()
    model.load_state_dict(load_file(sample_folder(NAME) / "model.safetensors"))
    return model.eval()


@pytest.fixture(scope="module")
def card() -> Card:
    return sample_cards()[NAME]


@pytest.fixture(scope="module")
def data() -> ModuleType:
    return sample_module(NAME, "data")


def test_accuracy_is_what_the_card_says_and_at_least_95_percent(
    trained: nn.Module, data: ModuleType, card: Card
) -> None:
    tune = data.load("tune")
    with torch.no_grad():
        accuracy = (trained(tune.inputs).argmax(dim=1) == tune.targets).double().mean().item()
    assert accuracy >= 0.95
    assert card.metrics
    assert abs(accuracy - card.metrics["accuracy"]) <= 1 / len(tune) + 1e-6


def test_a_linear_model_does_as_well_as_the_card_says(card: Card) -> None:
    accuracy = sample_module(NAME, "train").logistic_regression_accuracy()
    assert card.metrics and card.training
    assert accuracy >= card.metrics["accuracy"]
    assert accuracy == pytest.approx(card.training["logistic_regression_accuracy"], abs=1 / 149 + 1e-6)
    assert "logistic regression" in card.about


def test_splits_have_the_sizes_of_the_card_and_share_no_row(data: ModuleType, card: Card) -> None:
    seen: dict[str, set[bytes]] = {}
    for split in ("training", "calibration", "tune", "test"):
        inputs = data.load(split).inputs
        assert len(inputs) == card.splits[split]
        seen[split] = {row.numpy().tobytes() for row in inputs}
    assert not seen["training"] & seen["tune"]
    assert not seen["training"] & seen["test"]
    assert not seen["tune"] & seen["test"]
    assert seen["calibration"] <= seen["training"]


def test_rows_and_prepare_undo_each_other(data: ModuleType) -> None:
    tune = data.load("tune")
    frame = data.rows(tune.inputs)
    assert list(frame.columns) == data.FEATURES
    assert torch.allclose(data.prepare(frame), tune.inputs, atol=1e-5)
    original = {tuple(row) for row in load_breast_cancer().data}
    assert all(tuple(row) in original for row in frame.to_numpy())


def test_prepare_takes_a_dict_a_list_a_shuffled_frame_and_an_array(data: ModuleType) -> None:
    frame = data.rows(data.load("tune").inputs[:3])
    expected = data.load("tune").inputs[:3]
    rows = frame.to_dict("records")
    for given in (rows, frame[frame.columns[::-1]], frame.to_numpy()):
        assert torch.allclose(data.prepare(given), expected, atol=1e-5)
    for given in (rows[0], frame.to_numpy()[0]):
        assert torch.allclose(data.prepare(given), expected[:1], atol=1e-5)


def test_bad_rows_are_told_in_one_sentence(data: ModuleType) -> None:
    row = data.rows(data.load("tune").inputs[:1]).to_dict("records")[0]
    lacking = {name: value for name, value in row.items() if name != "mean area"}
    bad = {
        "mean area": lacking,
        "unknown": row | {"age": 50},
        "nan": row | {"mean area": float("nan")},
        "not all numbers": row | {"mean area": "large"},
        "shape": np.zeros((2, 29)),
        "lacks": pd.DataFrame(),
    }
    for said, given in bad.items():
        with pytest.raises(ExplorerError, match=said):
            data.prepare(given)


def test_it_trains() -> None:
    before = torch.random.get_rng_state()
    train = sample_module(NAME, "train").train
    first, second = (train(steps=2, progress=False).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), before)
