"""Axes: what the positions along one side of an attention map stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from explorer.subjects.examples import Inputs, batch_length, tensors_in


@dataclass(frozen=True)
class Axis:
    """The positions of one kind that a model's tokens have.

    Parameters
    ----------
    name: what one position is, in the plural: "patches", "words", "characters", "features", "digits".
    labels: `[examples][length]`, what stands at each position of each example; "" where nothing does (padding).
    grid: (rows, columns) of the picture's patches, where the positions are patches, row after row.
    first: so many positions (a class token) stand before the first patch.
    """

    name: str
    labels: tuple[tuple[str, ...], ...]
    grid: tuple[int, int] | None = None
    first: int = 0

    @property
    def length(self) -> int:
        """How many positions there are."""
        return len(self.labels[0]) if self.labels else 0

    def take(self, examples: Sequence[int]) -> Axis:
        """The same axis for some of the examples."""
        return replace(self, labels=tuple(self.labels[at] for at in examples))


def words_axis(words: Sequence[Sequence[str]], length: int, name: str = "words") -> Axis:
    """The words of texts, padded with "" to `length`."""
    return Axis(name, tuple((*listed, *[""] * (length - len(listed)))[:length] for listed in words))


def plain_axis(name: str, count: int, length: int) -> Axis:
    """Positions that are numbered from 1, the same in `count` examples."""
    return Axis(name, (tuple(str(at + 1) for at in range(length)),) * count)


def patches_axis(count: int, grid: tuple[int, int], first: int = 0) -> Axis:
    """Patches of a picture, row after row, behind `first` tokens of the model's own."""
    rows, columns = grid
    own = ("class token", "second token")[:first]
    patches = tuple(f"row {row + 1}, column {column + 1}" for row in range(rows) for column in range(columns))
    return Axis("patches", ((*own, *patches),) * count, grid, first)


def guessed_axis(inputs: Inputs, length: int) -> Axis:
    """What `length` positions may be, from the shapes of a model's inputs: patches, features, tokens, or places."""
    count = batch_length(inputs)
    tensors = tensors_in(inputs)
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.dim() == 4:
            for first in (0, 1, 2):
                grid = _grid(tensor.shape[-2:], length - first)
                if grid is not None:
                    return patches_axis(count, grid, first)
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.dim() == 2 and length - tensor.shape[1] in (0, 1):
            first = length - tensor.shape[1]
            names = (*("class token",)[:first], *(f"feature {at + 1}" for at in range(tensor.shape[1])))
            return Axis("features", (names,) * count, first=first)
    ids = [tensor for tensor in tensors if not tensor.is_floating_point() and tensor.shape[1:] == (length,)]
    if ids and int(ids[0].max()) > 1:
        masks = [tensor for tensor in ids[1:] if int(tensor.max()) <= 1]
        named = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None  # not the token types
        if named is not None and named.shape == ids[0].shape:
            masks = [named]
        shown = masks[0] if masks else torch.ones_like(ids[0])
        pairs = zip(ids[0].tolist(), shown.tolist(), strict=True)
        rows = (tuple(str(i) if on else "" for i, on in zip(row, mask, strict=True)) for row, mask in pairs)
        return Axis("tokens", tuple(rows))
    return plain_axis("positions", count, length)


def _grid(side: Sequence[int], patches: int) -> tuple[int, int] | None:
    """Rows and columns of so many square patches on a picture, where they fit."""
    height, width = side
    for rows in range(1, min(height, patches) + 1):
        if patches % rows == 0 and height % rows == 0 and patches > 1:
            columns = patches // rows
            if width % columns == 0 and height // rows == width // columns:
                return rows, columns
    return None
