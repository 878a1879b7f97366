"""Latency: two models in turn, medians and middle halves, and no verdict where none was measured."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

import explorer as ex
from explorer.evaluation.latency import Latency, time_in_turn
from tests.toys import bench


def test_models_run_in_turn_and_each_has_its_own_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    order = []
    dense, variant = nn.Identity(), nn.Identity()

    def run(model: nn.Module) -> None:
        order.append("dense" if model is dense else "variant")
        clock[0] += 0.004 if model is dense else 0.001

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    measured = time_in_turn(dense, variant, run, batch=3, seconds=0.05)
    assert order[:6] == ["dense", "variant"] * 3
    assert measured.runs == (len(order) - 4) / 2 == 10
    assert abs(measured.dense_ms - 4) < 1e-9 and abs(measured.variant_ms - 1) < 1e-9
    assert abs(measured.ratio - 4) < 1e-9 and measured.differs
    assert measured.batch == 3


def test_overlapping_spreads_are_no_difference() -> None:
    close = Latency(2.0, 1.9, (1.8, 2.2), (1.7, 2.1), batch=1, runs=9)
    assert not close.differs and "no difference measured" in str(close)
    slower = Latency(2.0, 4.0, (1.8, 2.2), (3.9, 4.1), batch=1, runs=9)
    assert slower.differs and slower.ratio == 0.5 and "0.50 times as fast" in str(slower)


def test_a_variant_is_timed_beside_the_dense_model() -> None:
    wb = bench()
    measured = wb.compress(ex.LowRank(rank=1)).latency(batch=5, seconds=0.02)
    assert measured.batch == 5 and measured.runs >= 7
    assert measured.dense_spread[0] <= measured.dense_ms <= measured.dense_spread[1]
    assert measured.variant_spread[0] <= measured.variant_ms <= measured.variant_spread[1]


def test_timing_needs_no_gradients_and_leaves_the_mode() -> None:
    seen = []
    time_in_turn(nn.Identity(), nn.Identity(), lambda model: seen.append(torch.is_grad_enabled()), 1, seconds=0.0)
    assert len(seen) == 4 + 2 * 7 and not any(seen)
    assert torch.is_grad_enabled()
