"""Similarity: against slow formulas."""

from __future__ import annotations

import math

import pytest
import torch

from explorer.evaluation.similarity import linear_cka, relative_error


def test_cka_is_the_formula_over_features() -> None:
    """||Y'X||² / (||X'X|| ||Y'Y||) of centred columns (Kornblith et al. 2019)."""
    draw = torch.Generator().manual_seed(0)
    first = torch.randn(30, 7, generator=draw, dtype=torch.float64)
    second = first[:, :5] ** 2 + torch.randn(30, 5, generator=draw, dtype=torch.float64)
    x, y = first - first.mean(0), second - second.mean(0)
    slow = (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())
    assert linear_cka(first, second) == pytest.approx(float(slow), abs=1e-12)
    assert 0 < linear_cka(first, second) < 1


def test_cka_ignores_turning_scaling_and_moving() -> None:
    draw = torch.Generator().manual_seed(1)
    states = torch.randn(20, 6, generator=draw, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=draw, dtype=torch.float64)).Q
    assert linear_cka(states, 3 * states @ turn + 5) == pytest.approx(1, abs=1e-12)
    assert linear_cka(states, states) == 1.0
    assert math.isnan(linear_cka(states, torch.ones(20, 6)))


def test_relative_error_by_hand() -> None:
    assert relative_error(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.0])) == pytest.approx(0.2)
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0
    assert math.isnan(relative_error(torch.zeros(2), torch.ones(2)))
