"""Input parts: which tensors of a model's inputs are explained, what a place and a feature of each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.axes import Axis, plain_axis, words_axis
from explorer.subjects.examples import Inputs, map_tensors, tensors_in
from explorer.subjects.subject import Subject

SMALL_SIDE = 16
"""Pictures up to this side are cut into blocks of 2 x 2 pixels, others into blocks of 4 x 4."""


@dataclass(frozen=True)
class Part:
    """One explained tensor of the inputs.

    name: "image", "words", "features", or its name in a dict. kind: image, tokens, table or numbers. at: its place
    among the tensors of the inputs. shape: of one example. grid: (rows, columns) of the blocks that a picture's
    features are. padding: the id of no token.
    """

    name: str
    kind: str
    at: int
    shape: tuple[int, ...]
    grid: tuple[int, int] | None = None
    padding: int = 0

    @property
    def places(self) -> tuple[int, ...]:
        """The shape of one example's values: (H, W) of a picture, (T,) of tokens, (F,) of a table."""
        return self.shape[-2:] if self.kind == "image" else self.shape[:1]

    @property
    def count(self) -> int:
        """How many features there are: blocks of a picture, tokens, columns."""
        return self.grid[0] * self.grid[1] if self.grid is not None else self.shape[0]

    @property
    def feature(self) -> str:
        """What one feature is, in words."""
        if self.grid is not None:
            height, width = self.block
            return f"a block of {height} x {width} pixels"
        return {"tokens": "a token", "table": "a column"}.get(self.kind, "a step")

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of pixels that a picture's feature has."""
        assert self.grid is not None
        return self.shape[-2] // self.grid[0], self.shape[-1] // self.grid[1]

    def mask(self, offset: int = 0) -> Tensor:
        """`[1, *shape]`: the number of the feature that each entry belongs to, from `offset` on."""
        if self.grid is None:
            numbers = torch.arange(self.shape[0]).view(-1, *[1] * (len(self.shape) - 1))
        else:
            height, width = self.block
            blocks = torch.arange(self.count).view(self.grid)
            numbers = blocks.repeat_interleave(height, 0).repeat_interleave(width, 1)
        return offset + numbers.expand(self.shape).unsqueeze(0).contiguous()

    def features(self, values: Tensor) -> Tensor:
        """Values at places `[B, *places]` -> one value a feature `[B, count]`, the mean over a block."""
        if self.grid is None:
            return values
        height, width = self.block
        return values.unflatten(-1, (-1, width)).unflatten(-3, (-1, height)).mean((-3, -1)).flatten(1)

    def spread(self, features: Tensor) -> Tensor:
        """One value a feature `[B, count]` -> values at places `[B, *places]`."""
        if self.grid is None:
            return features
        height, width = self.block
        blocks = features.unflatten(1, self.grid)
        return blocks.repeat_interleave(height, -2).repeat_interleave(width, -1)

    def reduced(self, values: Tensor, total: bool = True) -> Tensor:
        """Attributions of entries `[B, ...]` -> values at places: the sum over channels, or (not `total`) the mean."""
        dims = [1] if self.kind == "image" and values.dim() == 4 else list(range(2, values.dim()))
        if self.kind == "image" and values.dim() == 3 or not dims:
            return values
        return values.sum(dims) if total else values.mean(dims)


def find_parts(subject: Subject, inputs: Inputs, grids: Sequence[tuple[int, int]] = ()) -> tuple[Part, ...]:
    """The parts of the inputs that can be explained.

    grids: the patch grids that the model's attention has; a picture takes the first that fits it. Raises
    `ExplorerError` where no tensor can be explained.
    """
    tensors = tensors_in(inputs)
    names = [str(name) for name in inputs] if isinstance(inputs, Mapping) and len(inputs) == len(tensors) else []
    padding = int(getattr(subject.ways, "PAD", 0))
    found = []
    for at, tensor in enumerate(tensors):
        kind = _kind(subject, tensors, at, names[at] if names else "")
        if kind is not None:
            shape = tuple(tensor.shape[1:])
            grid = _grid(shape[-2:], grids) if kind == "image" else None
            found.append(Part(names[at] if names else _name(kind, at, len(tensors)), kind, at, shape, grid, padding))
    if not found:
        raise ExplorerError("no part of the inputs can be explained", where="attribute", instead="give a batch first")
    return tuple(found)


def _kind(subject: Subject, tensors: Sequence[Tensor], at: int, name: str) -> str | None:
    """image, tokens, table, numbers, or None for what is only handed on (masks, lengths)."""
    tensor = tensors[at]
    if tensor.is_floating_point():
        if tensor.dim() == 4 or (tensor.dim() == 3 and subject.input == "image"):
            return "image"
        return {0: None, 1: None, 2: "table"}.get(tensor.dim(), "numbers")
    if tensor.dtype == torch.bool or tensor.is_complex() or tensor.dim() != 2:
        return None
    others = [other for number, other in enumerate(tensors) if number != at and not other.is_floating_point()]
    is_mask = "mask" in name or "type" in name or (bool(others) and tensor.numel() > 0 and int(tensor.max()) <= 1)
    return None if is_mask else "tokens"


def _name(kind: str, at: int, count: int) -> str:
    name = {"image": "image", "tokens": "tokens", "table": "features"}.get(kind, "inputs")
    return name if count == 1 else f"{name} {at + 1}"


def _grid(side: Sequence[int], grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The model's own grid where it fits the picture, else blocks of 2 x 2 or 4 x 4 pixels, else single pixels."""
    height, width = side
    for rows, columns in grids:
        if height % rows == 0 and width % columns == 0 and rows * columns > 1:
            return rows, columns
    wished = 2 if max(height, width) <= SMALL_SIDE else 4 if max(height, width) <= 16 * SMALL_SIDE else 16
    block = next(size for size in (wished, 2, 1) if height % size == 0 and width % size == 0)
    return height // block, width // block


def axis_of(subject: Subject, inputs: Inputs, part: Part) -> Axis:
    """What the features of a part are called: patches, words, columns."""
    count = int(tensors_in(inputs)[part.at].shape[0])
    fitting = []
    for own in (0, 1, 2):  # tokens of the model's own may stand before the first feature
        axis = subject.axis(inputs, part.count + own)
        fits = axis.grid == part.grid if part.kind == "image" else axis.grid is None
        if axis.length == part.count + own and fits and axis.first == own and axis.name != "positions":
            fitting.append(axis)
    known = tuple(subject.ways.axes(inputs)) if subject.ways is not None and hasattr(subject.ways, "axes") else ()
    for axis in sorted(fitting, key=lambda axis: axis not in known):
        return replace(axis, labels=tuple(labels[axis.first :] for labels in axis.labels), first=0)
    if part.kind == "tokens":
        ids = tensors_in(inputs)[part.at].tolist()
        return words_axis([[str(i) if i != part.padding else "" for i in row] for row in ids], part.count, "tokens")
    if part.kind == "image" and part.grid is not None:
        rows, columns = part.grid
        labels = tuple(f"row {row + 1}, column {column + 1}" for row in range(rows) for column in range(columns))
        return Axis("blocks", (labels,) * count, part.grid)
    return plain_axis("features" if part.kind == "table" else "steps", count, part.count)


def exchanged(inputs: Inputs, tensors: Sequence[Tensor]) -> Inputs:
    """The same nesting with other tensors in it."""
    waiting: Iterator[Tensor] = iter(tensors)
    return map_tensors(inputs, lambda _: next(waiting))


def present(part: Part, tensor: Tensor) -> Tensor:
    """`[B, *places]`: where something stands (no padding)."""
    if part.kind == "tokens":
        return tensor != part.padding
    return torch.ones((tensor.shape[0], *part.places), dtype=torch.bool, device=tensor.device)


def check_values(inputs: Inputs) -> None:
    """Raise `ExplorerError` for inputs without an example, or with NaN or infinite numbers in them."""
    tensors: list[Any] = tensors_in(inputs)
    if not tensors or not tensors[0].dim() or not len(tensors[0]):
        raise ExplorerError("there is no example to explain", where="attribute", instead="give at least one")
    for tensor in tensors:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ExplorerError("the inputs hold NaN or infinite numbers", where="attribute", instead="repair them")
