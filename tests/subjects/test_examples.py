"""Examples, and walking through nested inputs."""

from __future__ import annotations

from typing import Any

import torch

from explorer.subjects.examples import Examples, batch_length, concatenate, map_tensors, tensors_in

INPUTS: dict[str, Any] = {"ids": torch.arange(6).reshape(3, 2), "more": (torch.ones(3), torch.zeros(3, 1))}


def test_take_takes_everything_along() -> None:
    examples = Examples(
        INPUTS, torch.tensor([5, 6, 7]), torch.eye(3).bool(), {"odd": torch.tensor([1, 0, 1])}, ("a", "b")
    )
    assert len(examples) == 3
    some = examples.take(torch.tensor([2, 0]))
    assert some.inputs["ids"].tolist() == [[4, 5], [0, 1]]
    assert some.inputs["more"][1].shape == (2, 1)
    assert some.targets.tolist() == [7, 5]
    assert some.rationale is not None and some.rationale[0].tolist() == [False, False, True]
    assert some.slices["odd"].tolist() == [1, 1]
    assert some.classes == ("a", "b")
    assert examples.take(slice(0, 1)).targets.tolist() == [5]


def test_walking_keeps_the_nesting_and_the_order() -> None:
    doubled = map_tensors(INPUTS, lambda tensor: tensor * 2)
    assert torch.equal(doubled["ids"], INPUTS["ids"] * 2) and isinstance(doubled["more"], tuple)
    assert [tuple(tensor.shape) for tensor in tensors_in(INPUTS)] == [(3, 2), (3,), (3, 1)]
    assert map_tensors({"a": 3, "b": None}, lambda tensor: tensor * 2) == {"a": 3, "b": None}


def test_lengths() -> None:
    assert batch_length(INPUTS) == 3
    assert batch_length(torch.zeros(4, 2)) == 4
    assert batch_length({}) == batch_length(torch.tensor(1.0)) == 0


def test_concatenated_batches_are_the_whole() -> None:
    parts = [map_tensors(INPUTS, lambda tensor, at=at: tensor[at]) for at in (slice(0, 1), slice(1, 3))]
    whole = concatenate(parts)
    assert all(torch.equal(a, b) for a, b in zip(tensors_in(whole), tensors_in(INPUTS), strict=True))
