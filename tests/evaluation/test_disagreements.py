"""Disagreements: distances by hand, and every kind of answer that differs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.evaluation.disagreements import Disagreements, disagreements_in, distances
from explorer.subjects.examples import Examples
from explorer.subjects.heads import Head
from explorer.subjects.subject import Subject


def subject(task: str, classes: tuple[str, ...] = (), **more: Any) -> Subject:
    nothing = {"tune": lambda: Examples(torch.zeros(1, 1), torch.zeros(1))}
    return Subject("toy", "Toy", nn.Identity(), task, "tensor", nothing, classes, **more)


def logits(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows).log()


BEFORE = logits([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
AFTER = logits([[0.3, 0.7], [0.9, 0.1], [0.7, 0.3], [0.1, 0.9]])
TARGETS = torch.tensor([0, 0, 0, 1])
INDICES = torch.tensor([7, 2, 5, 3])


def test_the_distance_is_the_taxicab_distance_of_the_distributions() -> None:
    apart, places = distances(subject("classification"), BEFORE, AFTER, TARGETS)
    assert apart.tolist() == pytest.approx([1.2, 1.4, 0.2, 1.2]) and places is None
    opposite = distances(subject("classification"), torch.tensor([[99.0, 0]]), torch.tensor([[0, 99.0]]), TARGETS[:1])
    assert opposite[0].item() == pytest.approx(2)


def test_examples_with_another_class_are_told_with_both_answers() -> None:
    found, _ = disagreements_in(subject("classification", ("no", "yes")), BEFORE, AFTER, TARGETS, INDICES)
    assert [each.index for each in found] == [7, 2, 3]
    assert [each.kind for each in found] == ["broken", "repaired", "repaired"]
    first = found[0]
    assert (first.before.label, first.after.label, first.truth) == ("no", "yes", "no")
    assert first.before.probability == pytest.approx(0.9) and first.distance == pytest.approx(1.2)


def test_two_wrong_classes_are_both_wrong() -> None:
    before, after = logits([[0.1, 0.8, 0.1]]), logits([[0.1, 0.1, 0.8]])
    found, _ = disagreements_in(subject("classification"), before, after, torch.tensor([0]), torch.tensor([0]))
    assert [each.kind for each in found] == ["both wrong"]


def test_one_logit_stands_for_two_classes() -> None:
    before, after = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0], [-3.0]])
    apart, _ = distances(subject("classification"), before, after, torch.tensor([0, 1]))
    sure = torch.sigmoid(torch.tensor(3.0)).item()
    assert apart.tolist() == pytest.approx([0, 2 * (2 * sure - 1)])


def test_of_several_heads_one_is_enough() -> None:
    heads = (Head("colour", ("red", "blue")), Head("size", ("small", "large")))
    before = {"colour": BEFORE[:2], "size": BEFORE[:2]}
    after = {"colour": BEFORE[:2], "size": AFTER[:2]}
    task = subject("multi-task", heads=heads)
    found, apart = disagreements_in(task, before, after, torch.tensor([[0, 0], [1, -100]]), INDICES[:2])
    assert apart.tolist() == pytest.approx([0.6, 0.7])
    assert [(each.index, each.kind) for each in found] == [(7, "broken")]  # the second has no label there
    assert found[0].after.label == "red · large" and found[0].truth == "red · small"


def test_numbers_that_moved_are_farther_or_closer() -> None:
    before, after, targets = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.5, 1.5, 3.0]), torch.tensor([1.0, 1.0, 0.0])
    found, apart = disagreements_in(subject("regression"), before, after, targets, INDICES[:3])
    assert apart.tolist() == [0.5, 0.5, 0.0]
    assert [(each.kind, each.truth) for each in found] == [("farther", "1"), ("closer", "1")]


def test_own_scores_differ_by_their_difference() -> None:
    task = subject("score", score=lambda outputs, targets: -(outputs - targets).abs())
    found, apart = disagreements_in(
        task, torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]), torch.zeros(2), INDICES[:2]
    )
    assert apart.tolist() == [0, 3] and [(each.index, each.kind) for each in found] == [(2, "farther")]


def texts(words: list[list[int]], sure: float = 8.0) -> Tensor:
    """Logits `[B, T, 4]` whose likeliest words are these."""
    return sure * torch.nn.functional.one_hot(torch.tensor(words), 4).float()


def test_a_sequence_differs_where_a_sign_that_counts_does() -> None:
    targets = torch.tensor([[1, 2, -100], [1, 2, 3]])
    before, after = texts([[1, 2, 0], [1, 2, 3]]), texts([[1, 2, 3], [1, 0, 3]])
    found, apart = disagreements_in(subject("sequence"), before, after, targets, INDICES[:2])
    assert [(each.index, each.kind, each.place) for each in found] == [(2, "broken", 1)]
    assert apart[0] == 0 and 0 < apart[1] < 2 / 3


def test_a_language_model_is_told_by_its_farthest_word() -> None:
    targets = torch.tensor([[1, 2, 3], [1, 2, 3]])
    before, after = texts([[1, 2, 3], [1, 2, 3]]), texts([[1, 0, 3], [1, 2, 3]])
    found, _ = disagreements_in(subject("language-modeling"), before, after, targets, INDICES[:2])
    (one,) = found
    assert (one.index, one.place, one.kind) == (7, 1, "broken")
    assert (one.before.label, one.after.label, one.truth) == ("token 2", "token 0", "token 2")


def test_the_same_outputs_agree_everywhere() -> None:
    for task, outputs, targets in (
        ("classification", BEFORE, TARGETS),
        ("regression", torch.ones(4), torch.zeros(4)),
        ("language-modeling", texts([[1, 2, 3]] * 4), torch.tensor([[1, 2, 3]] * 4)),
    ):
        found, apart = disagreements_in(subject(task), outputs, outputs, targets, INDICES)
        assert found == [] and apart.tolist() == [0, 0, 0, 0]


def listed() -> Disagreements:
    found, apart = disagreements_in(subject("classification", ("no", "yes")), BEFORE, AFTER, TARGETS, INDICES)
    groups = {"even": torch.arange(8) % 2 == 0, "none": torch.zeros(8, dtype=torch.bool)}
    return Disagreements(tuple(found), len(apart), float(apart.mean()), "L1", groups)


def test_they_can_be_looked_at_by_kind_and_slice() -> None:
    found = listed()
    assert len(found) == 3 and len(found.broken) == 1 and len(found.repaired) == 2
    assert [each.index for each in found.within("even")] == [2]
    assert "in even" in found.within("even").sentence() and found.within("even").examples == 4
    assert found.to_frame()["index"].tolist() == [7, 2, 3]
    assert found.sentence() == "another answer to 3 of 4 examples: 1 broken, 2 repaired"
    assert "       7" in str(found)


def test_unknown_and_empty_slices_are_refused() -> None:
    with pytest.raises(ExplorerError, match="even, none"):
        listed().within("odd")
    with pytest.raises(ExplorerError, match="no example"):
        listed().within("none")
