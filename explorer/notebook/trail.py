"""The trail of a panel: the recipes that were visited, and the way back and forth between them."""

from __future__ import annotations

from dataclasses import dataclass

from explorer.evaluation.quality import Quality
from explorer.figures.words import metric_text, share_text, size_text
from explorer.recipe import Recipe
from explorer.report import Size


@dataclass
class Visit:
    """One recipe that was tried; `quality` comes when it is measured."""

    recipe: Recipe
    size: Size
    quality: Quality | None = None

    @property
    def words(self) -> str:
        """The visit in a line: "96.1 % · 293 kB · prune 50 %, magnitude"."""
        value = "–" if self.quality is None else metric_text(self.quality.primary, self.quality.value)
        if self.quality is not None and not self.quality.complete:
            value = f"≈ {value}"
        return (
            f"{value} · {size_text(self.size.bytes)} ({share_text(self.size.sparsity, 0)}) · {self.recipe.sentence()}"
        )


class Trail:
    """Visits in the order in which they were made; undo and redo move along it, a new visit cuts what lies ahead.

    visits: every recipe that was visited, once each, the latest last: what a list offers to go back to.
    """

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self._path: list[Recipe] = []
        self._at = -1

    def go(self, recipe: Recipe, size: Size) -> Visit:
        """Note a visit; the same recipe again only moves to the end of the list."""
        if self._at < 0 or self._path[self._at] != recipe:
            self._path = [*self._path[: self._at + 1], recipe]
            self._at = len(self._path) - 1
        return self.meet(recipe, size)

    def meet(self, recipe: Recipe, size: Size) -> Visit:
        """The visit of a recipe, made where there is none yet."""
        for visit in self.visits:
            if visit.recipe == recipe:
                return visit
        self.visits.append(Visit(recipe, size))
        return self.visits[-1]

    def undo(self) -> Recipe | None:
        """One step back, or None at the start."""
        return self._move(-1)

    def redo(self) -> Recipe | None:
        """One step forth, or None at the end."""
        return self._move(+1)

    @property
    def can_undo(self) -> bool:
        """Whether there is a way back."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a way forth."""
        return self._at + 1 < len(self._path)

    def _move(self, by: int) -> Recipe | None:
        if not 0 <= self._at + by < len(self._path):
            return None
        self._at += by
        return self._path[self._at]
