"""What all figures share."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import plotly.graph_objects as go
import pytest

from explorer.figures.palette import DARK
from explorer.figures.template import CONFIG, ExplorerFigure, dressed, empty_figure, faded, plain


def simple(**options: Any) -> go.Figure:
    """A dressed figure of two points."""
    figure = ExplorerFigure(go.Scatter(x=[0, 1], y=[1, 0]))
    return dressed(figure, **{"title": "T < 1", "alt": "two points", **options})


def test_title_alt_and_caption_are_in_the_figure() -> None:
    figure = simple(caption="prune 50 % & more")
    assert figure.layout.title.text == "T &lt; 1"
    assert figure.layout.meta["alt"] == "two points"
    assert [note.text for note in figure.layout.annotations] == ["prune 50 % &amp; more"]


def test_a_caption_takes_its_own_place() -> None:
    assert simple(caption="x").layout.margin.b > simple().layout.margin.b


def test_nothing_is_sent_anywhere() -> None:
    page = simple().to_html(full_html=False)
    assert '"showSendToCloud": false' in page
    assert "<script src" not in page
    assert "cdn.plot" not in page.replace("https://cdn.plot.ly/un", "").split("plotly.js v")[0]


def test_a_notebook_gets_our_options(monkeypatch: pytest.MonkeyPatch) -> None:
    import plotly.io as pio

    monkeypatch.setattr(pio.renderers, "_default_name", "plotly_mimetype")
    shown = simple()._repr_mimebundle_()["application/vnd.plotly.v1+json"]
    assert shown["config"]["showSendToCloud"] is CONFIG["showSendToCloud"] is False


def test_figures_can_be_copied_and_sent() -> None:
    figure = simple()
    for same in (copy.deepcopy(figure), pickle.loads(pickle.dumps(figure))):
        assert isinstance(same, ExplorerFigure) and same == figure


def test_dark_figures_have_a_dark_ground() -> None:
    assert simple(dark=True).layout.template.layout.paper_bgcolor == DARK.card


def test_nothing_to_draw_says_why() -> None:
    figure = empty_figure("Bytes", "the file holds <none>")
    assert figure.layout.annotations[0].text == "the file holds &lt;none&gt;"
    assert "holds" in figure.layout.meta["alt"]


def test_small_things() -> None:
    assert plain("a<b>&") == "a&lt;b&gt;&amp;"
    assert faded("#0d9488", 0.5) == "rgba(13,148,136,0.5)"
