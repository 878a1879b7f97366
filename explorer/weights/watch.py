"""Watching one forward pass: which Parameters it truly uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explorer.weights.forms import Form, Masked
from explorer.weights.install import Outfit, PrivateModel
from explorer.weights.matrices import Matrices

_LOOKS = {
    *(getattr(Tensor, name).__get__ for name in ("dtype", "shape", "device", "ndim", "layout", "requires_grad")),
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.is_floating_point),
}
"""Looking at a weight's type or size is no use of it."""


class _Watch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _LOOKS:
            self._note((args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _note(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.seen.add(id(value))
        elif isinstance(value, dict):
            self._note(tuple(value.values()))
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._note(item)


def compressible(model: nn.Module, matrices: Matrices, run: Callable[[nn.Module], object]) -> Matrices:
    """The matrices whose exchange a forward pass notices; the others move to `not_compressible`, with the reason.

    run: one forward pass of the module that it is given. Every Parameter that holds a matrix is exchanged for an
    equal one; the pass must use the new one and no longer the old one.
    """
    private = PrivateModel(model, matrices)
    dense = {matrix.parameter: private.module.get_parameter(matrix.parameter) for matrix in matrices}
    forms: dict[str, Form] = {}
    for matrix in matrices:
        weight = matrix.view(dense[matrix.parameter].detach())
        forms[matrix.name] = Masked(weight, torch.ones(weight.shape, dtype=torch.bool))
    module = private.wear(Outfit(forms, {}))
    fresh = {name: module.get_parameter(name) for name in dense}
    watch = _Watch()
    with torch.no_grad(), watch:
        run(module)
    reasons: dict[str, str] = {}
    for name in dense:
        if id(fresh[name]) not in watch.seen:
            reasons[name] = "a forward pass never uses its weight"
        elif {id(dense[name]), id(model.get_parameter(name))} & watch.seen:
            reasons[name] = "the model keeps the weight in a second place, which would go on with the dense one"
    kept = [matrix for matrix in matrices if matrix.parameter not in reasons]
    return Matrices(kept, [*matrices.not_compressible, *_refused(matrices, reasons)])


def _refused(matrices: Iterable[Any], reasons: dict[str, str]) -> list[tuple[str, str]]:
    return [(matrix.name, reasons[matrix.parameter]) for matrix in matrices if matrix.parameter in reasons]
