"""Attributions: what an answer rests on, place by place, and how far the numbers can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from explorer.attribution.inputs import Part
from explorer.errors import ExplorerError
from explorer.shown import Shown
from explorer.subjects.axes import Axis


@dataclass(frozen=True, eq=False)
class PartMap:
    """The attribution of one part of the inputs.

    part: which, with what its places and features are. values: `[B, H, W]` of a picture, `[B, T]` of tokens, `[B, F]`
    of a table: positive speaks for the target. error: the standard error of the values, of methods that sample.
    axis: what stands at each feature. present: where something stands (no padding), in the shape of `values`.
    """

    part: Part
    values: Tensor
    axis: Axis
    present: Tensor
    error: Tensor | None = None

    @property
    def name(self) -> str:
        """The part's name."""
        return self.part.name

    @property
    def kind(self) -> str:
        """image, tokens, table or numbers."""
        return self.part.kind

    @property
    def features(self) -> Tensor:
        """`[B, features]`: of pictures the mean of each block (the model's patches, where it has them)."""
        return self.part.features(self.values)


@dataclass(frozen=True, eq=False)
class Attributions(Shown):
    """What the answers of one model to some examples rest on, by one method.

    parts: by name, for each explained part of the inputs. method: its name. target: `[B]`, the output that is
    explained. scores: (F(x), F(baseline)), each `[B]`, logits. delta: `[B]`, sum of the attributions - (F(x) -
    F(baseline)), of methods that promise zero; None for others. baseline: in words. note: what else must be said,
    such as that another method stood in. asked: the method that was asked for. caption: which model and recipe.
    """

    parts: Mapping[str, PartMap]
    method: str
    label: str
    target: Tensor
    target_words: tuple[str, ...]
    scores: tuple[Tensor, Tensor]
    delta: Tensor | None
    baseline: str
    samples: int | None
    seconds: float
    note: str = ""
    asked: str = ""
    caption: str = ""

    def __getitem__(self, part: str) -> PartMap:
        if part not in self.parts:
            raise ExplorerError(f'there is no part "{part}"', instead=f"choose one of: {', '.join(self.parts)}")
        return self.parts[part]

    def __len__(self) -> int:
        """How many examples there are."""
        return int(self.target.shape[0])

    @property
    def only(self) -> PartMap:
        """The only part; raises `ExplorerError` where there are several."""
        if len(self.parts) > 1:
            raise ExplorerError(
                f"there are {len(self.parts)} parts", instead=f"name one: .parts[{next(iter(self.parts))!r}]"
            )
        return next(iter(self.parts.values()))

    @property
    def values(self) -> Tensor:
        """The values of the only part."""
        return self.only.values

    @property
    def axis(self) -> Axis:
        """What stands at the features of the only part."""
        return self.only.axis

    @property
    def error(self) -> Tensor | None:
        """The standard error of the only part's values, of methods that sample."""
        return self.only.error

    @property
    def resident_bytes(self) -> int:
        """What the numbers take in memory."""
        held: list[Any] = [self.target, *self.scores, self.delta]
        for part in self.parts.values():
            held += [part.values, part.error, part.present]
        return sum(tensor.numel() * tensor.element_size() for tensor in held if tensor is not None)

    def strongest(self, example: int = 0, count: int = 5) -> list[tuple[str, str, float]]:
        """(part, what stands there, value) of the features with the largest absolute values."""
        rows = []
        for part in self.parts.values():
            labels = part.axis.labels[example]
            values = part.features[example].tolist()
            rows += [(part.name, label, value) for label, value in zip(labels, values, strict=True) if label]
        return sorted(rows, key=lambda row: -abs(row[2]))[:count]

    def __str__(self) -> str:
        after, before = self.scores
        lines = [f"{self.label}{f' · {self.caption}' if self.caption else ''} · baseline: {self.baseline}"]
        for at in range(min(len(self), 8)):
            told = ", ".join(f"{label} {value:+.3g}" for _, label, value in self.strongest(at))
            line = f"{at}: {self.target_words[at]}, {float(before[at]):.3f} > {float(after[at]):.3f}: {told}"
            if self.delta is not None:
                line += f" (delta {float(self.delta[at]):+.2g})"
            lines.append(line)
        if len(self) > 8:
            lines.append(f"and {len(self) - 8} more examples")
        if self.samples is not None:
            lines.append(f"{self.samples} samples or steps an example, {self.seconds:.2f} s")
        return "\n".join([*lines, *([f"note: {self.note}"] if self.note else [])])
