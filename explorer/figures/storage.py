"""Where the bytes of the saved file are: one bar a tensor, coloured by how it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import plotly.graph_objects as go

from explorer.figures.palette import Palette, palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, plain
from explorer.figures.words import counted, ratio_text, shortened, size_text

ROW_PIXELS = 24

ENCODINGS = {
    "raw": "untouched",
    "dense": "dense",
    "bitmask": "bit mask + values",
    "gaps": "index gaps + values",
    "group": "N:M groups",
    "rows": "rows that are left",
    "factors": "two thin factors",
}
"""The families of encodings, by the first word of their name ("group,n=2,m=4"), for people."""

_HATCHES = ("", "/", "x", "-", "+", ".", "\\", "|")


class Stored(Protocol):
    """One tensor of the file (see `weights/packing.py`)."""

    @property
    def name(self) -> str: ...
    @property
    def encoding(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def dense_bytes(self) -> int: ...


def bytes_figure(
    entries: Sequence[Stored],
    *,
    header_bytes: int = 0,
    dense_bytes: int | None = None,
    limit: int = 18,
    title: str = "Where the bytes are",
    caption: str = "",
    dark: bool = False,
) -> go.Figure:
    """The largest tensors of the file, each beside what it takes in the dense model (pale).

    Parameters
    ----------
    entries: as `Storage.entries`; all together with `header_bytes` are the length of the file.
    dense_bytes: the length of the dense model's file (it has a header of its own); None leaves it unsaid.
    limit: how many tensors are drawn; the smaller ones are added up in a last bar of their own.
    """
    if not entries:
        return empty_figure(title, "the file holds no tensors", dark=dark)
    colours = palette(dark)
    ordered = sorted(entries, key=lambda entry: (-max(entry.dense_bytes, entry.size_bytes), entry.name))
    drawn = ordered if len(ordered) <= limit + 1 else ordered[:limit]
    others = ordered[len(drawn) :]
    rest = f"{counted(len(others), 'smaller tensor')}"
    names = [entry.name for entry in drawn] + ([rest] if others else [])
    before = [entry.dense_bytes for entry in drawn] + ([sum(entry.dense_bytes for entry in others)] if others else [])
    unit, factor = _unit(max(*before, *(entry.size_bytes for entry in entries)))
    figure = ExplorerFigure()
    figure.add_trace(
        go.Bar(
            y=names,
            x=[size / factor for size in before],
            orientation="h",
            name="in the dense model",
            marker={"color": colours.removed, "line_width": 0},
            width=0.78,
            hoverinfo="skip",
        )
    )
    kinds = sorted({family(entry.encoding) for entry in ordered}, key=_place)
    hatched = [encoding for encoding in kinds if encoding != "raw"]
    for encoding in kinds:
        group = [entry for entry in drawn if family(entry.encoding) == encoding]
        rows = [(entry.name, entry.size_bytes, entry.dense_bytes) for entry in group]
        small = [entry for entry in others if family(entry.encoding) == encoding]
        if small:
            rows.append((rest, sum(item.size_bytes for item in small), sum(item.dense_bytes for item in small)))
        figure.add_trace(_bars(rows, encoding, hatched.index(encoding) if encoding in hatched else 0, factor, colours))
    total = sum(entry.size_bytes for entry in entries) + header_bytes
    figure.update_layout(
        barmode="overlay",
    )
    _stack_rest(figure, rest if others else None)
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=names,
        ticktext=[plain(shortened(name, 30)) for name in names],
        tickfont={"color": colours.text, "size": 12},
        ticks="",
        ticklabelstandoff=8,
        showgrid=False,
    )
    figure.update_xaxes(title_text=f"Size in the file ({unit})", rangemode="tozero", fixedrange=True)
    facts = f"{size_text(total)} in all, {size_text(header_bytes)} of it the header"
    if dense_bytes is not None:
        facts += f" · dense {size_text(dense_bytes)}"
    alt = f"{title}: {facts}. " + "; ".join(
        f"{entry.name} {size_text(entry.size_bytes)}, {encoding_label(entry.encoding)}" for entry in drawn
    )
    height = 172 + ROW_PIXELS * len(names) + (26 if caption else 0)
    figure = dressed(figure, title=title, subtitle=facts, alt=alt, caption=caption, height=height, dark=dark)
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "yanchor": "top"}
    figure.update_layout(margin_t=110, legend={**legend, "y": 1 - 58 / height, "traceorder": "normal"})
    return figure


def family(encoding: str) -> str:
    """The first word of an encoding's name: "group" of "group,n=2,m=4"."""
    return re.split(r"[,|]", encoding, maxsplit=1)[0]


def encoding_label(encoding: str) -> str:
    """The name of an encoding for people: "2:4 groups", "two thin factors (bit mask + values, dense)"."""
    whole, *parts = encoding.split("|")
    name = family(whole)
    asked = dict(re.findall(r"(\w+)=(\d+)", whole))
    label = ENCODINGS.get(name, name)
    if name == "group" and {"n", "m"} <= asked.keys():
        label = f"{asked['n']}:{asked['m']} groups"
    if name == "factors" and "r" in asked:
        label = f"two thin factors of rank {asked['r']}"
    if all(part == "dense" for part in parts):
        return label
    inner = list(dict.fromkeys(encoding_label(part) for part in parts))
    return f"{label} ({', '.join(inner) if len(inner) > 1 else f'both {inner[0]}'})"


def _bars(rows: list[tuple[str, int, int]], encoding: str, position: int, factor: float, colours: Palette) -> go.Bar:
    untouched = encoding == "raw"
    return go.Bar(
        y=[name for name, _, _ in rows],
        x=[size / factor for _, size, _ in rows],
        orientation="h",
        name=encoding_label(encoding),
        width=0.46,
        marker={
            "color": colours.dense if untouched else colours.variant,
            "line_width": 0,
            "pattern": {
                "shape": "" if untouched else _HATCHES[position % len(_HATCHES)],
                "fgcolor": colours.variant_soft,
                "bgcolor": colours.variant,
                "size": 7,
                "solidity": 0.3,
            },
        },
        customdata=[
            [size_text(size), size_text(dense), ratio_text(dense / size if size else None)] for _, size, dense in rows
        ],
        hovertemplate=(
            "%{y}<br>"
            + plain(encoding_label(encoding))
            + ": %{customdata[0]}<br>dense: %{customdata[1]} (%{customdata[2]})<extra></extra>"
        ),
    )


def _stack_rest(figure: go.Figure, rest: str | None) -> None:
    """Put the parts of the last bar one after the other: several encodings may share it."""
    reached = 0.0
    if rest is None:
        return
    for trace in figure.data[1:]:
        bases = [0.0] * len(trace.y)
        for place, name in enumerate(trace.y):
            if name == rest:
                bases[place] = reached
                reached += trace.x[place]
        trace.base = bases


def _place(encoding: str) -> tuple[int, str]:
    known = list(ENCODINGS)
    return (known.index(encoding) if encoding in known else len(known), encoding)


def _unit(size_bytes: int) -> tuple[str, float]:
    return ("MB", 1e6) if size_bytes >= 2e6 else ("kB", 1e3) if size_bytes >= 2e3 else ("bytes", 1.0)
