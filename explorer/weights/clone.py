"""Private clones: what the engine runs, so that the dense model is never touched."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.weights.open_attention import open_attention

WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes."""


def private_clone(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose Parameters are new objects over the same storage, on the one open path.

    Buffers are copied (a forward may write them), Parameters alias the storage of the model's (nothing writes them:
    a changed one is replaced). Tensor attributes with a history enter detached. Requires no gradients.
    """
    clone = _copy(model, lambda parameter: nn.Parameter(parameter.detach(), requires_grad=False))
    take_open_path(clone)
    return clone.eval()


def full_copy(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with the model: its owner may train or break it."""
    return _copy(model, lambda parameter: nn.Parameter(parameter.detach().clone(), parameter.requires_grad))


def take_open_path(model: nn.Module) -> None:
    """Turn PyTorch's fused encoder path off and open every `nn.MultiheadAttention`, in place.

    The fused path bypasses hooks and thin layers, and gives other values at padded positions.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
        if type(module) is nn.MultiheadAttention:
            open_attention(module)


def digest(model: nn.Module) -> str:
    """A fingerprint of all parameters and buffers: 16 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=8)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            state.update(flat.view(torch.uint8).numpy().data)
    return state.hexdigest()


def watermarks(model: nn.Module) -> tuple[tuple[int, int, int, bool], ...]:
    """What in-place changes of a model's Parameters would move: identity, address, version, requires_grad. Cheap."""
    return tuple((id(p), p.data_ptr(), p._version, p.requires_grad) for p in model.parameters())


def contents(model: nn.Module) -> tuple[int, ...]:
    """The sum of the bits of each Parameter and saved buffer, read as whole numbers.

    Notices what moves no watermark: writing through `.data`, or a batch norm that ran in training mode.
    """
    buffers = dict(model.named_buffers())
    saved = [buffers[name] for name in model.state_dict(keep_vars=True) if name in buffers]
    return tuple(_bit_sum(tensor.detach()) for tensor in [*model.parameters(), *saved])


def _bit_sum(tensor: Tensor) -> int:
    numbers = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return int(numbers.view(WHOLE[numbers.element_size()]).sum())


def _copy(model: nn.Module, parameter_copy: Any) -> nn.Module:
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        fresh = parameter_copy(parameter)
        memo[id(parameter)] = fresh
    for tensor in _stray_tensors(model):
        memo[id(tensor)] = tensor.detach().clone()
    try:
        with torch.no_grad():  # scripted modules copy themselves, with a history that would lead back to the model
            clone = copy.deepcopy(model, memo)
    except Exception as problem:
        raise ExplorerError(
            f"the model cannot be copied ({type(problem).__name__}: {problem})",
            where=type(model).__name__,
            instead="keep what cannot be copied (open files, locks, generators) out of the module",
        ) from problem
    own = dict(model.named_parameters())
    for name, parameter in clone.named_parameters():
        parameter.requires_grad_(memo[id(own[name])].requires_grad)
    for recurrent in clone.modules():
        if isinstance(recurrent, nn.RNNBase):
            recurrent._init_flat_weights()
    return clone


def _stray_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Tensors with a history that hang on modules as plain attributes, also inside lists, tuples and dicts."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                yield from _with_history(value, depth=3)
        yield from _with_history(list(module._buffers.values()), depth=1)


def _with_history(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if not isinstance(value, nn.Parameter) and value.grad_fn is not None:
            yield value
    elif depth and isinstance(value, (list, tuple)):
        for item in value:
            yield from _with_history(item, depth - 1)
    elif depth and type(value) is dict:
        for item in value.values():
            yield from _with_history(item, depth - 1)
