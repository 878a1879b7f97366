"""Heads: what people may give as such, and outputs brought into their order."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from explorer.errors import ExplorerError
from explorer.subjects.heads import Head, as_heads, outputs_by_head

DIGIT, LOOP = Head("digit", ("a", "b", "c")), Head("loop", ("no", "yes"), 0.3)


@pytest.mark.parametrize(
    "given",
    [
        {"digit": ["a", "b", "c"], "loop": ("no", "yes")},
        [DIGIT, Head("loop", ("no", "yes"))],
        ({"name": "digit", "classes": ["a", "b", "c"], "weight": 1}, {"name": "loop", "classes": ["no", "yes"]}),
    ],
    ids=["names", "heads", "dicts"],
)
def test_heads_are_given_in_many_ways(given: Any) -> None:
    assert as_heads(given) == (DIGIT, Head("loop", ("no", "yes"), 1.0))


def test_heads_come_back_from_plain_values() -> None:
    assert as_heads([head.to_dict() for head in (DIGIT, LOOP)]) == (DIGIT, LOOP)
    assert as_heads(None) == as_heads([]) == as_heads({}) == ()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("digit", "'digit' names no heads. Give {name: class names}"),
        (3, "3 names no heads"),
        (["digit"], "'digit' is no head"),
        ([{"name": "digit"}], "is no head. Give its name and its classes"),
        ([{"name": "a", "classes": ["x", "y"], "wait": 2}], "is no head"),
        ({"digit": "abc"}, "the classes of the head digit are 'abc'. Give a list of names"),
        ({"digit": ["a"]}, "the head digit has 1 class names. Name its classes, two or more"),
        ({"": ["a", "b"]}, "'' is no name of a head"),
        ({"low": ["a", "b"]}, "'low' is no name of a head"),
        ([DIGIT, DIGIT], "two heads are called digit"),
        ([{"name": "a", "classes": ["x", "y"], "weight": -1}], "the weight of the head a is -1"),
        ([{"name": "a", "classes": ["x", "y"], "weight": float("nan")}], "the weight of the head a is nan"),
        ([{"name": "a", "classes": ["x", "y"], "weight": "much"}], "the weight of the head a is 'much'"),
    ],
)
def test_what_is_no_head_is_one_sentence(given: Any, says: str) -> None:
    with pytest.raises(ExplorerError) as caught:
        as_heads(given)
    assert str(caught.value).startswith(f"heads=: {says}") or says in str(caught.value)


def test_a_class_number_has_a_name_where_it_can() -> None:
    assert [LOOP.label(number) for number in (0, 1, 2, -100)] == ["no", "yes", "2", "–"]


def test_outputs_come_by_name_and_in_order() -> None:
    digit, loop = torch.randn(4, 3), torch.randn(4, 2)
    named = outputs_by_head({"features": torch.zeros(1), "loop": loop, "digit": digit}, (DIGIT, LOOP))
    listed = outputs_by_head([digit, loop], (DIGIT, LOOP))
    for found in (named, listed):
        assert list(found) == ["digit", "loop"] and found["digit"] is digit and found["loop"] is loop


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2)])
def test_two_classes_may_have_one_logit(shape: tuple[int, ...]) -> None:
    assert outputs_by_head((torch.zeros(shape),), (LOOP,))["loop"].shape == shape


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"digit": torch.zeros(4, 3)}, r"the model gives no output loop \(it gives digit\)"),
        ({}, r"the model gives no output digit \(it gives none\)"),
        ((torch.zeros(4, 3),), "the model gives 1 outputs for 2 heads.*returns digit, loop, in this order"),
        (torch.zeros(4, 3), "the model gives one Tensor for 2 heads"),
        ((torch.zeros(4, 3), 7), "the head loop gives int, not a tensor"),
        ((torch.zeros(4, 4), torch.zeros(4, 2)), r"the head digit gives shape \(4, 4\) for 3 classes"),
        ((torch.zeros(4, 1), torch.zeros(4, 2)), r"the head digit gives shape \(4, 1\) for 3 classes"),
        ((torch.zeros(4, 3), torch.zeros(4, 5, 2)), r"the head loop gives shape \(4, 5, 2\) for 2 classes"),
    ],
)
def test_outputs_that_do_not_fit_are_one_sentence(outputs: Any, says: str) -> None:
    with pytest.raises(ExplorerError, match=f"heads=: {says}"):
        outputs_by_head(outputs, (DIGIT, LOOP))
