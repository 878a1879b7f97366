"""Colours stay readable: on their ground, and apart from each other."""

from __future__ import annotations

import pytest

from explorer.figures.palette import DARK, EITHER, LIGHT, Palette, palette


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio (WCAG 2), 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "quiet", "warning", "loss", "gain"])
def test_words_can_be_read(colours: Palette, name: str) -> None:
    for ground in (colours.card, colours.ground):
        assert contrast(getattr(colours, name), ground) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["dense", "variant", "negative", "positive"])
def test_marks_can_be_seen(colours: Palette, name: str) -> None:
    assert contrast(getattr(colours, name), colours.card) >= 3


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_kept_and_removed_differ_in_lightness(colours: Palette) -> None:
    assert contrast(colours.variant, colours.removed) >= 2.8


@pytest.mark.parametrize("name", ["dense", "variant", "warning", "loss", "gain"])
@pytest.mark.parametrize("ground", ["#ffffff", "#111111"])
def test_notebook_colours_stand_on_both_grounds(name: str, ground: str) -> None:
    assert contrast(getattr(EITHER, name), ground) >= 2.8


def test_scales_are_white_at_zero() -> None:
    for colours in (palette(), palette(dark=True)):
        assert colours.signed[1] == colours.difference[1] == (0.5, "#ffffff")
