"""Limits: sizes as people write them, and every limit that can be none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.errors import ExplorerError
from explorer.limits import Limits, bytes_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20000", 20_000),
        ("20000 B", 20_000),
        ("1 byte", 1),
        ("4MB", 4_000_000),
        ("4 mb", 4_000_000),
        (" 500 kB ", 500_000),
        ("1.5 MiB", 1_572_864),
        ("2GiB", 2**31),
        ("0.5 GB", 500_000_000),
        (".5 KiB", 512),
        ("1.1 MB", 1_100_000),  # in floating point it would be a byte too many
        ("0.0015 kB", 1),  # half a byte is none
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_of(text) == size
    assert Limits.of(max_bytes=text).max_bytes == size


@given(st.integers(1, 10**12), st.sampled_from([("kB", 10**3), ("MB", 10**6), ("GB", 10**9), ("MiB", 2**20)]))
def test_whole_numbers_of_a_unit_are_exact(number: int, unit: tuple[str, int]) -> None:
    assert bytes_of(f"{number} {unit[0]}") == number * unit[1]


@pytest.mark.parametrize("text", ["", "MB", "4 apples", "4 TB of", "1,5 MB", "-4MB", "1e6", "4M", "٤ MB", "4 MB 2"])
def test_what_is_no_size_is_one_sentence(text: str) -> None:
    with pytest.raises(ExplorerError, match="is no size. Write 4MB, 500 kB, 1.5 MiB or a number of bytes"):
        bytes_of(text)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no limit is given. Give one of max_loss, max_class_loss, min_agreement, max_bytes"),
        ({"max_loss": -0.1}, "max_loss: -0.1 is no limit"),
        ({"max_loss": float("nan")}, "max_loss: nan is no limit"),
        ({"max_loss": float("inf")}, "max_loss: inf is no limit"),
        ({"max_loss": "much"}, "max_loss: much is no limit"),
        ({"max_class_loss": -1}, "max_class_loss: -1 is no limit"),
        ({"max_class_loss": 1.5}, "max_class_loss: 1.5 is outside 0 to 1"),
        ({"min_agreement": 98}, "min_agreement: 98 is outside 0 to 1"),
        ({"max_bytes": 0}, "max_bytes: 0 is no number of bytes"),
        ({"max_bytes": -4}, "max_bytes: -4 is no number of bytes"),
        ({"max_bytes": 2.5}, "max_bytes: 2.5 is no number of bytes"),
        ({"max_bytes": "0 kB"}, "max_bytes: 0 is no number of bytes"),
    ],
)
def test_what_can_be_no_limit_is_one_sentence(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ExplorerError, match=says):
        Limits.of(**given)


def test_numbers_of_any_kind_are_limits() -> None:
    given: dict[str, Any] = {"max_loss": np.float32(0.5), "max_bytes": np.int64(7)}
    assert Limits(**given).needs_examples
    assert Limits(max_loss=0, max_class_loss=1, min_agreement=1.0).needs_examples
    assert not Limits(max_bytes=7).needs_examples


def test_limits_of_classes_are_for_classifiers() -> None:
    for task in ("regression", "sequence", "language-modeling", "score"):
        for name in ("max_class_loss", "min_agreement"):
            with pytest.raises(
                ExplorerError, match=f"{name}: it compares predicted classes, and the task here is {task}"
            ):
                given: dict[str, Any] = {name: 0.5}
                Limits(**given).check_task(task)
        Limits(max_loss=0.5, max_bytes=7).check_task(task)
    Limits(0.5, 0.5, 0.5, 7).check_task("classification")
    Limits(0.5, None, 0.5, 7).check_task("multi-task")
    with pytest.raises(ExplorerError, match="max_class_loss: .* the task here is multi-task"):
        Limits(max_class_loss=0.5).check_task("multi-task")


def test_a_loss_above_one_is_for_metrics_that_know_such() -> None:
    for task in ("classification", "multi-task", "sequence", "language-modeling"):
        with pytest.raises(ExplorerError, match="max_loss: 5 is outside 0 to 1. Give a share: 0.005 is half a point"):
            Limits(max_loss=5).check_task(task)
    for task in ("regression", "score"):
        Limits(max_loss=5).check_task(task)
