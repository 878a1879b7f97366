"""Hidden features: what the blocks of a model give, for a student to come close to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def blocks_of(model: nn.Module) -> list[str]:
    """The names of the modules whose outputs are compared: repeated blocks where there are such, else all layers.

    Repeated blocks are the children of a list or sequence, two or more, all of one class that is no single layer.
    """
    found = []
    for name, module in model.named_modules():
        children = list(module.named_children())
        kinds = {type(child) for _, child in children}
        alike = isinstance(module, (nn.ModuleList, nn.Sequential)) and len(children) > 1 and len(kinds) == 1
        if alike and any(True for _ in children[0][1].children()):
            found += [f"{name}.{child}" if name else child for child, _ in children]
    if found:
        return found
    return [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))]


@contextmanager
def features(model: nn.Module, names: Sequence[str], into: dict[str, Tensor]) -> Iterator[None]:
    """Collect the outputs of the named modules during a forward pass; the hooks are gone afterwards, come what may."""

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            first = output[0] if isinstance(output, (tuple, list)) else output
            if isinstance(first, Tensor) and first.is_floating_point():
                into[name] = first

        return hook

    handles = []
    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(note(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
