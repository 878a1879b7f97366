"""How results show themselves: type -> renderer, filled by the figures floor, asked by the objects below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explorer.errors import ExplorerError

_figures: dict[type, Callable[..., Any]] = {}
_html: dict[type, Callable[[Any], str]] = {}
_panels: list[Callable[..., Any]] = []
_late: list[Callable[[], Any]] = []


def figure_of(kind: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate `function(result, **options) -> plotly Figure` as the figure of the type `kind`."""

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        _figures[kind] = function
        return function

    return note


def html_of(kind: type) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Decorate `function(result) -> str` (escaped HTML) as the notebook view of the type `kind`."""

    def note(function: Callable[[Any], str]) -> Callable[[Any], str]:
        _html[kind] = function
        return function

    return note


def panel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate `function(workbench, recipe) -> panel` as what `wb.live()` opens."""
    _panels[:] = [function]
    return function


def open_panel(workbench: Any, recipe: Any) -> Any:
    """The knobs of a workbench, in a notebook cell."""
    if not _panels:
        raise ExplorerError("there is no live panel here", instead="import explorer in a notebook")
    return _panels[0](workbench, recipe)


def fill_when_asked(load: Callable[[], Any]) -> None:
    """Have `load` (which imports the figures floor) called before the first figure or view is looked up."""
    _late.append(load)


def _fill() -> None:
    while _late:
        _late.pop()()


class Shown:
    """A result that prints itself: `str()` in a terminal, HTML in a notebook, a Plotly figure on request."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):  # set here, so that a dataclass does not print its arrays instead
            cls.__repr__ = Shown.__repr__  # type: ignore[method-assign]  # the same method, for each subclass

    def __repr__(self) -> str:
        return str(self)

    def figure(self, **options: Any) -> Any:
        """The Plotly figure of this result, the same that the app shows."""
        _fill()
        for kind in type(self).__mro__:
            if kind in _figures:
                return _figures[kind](self, **options)
        raise ExplorerError(f"a {type(self).__name__} has no figure")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        _fill()
        bundle = {"text/plain": str(self)}
        for kind in type(self).__mro__:
            if kind in _html:
                bundle["text/html"] = _html[kind](self)
                break
        return bundle
