"""Edits: what the rows of an attention map become, between the softmax and the values.

Each edit is a function of the rows as they are (`Rows`) and the step, and gives the new weights. Adding one is one
decorated function (and, where it takes an amount, a field of `steps/attention.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from explorer.names import EDITS
from explorer.steps.attention import EditAttention

HIDDEN = -5e3
"""Scores below this are masks: no trained score comes near, and every library's mask lies beyond ..."""
HIDDEN_IN_WINDOWS = -70.0
"""... but the one between shifted windows, -100: there, so far below the row's best is hidden (a weight of 1e-30)."""


@dataclass
class Rows:
    """An attention map in the making: `[..., heads, queries, keys]`.

    scores: under the mask. weights: their softmax. query, key: `[..., positions, width]`, and scores without any mask,
    where the attention is a fused one. distance: `[queries, keys]`, how many places apart they are. order: a generator
    for what is random.
    """

    scores: Tensor
    weights: Tensor
    distance: Tensor
    query: Tensor | None = None
    key: Tensor | None = None
    scale: float = 1.0
    open_scores: Tensor | None = None
    order: torch.Generator | None = None
    windows: bool = False

    @cached_property
    def seen(self) -> Tensor:
        """Which keys each query may see."""
        if self.windows:
            return self.scores - self.scores.amax(-1, keepdim=True) > HIDDEN_IN_WINDOWS
        return self.scores > HIDDEN

    def among(self, weights: Tensor) -> Tensor:
        """Rows of non-negative weights that sum to one again; one with nothing left stays empty."""
        total = weights.sum(-1, keepdim=True)
        return torch.where(total > 0, weights / total.clamp_min(torch.finfo(weights.dtype).tiny), 0.0)


Edit = Callable[[Rows, EditAttention], Tensor]


@EDITS.register("off", label="Off", help="The head gives nothing: its columns of the output projection might be zero.")
def _off(rows: Rows, step: EditAttention) -> Tensor:
    return torch.zeros_like(rows.weights)


@EDITS.register("gain", label="Gain", help="What the head gives is multiplied by a number.")
def _gain(rows: Rows, step: EditAttention) -> Tensor:
    return rows.weights * float(1.0 if step.gain is None else step.gain)


@EDITS.register("uniform", label="Uniform", help="Every key that may be seen gets the same weight: no choice is left.")
def _uniform(rows: Rows, step: EditAttention) -> Tensor:
    return rows.among(rows.seen.to(rows.weights.dtype))


@EDITS.register(
    "temperature", label="Temperature", help="Scores are divided by a number before the softmax: softer or harder."
)
def _temperature(rows: Rows, step: EditAttention) -> Tensor:
    scores = (rows.scores / float(step.temperature or 1.0)).masked_fill(~rows.seen, float("-inf"))
    blind = ~rows.seen.any(-1, keepdim=True)  # what the model makes of such rows stays as it is
    return torch.where(blind, rows.weights, scores.masked_fill(blind, 0.0).softmax(-1))


@EDITS.register(
    "top-k",
    label="Top k",
    help="Only the largest weights of each row stay, and share the rest: hard attention is k = 1.",
    reference="Xu et al. 2015 (soft and hard attention); Zhao et al. 2019 (explicit sparse transformer)",
)
def _top_k(rows: Rows, step: EditAttention) -> Tensor:
    kept = min(int(step.k or 1), rows.weights.shape[-1])
    best = rows.weights.topk(kept, -1).indices
    return rows.among(torch.zeros_like(rows.weights).scatter(-1, best, rows.weights.gather(-1, best)))


@EDITS.register(
    "window",
    label="Local window",
    help="Each position sees only its neighbours; on pictures, neighbours on the grid of patches.",
    reference="Luong et al. 2015 (local attention); Beltagy et al. 2020 (sliding window)",
)
def _window(rows: Rows, step: EditAttention) -> Tensor:
    return rows.among(rows.weights * (rows.distance <= int(step.window or 0)))


@EDITS.register(
    "decay",
    label="Distance decay",
    help="Far keys lose weight, each place by the same factor.",
    reference="Press et al. 2022 (linear biases)",
)
def _decay(rows: Rows, step: EditAttention) -> Tensor:
    return rows.among(rows.weights * torch.exp(-float(step.decay or 0.0) * rows.distance).to(rows.weights.dtype))


@EDITS.register(
    "dropout",
    label="Attention dropout",
    help="A random share of the weights is dropped, and the others grow to make up for it, as in training.",
)
def _dropout(rows: Rows, step: EditAttention) -> Tensor:
    share = float(step.share or 0.0)
    drawn = torch.rand(rows.weights.shape, generator=rows.order)
    return rows.weights * (drawn >= share).to(rows.weights.device, rows.weights.dtype) / (1 - share)


@EDITS.register(
    "low-rank",
    label="Low rank",
    help="The map is replaced by its nearest one of a small rank, without negative weights.",
    reference="Wang et al. 2020 (attention maps are of low rank)",
)
def _low_rank(rows: Rows, step: EditAttention) -> Tensor:
    return rows.among(_truncated(rows.weights, int(step.rank or 1)) * rows.seen)


@EDITS.register(
    "block-low-rank",
    label="Low rank in blocks",
    help="The map is cut into square blocks, and each is replaced by its nearest one of a small rank.",
    reference="Nguyen et al. 2021 (near field and far field)",
)
def _block_low_rank(rows: Rows, step: EditAttention) -> Tensor:
    side, rank = int(step.block or 1), int(step.rank or 1)
    whole = rows.weights.clone()
    queries, keys = whole.shape[-2:]
    for top in range(0, queries, side):
        for left in range(0, keys, side):
            block = (..., slice(top, top + side), slice(left, left + side))
            whole[block] = _truncated(rows.weights[block], rank)
    return rows.among(whole * rows.seen)


@EDITS.register(
    "linear",
    label="Linear attention",
    help="The softmax gives way to products of elu(q) + 1 and elu(k) + 1: work grows with the length, not its square.",
    reference="Katharopoulos et al. 2020",
)
def _linear(rows: Rows, step: EditAttention) -> Tensor:
    assert rows.query is not None and rows.key is not None
    query, key = (torch.nn.functional.elu(part) + 1 for part in (rows.query, rows.key))
    return rows.among(query @ key.transpose(-2, -1) * rows.seen)


@EDITS.register("causal", label="Causal", help="No position sees a later one, as in a language model.")
def _causal(rows: Rows, step: EditAttention) -> Tensor:
    queries, keys = rows.weights.shape[-2:]
    earlier = torch.ones(queries, keys, dtype=torch.bool, device=rows.weights.device).tril(keys - queries)
    return rows.among(rows.weights * earlier)


@EDITS.register("bidirectional", label="Both directions", help="Every position sees all others, also later ones.")
def _bidirectional(rows: Rows, step: EditAttention) -> Tensor:
    assert rows.open_scores is not None
    seen = rows.seen.any(-2, keepdim=True).expand_as(rows.scores)  # a key that nobody sees is padding
    scores = torch.where(rows.seen, rows.scores, rows.open_scores)  # what is seen keeps what the mask adds to it
    blind = ~seen.any(-1, keepdim=True)
    return scores.masked_fill(~seen & ~blind, float("-inf")).softmax(-1).masked_fill(blind, 0.0)


NEEDS_FUSED = ("linear", "bidirectional")
"""Edits that need the queries and keys, which only the fused call hands over."""
NEEDS_PLACES = ("window", "decay", "causal", "bidirectional")
"""Edits that compare the places of queries and keys: both must be the same positions."""
OF_GATES = ("off", "gain", "uniform", "top-k", "dropout")
"""Edits that mean something for a gate."""


def _truncated(weights: Tensor, rank: int) -> Tensor:
    """The nearest matrix of a rank, without negative entries."""
    if rank >= min(weights.shape[-2:]):
        return weights
    exact = weights.to(torch.promote_types(weights.dtype, torch.float32))
    left = torch.linalg.svd(exact.detach(), full_matrices=False).U[..., :rank]
    near = left @ (left.mT @ exact)  # gradients flow for this basis: its own are infinite where singular values agree
    return near.clamp_min(0.0).to(weights.dtype)


def edited_gate(gate: Tensor, step: EditAttention, channels: bool, order: torch.Generator) -> Tensor:
    """The values of a gate after an edit: `[B, C, ...]` along the channels, or `[B, 1, H, W]` along the places.

    "off" opens the gate (one everywhere): what it would have held back passes. "uniform" gives every channel (place)
    the mean of all; "top-k" closes all but the k most open ones; "dropout" closes a random share.
    """
    flat = gate.flatten(1)
    if step.edit == "off":
        new = torch.ones_like(flat)
    elif step.edit == "gain":
        new = flat * float(1.0 if step.gain is None else step.gain)
    elif step.edit == "uniform":
        new = flat.mean(1, keepdim=True).expand_as(flat)
    elif step.edit == "top-k":
        best = flat.topk(min(int(step.k or 1), flat.shape[1]), 1).indices
        new = torch.zeros_like(flat).scatter(1, best, flat.gather(1, best))
    else:
        share = float(step.share or 0.0)
        new = flat * (torch.rand(flat.shape, generator=order) >= share).to(flat.device, flat.dtype) / (1 - share)
    return new.reshape(gate.shape)
