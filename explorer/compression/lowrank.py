"""Low rank: a matrix as a product of two thin ones, and the spectrum that tells what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explorer.names import FACTORISATIONS
from explorer.shown import Shown
from explorer.weights.threads import one_thread

GRAM_FROM = 512
"""From this size of the smaller side on, singular values come from the Gram matrix."""


@dataclass(frozen=True)
class Singular:
    """The singular value decomposition of one matrix, kept so that every rank is a slice.

    values: `[k]`, descending. left `[out, k]` times right `[k, in]` is the matrix; one of the two is orthonormal, the
    other carries the values.
    """

    values: Tensor
    left: Tensor
    right: Tensor

    def truncated(self, rank: int) -> tuple[Tensor, Tensor]:
        """(left `[out, r]`, right `[r, in]`): their product is the best approximation of that rank (Eckart-Young)."""
        return self.left[:, :rank].contiguous(), self.right[:rank].contiguous()

    @property
    def resident_bytes(self) -> int:
        """Memory that the decomposition holds."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.values, self.left, self.right))


@dataclass(frozen=True)
class Spectrum(Shown):
    """The singular values of the matrix called `matrix`, of `rows` by `columns`, descending."""

    matrix: str
    values: NDArray[np.float64]
    rows: int
    columns: int

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """`energy[r - 1]`: the share of the squared values that rank r keeps."""
        squares = self.values**2
        total = squares.sum()
        return np.cumsum(squares) / total if total > 0 else np.ones_like(squares)

    @property
    def break_even(self) -> float:
        """The rank below which two thin matrices hold fewer numbers: mn / (m + n)."""
        return self.rows * self.columns / (self.rows + self.columns)

    def rank_for(self, energy: float) -> int:
        """The smallest rank that keeps that share of energy (at least 1)."""
        reached = self.energy >= energy * (1 - 1e-12)
        return int(np.argmax(reached)) + 1 if reached.any() else len(self.values)

    def error(self, rank: int) -> float:
        """The relative Frobenius error of that rank: the root of the dropped share of energy."""
        squares = self.values**2
        total = squares.sum()
        return float(np.sqrt(squares[rank:].sum() / total)) if total > 0 else 0.0

    def __str__(self) -> str:
        marks = ", ".join(f"{share:.0%} from rank {self.rank_for(share)}" for share in (0.5, 0.9, 0.95, 0.99))
        what = f"{self.matrix} [{self.rows}, {self.columns}]: {len(self.values)} singular values"
        return f"{what}, energy {marks}; smaller below rank {self.break_even:.1f}"


@FACTORISATIONS.register(
    "svd",
    label="SVD",
    help="Keep the largest singular values: the closest matrix of that rank.",
    reference="Eckart and Young 1936, The approximation of one matrix by another of lower rank",
)
def svd(weight: Tensor) -> Singular:
    """The singular value decomposition of `[out, in]`, in float32; a large one by its Gram matrix in float64.

    By Gram, one side is the matrix times the vectors (never divided by a singular value), so that full rank gives the
    matrix back.
    """
    matrix = weight.detach().to(torch.float32)
    with one_thread():
        if min(matrix.shape) < GRAM_FROM:
            u, values, right = torch.linalg.svd(matrix, full_matrices=False)
            return Singular(values, u * values, right)
        exact = matrix.to(torch.float64)
        wide = matrix.shape[0] < matrix.shape[1]
        squares, vectors = torch.linalg.eigh(exact @ exact.t() if wide else exact.t() @ exact)
        values, vectors = squares.flip(0).clamp_min(0).sqrt().float(), vectors.flip(1)  # eigh gives them ascending
        if wide:
            return Singular(values, vectors.float(), (vectors.t() @ exact).float())
        return Singular(values, (exact @ vectors).float(), vectors.t().float())
