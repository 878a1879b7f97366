"""Edited attention: a module's `forward` with its attention rows changed on the way; copied and pickled with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explorer.attention.capture import FUSED, SOFTMAXES, follow, softmax_dim, with_heads
from explorer.attention.edits import NEEDS_FUSED, OF_GATES, Rows, edited_gate
from explorer.attention.fused import Asked
from explorer.attention.sites import Site
from explorer.errors import ExplorerError
from explorer.names import EDITS
from explorer.steps.attention import EditAttention


@dataclass(frozen=True)
class Edit:
    """One step's edit of one attention site.

    step: what is done. heads: to which heads (empty for all). gains: one a head instead. grid, first: how the site's
    positions lie on a picture, after `first` others (see `subjects/axes.py`).
    """

    site: Site
    step: EditAttention
    heads: tuple[int, ...] = ()
    gains: tuple[float, ...] = ()
    grid: tuple[int, int] | None = None
    first: int = 0

    @property
    def module(self) -> str:
        """The module that runs otherwise from now on."""
        return self.site.module

    def forward(self, owner: nn.Module, others: Sequence[Edit]) -> EditedForward:
        """What the module runs instead."""
        return EditedForward(owner, (self, *others))

    def changed(self, rows: Rows) -> Tensor:
        """The rows after the edit; heads that are not meant stay bit for bit."""
        if self.gains:
            return rows.weights * rows.weights.new_tensor(self.gains)[:, None, None]
        new = EDITS[self.step.edit].function(rows, self.step)
        if not self.heads:
            return new
        chosen = torch.zeros(rows.weights.shape[-3], dtype=torch.bool, device=new.device)
        chosen[list(self.heads)] = True
        return torch.where(chosen[:, None, None], new, rows.weights)

    def distance(self, queries: int, keys: int) -> Tensor:
        """`[queries, keys]`, how many places apart: on the grid of a picture, else along the sequence."""
        if self.grid is not None and queries == keys == self.first + self.grid[0] * self.grid[1]:
            return grid_distance(self.grid, self.first)
        return (torch.arange(queries)[:, None] + (keys - queries) - torch.arange(keys)).abs()


@dataclass(frozen=True, eq=False)
class LiveGains(Edit):
    """Gains held as a tensor, which can be turned, or have gradients, while a model wears them; part of no recipe.

    live: `[heads]`, or `[examples, heads]` with gains of their own for each example of a batch.
    """

    live: Tensor = field(kw_only=True)

    @staticmethod
    def of(site: Site, live: Tensor) -> LiveGains:
        """The gains of all heads of a site."""
        return LiveGains(site, EditAttention(edit="gain", gain=1.0), live=live)

    def changed(self, rows: Rows) -> Tensor:
        """The rows times their gains; raises `ExplorerError` where rows cannot be told to examples."""
        gains = self.live.to(rows.weights.dtype)
        if gains.dim() == 2:
            batch, examples = rows.weights.shape[0], gains.shape[0]
            if batch % examples:
                what = f"{batch} maps for {examples} examples"
                raise ExplorerError(what, where=self.site.name, instead="leave this layer out")
            gains = gains.repeat_interleave(batch // examples, 0)  # the windows of an example share its gains
            gains = gains.unflatten(0, (batch, *[1] * (rows.weights.dim() - 4)))
        return rows.weights * gains[..., None, None]


def grid_distance(grid: tuple[int, int], first: int) -> Tensor:
    """How many patches apart (the larger of rows and columns); what stands before the patches is near to all."""
    places = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))
    patches = (places[:, None] - places).abs().amax(-1)
    whole = torch.zeros(first + len(places), first + len(places), dtype=patches.dtype)
    whole[first:, first:] = patches
    return whole


class EditedForward:
    """What a module runs instead of its own `forward`: the same, with its attention edited on the way.

    It is a plain attribute of the module, so that copies, threads, checkpointing and `state_dict` keys stay as usual.
    """

    def __init__(self, owner: nn.Module, edits: Sequence[Edit]) -> None:
        self.owner, self.edits = owner, tuple(edits)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = partial(type(self.owner).forward, self.owner)
        if self.edits[0].site.is_gate:
            return self._gated(forward(*args, **kwargs))
        with _Editing(self.edits):
            return forward(*args, **kwargs)

    def _gated(self, gate: Tensor) -> Tensor:
        for number, edit in enumerate(self.edits):
            if edit.step.edit in OF_GATES:
                order = _order(edit, number, 0)
                gate = edited_gate(gate, edit.step, edit.site.kind == "channel gate", order)
        return gate


def _order(edit: Edit, number: int, call: int) -> torch.Generator:
    """Random numbers that depend on the seed, the site and the edit alone: the same batch is edited alike each time."""
    text = f"{edit.step.seed} {edit.site.name} {number} {call}".encode()
    return torch.Generator().manual_seed(int.from_bytes(blake2b(text, digest_size=7).digest(), "big"))


class _Editing(TorchFunctionMode):
    """For one call of one module: its attention number n goes through the edits that are meant for it."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        super().__init__()
        self._edits = edits
        self._softmaxes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in FUSED and func not in SOFTMAXES:
            return func(*args, **kwargs)
        number = self._softmaxes
        self._softmaxes += 1
        mine = [edit for edit in self._edits if edit.site.number == number]
        if not mine:
            return func(*args, **kwargs)
        if func in FUSED:
            asked = Asked.of(*args, **kwargs)
            scores = asked.scores()
            weights = asked.weights(scores)
            return asked.output(self._edited(mine, scores, weights, -1, asked))
        scores = args[0] if args else kwargs["input"]
        return self._edited(mine, scores, func(*args, **kwargs), softmax_dim(args, kwargs), None)

    def _edited(self, edits: Sequence[Edit], scores: Tensor, weights: Tensor, dim: int, asked: Asked | None) -> Tensor:
        with torch._C.DisableTorchFunction():  # an edit's own softmax is none of the model's
            changed = self._changed(edits, scores.to(weights.dtype), weights, dim, asked)
        follow(changed, weights)
        return changed

    def _changed(self, edits: Sequence[Edit], scores: Tensor, weights: Tensor, dim: int, asked: Asked | None) -> Tensor:
        turns = edits[0].site.turns
        if len(turns) != weights.dim():  # all that is known is where the keys are
            turns = tuple(at for at in range(weights.dim()) if at != dim % weights.dim()) + (dim % weights.dim(),)
        back = [turns.index(at) for at in range(len(turns))]
        weights, scores = weights.permute(turns), scores.permute(turns)
        shape, heads = weights.shape, edits[0].site.heads if weights.dim() == 3 else None
        for number, edit in enumerate(edits):
            if asked is None and edit.step.edit in NEEDS_FUSED:
                continue
            now = with_heads(weights, heads)
            distance = edit.distance(*now.shape[-2:]).to(now.device)
            order = _order(edit, number, edit.site.number)
            rows = Rows(with_heads(scores, heads), now, distance, order=order, windows=edit.site.kind == "window")
            if asked is not None:
                several = shape[:-2]
                query, key = (part.expand(*several, *part.shape[-2:]) for part in (asked.query, asked.key))
                rows.query, rows.key = with_heads(query, heads), with_heads(key, heads)
                rows.scale, rows.open_scores = asked.scale, with_heads(asked.open_scores(), heads)
            weights = edit.changed(rows).reshape(shape)
        return weights.permute(back)
