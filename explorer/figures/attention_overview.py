"""All heads at once: layers down, heads across, each cell a small map, the whole a single picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go

from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.attention.measures import confidence, normalised_entropy
from explorer.figures.attention_labels import check_example, facts_of, valid_positions
from explorer.figures.attention_pictures import (
    GAP,
    GONE,
    block_of,
    colour_table,
    enlarged,
    levels,
    shrunk,
    table_address,
)
from explorer.figures.attention_scale import along_the_top, scale_placed
from explorer.figures.palette import palette
from explorer.figures.template import ExplorerFigure, dressed, empty_figure, plain
from explorer.figures.words import counted, number_text, shortened

MOST_CELLS = 64
"""Of a larger map a cell is the largest weight of its block."""
GAP_PIXELS = 4
LEAST_PIXELS = 24
"""A flat map (few queries) is drawn at least this high."""
STRIP_PIXELS = 22
"""How high the row of cells of a channel gate is."""
LEAST_TILES = 4
"""A picture of gates alone is as wide as so many heads."""

Scale = Literal["map", "common"]


@dataclass(frozen=True)
class _Tile:
    """A head's place on the picture in pixels, and what it shows."""

    layer: int
    head: int
    left: int
    top: int
    cells: np.ndarray  # uint8 levels, as many pixels as it takes


@dataclass(frozen=True)
class Mosaic:
    """The picture (`[height, width]` uint8 places in a colour table), its heads, and where rows and columns stand.

    block: the most rows and columns of weights that a cell stands for. largest: the weight that is darkest, where all
    maps share their scale.
    """

    pixels: np.ndarray
    tiles: tuple[_Tile, ...]
    rows: tuple[tuple[float, str], ...]
    columns: tuple[tuple[float, str], ...]
    block: tuple[int, int]
    largest: float | None

    def address(self, dark: bool = False) -> str:
        """The picture as a data address for an `<img>`."""
        return table_address(self.pixels, colour_table(palette(dark)))


def mosaic_of(maps: AttentionMaps, example: int = 0, *, window: int = 0, scale: Scale = "map") -> Mosaic:
    """The picture of all heads at one example.

    scale: "map": the largest weight of each map is darkest; "common": that of all maps (of gates, one).
    """
    for layer in maps.found:
        check_example(layer, example)
    values = [_values(layer, example, window) for layer in maps.found]
    of_rows = [value for layer, value in zip(maps.found, values, strict=True) if not layer.site.is_gate]
    common = max((float(value.max(initial=0.0)) for value in of_rows), default=1.0) if scale == "common" else None
    numbers = sorted({head for layer in maps.found if not layer.site.is_gate for head in layer.heads})
    least = LEAST_TILES if any(layer.kind == "channel gate" for layer in maps.found) else 1
    side = 2 * MOST_CELLS if len(numbers) <= 6 else MOST_CELLS
    pitch = side + GAP_PIXELS
    width = pitch * max(len(numbers), least) + GAP_PIXELS
    bands, tiles, names, block, top = [], [], [], (1, 1), GAP_PIXELS
    for number, (layer, value) in enumerate(zip(maps.found, values, strict=True)):
        largest = None if common is None else 1.0 if layer.site.is_gate else common
        if layer.kind == "channel gate":
            drawn = [_strip(value[0], width - 2 * GAP_PIXELS, largest)]
        else:
            drawn = [_tile(cells, side, largest) for cells in value]
            rows, columns = value.shape[-2:]
            block = max(block, block_of(rows, columns, MOST_CELLS))
        band = np.full((max(cells.shape[0] for cells in drawn) + GAP_PIXELS, width), GAP, dtype=np.uint8)
        if not layer.site.is_gate:
            for column in range(len(numbers)):
                left = GAP_PIXELS + pitch * column
                band[:-GAP_PIXELS, left : left + side] = GONE
        for head, cells in zip(layer.heads, drawn, strict=False):
            left = GAP_PIXELS + (0 if layer.site.is_gate else pitch * numbers.index(head))
            band[: cells.shape[0], left : left + cells.shape[1]] = cells
            if not layer.site.is_gate:
                band[:-GAP_PIXELS, left + cells.shape[1] : left + side] = GAP
                band[cells.shape[0] : -GAP_PIXELS, left : left + side] = GAP
            tiles.append(_Tile(number, head, left, top, cells))
        names.append((top + (len(band) - GAP_PIXELS) / 2, layer.name))
        bands.append(band)
        top += len(band)
    pixels = np.concatenate([np.full((GAP_PIXELS, width), GAP, dtype=np.uint8), *bands])
    columns = tuple((GAP_PIXELS + pitch * at + side / 2, str(head)) for at, head in enumerate(numbers))
    return Mosaic(pixels, tuple(tiles), tuple(names), columns, block, common)


def overview_figure(
    maps: AttentionMaps,
    example: int = 0,
    *,
    window: int = 0,
    scale: Scale = "map",
    title: str = "All attention heads",
    caption: str | None = None,
    height: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """Every head of every layer as a small map: queries down, keys across, padding left out.

    A click on a head selects a point whose `customdata` is [layer, head]. scale: "map" or "common", see `mosaic_of`.
    """
    caption = maps.caption if caption is None else caption
    if not maps.found:
        return empty_figure(title, "no attention was read", dark=dark)
    colours, mosaic = palette(dark), mosaic_of(maps, example, window=window, scale=scale)
    tall, wide = mosaic.pixels.shape
    figure = ExplorerFigure()
    figure.add_layout_image(
        source=mosaic.address(dark), x=0, y=0, sizex=wide, sizey=tall, xref="x", yref="y", sizing="stretch",
        layer="below",
    )  # fmt: skip
    told = _told(maps, example)
    most = 1.0 if mosaic.largest is None else mosaic.largest
    bar = along_the_top("weight", dark, 150)
    if mosaic.largest is None:
        bar |= {"tickvals": [0, 1], "ticktext": ["0", "largest of its map"]}
    figure.add_trace(
        go.Scatter(
            x=[tile.left + tile.cells.shape[1] / 2 for tile in mosaic.tiles],
            y=[tile.top + tile.cells.shape[0] / 2 for tile in mosaic.tiles],
            mode="markers",
            # Seen by the pointer alone: the picture lies under it.
            marker={
                "symbol": "square", "size": 30, "opacity": 0, "color": [0] * len(mosaic.tiles), "cmin": 0, "cmax": most,
                "colorscale": colours.weights, "showscale": True, "colorbar": bar,
            },
            customdata=[[maps.found[tile.layer].name, tile.head] for tile in mosaic.tiles],
            hovertext=[told[tile.layer, tile.head] for tile in mosaic.tiles],
            hovertemplate="%{hovertext}<extra></extra>",
            showlegend=False,
        )
    )  # fmt: skip
    axis = {"showgrid": False, "ticks": "", "constrain": "domain", "tickmode": "array"}
    figure.update_xaxes(
        **axis, range=[0, wide], constraintoward="left", tickvals=[at for at, _ in mosaic.columns],
        ticktext=[name for _, name in mosaic.columns], title_text="Head" if mosaic.columns else "",
    )  # fmt: skip
    figure.update_yaxes(
        **axis, range=[tall, 0], constraintoward="top", scaleanchor="x", tickvals=[at for at, _ in mosaic.rows],
        ticktext=[plain(shortened(name)) for _, name in mosaic.rows], tickfont={"color": colours.text, "size": 12},
    )  # fmt: skip
    figure.update_layout(hovermode="closest", hoverdistance=80, clickmode="event+select", dragmode="pan")
    how = "each map on its own scale" if scale == "map" else "all maps on one scale"
    cell = "" if mosaic.block == (1, 1) else f"a cell is the largest weight of {mosaic.block[0]} × {mosaic.block[1]}"
    windows = f"window {window + 1} of each" if any(layer.kind == "window" for layer in maps.found) else ""
    subtitle = facts_of(maps, example, "queries down, keys across", how, cell, windows)
    heads = sum(len(layer.heads) for layer in maps.found)
    alt = f"{title}: {counted(heads, 'map')} in {counted(len(maps.found), 'layer')}. " + ". ".join(
        text.replace("<br>", ", ") for text in told.values()
    )
    shown = min(130.0, 640 / max(1, len(mosaic.columns)))
    pixels = round(tall * shown / (wide / max(LEAST_TILES if not mosaic.columns else 1, len(mosaic.columns))))
    dressed(
        figure, title=title, subtitle=subtitle, alt=alt, caption=caption, height=height or pixels + 150, dark=dark,
    )  # fmt: skip
    return scale_placed(figure)


def _values(layer: LayerMaps, example: int, window: int) -> np.ndarray:
    """`[heads, queries, keys]` of one layer without padding; of a spatial gate its grid."""
    weights = layer.weights[example]
    if weights.dim() == 4:
        weights = weights[min(window, len(weights) - 1)]
    whole = weights.detach().float().cpu().numpy()
    if layer.site.is_gate:
        return whole.reshape(1, *layer.keys.grid) if layer.keys.grid is not None else whole
    queries, keys = valid_positions(layer, example)
    return whole[:, queries][:, :, keys]


def _tile(cells: np.ndarray, side: int, largest: float | None) -> np.ndarray:
    """A map in pixels, its longer side about `side`; a flat one is stretched."""
    small = shrunk(cells, MOST_CELLS)
    grown = max(1, side // max(small.shape))
    down, across = (max(grown, -(-LEAST_PIXELS // length)) for length in small.shape)
    return enlarged(levels(small, float(small.max(initial=0.0)) if largest is None else largest), down, across)


def _strip(cells: np.ndarray, width: int, largest: float | None) -> np.ndarray:
    """The values of a channel gate, side by side."""
    small = shrunk(cells, width)
    strip = levels(small, float(small.max(initial=0.0)) if largest is None else largest)
    places = np.arange(width) * strip.shape[1] // width
    return strip[:, places].repeat(STRIP_PIXELS, axis=0)


def _told(maps: AttentionMaps, example: int) -> dict[tuple[int, int], str]:
    """What is said when a head is pointed at."""
    told = {}
    for number, layer in enumerate(maps.found):
        name = plain(layer.name)
        if layer.site.is_gate:
            values = layer.weights[example]
            kind = f"{layer.kind}, {counted(values.numel(), layer.keys.name.removesuffix('s'))}"
            told[number, 0] = f"{name}<br>{kind}<br>{float(values.min()):.3f} to {float(values.max()):.3f}"
            continue
        one = layer.weights[example : example + 1]
        valid = layer.valid_queries[example : example + 1]
        spread, sure = normalised_entropy(one, valid).tolist(), confidence(one, valid).tolist()
        for head, entropy, most in zip(layer.heads, spread, sure, strict=True):
            told[number, head] = (
                f"{name}, head {head}<br>{layer.kind}<br>entropy {number_text(entropy)}"
                f"<br>confidence {number_text(most)}"
            )
    return told
