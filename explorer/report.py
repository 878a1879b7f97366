"""Reports: what a variant kept and what it costs, beside the dense model."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from explorer.evaluation.cost import Cost
from explorer.evaluation.latency import Latency
from explorer.evaluation.quality import Quality
from explorer.shown import Shown
from explorer.weights.forms import Factors, Form, as_run, rows_gone
from explorer.weights.matrices import Matrices
from explorer.weights.packing import Storage


@dataclass(frozen=True)
class MatrixKept:
    """What is left of one matrix.

    entries: how many numbers its form holds (of the matrix' `total`), nonzero: how many of them are not zero.
    share: nonzero over total. size_bytes: in the file, None where it stands raw inside a shared Parameter.
    """

    name: str
    total: int
    entries: int
    nonzero: int
    rank: int | None
    rows_removed: int
    size_bytes: int | None

    @property
    def share(self) -> float:
        """How much of the matrix is left: numbers that are not zero, over its weights."""
        return self.nonzero / self.total


@dataclass(frozen=True)
class Size(Shown):
    """Sizes of a variant, all exact.

    bytes: the length of the weights file that `save()` writes; bytes_dense: of the empty recipe's file.
    sparsity: zeros over the entries of the forms that run (compressible weights); sparsity_all: over all parameters.
    parameters: how many numbers are held; nonzero: how many of them are not zero.
    """

    bytes: int
    bytes_dense: int
    sparsity: float
    sparsity_all: float
    parameters: int
    nonzero: int
    kept: Mapping[str, MatrixKept]

    @property
    def entries(self) -> int:
        """How many numbers the compressible matrices hold as they run: what `sparsity` is a share of."""
        return sum(kept.entries for kept in self.kept.values())

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the dense one."""
        return self.bytes_dense / self.bytes

    def to_dict(self) -> dict[str, float]:
        """The promised keys, flat."""
        return {
            "sparsity": self.sparsity,
            "sparsity_all": self.sparsity_all,
            "parameters": self.parameters,
            "nonzero": self.nonzero,
            "bytes_dense": self.bytes_dense,
            "bytes": self.bytes,
            "ratio": self.ratio,
        }

    def __str__(self) -> str:
        return f"{self.bytes:,} bytes (dense {self.bytes_dense:,}, ×{self.ratio:.2f}), sparsity {self.sparsity:.2%}"


def measure_size(
    model: nn.Module,
    matrices: Matrices,
    forms: Mapping[str, Form],
    rest: Mapping[str, Form],
    thin: Container[str],
    storage: Storage,
    bytes_dense: int,
) -> Size:
    """The sizes of a variant of `model`.

    forms: of every matrix; rest: of what else is changed, by name. thin: the Parameters whose factors can run as thin
    layers.
    """
    stored = {entry.name: entry.size_bytes for entry in storage.entries}
    kept: dict[str, MatrixKept] = {}
    entries = zeros = 0
    for matrix in matrices:
        form = forms[matrix.name]
        removed = rows_gone(form)
        gone = 0 if removed is None else int(removed.sum())
        held = as_run(form, matrix.parameter in thin)
        entries += held.entries
        zeros += held.entries - held.nonzero
        whole = stored.get(matrix.name, stored.get(matrix.parameter) if _alone(matrix.parameter, matrices) else None)
        rank = form.rank if isinstance(form, Factors) else None
        kept[matrix.name] = MatrixKept(matrix.name, matrix.count, held.entries, held.nonzero, rank, gone, whole)
    in_matrices = {matrix.parameter for matrix in matrices}
    others, other_zeros = 0, 0
    for name, parameter in model.named_parameters():
        if name not in in_matrices:
            tensor: Tensor = rest[name].decode() if name in rest else parameter
            others += tensor.numel()
            other_zeros += tensor.numel() - int(tensor.count_nonzero())
    total = entries + others
    return Size(
        storage.size_bytes,
        bytes_dense,
        zeros / entries if entries else 0.0,
        (zeros + other_zeros) / total if total else 0.0,
        total,
        total - zeros - other_zeros,
        kept,
    )


def _alone(parameter: str, matrices: Matrices) -> bool:
    return sum(matrix.parameter == parameter for matrix in matrices) == 1


@dataclass(frozen=True)
class Report(Shown):
    """Quality, size and work of a variant; `dense` is the report of the dense model (None on its own)."""

    recipe: str
    quality: Quality
    size: Size
    cost: Cost
    dense: Report | None = None
    latency: Latency | None = None

    def to_dict(self) -> dict[str, Any]:
        """Flat: metrics by their scikit-learn names with the primary one's interval, sparsity, bytes, work."""
        flat = {**self.quality.to_dict(), **self.size.to_dict()}
        flat |= {"macs": self.cost.macs, "macs_effective": self.cost.macs_effective}
        if self.latency is not None:
            flat |= {"latency_ms": self.latency.variant_ms, "latency_dense_ms": self.latency.dense_ms}
        return flat

    def __str__(self) -> str:
        own = self.to_dict()
        beside = {} if self.dense is None else self.dense.to_dict()
        lines = [self.recipe, f"{'':<24}{'variant':>16}{'dense':>16}"]
        for name, value in own.items():
            other = beside.get(name)
            lines.append(f"{name:<24}{_number(value):>16}{'' if other is None else _number(other):>16}")
        return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
