"""Which figure each result draws."""

from __future__ import annotations

from typing import Any

import pytest

import explorer as ex
from explorer.errors import ExplorerError


def test_results_draw_their_figures(bench: ex.Workbench) -> None:
    variant = bench.compress(ex.Prune(sparsity=0.5))
    report = variant.report()
    titles: dict[str, list[Any]] = {
        "Weight matrices": [bench, bench.matrices()],
        "What is left, layer by layer": [variant, variant.size, report],
        "Where the bytes are": [variant.storage],
        "Quality": [report.quality],
        "Latency": [variant.latency(seconds=0.05)],
        "Spectrum of 0": [bench.spectrum("0")],
    }
    for title, results in titles.items():
        for result in results:
            figure = result.figure()
            assert figure.layout.title.text == title
            assert figure.layout.meta["alt"]


def test_the_recipe_is_in_the_caption(bench: ex.Workbench) -> None:
    assert bench.compress(ex.Prune(sparsity=0.5)).figure().layout.meta["caption"] == "prune 50 %, magnitude"


def test_options_reach_the_figure(bench: ex.Workbench) -> None:
    assert bench.dense.figure(title="Mine", caption="", dark=True).layout.title.text == "Mine"
    assert bench.dense.evaluate().figure(dense=bench.dense.evaluate()).data[1].name == "dense"


def test_what_has_no_figure_says_so(bench: ex.Workbench) -> None:
    with pytest.raises(ExplorerError, match="has no figure"):
        bench.plan(ex.Recipe()).figure()
