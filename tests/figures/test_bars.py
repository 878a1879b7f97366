"""Plain bars."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

import explorer as ex
from explorer.evaluation.latency import Latency
from explorer.figures.bars import latency_figure, matrices_figure, quality_figure
from explorer.figures.palette import LIGHT


def test_matrices_in_their_order(bench: ex.Workbench) -> None:
    figure = matrices_figure(bench.matrices())
    assert list(figure.data[0].y) == bench.matrices().names and list(figure.data[0].x) == [192, 48]
    assert "no compressible matrix" in matrices_figure([]).layout.meta["alt"]


def test_quality_draws_the_metrics_of_one_unit_and_the_interval(bench: ex.Workbench) -> None:
    quality = bench.compress(ex.Prune(sparsity=0.7)).evaluate()
    figure = quality_figure(quality, dense=bench.dense.evaluate())
    mine, dense = figure.data
    assert mine.marker.color == LIGHT.variant and dense.marker.color == LIGHT.dense
    assert list(mine.x) == pytest.approx([100 * quality.value, 100 * quality.metrics["balanced_accuracy"]])
    assert mine.x[0] + mine.error_x.array[0] == pytest.approx(100 * quality.high)
    assert mine.x[0] - mine.error_x.arrayminus[0] == pytest.approx(100 * quality.low)


def test_an_endless_interval_is_not_drawn() -> None:
    quality = SimpleNamespace(
        primary="score",
        metrics={"score": 2.0},
        value=2.0,
        low=-math.inf,
        high=math.inf,
        examples=1,
        total=1,
        complete=True,
    )
    assert quality_figure(quality).data[0].error_x.visible is False


def test_latency_shows_both_with_their_spread() -> None:
    figure = latency_figure(Latency(2.0, 1.0, (1.8, 2.4), (0.9, 1.2), 1, 20))
    assert [bar.x[0] for bar in figure.data] == [2.0, 1.0]
    assert figure.data[1].error_x.array[0] == pytest.approx(0.2)
    assert "2 times as fast" in figure.layout.title.subtitle.text
    level = latency_figure(Latency(2.0, 1.9, (1.8, 2.4), (1.7, 2.2), 1, 20))
    assert "no difference measured" in level.layout.meta["alt"]
