"""What notebooks show of each result, on a real (small) workbench."""

from __future__ import annotations

import re
from typing import Any

import pytest

import explorer as ex
from explorer.figures.words import count_text, metric_text, size_text


def html(result: Any) -> str:
    """The HTML of a result."""
    shown: str = result._repr_mimebundle_()["text/html"]
    assert shown.count("<div") == shown.count("</div>") and shown.count("<td") == shown.count("</td>")
    return shown


RECIPE = ex.Recipe(
    [ex.Prune(sparsity=0.5), ex.LowRank(rank=2, layers=("0",)), ex.Prune(n=1, m=2, pattern="n:m", enabled=False)]
)


@pytest.fixture(scope="module")
def variant(bench: ex.Workbench) -> ex.Variant:
    return bench.compress(RECIPE)


def test_workbench(bench: ex.Workbench) -> None:
    shown = html(bench)
    assert "tiny" in shown and "3 classes" in shown and "300" in shown
    assert f"opened {bench.tests_opened} time" in shown


def test_workbench_without_a_test_split() -> None:
    import torch

    model = torch.nn.Linear(4, 2)
    lonely = ex.load(model, data=(torch.randn(9, 4), torch.zeros(9, dtype=torch.long)))
    assert "there is no sealed test split" in html(lonely)


def test_matrices(bench: ex.Workbench) -> None:
    shown = html(bench.matrices())
    for matrix in bench.matrices():
        assert matrix.name in shown and count_text(matrix.count) in shown


def test_recipe() -> None:
    shown = html(RECIPE)
    assert "prune 50 %" in shown and "rank 2 in 0" in shown and "(off)" in shown
    assert "ex.Prune(sparsity=0.5)" in shown and "step: prune" in shown
    assert "the dense model" in html(ex.Recipe())


def test_plan_shows_warnings_at_their_step(bench: ex.Workbench) -> None:
    shown = html(bench.plan(RECIPE))
    assert shown.index("2. Low rank") < shown.index("the zeros are lost") < shown.index("3. Prune")
    assert "the dense model" in html(bench.plan(ex.Recipe()))


def test_variant(variant: ex.Variant) -> None:
    shown = html(variant)
    assert size_text(variant.size.bytes) in shown and "the zeros are lost" in shown


def test_report_stands_beside_dense(variant: ex.Variant) -> None:
    report = variant.report()
    shown = html(report)
    assert report.dense is not None
    for one in (report, report.dense):
        assert metric_text("accuracy", one.quality.value) in shown
    assert "Against dense" in shown and re.search("a loss|no change|a gain", shown)


def test_a_dense_report_has_nothing_beside_it(bench: ex.Workbench) -> None:
    assert "Against dense" not in html(bench.dense.report())


def test_quality_size_storage_spectrum_latency(bench: ex.Workbench, variant: ex.Variant) -> None:
    assert metric_text("accuracy", variant.evaluate().value) in html(variant.evaluate())
    assert size_text(variant.size.bytes) in html(variant.size)
    assert count_text(variant.storage.size_bytes) in html(variant.storage)
    assert "Break-even 6.86" in html(bench.spectrum("0"))
    assert re.search("no difference measured|times as fast", html(variant.latency(seconds=0.05)))


def test_every_row_of_the_storage_view_adds_up(variant: ex.Variant) -> None:
    listed = [int(number.replace(",", "")) for number in re.findall(r">([\d,]+)</td>", html(variant.storage))]
    entries = variant.storage.entries
    assert sum(entry.size_bytes for entry in entries) + variant.storage.header_bytes == variant.storage.size_bytes
    assert all(entry.size_bytes in listed for entry in entries)


def test_regression_has_words_of_its_own() -> None:
    import torch

    model = torch.nn.Linear(4, 1)
    inputs = torch.randn(40, 4)
    bench = ex.load(model, data=(inputs, model(inputs).detach() + 0.1 * torch.randn(40, 1)), task="regression")
    shown = html(bench.compress(ex.Prune(sparsity=0.5)).report())
    assert "R²" in shown and "mistake" not in shown and "points" not in shown
