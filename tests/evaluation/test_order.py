"""The order of evaluation: all examples once, the same each time, classes in proportion from the start."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from explorer.evaluation.order import Batches, evaluation_order
from explorer.subjects.examples import Examples


@given(targets=st.lists(st.integers(0, 5), min_size=1, max_size=200), by_class=st.booleans())
def test_every_example_comes_once_and_in_the_same_order(targets: list[int], by_class: bool) -> None:
    labels = torch.tensor(targets)
    order = evaluation_order(labels, by_class)
    assert sorted(order.tolist()) == list(range(len(targets)))
    assert torch.equal(order, evaluation_order(labels, by_class))


@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_every_beginning_holds_each_class_in_proportion(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(seed).permutation(labels)
    ordered = labels[evaluation_order(torch.from_numpy(labels), by_class=True).numpy()]
    seen = np.cumsum(ordered[:, None] == np.arange(len(counts)), axis=0)  # [examples, classes]
    due = np.arange(1, len(labels) + 1)[:, None] * np.array(counts) / len(labels)
    # Each class is at most one example off its share of the way; the way itself at most one example a class.
    assert np.abs(seen - due).max() <= 1 + len(counts) * max(counts) / len(labels)


def test_ordered_data_are_mixed() -> None:
    """Data sorted by class, as folders give them: the first batch must not be all zeros."""
    labels = torch.arange(540) * 10 // 540
    first = labels[evaluation_order(labels, by_class=True)[:50]]
    assert first.bincount(minlength=10).tolist() == [5] * 10
    numbers = evaluation_order(torch.linspace(0, 1, 500), by_class=False)
    assert 0.4 < numbers[:100].float().mean() / 500 < 0.6


def test_one_class_need_not_stand_in_blocks() -> None:
    """Inside a class the order is shuffled, too."""
    order = evaluation_order(torch.zeros(100).long(), by_class=True)
    assert order.tolist() != sorted(order.tolist())


def test_batches_hold_inputs_targets_and_indices_that_belong_together() -> None:
    examples = Examples({"a": torch.arange(10), "b": torch.arange(10) * 2.0}, torch.arange(10) % 2)
    batches = Batches(examples, batch_size=4, by_class=True)
    assert len(batches) == 3 and batches.total == 10
    met: list[int] = []
    for number in range(3):
        inputs, targets, indices = batches[number]
        assert torch.equal(inputs["a"], indices) and torch.equal(inputs["b"], indices * 2.0)
        assert torch.equal(targets, indices % 2)
        met += indices.tolist()
    assert sorted(met) == list(range(10))
    assert [len(batches[number][1]) for number in range(3)] == [4, 4, 2]
