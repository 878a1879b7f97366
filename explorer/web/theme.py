"""The look of the app: the palette of the figures, handed to Streamlit as its theme, light and dark."""

from __future__ import annotations

from typing import Any

from explorer.figures.palette import DARK, FONT, LIGHT, Palette

SIZES: dict[str, Any] = {
    "baseFontSize": 15,
    "baseRadius": "8px",
    "buttonRadius": "8px",
    "metricValueFontSize": "1.75rem",
    "metricValueFontWeight": 650,
    "showWidgetBorder": True,
    "showSidebarBorder": True,
    "linkUnderline": False,
    "paddingTop": "0.25rem",
    "paddingBottom": "3rem",
    "font": FONT,
    "headingFont": FONT,
    "headingFontSizes": ["1.6rem", "1.25rem", "1.05rem", "1rem", "0.95rem", "0.9rem"],
    "headingFontWeights": [700, 650, 650, 600, 600, 600],
    "codeFont": "'JetBrains Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    "codeFontSize": "0.85rem",
}
"""Type and shape, the same on both grounds. The fonts are the machine's own: a workshop has no internet."""


def theme_options() -> dict[str, Any]:
    """Streamlit's theme options by their full names ("theme.light.primaryColor"), both grounds at once.

    The viewer's system chooses the ground, and the app's own menu overrides it.
    """
    options = {f"theme.{name}": value for name, value in SIZES.items()}
    for ground, colours in (("light", LIGHT), ("dark", DARK)):
        options |= {f"theme.{ground}.{name}": value for name, value in _colours(colours).items()}
        options |= {f"theme.{ground}.sidebar.{name}": value for name, value in _sidebar(colours).items()}
    return options


def _colours(colours: Palette) -> dict[str, Any]:
    return {
        "primaryColor": colours.variant,
        "backgroundColor": colours.ground,
        "secondaryBackgroundColor": colours.card,
        "textColor": colours.text,
        "borderColor": colours.line,
        "dataframeBorderColor": colours.line,
        "dataframeHeaderBackgroundColor": colours.card,
        "dataframeHeaderTextColor": colours.quiet,
        "codeBackgroundColor": colours.grid,
        "codeTextColor": colours.text,
        "linkColor": colours.gain,
        "greenColor": colours.variant,
        "greenTextColor": colours.gain,
        "orangeColor": colours.warning,
        "orangeTextColor": colours.warning,
        "yellowColor": colours.warning,
        "yellowTextColor": colours.warning,
        "yellowBackgroundColor": colours.warning_soft,
        "redColor": colours.loss,
        "redTextColor": colours.loss,
        "violetColor": colours.less,
        "violetTextColor": colours.less,
        "blueColor": colours.dense,
        "blueTextColor": colours.dense,
        "grayColor": colours.dense,
        "grayTextColor": colours.quiet,
        "chartCategoricalColors": [colours.variant, colours.dense, colours.warning, colours.more, colours.less],
    }


def _sidebar(colours: Palette) -> dict[str, Any]:
    return {"backgroundColor": colours.card, "secondaryBackgroundColor": colours.ground, "borderColor": colours.line}
