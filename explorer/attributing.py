"""Attributions on a workbench: a variant's answers explained, once for each question, on its own private clone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from explorer.attending import as_tensors
from explorer.attribution.reading import DEFAULT, DEFAULTS, Asked, Ground, Progress, read_attributions
from explorer.attribution.result import Attributions
from explorer.compression.memory import Memory
from explorer.errors import ExplorerError
from explorer.evaluation.pool import as_error
from explorer.subjects.examples import map_tensors, tensors_in

if TYPE_CHECKING:
    from explorer.variant import Variant
    from explorer.workbench import Workbench

KEPT_BYTES = 64 * 2**20
LOOK = "{desc} {percentage:3.0f} %|{bar}| {elapsed} of about {remaining} more"


def kept_attributions() -> Memory:
    """Where a workbench keeps what was explained."""
    return Memory(KEPT_BYTES)


class _Result:
    """A kept result with the outfit that it is of: as long as it is kept, no other outfit can have the same id."""

    def __init__(self, outfit: Any, found: Attributions) -> None:
        self.outfit, self.found = outfit, found

    @property
    def resident_bytes(self) -> int:
        return self.found.resident_bytes


def attribute(variant: Variant, inputs: Any, asked: Asked, progress: bool | Progress = True) -> Attributions:
    """What the answers of a variant rest on; the same question again is answered from what is kept."""
    bench = variant.workbench
    default = DEFAULTS.get(bench.subject.task, DEFAULT)
    asked = replace(asked, method=asked.method or default)
    asked.check()
    moved = map_tensors(as_tensors(bench, inputs), lambda tensor: tensor.to(bench.stage.device))
    key = (id(variant.outfit), _digest(moved), _settings(asked))

    def compute() -> _Result:
        with variant._running:
            module = variant._dressed()
            caption = f"{bench.name} · {'dense' if variant.is_dense else variant.recipe.sentence()}"
            try:
                with _told(asked.check(), progress) as tell:
                    found = read_attributions(ground_of(bench), module, moved, asked, caption, tell)
                return _Result(variant.outfit, found)
            except BaseException as problem:
                variant._private = None  # a method that broke off may have left its hooks on it
                if isinstance(problem, ExplorerError) or not isinstance(problem, Exception):
                    raise
                raise as_error(problem) from problem

    result: _Result = bench.attributions.recall(key, compute)
    return result.found


def ground_of(bench: Workbench) -> Ground:
    """What attributions on a workbench stand on."""
    split = "calibration" if bench.subject.has("calibration") else "tune"
    return Ground(bench.subject, bench.attention_sites, partial(_means, bench, split), split)


def _means(bench: Workbench, split: str) -> Mapping[int, Tensor]:
    """The mean example of a split: `[1, ...]` by the place of the tensor, of floating-point tensors."""
    tensors = tensors_in(bench.subject.split(split).inputs)
    floats = {at: tensor for at, tensor in enumerate(tensors) if tensor.is_floating_point()}
    return {at: tensor.to(torch.float64).mean(0, keepdim=True) for at, tensor in floats.items()}


def _settings(asked: Asked) -> str:
    """The settings as a key; tensors by their digest."""
    told = []
    for name, value in vars(asked).items():
        own = value
        if name == "method":
            own = asked.check()
        elif isinstance(value, Tensor) or (isinstance(value, (Mapping, list, tuple)) and tensors_in(value)):
            pairs = list(value.items()) if isinstance(value, Mapping) else []
            words = [f"{key}: {'' if isinstance(one, Tensor) else one}" for key, one in pairs]
            own = f"{words} {_digest(value)}"
        told.append(f"{name}={own!r}")
    return ", ".join(told)


def _digest(inputs: Any) -> str:
    """A fingerprint of inputs: their tensors and how they are named."""
    state = hashlib.blake2b(digest_size=12)
    state.update(repr(list(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__).encode())
    for tensor in tensors_in(inputs):
        state.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        state.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return state.hexdigest()


@contextmanager
def _told(name: str, progress: bool | Progress) -> Iterator[Progress | None]:
    """The progress as a method tells it: a bar, somebody's function, or nothing."""
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        with tqdm(total=1.0, desc=name, disable=None, leave=False, delay=1.0, bar_format=LOOK) as bar:

            def move(share: float) -> None:
                bar.n = round(share, 3)
                bar.refresh()

            yield move
