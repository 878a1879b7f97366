"""Examples: inputs with their targets, and what is known beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Inputs = Any
"""What a model takes, batch first: a tensor, a tuple of tensors or a dict of tensors."""


@dataclass(frozen=True)
class Examples:
    """One split of a subject's data.

    Parameters
    ----------
    inputs: tensor, tuple or dict of tensors, each `[examples, ...]`.
    targets: `[examples, ...]`: class indices, numbers, or token ids (-100 is ignored).
    rationale: optional, `[examples, positions]` booleans: where the evidence for the target is known to be
        (patches of an image, tokens of a sentence), in the order in which the model takes them.
    slices: optional, `{name: [examples] array}`: groups to look at apart ("has negation", "digits in the scene").
    classes: the names of the class numbers, where the data themselves name them (words in a table, folders of images).
    """

    inputs: Inputs
    targets: Tensor
    rationale: Tensor | None = None
    slices: Mapping[str, Tensor] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    def take(self, indices: Tensor | slice) -> Examples:
        """The chosen examples, in the order of `indices`."""
        return Examples(
            map_tensors(self.inputs, lambda tensor: tensor[indices]),
            self.targets[indices],
            None if self.rationale is None else self.rationale[indices],
            {name: values[indices] for name, values in self.slices.items()},
            self.classes,
        )


def map_tensors(inputs: Inputs, change: Any) -> Inputs:
    """`inputs` with `change` applied to each tensor in it; the nesting stays."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: map_tensors(value, change) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(map_tensors(value, change) for value in inputs)
    return inputs


def tensors_in(inputs: Inputs) -> list[Tensor]:
    """The tensors of `inputs`, in order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(inputs, note)
    return found


def batch_length(inputs: Inputs) -> int:
    """The number of examples in `inputs`: the first dimension of its first tensor."""
    tensors = tensors_in(inputs)
    return int(tensors[0].shape[0]) if tensors and tensors[0].dim() else 0


def concatenate(parts: list[Inputs]) -> Inputs:
    """Batches of inputs, one after the other, as one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, Mapping):
        return {name: concatenate([part[name] for part in parts]) for name in first}
    return tuple(concatenate([part[position] for part in parts]) for position in range(len(first)))
