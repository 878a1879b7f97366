"""The parts that notebook views are built from: escaped, with their styles inline, readable on light and dark.

A notebook's ground is not known here, so text inherits its colour and everything else comes from `palette.EITHER`.
Nothing is fetched and nothing runs: plain HTML that also survives in a saved notebook.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from explorer.figures.palette import EITHER

QUIET = "opacity:.68"
_FONT = "font-family:inherit;font-size:13px;line-height:1.45"


class Markup(str):
    """Text that is HTML already; any other text is escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, which side its cells stand on, and what the heading means (a tooltip)."""

    title: str
    right: bool = False
    help: str = ""


@dataclass(frozen=True)
class Tile:
    """A headline number: what it is, its value with the unit, quiet lines below.

    minor: smaller, for numbers that stand back. old: dimmed, for a value that waits for its successor.
    """

    label: str
    value: str
    notes: Sequence[str] = ()
    minor: bool = False
    old: bool = False


def escaped(text: object) -> Markup:
    """Text as HTML: escaped, unless it is `Markup`."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text)))


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other, each escaped unless it is `Markup`."""
    return Markup(between.join(escaped(part) for part in parts))


def view(title: object, *body: object, subtitle: object = "") -> Markup:
    """A whole view: a heading, a quiet line, and what stands below."""
    below = f'<div style="{QUIET}">{escaped(subtitle)}</div>' if subtitle else ""
    return Markup(
        f'<div style="{_FONT};max-width:920px;padding:2px 0 6px">'
        f'<div style="font-size:16px;font-weight:650">{escaped(title)}</div>{below}{joined(body)}</div>'
    )


def heading(text: object) -> Markup:
    """A small heading inside a view."""
    return Markup(f'<div style="font-weight:600;margin:12px 0 2px">{escaped(text)}</div>')


def quiet(text: object) -> Markup:
    """A line that stands back."""
    return Markup(f'<div style="{QUIET};margin:4px 0">{escaped(text)}</div>')


def warning(text: object) -> Markup:
    """A line that warns: amber, and the word itself."""
    return Markup(
        f'<div style="border-left:3px solid {EITHER.warning};background:{EITHER.warning_soft};padding:4px 10px;'
        f'margin:6px 0"><b>Warning.</b> {escaped(text)}</div>'
    )


def tiles(numbers: Sequence[Tile]) -> Markup:
    """Headline numbers side by side; they wrap where there is no room."""
    cells = []
    for number in numbers:
        size, weight = ("16px", 600) if number.minor else ("23px", 680)
        dim = ";opacity:.4" if number.old else ""
        notes = "".join(f'<div style="{QUIET};font-size:12px">{escaped(note)}</div>' for note in number.notes if note)
        cells.append(
            f'<div style="border:1px solid {EITHER.line};border-radius:8px;padding:8px 14px 10px;min-width:118px;'
            f'line-height:1.45">'
            f'<div style="{QUIET};font-size:12px">{escaped(number.label)}</div>'
            f'<div style="font-size:{size};font-weight:{weight};line-height:1.3;font-variant-numeric:tabular-nums;'
            f'white-space:nowrap{dim}">{escaped(number.value)}</div>{notes}</div>'
        )
    return Markup(f'<div style="display:flex;flex-wrap:wrap;gap:10px;margin:10px 0">{"".join(cells)}</div>')


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], foot: Sequence[object] = ()) -> Markup:
    """A table with aligned numbers; `foot` is a last row that stands out (totals)."""
    head = "".join(
        f'<th title="{html.escape(column.help)}" style="{_cell(column)};font-weight:600;{QUIET};'
        f'border-bottom:1px solid {EITHER.line}">{escaped(column.title)}</th>'
        for column in columns
    )
    body = "".join(_row(columns, row, f"border-bottom:1px solid {EITHER.grid}") for row in rows)
    last = _row(columns, foot, "font-weight:600") if foot else ""
    return Markup(
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:6px 0;font-size:13px;'
        "line-height:1.45;color:inherit;"
        f'width:auto;background:transparent"><thead><tr style="background:transparent">{head}</tr></thead>'
        f"<tbody>{body}{last}</tbody></table></div>"
    )


def bar(share: float, colour: str = EITHER.variant, width: int = 110) -> Markup:
    """A bar that fills `share` (0 to 1) of its ground; its number stands beside it, not in it."""
    filled = max(0.0, min(1.0, share))
    return Markup(
        f'<span style="display:inline-block;width:{width}px;height:8px;border-radius:4px;background:{EITHER.removed};'
        f'vertical-align:middle;overflow:hidden"><span style="display:block;height:8px;width:{100 * filled:.1f}%;'
        f'background:{colour}"></span></span>'
    )


def folded(summary: object, body: object, opened: bool = False) -> Markup:
    """What is there for those who want it: one line that opens."""
    return Markup(
        f'<details style="margin:4px 0"{" open" if opened else ""}><summary style="cursor:pointer">{escaped(summary)}'
        f"</summary>{escaped(body)}</details>"
    )


def code(text: str) -> Markup:
    """Source text to copy."""
    return Markup(
        f'<pre style="margin:6px 0;padding:8px 12px;border:1px solid {EITHER.line};border-radius:6px;'
        f'background:transparent;color:inherit;white-space:pre-wrap">{escaped(text)}</pre>'
    )


def toned(text: object, colour: str) -> Markup:
    """Words in a colour that says the same as they do."""
    return Markup(f'<span style="color:{colour};font-weight:600">{escaped(text)}</span>')


def _row(columns: Sequence[Column], row: Sequence[object], style: str) -> str:
    cells = "".join(
        f'<td style="{_cell(column)};{style}">{escaped(value)}</td>' for column, value in zip(columns, row, strict=True)
    )
    return f'<tr style="background:transparent">{cells}</tr>'


def _cell(column: Column) -> str:
    side = "right;white-space:nowrap" if column.right else "left"
    return f"text-align:{side};padding:3px 12px 3px 0;font-variant-numeric:tabular-nums;vertical-align:middle"
