"""Criteria: how important each single weight is. Higher = keep. Adding one is one decorated function."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.names import CRITERIA


@dataclass(frozen=True)
class Asked:
    """What a criterion may know beside the weights.

    name: of the matrix (or of one of its factors), so that random scores do not depend on which others are chosen.
    seed: of the step.
    """

    name: str
    seed: int


@CRITERIA.register(
    "magnitude",
    label="magnitude",
    help="Small weights go first: the score is |w|.",
    reference="Han et al. 2015, Learning both weights and connections for efficient neural networks",
)
def magnitude(weight: Tensor, asked: Asked) -> Tensor:
    """|w|, `[out, in]`; in a group, the root mean square (L2 norm over the square root of its size)."""
    return weight.abs()


@CRITERIA.register(
    "random",
    label="random",
    help="Weights go by lot: what any cleverer score has to beat.",
    reference="Gale et al. 2019, The state of sparsity in deep neural networks",
)
def random(weight: Tensor, asked: Asked) -> Tensor:
    """Uniform numbers in 0..1, `[out, in]`, the same for the same seed and name at every sparsity."""
    generator = torch.Generator().manual_seed((zlib.crc32(asked.name.encode()) << 16) ^ asked.seed)
    return torch.rand(weight.shape, generator=generator).to(weight.device)
