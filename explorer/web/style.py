"""The look of the pages: one style sheet made from the palette, for light and dark at once.

Colours are CSS variables with `light-dark()`, which follows the theme that the browser shows; components inside
a shadow root inherit them. So a change of theme needs no run of the script.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from explorer.figures.palette import DARK, LIGHT

RULES = Path(__file__).with_name("style.css")


@cache
def style_sheet() -> str:
    """The whole style sheet as text."""
    colours = "".join(
        f"--ce-{field.name.replace('_', '-')}: light-dark({getattr(LIGHT, field.name)}, {getattr(DARK, field.name)});"
        for field in fields(LIGHT)
    )
    return f".stApp {{ {colours} }}\n" + RULES.read_text(encoding="utf-8")


@cache
def favicon() -> Image.Image:
    """The mark of the house, three bars of which each is smaller, as pixels (a named icon would be fetched)."""
    pixels = np.zeros((32, 32, 4), dtype=np.uint8)
    teal = [int(LIGHT.variant[start : start + 2], 16) for start in (1, 3, 5)]
    for left, top in ((3, 4), (13, 12), (23, 20)):
        pixels[top:28, left : left + 7] = [*teal, 255]
    return Image.fromarray(pixels)


def put_style() -> None:
    """Put the style sheet into the page."""
    st.html(f"<style>{style_sheet()}</style>")
