"""The report page: whole, the same each time, and nothing from a model's names can become HTML."""

from __future__ import annotations

from dataclasses import replace

import pytest

from explorer.figures.report import headline, report_page
from explorer.opening import load
from explorer.recipe import LowRank, Prune, Recipe
from explorer.variant import Variant


@pytest.fixture(scope="module")
def variant() -> Variant:
    """A sample, pruned and factorised in the order that draws a warning."""
    return load("cancer-tab").compress(Recipe([Prune(sparsity=0.5), LowRank(rank=8, layers=("*mlp*",))]))


def page_of(variant: Variant, name: str = "cancer-tab") -> str:
    """The page of a variant."""
    return report_page(name, variant.plan, variant.report(), variant.storage)


def test_the_page_tells_recipe_plan_numbers_and_warnings(variant: Variant) -> None:
    page = page_of(variant)
    report = variant.report()
    assert variant.recipe.to_yaml().strip() in page.replace("&#x27;", "'")
    assert all(matrix.name in page for matrix in variant.workbench.matrices())
    assert f"{report.size.bytes:,} bytes" in page
    assert f"{report.size.bytes_dense:,} bytes" in page
    assert all(warning.text in page for warning in variant.plan.warnings)
    assert variant.plan.warnings
    assert "paired" in page


def test_the_page_needs_no_network_and_is_the_same_each_time(variant: Variant) -> None:
    page = page_of(variant)
    assert page == page_of(variant)
    assert "<script src=" not in page
    assert "<link" not in page
    assert page.count("Plotly.newPlot(") >= 2


def test_figures_carry_a_text_alternative(variant: Variant) -> None:
    page = page_of(variant)
    assert page.count('role="img" aria-label="') == 2
    assert 'aria-label=""' not in page


def test_names_are_escaped(variant: Variant) -> None:
    page = page_of(variant, "<script>alert(1)</script>")
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_dense_report_stands_on_its_own(variant: Variant) -> None:
    dense = variant.workbench.dense
    assert "nothing changed" in page_of(dense)
    assert "÷ 1.00" in headline(dense.report())


def test_the_headline_has_the_metric_with_its_unit_the_size_and_the_sparsity(variant: Variant) -> None:
    report = variant.report()
    line = headline(report)
    assert line.startswith(f"Accuracy {100 * report.quality.value:.1f} % (dense ")
    assert f"{report.size.bytes / 1000:.1f} kB" in line
    assert headline(replace(report, dense=None)).startswith("Accuracy")


def test_a_model_with_several_heads_shows_each_beside_the_dense_one() -> None:
    variant = load("digits-cbam").compress(Prune(sparsity=0.5))
    report = variant.report()
    html = report_page(variant.workbench.name, variant.plan, report, variant.storage)
    assert report.dense is not None
    for name, value in report.quality.by_head.items():
        beside = f"{name} {100 * value:.1f} %, dense {100 * report.dense.quality.by_head[name]:.1f} %"
        assert beside in html and beside in report._repr_mimebundle_()["text/html"]
        assert f"Accuracy, {name}" in html
