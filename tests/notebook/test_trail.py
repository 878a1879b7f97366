"""The trail of visits."""

from __future__ import annotations

import explorer as ex
from explorer.notebook.trail import Trail
from explorer.recipe import Prune, Recipe

A, B, C = (Recipe([Prune(sparsity=share)]) for share in (0.1, 0.2, 0.3))


def test_back_and_forth(bench: ex.Workbench) -> None:
    trail, size = Trail(), bench.dense.size
    for recipe in (A, B):
        trail.go(recipe, size)
    way = [trail.undo(), trail.undo(), trail.redo(), trail.redo(), trail.undo()]
    assert way == [A, None, B, None, A]
    trail.go(C, size)
    assert not trail.can_redo and trail.undo() == A
    assert [visit.recipe for visit in trail.visits] == [A, B, C]


def test_an_empty_trail_leads_nowhere() -> None:
    trail = Trail()
    assert not trail.can_undo and trail.undo() is None and trail.redo() is None


def test_the_same_recipe_again_is_one_visit(bench: ex.Workbench) -> None:
    trail = Trail()
    first = trail.go(A, bench.dense.size)
    assert trail.go(A, bench.dense.size) is first and not trail.can_undo
    trail.go(B, bench.dense.size)
    assert trail.go(A, bench.dense.size) is first and len(trail.visits) == 2 and trail.undo() == B


def test_a_visit_in_a_line(bench: ex.Workbench) -> None:
    visit = Trail().go(A, bench.dense.size)
    assert visit.words.startswith("– · ") and visit.words.endswith("prune 10 %, magnitude")
    visit.quality = bench.dense.evaluate()
    assert visit.words.startswith("100.0 % · ")
