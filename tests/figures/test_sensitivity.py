"""The heat map and the table of a scan."""

from __future__ import annotations

import pytest

import explorer as ex
from explorer.figures.palette import palette
from tests.figures.test_html import Seen
from tests.figures.test_views import html


@pytest.fixture(scope="module")
def found(bench: ex.Workbench) -> ex.Sensitivity:
    return bench.sensitivity(ex.Prune, [0.3, 0.95], progress=False)


@pytest.mark.parametrize("dark", [False, True])
def test_a_row_for_each_target_and_a_column_for_each_level(found: ex.Sensitivity, dark: bool) -> None:
    figure = found.figure(dark=dark)
    (drawn,) = figure.data
    assert list(drawn.y) == ["0", "2"] and list(drawn.x) == ["30 %", "95 %"]
    by_target = found.by_target
    assert drawn.z[0][1] == pytest.approx(100 * by_target["0"][1].change.delta)
    assert drawn.zmin == -drawn.zmax and drawn.zmax > 0
    assert [colour for _, colour in drawn.colorscale] == [colour for _, colour in palette(dark).difference]
    said = drawn.customdata[0][1]
    assert "95 %:" in said and "than the base" in said and "on 300 of 300" in said
    assert figure.layout.xaxis.title.text == "Sparsity of that part alone"
    assert "points" in drawn.colorbar.title.text
    assert found.fragile in figure.layout.meta["alt"] and "0 bears" in figure.layout.meta["alt"]
    assert "300 tune examples" in figure.layout.meta["caption"]


def test_cells_that_are_not_measured_stay_empty(found: ex.Sensitivity) -> None:
    partly = ex.Sensitivity(found.model, found.scan, found.base, found.base_bytes, found.cells[:1])
    assert [value for row in partly.figure().data[0].z for value in row].count(None) == 1
    assert "not all cells" in html(partly)
    nothing = ex.Sensitivity(found.model, found.scan, found.base, found.base_bytes, ())
    assert "nothing is measured yet" in nothing.figure().layout.meta["alt"]
    assert "nothing is measured yet" in html(nothing) and str(nothing)


def test_the_table_is_ranked(found: ex.Sensitivity) -> None:
    seen = Seen(html(found))
    assert seen.opened.count("tr") == 3
    assert found.fragile in seen.words and "bears" in seen.words


def test_leaving_out_has_one_column(bench: ex.Workbench) -> None:
    found = bench.sensitivity(ex.Prune, recipe=ex.Prune(sparsity=0.9), leave_out=True, progress=False)
    figure = found.figure(title="Mine")
    assert list(figure.data[0].x) == ["left out"] and figure.layout.title.text == "Mine"
    assert "after prune 90 %" in figure.layout.meta["caption"]
    words = Seen(html(found)).words
    assert "bears" not in words and "against prune 90 %" in words
