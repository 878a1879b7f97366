"""Attention maps from an unchanged model: a function mode answers the fused attention and notes the eager one.

The fused `scaled_dot_product_attention` never hands out its weights, so the mode computes them, with mask, causality,
scale, grouped queries and dropout as documented, and goes on with these. An eager softmax is noted when its result,
followed through dropout, casts, masks, views and transposes, is the left operand of a product of batches that sums
over what the softmax shares out; other softmaxes are none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explorer.attention.fused import Asked

FUSED = {F.scaled_dot_product_attention}
SOFTMAXES = {F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax}
FOLLOWED = {
    F.dropout, torch.dropout, Tensor.to, Tensor.type_as, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16,
    Tensor.contiguous, Tensor.clone, torch.clone, Tensor.view, Tensor.reshape, torch.reshape, Tensor.squeeze,
    Tensor.unsqueeze, Tensor.flatten, Tensor.unflatten, torch.squeeze, torch.unsqueeze, torch.flatten,
}  # fmt: skip
CLEANED = {
    Tensor.masked_fill, torch.masked_fill, torch.nan_to_num, Tensor.nan_to_num, Tensor.mul, torch.mul, Tensor.__mul__,
    Tensor.div, torch.div, Tensor.__truediv__, Tensor.__getitem__,
}  # fmt: skip
"""What a model may do to its rows (empty those that see nothing, mask, scale, cut): the rows are what comes of it."""
TRANSPOSED = {
    torch.transpose, Tensor.transpose, Tensor.permute, torch.permute, Tensor.swapaxes, Tensor.mT.__get__,  # type: ignore[attr-defined]  # a property, to mypy a tensor
    torch.swapaxes, Tensor.movedim, torch.movedim,
}  # fmt: skip
PRODUCTS = {torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__}
SUMS = {torch.sum, Tensor.sum}
WRAPPED = torch._C._functorch.is_functorch_wrapped_tensor
"""Whether a tensor lives inside a transform of `torch.func` only."""


@dataclass
class Frame:
    """A call of a module that is under way: its name, and how many softmaxes it (and what it calls) did so far.

    attends: whether its name or class speaks of attention.
    """

    name: str
    softmaxes: int = 0
    attends: bool = False


@dataclass
class Softmax:
    """One softmax: its result, its number within each call that was under way, and the tensors that stand for it.

    raw: what the pass goes on with. order: how its dimensions were turned since (as of `Tensor.permute`); turns: the
    same, of the softmax's own result. shared: the dimension of `raw` that sums to one. weighed: it has multiplied
    values, place by place, and a sum over the places is awaited.
    """

    raw: Tensor
    order: tuple[int, ...]
    turns: tuple[int, ...]
    shared: int
    fused: bool
    width: int
    frames: list[tuple[Frame, int]]
    followed: list[int] = field(default_factory=list)
    weighed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the rows as they are turned now."""
        return tuple(self.raw.shape[dim] for dim in self.order)

    def keys_last(self, whole: bool) -> bool:
        """Whether a product sums over what the softmax shares out; `whole`: its shape is still the softmax's."""
        return not whole or self.order[-1] == self.shared

    def turned(self, func: Any, args: Any, kwargs: Any) -> Softmax:
        """The same, transposed by `func`."""
        marks = torch.empty(tuple(range(2, 2 + len(self.order))), device="meta")  # each side says which one it is
        return self.reordered([side - 2 for side in func(marks, *args, **kwargs).shape])

    def reordered(self, order: Sequence[int]) -> Softmax:
        """The same with its dimensions, as they are now, in another order."""
        turns = tuple(self.turns[dim] for dim in order)
        return replace(self, order=tuple(self.order[dim] for dim in order), turns=turns)

    def became(self, raw: Tensor) -> Softmax:
        """The same with other rows in the place of these."""
        return replace(self, raw=raw, order=tuple(range(raw.dim())), shared=self.order.index(self.shared))


@dataclass(frozen=True)
class Seen:
    """One attention as it happened.

    raw: its rows as they were computed (of a `light` capture only their shape), and what gradients are of. order: how
    they are turned, so that the keys are last; turns: the same, of the softmax's own result. module: the innermost
    call that did softmax and product ("" for the model itself, or where no modules are watched), and the softmax's
    `number` within that call, from 0. width: of a head's queries, where they are known (0 else).
    """

    raw: Tensor
    order: tuple[int, ...]
    turns: tuple[int, ...]
    module: str
    number: int
    fused: bool
    width: int = 0

    @property
    def weights(self) -> Tensor:
        """The rows, keys last."""
        return self.turned(self.raw)

    def turned(self, rows: Tensor) -> Tensor:
        """Rows, or their gradients, with the keys last."""
        return rows if self.order == tuple(range(rows.dim())) else rows.permute(self.order)


class Capture(TorchFunctionMode):
    """While it is on, every attention of this thread's forward passes goes to `take`.

    It works above autograd, so that maps have gradients. wants: which attentions are asked for, by module and number;
    others stay as the model has them. light: of fused attention, only shapes are told, and nothing is computed.
    """

    def __init__(
        self,
        take: Callable[[Seen], None],
        wants: Callable[[str, int], bool] | None = None,
        light: bool = False,
    ) -> None:
        super().__init__()
        self._take, self._wants, self._light = take, wants, light
        self.stack: list[Frame] = [Frame("")]
        self._followed: dict[int, tuple[Tensor, Softmax]] = {}  # id of a tensor -> (it, the softmax it came from)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FUSED and not any(WRAPPED(value) for value in args if isinstance(value, Tensor)):
            return self._attend(func, args, kwargs)
        result = func(*args, **kwargs)
        if func in SOFTMAXES:
            self._note(result, softmax_dim(args, kwargs), fused=False, width=0)
        elif func is torch.einsum:
            self._einsum(args)
        elif isinstance(result, Tensor):
            first = args[0] if args else None
            if func in CLEANED and isinstance(args[-1], Tensor) and self._known(first) is None:
                first = args[-1]  # a mask times the weights
            softmax = self._known(first)
            if softmax is not None and isinstance(first, Tensor):
                self._goes_on(softmax, first, result, func, args, kwargs)
        return result

    def follow(self, result: Tensor, original: Tensor) -> None:
        """Take `result`, which an edit made of a softmax's result, in its place."""
        softmax = self._known(original)
        if softmax is not None:
            self._hold(result, softmax.became(result))

    def _known(self, tensor: Any) -> Softmax | None:
        """The softmax that a tensor came from."""
        held, softmax = self._followed.get(id(tensor), (None, None))
        return softmax if held is tensor else None

    def _goes_on(self, softmax: Softmax, first: Tensor, result: Tensor, func: Any, args: Any, kwargs: Any) -> None:
        whole = softmax.shape == first.shape
        if softmax.weighed:
            if func in SUMS and _summed(args, kwargs) in (result.dim() - 1, -2):
                self._arrived(softmax)
        elif func in FOLLOWED:
            self._hold(result, softmax)
        elif func in CLEANED and whole and result.dim() == first.dim():
            if func is Tensor.__getitem__ or result.shape == first.shape:
                self._hold(result, softmax.became(result))
            else:
                self._weigh(softmax, first, result)
        elif func in CLEANED and func is not Tensor.__getitem__:
            self._weigh(softmax, first, result)
        elif func in TRANSPOSED:
            self._hold(result, softmax.turned(func, args[1:], kwargs) if whole else softmax)
        elif func in PRODUCTS and first.dim() >= 3 and _other(args, kwargs).dim() >= 3 and softmax.keys_last(whole):
            self._arrived(softmax)

    def _weigh(self, softmax: Softmax, first: Tensor, result: Tensor) -> None:
        """Weights `[..., keys, 1]` times values `[..., keys, width]`: additive attention, if a module says so.

        Gates of experts look alike, so names decide.
        """
        placed = first.dim() >= 3 and first.shape[-2:] == (softmax.raw.shape[softmax.shared], 1)
        if placed and result.shape[:-1] == first.shape[:-1] and any(frame.attends for frame in self.stack):
            keys = softmax.order.index(softmax.shared)
            others = [dim for dim in range(len(softmax.order)) if dim != keys]
            self._hold(result, replace(softmax.reordered([*others, keys]), weighed=True))

    def _note(self, raw: Tensor, dim: int, fused: bool, width: int) -> Softmax:
        frames = [(frame, frame.softmaxes) for frame in self.stack]
        order = tuple(range(raw.dim()))
        softmax = Softmax(raw, order, order, dim % max(raw.dim(), 1), fused, width, frames)
        for frame in self.stack:
            frame.softmaxes += 1
        if not WRAPPED(raw):
            self._hold(raw, softmax)
        return softmax

    def _hold(self, tensor: Tensor, softmax: Softmax) -> None:
        self._followed[id(tensor)] = (tensor, softmax)
        softmax.followed.append(id(tensor))

    def _einsum(self, args: Any) -> None:
        """The first operand of a sum over products may be the weights: each batch element's keys are summed over."""
        operands = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
        softmax = self._known(operands[0]) if len(operands) == 2 and isinstance(args[0], str) else None
        if softmax is None or softmax.shape != operands[0].shape:
            return
        order = _weights_of(args[0], softmax.order.index(softmax.shared), operands[0].dim())
        if order is not None:
            self._arrived(softmax.reordered(order))

    def _arrived(self, softmax: Softmax) -> None:
        """A softmax whose result multiplies values: an attention of the innermost call that saw both."""
        numbers = {id(frame): number for frame, number in softmax.frames}
        frame = next(frame for frame in reversed(self.stack) if id(frame) in numbers)
        for tensor in softmax.followed:  # let go of them: a long model has many
            self._followed.pop(tensor, None)
        number = numbers[id(frame)]
        if self._wants is None or self._wants(frame.name, number):
            self._take(
                Seen(softmax.raw, softmax.order, softmax.turns, frame.name, number, softmax.fused, softmax.width)
            )

    def _attend(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """What the fused function gives, by way of its weights where they are asked for (as in its documentation)."""
        asked = Asked.of(*args, **kwargs)
        frame = self.stack[-1]
        if self._light or not (self._wants is None or self._wants(frame.name, frame.softmaxes)):
            several = torch.broadcast_shapes(asked.query.shape[:-2], asked.key.shape[:-2])
            sides = (*several, asked.query.shape[-2], asked.key.shape[-2])
            shape = torch.empty(sides, dtype=asked.query.dtype, device="meta")
            self._arrived(self._note(shape, -1, fused=True, width=asked.query.shape[-1]))
            return func(*args, **kwargs)
        weights = asked.weights()
        self._arrived(self._note(weights, -1, fused=True, width=asked.query.shape[-1]))
        return asked.output(weights)


def softmax_dim(args: Any, kwargs: Any) -> int:
    """The dimension that a softmax shares out; where none is given, the one that PyTorch takes."""
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    if isinstance(dim, int):
        return dim
    return 0 if (args[0] if args else kwargs["input"]).dim() in (0, 1, 3) else 1


def _summed(args: Any, kwargs: Any) -> Any:
    """The one dimension that a sum is over."""
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    return dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim


def _weights_of(equation: str, shared: int, dims: int) -> list[int] | None:
    """The order `[..., queries, keys]` of the first operand's dimensions, where an equation weighs values with it."""
    given, _, output = equation.replace(" ", "").partition("->")
    first, _, second = given.partition(",")
    if "..." in first:
        rest = dims - len(first.replace("...", ""))
        many = "".join(chr(0x100 + at) for at in range(rest))  # letters of their own
        first, second, output = (part.replace("...", many) for part in (first, second, output))
    if len(first) != dims or len(set(first)) != dims:
        return None
    key = first[shared]
    both = [dim for dim, letter in enumerate(first) if letter in second and letter in output]
    queries = [dim for dim, letter in enumerate(first) if letter not in second and letter in output]
    if key not in second or key in output or not both or len(both) + len(queries) + 1 != dims:
        return None
    return [*both, *queries, shared]


def _other(args: Any, kwargs: Any) -> Tensor:
    """The right operand of a product."""
    found = args[1] if len(args) > 1 else next(iter(kwargs.values()))
    assert isinstance(found, Tensor)
    return found


_captures: ContextVar[tuple[Capture, ...]] = ContextVar("captures", default=())


def follow(result: Tensor, original: Tensor) -> None:
    """Tell whoever captures in this thread that `result` now stands where the softmax gave `original`."""
    for capture in _captures.get():
        capture.follow(result, original)


@contextmanager
def capturing(
    take: Callable[[Seen], None],
    model: nn.Module | None = None,
    wants: Callable[[str, int], bool] | None = None,
    light: bool = False,
) -> Iterator[None]:
    """Hand every attention inside to `take`, in the order in which they are computed.

    model: whose modules' names each attention bears; hooks on them are gone afterwards, come what may. wants, light:
    see `Capture`.
    """
    capture = Capture(take, wants, light)
    token = _captures.set((*_captures.get(), capture))
    handles: list[Any] = []
    try:
        if model is not None:
            handles += _watched(model, capture)
        with capture:
            yield
    finally:
        _captures.reset(token)
        for handle in handles:
            handle.remove()


def _watched(model: nn.Module, capture: Capture) -> Iterator[Any]:
    capture.stack[0].attends = _speaks_of_attention("", model)

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: capture.stack.append(Frame(name, attends=_speaks_of_attention(name, module)))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        capture.stack.pop()

    for name, module in model.named_modules():
        if name and not isinstance(module, torch.jit.ScriptModule):
            yield module.register_forward_pre_hook(enter(name))
            yield module.register_forward_hook(leave, always_call=True)


def _speaks_of_attention(name: str, module: nn.Module) -> bool:
    return "att" in f"{name.rpartition('.')[2]} {type(module).__name__}".lower()


@contextmanager
def captured(maps: list[Tensor], when: bool = True) -> Iterator[None]:
    """Collect the attention maps `[batch, heads, queries, keys]` of the forward passes inside."""
    if not when:
        yield
        return
    with capturing(lambda seen: maps.append(with_heads(seen.weights))):
        yield


def with_heads(weights: Tensor, heads: int | None = None) -> Tensor:
    """Rows as `[batch, heads, queries, keys]`: of single heads `[B, N, S]`, of single queries `[B, S]`.

    heads: where `[B * heads, N, S]` holds so many a batch element.
    """
    if weights.dim() == 2:
        return weights[:, None, None, :]
    if weights.dim() == 3 and heads and heads > 1 and weights.shape[0] % heads == 0:
        return weights.unflatten(0, (-1, heads))
    return weights.unsqueeze(1) if weights.dim() == 3 else weights
