"""Attention maps: what a model looked at, layer by layer and head by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from explorer.attention import flow
from explorer.attention.measures import confidence, normalised_entropy
from explorer.attention.on_input import OnInput, on_input
from explorer.attention.sites import Site
from explorer.errors import ExplorerError
from explorer.shown import Shown
from explorer.subjects.axes import Axis


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """The maps of one attention layer.

    site: where it is, and of which kind. weights: `[batch, heads, queries, keys]`, rows that sum to one (a gate has one
    head and one query, and its keys are channels or places); of windows `[batch, windows, heads, queries, keys]`.
    heads: the original numbers of the heads. queries, keys: what stands there (names, labels, grid). gradients: of the
    target with respect to the weights, where they were asked for, in the same shape.
    """

    site: Site
    weights: Tensor
    heads: tuple[int, ...]
    queries: Axis
    keys: Axis
    gradients: Tensor | None = None

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.site.name

    @property
    def kind(self) -> str:
        """self, cross, window, channel gate or spatial gate."""
        return self.site.kind

    def place(self, head: int) -> int:
        """Where the head of this original number stands in `weights`; raises `ExplorerError` for one not there."""
        if head not in self.heads:
            listed = ", ".join(map(str, self.heads))
            raise ExplorerError(f"there is no head {head}", where=self.name, instead=f"choose one of: {listed}")
        return self.heads.index(head)

    @property
    def valid_queries(self) -> Tensor:
        """`[batch, queries]`: the queries that stand for something (no padding)."""
        return _valid(self.queries, self.weights)

    @property
    def valid_keys(self) -> Tensor:
        """`[batch, keys]`: the keys that stand for something."""
        return _valid(self.keys, self.weights)


def _valid(axis: Axis, weights: Tensor) -> Tensor:
    """`[batch, length]` of the positions with a label; all of them where none has one."""
    valid = torch.tensor([[label != "" for label in labels] for labels in axis.labels], dtype=torch.bool)
    return torch.where(valid.any(1, keepdim=True), valid, True)


@dataclass(frozen=True, eq=False)
class AttentionMaps(Shown):
    """The attention of one model on some examples.

    found: the layers in the order of the forward pass. outputs: what the model gave, `[batch, ...]` or as the model
    has them. unavailable: (module, why) for attention that could not be seen. target: which output the gradients are
    of. caption: which model and recipe, for figures. pictures: of the examples, `[batch, H, W]` or `[batch, H, W, 3]`
    from 0 to 1, where they are pictures.
    """

    found: tuple[LayerMaps, ...]
    outputs: Any = None
    unavailable: tuple[tuple[str, str], ...] = ()
    target: str = ""
    caption: str = ""
    pictures: Any = None
    _by_name: dict[str, LayerMaps] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._by_name.update({layer.name: layer for layer in self.found})

    @property
    def layers(self) -> list[str]:
        """The names of the layers."""
        return list(self._by_name)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights of each layer: `[batch, heads, queries, keys]` (of windows with their axis after the batch)."""
        return {layer.name: layer.weights for layer in self.found}

    @property
    def source(self) -> Mapping[str, str]:
        """How each layer's map was had, in words."""
        return {layer.name: layer.site.source for layer in self.found}

    @property
    def kind(self) -> Mapping[str, str]:
        """self, cross, window, channel gate or spatial gate, by layer."""
        return {layer.name: layer.kind for layer in self.found}

    def __getitem__(self, layer: str) -> LayerMaps:
        if layer not in self._by_name:
            raise ExplorerError(
                f'there is no attention layer "{layer}"', instead=f"choose one of: {', '.join(self.layers)}"
            )
        return self._by_name[layer]

    def __len__(self) -> int:
        """How many examples were looked at."""
        return int(self.found[0].weights.shape[0]) if self.found else 0

    # -- what they say -----------------------------------------------------------------------------------------------

    def entropy(self) -> Mapping[str, Tensor]:
        """For every layer `[heads]`: how spread the rows are, 0 (one key) to 1 (all keys alike), over valid queries."""
        return {
            layer.name: normalised_entropy(layer.weights, layer.valid_queries) for layer in self.found if _rows(layer)
        }

    def confidence(self) -> Mapping[str, Tensor]:
        """For every layer `[heads]`: the mean of the largest weight of each row (Voita et al. 2019)."""
        return {layer.name: confidence(layer.weights, layer.valid_queries) for layer in self.found if _rows(layer)}

    def stream(self, layers: Sequence[str] | None = None) -> list[LayerMaps]:
        """The self-attention layers over one set of positions: the longest such chain, or of the layers named."""
        chosen = [layer for layer in self.found if layer.kind == "self" and (layers is None or layer.name in layers)]
        lengths: dict[tuple[str, int], list[LayerMaps]] = {}
        for layer in chosen:
            lengths.setdefault((layer.keys.name, layer.weights.shape[-1]), []).append(layer)
        if not lengths:
            what = "there is no self-attention to follow"
            raise ExplorerError(what, where="rollout", instead="look at single layers")
        return max(lengths.values(), key=len)

    def rollout(self, layers: Sequence[str] | None = None, gradients: bool = False) -> Tensor:
        """`[batch, positions, positions]`: how much of each position the last layer's positions hold.

        Layer after layer R <- (A/2 + I/2) R with the heads averaged (Abnar and Zuidema 2020). With gradients,
        R <- R + relu(gradient * A) R, heads averaged (Chefer et al. 2021): `v.attention(..., target=)` finds them.
        Residual paths count as half; what the values hold and what the MLPs do is not in it.
        """
        chain = self.stream(layers)
        if not gradients:
            return flow.rollout([layer.weights for layer in chain])
        slopes = [layer.gradients for layer in chain if layer.gradients is not None]
        if len(slopes) < len(chain):
            missing = next(layer.name for layer in chain if layer.gradients is None)
            raise ExplorerError("there are no gradients", where=missing, instead="give target= to v.attention")
        return flow.gradient_rollout([layer.weights for layer in chain], slopes)

    def flow_to(self, position: int = 0, layers: Sequence[str] | None = None, gradients: bool = False) -> Tensor:
        """`[batch, positions]`: where the content of one position (a class token, a word) came from, by rollout."""
        rolled = self.rollout(layers, gradients)
        if not -rolled.shape[1] <= position < rolled.shape[1]:
            raise ExplorerError(f"there is no position {position}", instead=f"give 0 to {rolled.shape[1] - 1}")
        return rolled[:, position]

    def on_input(
        self,
        layer: str | None = None,
        head: int | None = None,
        query: int | None = None,
        *,
        gradients: bool = False,
        example: int = 0,
    ) -> OnInput:
        """How much each place of one example gets, to lay on the picture, the words or the features.

        layer: None takes all layers together, by rollout (weighted with `gradients`). head: None is the mean of the
        layer's. query: from which position it is looked; None is the class token, or the mean over all.
        """
        return on_input(self, layer, head, query, gradients, example)

    def __str__(self) -> str:
        width = max([len(name) for name in self.layers] + [5])
        lines = [f"{'layer':<{width}}  {'kind':<12} {'heads':>5} {'queries':>7} {'keys':>5}  how it was had"]
        for layer in self.found:
            shape = layer.weights.shape
            sizes = f"{len(layer.heads):>5} {shape[-2]:>7} {shape[-1]:>5}"
            lines.append(f"{layer.name:<{width}}  {layer.kind:<12} {sizes}  {layer.site.source}")
        lines += [f"unavailable: {name}, since {why}" for name, why in self.unavailable]
        lines.append("Attention shows where information may come from, not why (Jain and Wallace 2019).")
        return "\n".join(lines)


def _rows(layer: LayerMaps) -> bool:
    return not layer.site.is_gate
