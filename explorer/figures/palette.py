"""The colours and what they mean: the same in the app, in notebooks and in saved figures.

Dense is slate, the variant teal, what was removed pale. Signed values run from rust over white to teal, differences
from purple over white to green. Amber warns; red is kept for a loss whose interval excludes zero. The pairs stay
apart for colour-blind readers, and no figure says anything by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Named colours on a light or on a dark ground (`#rrggbb`), or on either (also with a transparency behind)."""

    dense: str
    variant: str
    variant_soft: str
    variant_deep: str
    removed: str
    negative: str
    zero: str
    positive: str
    less: str
    more: str
    warning: str
    warning_soft: str
    loss: str
    gain: str
    text: str
    quiet: str
    grid: str
    line: str
    ground: str
    card: str

    @property
    def signed(self) -> list[tuple[float, str]]:
        """The colour scale of signed values: rust, white at zero, teal."""
        return [(0.0, self.negative), (0.5, self.zero), (1.0, self.positive)]

    @property
    def difference(self) -> list[tuple[float, str]]:
        """The colour scale of differences: purple, white at zero, green."""
        return [(0.0, self.less), (0.5, self.zero), (1.0, self.more)]

    @property
    def weights(self) -> list[tuple[float, str]]:
        """The colour scale of attention weights, of whichever model: from the ground over teal to the deepest."""
        return [(0.0, self.card), (0.25, self.variant_soft), (0.65, self.variant), (1.0, self.variant_deep)]

    @property
    def kept(self) -> list[tuple[float, str]]:
        """The colour scale of a share that is kept: pale at nothing, teal at all."""
        return [(0.0, self.removed), (1.0, self.variant)]


LIGHT = Palette(
    dense="#64748b",
    variant="#0d9488",
    variant_soft="#99d5cf",
    variant_deep="#053b37",
    removed="#e2e8f0",
    negative="#c2410c",
    zero="#ffffff",
    positive="#0d9488",
    less="#7b3294",
    more="#1b7837",
    warning="#b45309",
    warning_soft="#fef3c7",
    loss="#c81e1e",
    gain="#0f766e",
    text="#0f172a",
    quiet="#5b6b80",
    grid="#e8edf3",
    line="#dbe2ea",
    ground="#f6f8fa",
    card="#ffffff",
)

DARK = Palette(
    dense="#94a3b8",
    variant="#2ab7a9",
    variant_soft="#1d5d59",
    variant_deep="#d3fbf4",
    removed="#3b4758",
    negative="#e0692f",
    zero="#ffffff",
    positive="#14a89a",
    less="#b183c9",
    more="#56b870",
    warning="#f0a63a",
    warning_soft="#42310f",
    loss="#f77171",
    gain="#2dd4bf",
    text="#e6ebf2",
    quiet="#9fadc0",
    grid="#2a3443",
    line="#354152",
    ground="#0e141c",
    card="#161e29",
)

EITHER = Palette(
    dense="#7b8a9e",
    variant="#14a094",
    variant_soft="#14a09455",
    variant_deep="#0b6f67",
    removed="#8a97a844",
    negative="#d9602b",
    zero="#ffffff",
    positive="#14a094",
    less="#9a5fb5",
    more="#2f9e4f",
    warning="#d08410",
    warning_soft="#d0841022",
    loss="#dc4444",
    gain="#129a8e",
    text="inherit",
    quiet="inherit",
    grid="#8a97a833",
    line="#8a97a855",
    ground="transparent",
    card="transparent",
)
"""Colours for HTML in a notebook, whose ground is not known: they stand on light and on dark alike."""

FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, sans-serif"
"""The typeface of figures and pages: what the machine has; nothing is fetched."""


def palette(dark: bool = False) -> Palette:
    """The colours for a light or for a dark ground."""
    return DARK if dark else LIGHT
