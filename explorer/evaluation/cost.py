"""Work: multiply-accumulate operations of one forward pass, attention included (library counters miss it on CPU)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from explorer.weights.forms import Form, as_run
from explorer.weights.matrices import Matrices, WeightMatrix


@dataclass(frozen=True)
class Cost:
    """Of one example's forward pass.

    macs: multiply-accumulates that are really done (zeros multiply, too). macs_effective: those whose weight is not
    zero. macs_attention: the part in products of activations with activations, which no weight can change.
    """

    macs: int
    macs_effective: int
    macs_attention: int


@dataclass(frozen=True)
class WorkRecord:
    """The work of the dense model.

    by_part: MACs by what they multiply with: (Parameter, first element, elements), since a packed Parameter may be used
    part by part. without: MACs that involve no Parameter.
    """

    by_part: Mapping[tuple[str, int, int], int]
    without: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.by_part.values()) + self.without


def record_work(model: nn.Module, run: Callable[[nn.Module], object]) -> WorkRecord:
    """Count one forward pass. A Parameter used twice (tied weights) counts each time."""
    counter = _Counter(model)
    with torch.no_grad(), counter:
        run(model)
    return WorkRecord(counter.by_part, counter.without)


def cost_of(
    record: WorkRecord, matrices: Matrices, forms: Mapping[str, Form], dense: Mapping[str, Form], thin: Container[str]
) -> Cost:
    """The work of a variant, from the dense model's record: thin factors cost r(m + n) of mn, zeros are left out.

    forms: of the changed matrices; dense: of all. thin: the Parameters whose factors can run as thin layers.
    """
    macs = effective = float(record.total)
    for matrix in matrices:
        work = _work_with(matrix, record)
        form = as_run(forms.get(matrix.name, dense[matrix.name]), matrix.parameter in thin)
        macs += work * (form.entries / matrix.count - 1)
        effective += work * (form.nonzero / matrix.count - 1)
    return Cost(round(macs), round(effective), record.without)


def _work_with(matrix: WeightMatrix, record: WorkRecord) -> float:
    """The MACs that multiply with the elements of a matrix."""
    work = 0.0
    first = 0 if matrix.transposed else matrix.first * matrix.columns
    for (name, start, length), macs in record.by_part.items():
        if name == matrix.parameter:  # of a transposed one the columns interleave: its share is its size
            shared = min(start + length, first + matrix.count) - max(start, first)
            work += macs * max(0, matrix.count if matrix.transposed else shared) / length
    return work


class _Counter(TorchDispatchMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.by_part: dict[tuple[str, int, int], int] = {}
        self.without = 0
        spans = sorted(
            (p.data_ptr(), p.data_ptr() + p.numel() * p.element_size(), name)
            for name, p in model.named_parameters()
            if p.numel()
        )
        self._starts, self._spans = [span[0] for span in spans], spans

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = _COUNTS.get(func._overloadpacket)
        if count is not None:
            for tensors, macs in count(args, result):
                self._note(tensors, macs)
        return result

    def _note(self, tensors: tuple[Tensor, ...], macs: int) -> None:
        for tensor in tensors:
            at = bisect_right(self._starts, tensor.data_ptr()) - 1
            if at >= 0 and tensor.data_ptr() < self._spans[at][1]:
                first = (tensor.data_ptr() - self._starts[at]) // tensor.element_size()
                part = (self._spans[at][2], first, tensor.numel())
                self.by_part[part] = self.by_part.get(part, 0) + macs
                return
        self.without += macs


Counted = list[tuple[tuple[Tensor, ...], int]]


def _product(a: Tensor, b: Tensor) -> Counted:
    """(..., n, k) times (..., k, m); of two Parameters (a learned query, a weight) the second counts, as in x W."""
    return [((b, a), prod(a.shape) * b.shape[-1])]


def _vector(a: Tensor, b: Tensor) -> Counted:
    return [((a, b), prod(a.shape))]


def _convolution(args: Any, result: Tensor) -> Counted:
    x, weight, transposed = args[0], args[1], args[6]
    places = x if transposed else result
    return [((weight,), places.shape[0] * prod(places.shape[2:]) * prod(weight.shape))]


def _attention(args: Any, result: Any) -> Counted:
    query, key, value = args[0], args[1], args[2]  # (B, H, N, D), (B, H, S, D), (B, H, S, E)
    pairs = prod(query.shape[:-1]) * key.shape[-2]
    return [((), pairs * (query.shape[-1] + value.shape[-1]))]


def _recurrent(args: Any, result: Any) -> Counted:
    x, w_input, w_hidden = args[0], args[1], args[2]  # (T, B, in)
    steps = x.shape[0] * x.shape[1]
    return [((w_input,), steps * w_input.numel()), ((w_hidden,), steps * w_hidden.numel())]


aten = torch.ops.aten
_COUNTS: dict[Any, Callable[[Any, Any], Counted]] = {
    aten.mm: lambda args, result: _product(args[0], args[1]),
    aten.bmm: lambda args, result: _product(args[0], args[1]),
    aten.addmm: lambda args, result: _product(args[1], args[2]),
    aten.baddbmm: lambda args, result: _product(args[1], args[2]),
    aten.mv: lambda args, result: _vector(args[0], args[1]),
    aten.addmv: lambda args, result: _vector(args[1], args[2]),
    aten.dot: lambda args, result: _vector(args[0], args[1]),
    aten.convolution: _convolution,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
    aten.mkldnn_rnn_layer: _recurrent,
}
