"""How much the matrices of each attention block count, by how sure its attention is."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from torch import Tensor

from explorer.attention.capture import capturing
from explorer.attention.measures import entropies
from explorer.errors import ExplorerError
from explorer.search.scan import blocks_of
from explorer.weights.install import PrivateModel

if TYPE_CHECKING:
    from explorer.workbench import Workbench

EXAMPLES = 128
"""So many examples tell how sure an attention is."""


def attention_weights(bench: Workbench) -> dict[str, float]:
    """For every matrix 1 to 2: 2 minus the mean normalised entropy of the attention maps of its block; 1 without maps.

    A block whose queries each look at one key (entropy 0) counts twice, one that looks everywhere alike (entropy 1)
    once. Measured on the dense model, on examples of the calibration split (of tune, where there is none). Raises
    `ExplorerError` where the model has no attention.
    """
    entropies = block_entropies(bench)
    blocks = blocks_of(bench.matrices())
    return {name: 2.0 - entropies.get(block, 1.0) for name, block in blocks.items()}


def block_entropies(bench: Workbench) -> dict[str, float]:
    """The mean normalised entropy (0 to 1) of the attention maps of each block that has any."""
    blocks = set(blocks_of(bench.matrices()).values())
    module = PrivateModel(bench.subject.model, bench.matrices()).module
    split = bench.subject.split("calibration" if bench.subject.has("calibration") else "tune")
    by_module: dict[str, list[float]] = defaultdict(list)
    with capturing(lambda seen: by_module[seen.module].append(normalised_entropy(seen.weights)), module):
        bench.stage.outputs(module, split.take(slice(0, EXAMPLES)).inputs)
    found: dict[str, list[float]] = defaultdict(list)
    for name, values in by_module.items():
        for block in blocks:
            if block in ("", name) or name.startswith(f"{block}."):
                found[block] += values
    if not found:
        what = f"{bench.name} has no attention" if not by_module else f"the attention of {bench.name} is in no block"
        raise ExplorerError(what, where='by="attention"', instead="leave out by=")
    return {name: sum(values) / len(values) for name, values in found.items()}


def normalised_entropy(maps: Tensor) -> float:
    """The mean entropy of the rows of `[..., queries, keys]`, each over the log of how many keys it sees; 0 to 1.

    Rows that see one key (the first of a causal map) have no choice and do not count; without others it is 0.
    """
    mean = float(entropies(maps).nanmean())
    return 0.0 if math.isnan(mean) else mean
