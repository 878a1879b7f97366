"""Small pictures."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from explorer.figures.palette import LIGHT
from explorer.figures.pictures import COLUMNS, ROWS, pattern_address, pattern_svg, picture_address


def decoded(address: str) -> np.ndarray:
    """The pixels of a PNG data address."""
    head, data = address.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_grey_pictures_come_back() -> None:
    picture = np.array([[0.0, 0.5, 1.0], [2.0, -1.0, np.nan]])
    assert decoded(picture_address(picture)).tolist() == [[0, 128, 255], [255, 0, 0]]
    assert decoded(picture_address(picture, ink_on_paper=True)).tolist() == [[255, 128, 0], [0, 255, 255]]


def test_colour_pictures_come_back() -> None:
    picture = np.random.default_rng(0).random((5, 4, 3))
    assert np.array_equal(decoded(picture_address(picture)), np.rint(picture * 255))


def kept(svg: str) -> np.ndarray:
    """Which cells of a pattern's picture are kept, `[rows, columns]`."""
    cells = [element.get("fill") for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("rect")]
    return (np.array(cells) == LIGHT.variant).reshape(ROWS, COLUMNS)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (0, 4), (4, 4), (3, 7)])
def test_a_group_keeps_at_most_n(n: int, m: int) -> None:
    mask = kept(pattern_svg("n:m", n=n, m=m))
    for start in range(0, COLUMNS, m):
        group = mask[:, start : start + m]
        assert (group.sum(1) == min(n, group.shape[1])).all()


def test_rows_go_as_a_whole() -> None:
    mask = kept(pattern_svg("row", sparsity=0.25))
    assert set(mask.sum(1)) == {0, COLUMNS} and (~mask).all(1).sum() == ROWS / 4


def test_single_weights_go_anywhere() -> None:
    mask = kept(pattern_svg("unstructured", sparsity=0.5))
    assert mask.sum() == ROWS * COLUMNS / 2 and 0 < mask.sum(1).min() < mask.sum(1).max() < COLUMNS


def test_pictures_have_words() -> None:
    assert "2 of every 4 neighbouring inputs are kept" in pattern_svg("n:m")
    assert pattern_address("row").startswith("data:image/svg+xml,%3Csvg")
