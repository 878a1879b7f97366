"""Damage layer by layer: how far weights and hidden states of two variants lie apart, and where it grows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from explorer.drift_bounds import some_examples
from explorer.evaluation.pool import as_error
from explorer.evaluation.similarity import linear_cka, relative_error
from explorer.search.scan import blocks_of
from explorer.shown import Shown
from explorer.subjects.examples import Examples, tensors_in
from explorer.weights.install import PrivateModel

if TYPE_CHECKING:
    import pandas as pd

    from explorer.variant import Variant

EXAMPLES = 128


@dataclass(frozen=True)
class BlockDamage:
    """One block: how far its output lies from that of the first variant.

    hidden: ||H - H'|| / ||H|| over all examples. cka: linear CKA of the two, 1 for the same up to turning and scaling.
    """

    block: str
    hidden: float
    cka: float


@dataclass(frozen=True, eq=False)
class LayerDamage(Shown):
    """Where two variants differ.

    weights: of every matrix ||W - W'|| / ||W||. blocks: in the order in which the model comes to them.
    """

    examples: int
    weights: dict[str, float]
    blocks: tuple[BlockDamage, ...]

    @property
    def first(self) -> BlockDamage | None:
        """The first block whose output is not the same; None where all are."""
        return next((block for block in self.blocks if block.hidden > 0), None)

    @property
    def steepest(self) -> BlockDamage | None:
        """The block in which the relative error grows most; None where nothing grows."""
        before = [0.0, *(block.hidden for block in self.blocks)]
        grown = [block.hidden - last for block, last in zip(self.blocks, before, strict=False)]
        return self.blocks[grown.index(max(grown))] if grown and max(grown) > 0 else None

    def to_frame(self) -> pd.DataFrame:
        """A row for each block."""
        import pandas as pd

        rows = [(block.block, block.hidden, block.cka) for block in self.blocks]
        return pd.DataFrame(rows, columns=["block", "hidden", "cka"])

    def sentence(self) -> str:
        """Where the damage starts and where it grows most."""
        first, steepest = self.first, self.steepest
        if not self.blocks:
            return "no block gives a tensor that can be compared"
        if first is None or steepest is None:
            return "every block gives the same"
        last = self.blocks[-1]
        told = f"the damage starts in {first.block} (relative error {first.hidden:.2g})"
        if steepest is not first:
            at = self.blocks.index(steepest)
            told += f", grows most in {steepest.block} (from {self.blocks[at - 1].hidden:.2g} to {steepest.hidden:.2g})"
        return told if last is first else f"{told}, and is {last.hidden:.2g} at the end, {last.block}"

    def __str__(self) -> str:
        width = max([len(name) for name in (*self.weights, *(block.block for block in self.blocks))], default=5)
        lines = [f"{'matrix':<{width}} {'weights':>9}"]
        lines += [f"{name:<{width}} {error:>9.4f}" for name, error in self.weights.items()]
        lines += [f"{'block':<{width}} {'hidden':>9} {'CKA':>7}"]
        lines += [f"{block.block:<{width}} {block.hidden:>9.4f} {block.cka:>7.4f}" for block in self.blocks]
        return "\n".join([*lines, f"{self.sentence()} ({self.examples} examples)"])


def layer_damage(before: Variant, after: Variant, examples: int = EXAMPLES) -> LayerDamage:
    """The relative error of each matrix, and of each block's output on some tune examples, with CKA (blocking).

    A block is the longest numbered beginning that several matrices share ("blocks.0"), else the module of a matrix.
    """
    bench = before.workbench
    weights = {name: relative_error(form.decode(), after.forms[name].decode()) for name, form in before.forms.items()}
    chosen = some_examples(bench, "tune", examples)
    names = [name for name in dict.fromkeys(blocks_of(bench.matrices()).values()) if name]
    try:
        first = _hidden(before, names, chosen)
        second = first if before.outfit is after.outfit else _hidden(after, names, chosen)
    except Exception as problem:
        raise as_error(problem) from problem
    blocks = [
        BlockDamage(name, relative_error(states, second[name]), linear_cka(states, second[name]))
        for name, states in first.items()
        if name in second and second[name].shape == states.shape
    ]
    return LayerDamage(len(chosen), weights, tuple(blocks))


def _hidden(variant: Variant, names: Sequence[str], chosen: Examples) -> dict[str, Tensor]:
    """What each of the modules gives, `[examples, features]`, in the order in which they are first called."""
    bench = variant.workbench
    module = PrivateModel(bench.subject.model, bench.matrices()).wear(variant.outfit)
    modules = dict(module.named_modules())
    found: dict[str, list[Tensor]] = {}
    size = bench.subject.batch_size
    for start in range(0, len(chosen), size):
        inputs = chosen.take(slice(start, start + size)).inputs
        seen: dict[str, list[Tensor]] = {}
        with ExitStack() as stack:  # the hooks are gone afterwards, come what may
            for name in names:
                if name in modules:
                    stack.callback(modules[name].register_forward_hook(_note(name, seen)).remove)
            bench.stage.outputs(module, inputs)
        count = tensors_in(inputs)[0].shape[0]
        for name, calls in seen.items():
            if all(call.dim() and len(call) == count for call in calls):
                found.setdefault(name, []).append(torch.cat([call.flatten(1) for call in calls], dim=1))
    batches = -(-len(chosen) // size)
    return {name: torch.cat(parts) for name, parts in found.items() if len(parts) == batches}


def _note(name: str, seen: dict[str, list[Tensor]]) -> Any:
    def note(module: nn.Module, args: Any, output: Any) -> None:
        tensors = [tensor for tensor in tensors_in(output) if tensor.is_floating_point()]
        if tensors:
            first = tensors[0].detach().to("cpu", torch.float32, copy=True)
            seen.setdefault(name, []).append(first if first.dim() > 1 else first.unsqueeze(-1))

    return note
