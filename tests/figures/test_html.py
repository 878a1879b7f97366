"""The parts of notebook views."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.figures.html import (
    Column,
    Markup,
    Tile,
    bar,
    code,
    escaped,
    folded,
    joined,
    quiet,
    table,
    tiles,
    view,
    warning,
)


class Seen(HTMLParser):
    """The tags that a text opens and closes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.opened.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_becomes_a_tag(text: str) -> None:
    whole = view(
        text,
        tiles([Tile(text, text, [text])]),
        table([Column(text, help=text)], [[text]], [text]),
        folded(text, text),
        quiet(text),
        warning(text),
        code(text),
        subtitle=text,
    )
    plain = view(
        "x",
        tiles([Tile("x", "x", ["x"])]),
        table([Column("x", help="x")], [["x"]], ["x"]),
        folded("x", "x"),
        quiet("x"),
        warning("x"),
        code("x"),
        subtitle="x",
    )
    ours = [tag for tag in Seen(whole).opened if tag]
    assert len(ours) <= len(Seen(plain).opened)
    assert set(ours) <= set(Seen(plain).opened)


def test_markup_is_kept_and_text_is_not() -> None:
    assert joined([Markup("<b>x</b>"), "<b>"]) == "<b>x</b>&lt;b&gt;"
    assert escaped(3) == "3"


def test_bars_stay_in_their_ground() -> None:
    assert "width:100.0%" in bar(7) and "width:0.0%" in bar(-1)


def test_warnings_say_the_word() -> None:
    assert "Warning" in Seen(warning("zeros are lost")).words


def test_old_values_are_dimmed() -> None:
    assert "opacity:.4" in tiles([Tile("a", "1", old=True)]) and "opacity:.4" not in tiles([Tile("a", "1")])
