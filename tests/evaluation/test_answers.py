"""Answers to single examples, and what a language model writes on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from explorer.evaluation.answers import answers_of, write_on


def test_a_class_with_its_probability() -> None:
    logits = torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]])
    cat, dog = answers_of("classification", logits, torch.tensor([1, 2]), [7, 3], ["ant", "cat", "dog"])
    assert (cat.index, cat.label, cat.right, cat.detail) == (7, "cat", True, "")
    assert cat.probability == pytest.approx(torch.softmax(logits, 1)[0, 1].item())
    assert (dog.index, dog.label, dog.right) == (3, "ant", False)


def test_two_classes_show_the_probability_of_the_second_whichever_wins() -> None:
    logit = torch.tensor([[2.0], [-2.0]])
    yes, no = answers_of("classification", logit, torch.tensor([1, 1]), [0, 1], ["negative", "positive"])
    assert (yes.label, yes.detail, yes.right) == ("positive", "P(positive) 0.88", True)
    assert (no.label, no.detail, no.right) == ("negative", "P(positive) 0.12", False)


def test_a_class_without_a_name_is_its_number() -> None:
    (answer,) = answers_of("classification", torch.eye(4)[[3]], torch.tensor([0]), [0], ["a", "b"])
    assert answer.label == "3"


def test_numbers_sequences_and_scores() -> None:
    (number,) = answers_of("regression", torch.tensor([1.23456]), torch.tensor([1.0]), [4], [])
    assert (number.index, number.label, number.right) == (4, "1.23", None)
    logits = torch.eye(3)[torch.tensor([[0, 1], [2, 2]])] * 9
    exact, other = answers_of("sequence", logits, torch.tensor([[0, 1], [2, 1]]), [0, 1], [])
    assert (exact.label, exact.right, other.label, other.right) == ("exact", True, "not exact", False)
    (score,) = answers_of("score", torch.ones(1), torch.zeros(1), [0], [], lambda o, t: o - t - 1.5)
    assert score.label == "-0.5"


def _letters(ids: Tensor) -> list[str]:
    """Ids as letters: 0 is a."""
    return ["".join("abc"[place] for place in row) for row in ids.tolist()]


def test_a_sequence_that_can_be_written_is_its_text() -> None:
    logits = torch.eye(3)[torch.tensor([[0, 1], [2, 2]])] * 9
    targets = torch.tensor([[0, 1], [2, 1]])
    first, second = answers_of("sequence", logits, targets, [5, 9], [], write=_letters)
    assert (first.index, first.label, first.right) == (5, "ab", True)
    assert (second.index, second.label, second.right) == (9, "cc", False)


def _counting(ids: Tensor) -> Tensor:
    """A model that always wants the next number."""
    return torch.nn.functional.one_hot((ids + 1) % 10, 10).float()


def test_writes_on_with_the_likeliest_word_until_the_end_or_the_length() -> None:
    prompt = torch.tensor([[2, 3]])
    assert write_on(_counting, prompt, end=7, length=20) == [4, 5, 6]
    assert write_on(_counting, prompt, end=None, length=4) == [4, 5, 6, 7]
    assert write_on(_counting, prompt, end=4, length=20) == []
    assert prompt.tolist() == [[2, 3]]
