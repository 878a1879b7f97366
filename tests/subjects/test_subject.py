"""Subjects: how a model is called, splits that load when asked, and how inputs are shown."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.subjects.cards import Card
from explorer.subjects.examples import Examples
from explorer.subjects.subject import PRIMARY, Subject
from tests.toys import TwoInputs, numbers, perceptron, seeded


def _subject(**changed: Any) -> Subject:
    inputs, targets = numbers(6)
    fields: dict[str, Any] = {
        "name": "toy",
        "title": "A toy",
        "model": perceptron(),
        "task": "classification",
        "input": "tensor",
        "splits": {"tune": lambda: Examples(inputs, targets)},
        "classes": ("a", "b", "c"),
    }
    return Subject(**(fields | changed))


def test_splits_load_once_and_when_asked() -> None:
    loaded: list[int] = []

    def tune() -> Examples:
        loaded.append(1)
        return Examples(*numbers(6))

    subject = _subject(splits={"tune": tune})
    assert not loaded
    assert len(subject.split("tune")) == subject.length("tune") == 6
    assert loaded == [1]
    assert subject.has("tune") and not subject.has("test") and subject.length("test") is None


def test_a_missing_split_says_which_there_are() -> None:
    with pytest.raises(ExplorerError, match="toy has no test split. Use one of tune, or give test= to ex.load"):
        _subject().split("test")


def test_the_length_of_a_bundled_split_comes_from_the_card() -> None:
    card = Card("toy", "", "", "", "", "classification", "tensor", 8, (), {"training": 900})

    def never() -> Examples:
        raise AssertionError("loaded although only its length was asked")

    assert _subject(card=card, splits={"training": never}).length("training") == 900


def test_a_training_batch_comes_from_the_sample_and_is_none_elsewhere() -> None:
    ways: Any = ModuleType("ways")
    draw = torch.Generator().manual_seed(0)
    assert _subject().training_batch(4, draw) is None
    assert _subject(ways=ways).training_batch(4, draw) is None
    ways.training_batch = lambda size, draw: Examples(torch.randn(size, 4, generator=draw), torch.zeros(size).long())
    subject = _subject(ways=ways)
    batch, again = (subject.training_batch(4, torch.Generator().manual_seed(0)) for _ in range(2))
    assert batch is not None and again is not None
    assert len(batch) == 4 and torch.equal(batch.inputs, again.inputs)
    following = subject.training_batch(4, draw), subject.training_batch(4, draw)
    assert following[0] is not None and following[1] is not None
    assert torch.equal(following[0].inputs, batch.inputs) and not torch.equal(following[1].inputs, batch.inputs)


def test_primary_is_the_metric_of_the_task() -> None:
    assert {task: _subject(task=task).primary for task in PRIMARY} == PRIMARY


def test_inputs_are_given_as_the_model_takes_them() -> None:
    model = seeded(TwoInputs)
    a, b = torch.randn(3, 4), torch.randn(3, 2)
    subject = _subject(model=model)
    expected = model(a, b)
    assert torch.equal(subject.outputs(model, (a, b)), expected)
    assert torch.equal(subject.outputs(model, {"b": b, "a": a}), expected)
    own = _subject(model=model, forward=lambda module, x: module(x[:, :4], x[:, 4:]))
    assert torch.equal(own.outputs(model, torch.cat([a, b], dim=1)), expected)


class Gives(nn.Module):
    """A model that wraps its logits."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(x)


def test_logits_are_found_inside_what_models_give() -> None:
    x = torch.randn(3, 2)
    wraps: list[Any] = [lambda y: y, lambda y: SimpleNamespace(logits=y), lambda y: (y, "state"), lambda y: [y]]
    for wrap in wraps:
        assert torch.equal(_subject().outputs(Gives(wrap), x), x)
    everything = _subject(task="score", score=lambda outputs, targets: outputs[1]).outputs(Gives(lambda y: (y, y)), x)
    assert isinstance(everything, tuple)  # a score of one's own sees all of it


def test_pictures_of_inputs_of_ones_own() -> None:
    subject = _subject()
    grey = subject.picture(torch.randn(2, 1, 5, 4))
    assert grey.shape == (2, 5, 4) and grey.min() == 0 and grey.max() == 1
    assert subject.picture(torch.randn(2, 3, 5, 4)).shape == (2, 5, 4, 3)
    assert subject.picture(torch.zeros(2, 5, 4)).abs().max() == 0  # a flat image is no division by zero
    with pytest.raises(ExplorerError, match="no images"):
        subject.picture(torch.randn(2, 5))


def test_ways_of_a_sample_are_used_and_missing_ones_are_told() -> None:
    ways: Any = ModuleType("ways")
    ways.prepare = lambda raw: torch.tensor([float(raw)])
    ways.words = lambda inputs: [["hello"]]
    subject = _subject(ways=ways)
    assert subject.prepare("3").tolist() == [3.0]
    assert subject.words(torch.zeros(1)) == [["hello"]]
    for call in (subject.rows, subject.prompt, _subject().words, _subject().prepare):
        with pytest.raises(ExplorerError):
            call(torch.zeros(1, 2))


def test_targets_as_people_read_them() -> None:
    subject = _subject()
    assert subject.target_label(torch.tensor(1)) == "b"
    assert subject.target_label(7) == "7"
    assert _subject(task="regression").target_label(torch.tensor(0.12345)) == "0.123"
    ids = torch.tensor([0, 2, 1])
    assert _subject(task="sequence").target_label(ids) == "0 2 1"
    ways = ModuleType("ways")
    ways.written = lambda ids: ["".join("abc"[place] for place in row) for row in ids.tolist()]  # type: ignore[attr-defined]
    assert _subject(task="sequence", ways=ways).target_label(ids) == "acb"
    assert _subject(task="sequence", ways=ways).writes and not _subject(ways=ways).writes
