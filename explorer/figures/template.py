"""What all figures share: typeface, ground, grid, caption, alternative text and the tool bar."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from explorer.figures.palette import FONT, Palette, palette

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "compression-explorer"},
}
"""Plotly's options for every place that shows a figure: nothing is sent anywhere, pictures are saved as SVG."""

CAPTION_SPACE = 26
"""Pixels under the axis titles that a caption takes."""


class ExplorerFigure(go.Figure):
    """A Plotly figure that shows itself with `CONFIG`, so that no notebook offers to send it to a cloud."""

    def show(self, *arguments: Any, **options: Any) -> None:
        """Plotly's `show`, with our options unless others are given."""
        super().show(*arguments, **{"config": CONFIG, **options})

    def to_html(self, *arguments: Any, **options: Any) -> str:
        """Plotly's `to_html`, with our options and, where plotly.js is not said, the whole of it (works offline)."""
        return str(super().to_html(*arguments, **{"config": CONFIG, "include_plotlyjs": True, **options}))

    def write_html(self, *arguments: Any, **options: Any) -> Any:
        """Plotly's `write_html`, with our options."""
        return super().write_html(*arguments, **{"config": CONFIG, "include_plotlyjs": True, **options})

    def _ipython_display_(self) -> None:
        self.show()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, validate: bool = True, **options: Any) -> Any:
        return super()._repr_mimebundle_(include, exclude, validate, **{"config": CONFIG, **options})


def template(dark: bool = False) -> go.layout.Template:
    """The Plotly template for a light or a dark ground.

    The ground is painted, not transparent: a notebook's own may be dark, and a saved figure has none.
    """
    colours = palette(dark)
    axis = {
        "gridcolor": colours.grid,
        "linecolor": colours.line,
        "zerolinecolor": colours.line,
        "tickcolor": colours.line,
        "tickfont": {"color": colours.quiet, "size": 12},
        "title": {"font": {"color": colours.quiet, "size": 13}, "standoff": 8},
        "automargin": True,
        "zeroline": False,
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": colours.text},
            "title": {
                "font": {"size": 16, "color": colours.text, "weight": 650},
                "subtitle": {"font": {"size": 13, "color": colours.quiet}},
                "x": 0.0,
                "xref": "container",
                "xanchor": "left",
                "y": 1.0,
                "yref": "container",
                "yanchor": "top",
                "pad": {"l": 8, "t": 10},
            },
            "paper_bgcolor": colours.card,
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [colours.variant, colours.dense, colours.warning, colours.more, colours.less],
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": colours.card,
                "bordercolor": colours.line,
                "font": {"color": colours.text, "family": FONT, "size": 13},
                "align": "left",
            },
            "legend": {"font": {"size": 12, "color": colours.quiet}, "bgcolor": "rgba(0,0,0,0)"},
            "margin": {"l": 8, "r": 12, "t": 64, "b": 8},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colours.quiet, "activecolor": colours.text},
        }
    )


def dressed(
    figure: go.Figure,
    *,
    title: str,
    alt: str,
    subtitle: str = "",
    caption: str = "",
    height: int = 320,
    axis_space: int = 46,
    dark: bool = False,
) -> go.Figure:
    """`figure` with its title, template, alternative text and caption.

    Parameters
    ----------
    alt: what a person who does not see the figure is told; kept in `layout.meta["alt"]`.
    caption: the recipe or the facts under which it was measured; stands small under the axes.
    height: pixels.
    axis_space: pixels under the drawing that the labels and the title of the x axis take.
    """
    bottom = axis_space + 8
    if caption:
        bottom += CAPTION_SPACE
        _captioned(figure, caption, axis_space + 10, palette(dark))
    figure.update_layout(
        template=template(dark),
        height=height,
        title={"text": plain(title), "subtitle": {"text": plain(subtitle)}},
        meta={"alt": alt, "caption": caption},
        margin_b=bottom,
        margin_t=64 if subtitle else 46,
    )
    return figure


def empty_figure(title: str, reason: str, *, height: int = 220, dark: bool = False) -> go.Figure:
    """A figure that has nothing to draw and says why."""
    figure = ExplorerFigure()
    figure.add_annotation(
        text=plain(reason), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_color=palette(dark).quiet
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return dressed(figure, title=title, alt=f"{title}: {reason}", height=height, dark=dark)


def plain(text: str) -> str:
    """Text for a Plotly label: names from a model or a table must not be read as its little HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def faded(colour: str, alpha: float) -> str:
    """`#rrggbb` as a transparent colour."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def _captioned(figure: go.Figure, caption: str, below: int, colours: Palette) -> None:
    figure.add_annotation(
        text=plain(caption),
        name="caption",
        x=0,
        xref="paper",
        xanchor="left",
        y=0,
        yref="paper",
        yanchor="top",
        yshift=-below,
        showarrow=False,
        align="left",
        font={"size": 11, "color": colours.quiet},
    )
