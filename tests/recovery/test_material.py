"""What a recovery learns from: never tune or test, every example once an epoch, and what is held back apart."""

from __future__ import annotations

import pytest
import torch

from explorer import ExplorerError
from explorer.recovery.material import Material
from explorer.steps import Recover
from explorer.subjects.examples import Examples
from explorer.subjects.subject import Subject
from tests.toys import numbers, perceptron


def test_it_never_looks_at_tune_or_test() -> None:
    def sealed() -> Examples:
        raise AssertionError("it looked")

    splits = {"tune": sealed, "test": sealed, "calibration": lambda: Examples(*numbers(20))}
    subject = Subject("toy", "Toy", perceptron(), "classification", "tensor", splits)
    material = Material(subject, Recover())
    assert material.source == "calibration" and len(material.batch()) == material.length == 18
    with pytest.raises(ExplorerError, match="no data to learn from"):
        Material(Subject("toy", "Toy", perceptron(), "classification", "tensor", {"tune": sealed}), Recover())


def test_each_epoch_goes_through_all_that_is_not_held_back() -> None:
    inputs = torch.arange(65.0)[:, None]
    splits = {"training": lambda: Examples(inputs, torch.zeros(65))}
    subject = Subject("toy", "Toy", perceptron(), "classification", "tensor", splits)
    material = Material(subject, Recover(hold_back=0))
    assert material.watched is None and (material.batches, material.length) == (2, 65)
    epochs = [[material.batch().inputs for _ in range(2)] for _ in range(2)]
    assert all(sorted(torch.cat(epoch).reshape(-1).tolist()) == list(range(65)) for epoch in epochs)
    assert not torch.equal(epochs[0][0], epochs[1][0]) and [len(part) for part in epochs[0]] == [33, 32]
    held = Material(subject, Recover(hold_back=0.2, batch_size=10))
    assert held.watched is not None and len(held.watched) == 13 and held.length == 52
    seen = torch.cat([held.batch().inputs for _ in range(held.batches)])
    assert not set(seen.reshape(-1).tolist()) & set(held.watched.inputs.reshape(-1).tolist())
