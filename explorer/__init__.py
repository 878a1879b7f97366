"""Compression Explorer: see what compression does to a model while you move the slider."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from explorer import shown as _shown
from explorer.attention import edits as _edits  # noqa: F401  (fills its registry)
from explorer.attention.maps import AttentionMaps
from explorer.attribution import layers as _layers  # noqa: F401  (fills its registry)
from explorer.attribution import methods as _methods  # noqa: F401  (fills its registry)
from explorer.attribution import perturbing as _perturbing  # noqa: F401  (fills its registry)
from explorer.attribution import rules as _rules  # noqa: F401  (fills its registry)
from explorer.attribution.faithfulness import Faithfulness
from explorer.attribution.result import Attributions
from explorer.comparison.side_by_side import Comparison, compare
from explorer.comparison.trials import robustness
from explorer.compression import criteria as _criteria  # noqa: F401  (fills its registry)
from explorer.compression import lowrank as _lowrank  # noqa: F401  (fills its registry)
from explorer.compression import patterns as _patterns  # noqa: F401  (fills its registry)
from explorer.drift import AttentionDrift, attention_drift
from explorer.errors import ExplorerError
from explorer.gates import Checks, check
from explorer.limits import Limits
from explorer.opening import load, samples
from explorer.recipe import Recipe
from explorer.report import Report
from explorer.search.gains import TunedHeads
from explorer.search.heads import HeadTable
from explorer.search.sensitivity import Sensitivity
from explorer.steps import Codebook, EditAttention, GradualPrune, LowRank, Prune, Quantize, Recover
from explorer.subjects.examples import Examples
from explorer.subjects.heads import Head
from explorer.variant import Variant
from explorer.version import __version__
from explorer.workbench import Workbench

_shown.fill_when_asked(lambda: import_module("explorer.figures.registered"))


@_shown.panel
def _live(workbench: Workbench, recipe: Recipe) -> Any:
    return import_module("explorer.notebook.panel").LivePanel(workbench, recipe)


__all__ = [
    "Recover",
    "Quantize",
    "GradualPrune",
    "Codebook",
    "AttentionDrift",
    "AttentionMaps",
    "Attributions",
    "Checks",
    "Comparison",
    "EditAttention",
    "Examples",
    "ExplorerError",
    "Faithfulness",
    "Head",
    "HeadTable",
    "Limits",
    "LowRank",
    "Prune",
    "Recipe",
    "Report",
    "Sensitivity",
    "TunedHeads",
    "Variant",
    "Workbench",
    "__version__",
    "attention_drift",
    "check",
    "compare",
    "load",
    "robustness",
    "samples",
]
