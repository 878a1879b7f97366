"""The one place where ipywidgets is imported, when the first panel opens."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from explorer.errors import ExplorerError


def ipywidgets() -> ModuleType:
    """The module ipywidgets; raises `ExplorerError` where it is not installed."""
    try:
        return import_module("ipywidgets")
    except ImportError as problem:
        raise ExplorerError(
            "ipywidgets is not installed here", where="wb.live", instead='run: pip install "ipywidgets>=8"'
        ) from problem


class FigurePlace:
    """A place in a panel that holds one Plotly figure; another figure takes the place at once, without a jump.

    It is an ipywidgets `Output` whose content is set as a whole, which any thread may do. The figure is a plain one:
    it needs no anywidget, and shows wherever a notebook shows Plotly.
    """

    def __init__(self, height: int) -> None:
        widgets = ipywidgets()
        self.widget = widgets.Output(layout={"min_height": f"{height}px", "width": "100%"})

    def show(self, figure: Any) -> None:
        """Put the figure there."""
        bundle = {"text/plain": str(figure.layout.meta["alt"]), **figure._repr_mimebundle_()}
        self.widget.outputs = ({"output_type": "display_data", "data": bundle, "metadata": {}},)

    def clear(self) -> None:
        """Leave the place empty."""
        self.widget.outputs = ()
