"""Attention sites: where in a model attention happens, found by one watched forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from explorer.attention.capture import Seen, capturing, with_heads
from explorer.errors import ExplorerError
from explorer.weights.matrices import HEAD_COUNTS
from explorer.weights.open_attention import OpenAttention

CROSS_NAMES = ("cross", "encdec", "encoder_attn", "enc_attn", "multihead_attn", "src_attn")
"""Parts of names (in small letters, without dots and lines between words) that say: keys come from elsewhere."""


@dataclass(frozen=True)
class Site:
    """One place in a model where attention is computed.

    name: the layer's name: its module, with "#2" for a second attention of the same module. module: its path. number:
    which softmax of a call of the module it is, from 0. kind: self, cross, window, channel gate or spatial gate.
    fused: whether the model asks for the fused attention, which hands out no weights. heads, queries, keys: as first
    seen. calls: how often one forward pass comes here. width: numbers a query of one head has (0: not known).
    grid: rows and columns of a spatial gate. turns: how the dimensions of the softmax's result are turned (as of
    `Tensor.permute`) so that the keys are last; none: they are.
    """

    name: str
    module: str
    number: int
    kind: str
    fused: bool
    heads: int
    queries: int
    keys: int
    calls: int = 1
    width: int = 0
    grid: tuple[int, int] | None = None
    turns: tuple[int, ...] = ()

    @property
    def is_gate(self) -> bool:
        """Whether it is a channel or spatial gate: values between 0 and 1 that do not sum to one."""
        return self.kind.endswith("gate")

    @property
    def source(self) -> str:
        """How its map is had, in words."""
        if self.is_gate:
            return "gate (the output of its module)"
        if self.fused:
            return "fused (computed here as PyTorch documents it)"
        return "eager (the model's own softmax)"


@dataclass(frozen=True)
class Sites:
    """All attention sites of a model in the order of its forward pass, and what cannot be had.

    size: how many numbers the example had that they were found with.
    """

    found: tuple[Site, ...]
    unavailable: tuple[tuple[str, str], ...] = ()
    size: int = 0

    def __iter__(self) -> Any:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def names(self) -> list[str]:
        """The names of the layers."""
        return [site.name for site in self.found]

    def __getitem__(self, name: str) -> Site:
        for site in self.found:
            if site.name == name:
                return site
        raise ExplorerError(f'there is no attention layer "{name}"', instead=self.what_there_is())

    def select(self, layers: Sequence[str], exclude: Sequence[str] = ()) -> list[Site]:
        """The sites that names or globs mean; raises `ExplorerError` for one that means none."""
        for glob in (*layers, *exclude):
            if not any(_means(glob, site) for site in self.found) and not (glob == "*" and not self.found):
                raise ExplorerError(f'no attention layer matches "{glob}"', instead=self.what_there_is())
        if not self.found:
            raise ExplorerError("this model has no attention", instead=self.what_there_is())
        return [
            site
            for site in self.found
            if any(_means(glob, site) for glob in layers) and not any(_means(glob, site) for glob in exclude)
        ]

    def what_there_is(self) -> str:
        """For errors: the layers, or why there are none."""
        if self.found:
            listed = ", ".join(self.names[:12])
            return f"there is {listed}" + (f" and {len(self) - 12} more" if len(self) > 12 else "")
        if self.unavailable:
            name, why = self.unavailable[0]
            return f"{name} is not seen: {why}"
        return "its attributions can be looked at; gates are found by gates= in ex.load"


def _means(glob: str, site: Site) -> bool:
    return glob in (site.name, site.module) or fnmatchcase(site.name, glob) or fnmatchcase(site.module, glob)


def find_sites(
    model: nn.Module, run: Callable[[nn.Module], object], batch: int, gates: Sequence[str] = (), size: int = 0
) -> Sites:
    """The sites that one forward pass of `model` comes to, in its order.

    run: runs the model on some `batch` examples. gates: names or globs of modules whose output is a gate. Raises
    `ExplorerError` for a glob of gates that means no module.
    """
    order: list[Site] = []
    calls: dict[tuple[str, int], int] = {}
    modules = dict(model.named_modules())

    def take(seen: Seen) -> None:
        key = (seen.module, seen.number)
        calls[key] = calls.get(key, 0) + 1
        if calls[key] > 1:
            return
        owner = modules.get(seen.module, model)
        weights = with_heads(seen.weights, _folded_heads(seen.weights, owner, batch))
        count, queries, keys = weights.shape[-3:]
        kind = _kind(seen.module, owner, weights, batch, crossed)
        turns = () if seen.turns == tuple(range(len(seen.turns))) else seen.turns
        width = seen.width or _width(owner)
        order.append(Site("", seen.module, seen.number, kind, seen.fused, count, queries, keys, 1, width, None, turns))

    def gate(name: str, output: Tensor) -> None:
        key = (name, -1)
        calls[key] = calls.get(key, 0) + 1
        if calls[key] == 1:
            places = int(output[0].numel())
            kind = gate_kind(output)
            grid = (int(output.shape[-2]), int(output.shape[-1])) if kind == "spatial gate" else None
            order.append(Site("", name, -1, kind, False, 1, 1, places, grid=grid))

    crossed: set[str] = set()
    called: set[str] = set()
    watching = _crossing(model, crossed), _calls(model, called), watching_gates(model, gates, gate)
    with torch.no_grad(), watching[0], watching[1], watching[2], capturing(take, model):
        run(model)
    named = []
    for site in order:
        same = [other for other in order if other.module == site.module]
        at = same.index(site)
        name = (site.module or "model") + (f"#{at + 1}" if len(same) > 1 and at else "")
        named.append(replace(site, name=name, calls=calls[(site.module, site.number)]))
    return Sites(tuple(named), tuple(_unavailable(model, {site.module for site in named}, called)), size)


def gate_kind(output: Tensor) -> str:
    """A gate of one value a channel, or of one a place."""
    return "spatial gate" if output.dim() == 4 and output.shape[1] == 1 and output[0].numel() > 1 else "channel gate"


def gate_names(model: nn.Module, gates: Sequence[str]) -> list[str]:
    """The modules that the globs of gates mean."""
    names = [name for name, _ in model.named_modules() if name]
    for glob in gates:
        if not any(name == glob or fnmatchcase(name, glob) for name in names):
            raise ExplorerError(f'no module matches "{glob}"', where="gates=", instead="give names of gate modules")
    return [name for name in names if any(name == glob or fnmatchcase(name, glob) for glob in gates)]


@contextmanager
def watching_gates(model: nn.Module, gates: Sequence[str], note: Callable[[str, Tensor], None]) -> Any:
    """Hand the output of each gate to `note`; the hooks are gone afterwards, come what may."""
    handles = []
    try:
        for name in gate_names(model, gates):
            hook = lambda module, args, output, name=name: note(name, output)  # noqa: E731  (bound to this name)
            handles.append(model.get_submodule(name).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def heads_of(owner: nn.Module) -> int | None:
    """How many heads a module says it has."""
    for name in HEAD_COUNTS:
        value = getattr(owner, name, None)
        if isinstance(value, int):
            return value
    return None


def _folded_heads(weights: Tensor, owner: nn.Module, batch: int) -> int | None:
    """How many heads `[batch * heads, queries, keys]` holds a batch element; None where it has no heads folded in."""
    if weights.dim() != 3 or weights.shape[0] <= batch or weights.shape[0] % batch:
        return None
    said, there = heads_of(owner), weights.shape[0] // batch
    return there if said is None or said == there else None


def _width(owner: nn.Module) -> int:
    """Numbers a head's queries have, where the module says it."""
    for name in ("head_dim", "attention_head_size", "key_value_proj_dim", "d_kv"):
        value = getattr(owner, name, None)
        if isinstance(value, int):
            return value
    return 0


def _kind(name: str, owner: nn.Module, weights: Tensor, batch: int, crossed: set[str]) -> str:
    queries, keys = weights.shape[-2:]
    words = name.lower().replace("_", "").replace(".", "")
    if name in crossed or (not isinstance(owner, OpenAttention) and _says_cross(words)):
        return "cross"
    if weights.dim() > 4 or (weights.shape[0] > batch and weights.shape[0] % batch == 0):
        return "window"
    return "self" if queries == keys else "cross"


def _says_cross(words: str) -> bool:
    return any(part.replace("_", "") in words for part in CROSS_NAMES)


@contextmanager
def _crossing(model: nn.Module, crossed: set[str]) -> Any:
    """Note the `nn.MultiheadAttention` modules whose keys are other tensors than their queries."""

    def look(name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            query = args[0] if args else kwargs.get("query")
            key = args[1] if len(args) > 1 else kwargs.get("key")
            if query is not key and isinstance(query, Tensor) and isinstance(key, Tensor):
                same = query.shape == key.shape and torch.equal(query, key)
                if not same:
                    crossed.add(name)

        return hook

    handles = []
    try:
        for name, module in model.named_modules():
            if isinstance(module, OpenAttention):
                handles.append(module.register_forward_pre_hook(look(name), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _calls(model: nn.Module, called: set[str]) -> Any:
    """Note which of the modules that look like attention a forward pass comes to."""
    handles = []
    try:
        for name, module in _like_attention(model):
            hook = lambda module, args, name=name: called.add(name)  # noqa: E731  (bound to this name)
            handles.append(module.register_forward_pre_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _like_attention(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that are attention by the name of their class."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
        and any(word in type(module).__name__.lower() for word in ("attention", "attn"))
    ]


def _unavailable(model: nn.Module, found: set[str], called: set[str]) -> Any:
    """Modules that look like attention, and why nothing of them can be seen."""
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and not _inside_script(model, name):
            yield name or "the model", "it is a scripted module, which runs outside Python"
    alike = _like_attention(model)
    for name, module in alike:
        inner = f"{name}." if name else ""
        related = any(site == name or site.startswith(inner) or name.startswith(f"{site}.") for site in found)
        if related or any(other != name and other.startswith(inner) for other, _ in alike):
            continue
        if name not in called:
            yield name or "the model", "a forward pass never comes there"
        elif isinstance(module, nn.MultiheadAttention) and type(module) is not OpenAttention:
            yield name, f"{type(module).__name__} is a subclass of MultiheadAttention whose forward is not known"
        else:
            why = "no softmax that weighs values was seen there (a gate has none: name it in gates= of ex.load; "
            yield name or "the model", why + "compiled code, other threads and torch.func cannot be watched)"


def _inside_script(model: nn.Module, name: str) -> bool:
    """Whether a module is a part of a scripted one, which stands for all its parts."""
    parent, dot, _ = name.rpartition(".")
    return bool(name) and isinstance(model.get_submodule(parent) if dot else model, torch.jit.ScriptModule)
