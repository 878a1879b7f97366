"""Axes: what positions are, as samples say it and as shapes let one guess."""

from __future__ import annotations

import pytest
import torch

from explorer.subjects.axes import Axis, guessed_axis, patches_axis, words_axis


def test_words_are_padded_with_nothing() -> None:
    axis = words_axis([["not", "bad"], ["fine"]], 3)
    assert axis.labels == (("not", "bad", ""), ("fine", "", "")) and axis.length == 3


def test_patches_stand_behind_the_class_token() -> None:
    axis = patches_axis(2, (2, 2), 1)
    assert axis.labels[0] == ("class token", "row 1, column 1", "row 1, column 2", "row 2, column 1", "row 2, column 2")
    assert (axis.length, axis.grid, axis.first) == (5, (2, 2), 1)


@pytest.mark.parametrize(
    ("length", "grid", "first"), [(16, (4, 4), 0), (17, (4, 4), 1), (18, (4, 4), 2), (64, (8, 8), 0)]
)
def test_square_patches_of_a_picture_are_recognised(length: int, grid: tuple[int, int], first: int) -> None:
    axis = guessed_axis(torch.rand(3, 1, 8, 8), length)
    assert (axis.name, axis.grid, axis.first, len(axis.labels)) == ("patches", grid, first, 3)


def test_what_fits_no_grid_is_just_positions() -> None:
    axis = guessed_axis(torch.rand(3, 1, 8, 8), 7)
    assert axis.name == "positions" and axis.labels[0] == tuple("1234567") and axis.grid is None


@pytest.mark.parametrize(("length", "first"), [(5, 0), (6, 1)])
def test_numbers_of_a_row_are_features(length: int, first: int) -> None:
    axis = guessed_axis(torch.rand(2, 5), length)
    assert axis.name == "features" and axis.first == first and axis.labels[0][-1] == "feature 5"


def test_ids_are_tokens_and_a_mask_says_what_is_padding() -> None:
    inputs = {"input_ids": torch.tensor([[7, 8, 9], [5, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 0, 0]])}
    assert guessed_axis(inputs, 3).labels == (("7", "8", "9"), ("5", "", ""))


def test_some_examples_of_an_axis() -> None:
    assert Axis("words", (("a",), ("b",), ("c",))).take([2, 0]).labels == (("c",), ("a",))
