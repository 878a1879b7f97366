"""Attention on the input: how much each place of one example gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from explorer.errors import ExplorerError
from explorer.shown import Shown
from explorer.subjects.axes import Axis

if TYPE_CHECKING:
    from explorer.attention.maps import AttentionMaps


@dataclass(frozen=True, eq=False)
class OnInput(Shown):
    """What each place of an example gets: of one head, a layer's mean, or by rollout.

    axis: the places, of this example alone. values: `[places]`. picture: of the example, `[H, W]` or `[H, W, 3]` from 0
    to 1, where it is one. whose: from which position it is looked, in words. caption: which model.
    """

    title: str
    axis: Axis
    values: Tensor
    whose: str
    picture: Any = None
    caption: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """What stands at each place; "" is padding."""
        return self.axis.labels[0]

    @property
    def shown(self) -> list[int]:
        """The places that stand for something."""
        return [at for at, label in enumerate(self.labels) if label != ""] or list(range(len(self.labels)))

    def __str__(self) -> str:
        ranked = sorted(self.shown, key=lambda at: -float(self.values[at]))[:8]
        listed = ", ".join(f"{self.labels[at] or at + 1} {float(self.values[at]):.3f}" for at in ranked)
        return f"{self.title}, {self.whose}: {listed}"


def on_input(
    maps: AttentionMaps,
    layer: str | None,
    head: int | None,
    query: int | None,
    gradients: bool,
    example: int,
) -> OnInput:
    """See `AttentionMaps.on_input`."""
    if not 0 <= example < len(maps):
        raise ExplorerError(f"there is no example {example}", where="on_input", instead=f"give 0 to {len(maps) - 1}")
    if layer is None:
        chain = maps.stream()
        rows, queries, keys = maps.rollout(gradients=gradients)[example], chain[0].queries, chain[0].keys
        title = "Gradient-weighted rollout" if gradients else "Rollout over all layers"
    else:
        found = maps[layer]
        weights = found.weights[example]
        if weights.dim() == 4:
            raise ExplorerError("windows lie apart", where=layer, instead="look at its figure, window by window")
        rows = weights.mean(0) if head is None else weights[0 if found.site.is_gate else found.place(head)]
        queries, keys = found.queries, found.keys
        title = f"{layer}, all heads" if head is None else f"{layer}, head {head}"
        if found.site.is_gate:
            title = f"{layer}, {found.kind}"
    whose, values = _row(rows, queries, query, example)
    picture = None if maps.pictures is None else maps.pictures[example]
    return OnInput(title, keys.take([example]), values, whose, picture, maps.caption)


def _row(rows: Tensor, queries: Axis, query: int | None, example: int) -> tuple[str, Tensor]:
    """(whose row, the row): of a position, of the class token, or the mean over all that stand for something."""
    if query is not None:
        if not 0 <= query < len(rows):
            raise ExplorerError(f"there is no position {query}", where="query=", instead=f"give 0 to {len(rows) - 1}")
        return f"from {queries.labels[example][query] or query + 1}", rows[query]
    if queries.name == "gate":
        return "which lets so much through", rows[0]
    if queries.first:
        return f"from the {queries.labels[example][0]}", rows[0]
    valid = [at for at, label in enumerate(queries.labels[example][: len(rows)]) if label != ""]
    return f"mean over the {queries.name}", rows[valid].mean(0) if valid else rows.mean(0)
