"""Steps: what can be done to a model, as plain frozen data. Labels, help and limits stand here for all three faces."""

from __future__ import annotations

from explorer.steps.attention import EditAttention
from explorer.steps.base import LARGEST_SEED, Step
from explorer.steps.coding import Codebook, Quantize
from explorer.steps.lowrank import LowRank
from explorer.steps.prune import Prune
from explorer.steps.training import LEARNED, GradualPrune, Recover

__all__ = [
    "LARGEST_SEED",
    "LEARNED",
    "STEPS",
    "Codebook",
    "EditAttention",
    "GradualPrune",
    "LowRank",
    "Prune",
    "Quantize",
    "Recover",
    "Step",
]

STEPS: dict[str, type[Step]] = {
    step.kind: step for step in (Prune, LowRank, Quantize, Codebook, EditAttention, Recover, GradualPrune)
}
