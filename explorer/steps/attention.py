"""Editing attention: what its rows become between the softmax and the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from explorer.names import EDITS
from explorer.steps.base import LARGEST_SEED, Fixed, Step

AMOUNTS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top-k": ("k",),
    "window": ("window",),
    "decay": ("decay",),
    "dropout": ("share",),
    "low-rank": ("rank",),
    "block-low-rank": ("rank", "block"),
    "gain": ("gain",),
}
"""The amounts that an edit takes; the others take none."""
USUAL: dict[str, float] = {
    "temperature": 2.0, "k": 3, "window": 1, "decay": 0.5, "share": 0.2, "rank": 2, "block": 4, "gain": 0.5,
}  # fmt: skip
"""What an amount is where nothing is said."""
MOST_GAIN = 10.0


class EditAttention(Step):
    """Change what attention heads do, while the model runs: sharpen, cut, blur or silence them."""

    kind: ClassVar[str] = "edit-attention"
    label: ClassVar[str] = "Edit attention"
    help: ClassVar[str] = "Change what attention heads do: sharpen, cut, blur or silence them. The weights stay."

    edit: str = Field(default="off", title="Edit", description="What is done to the rows of the attention map.")
    layers: Sequence[str] = Field(
        default=("*",),
        title="Attention",
        description="Which attention layers the step acts on: names or globs such as blocks.*",
    )
    exclude: Sequence[str] = Field(
        default=(),
        title="Except",
        description="Attention layers that the step leaves alone: names or globs.",
        json_schema_extra={"rare": True},
    )
    heads: tuple[int, ...] = Field(
        default=(), title="Heads", description="The numbers of the heads, from 0; none given means all."
    )
    own_heads: dict[str, tuple[int, ...]] = Field(
        default_factory=Fixed,
        title="Own heads",
        description="Other heads for some layers, by name or glob.",
        json_schema_extra={"rare": True},
    )
    temperature: float | None = Field(
        default=None,
        gt=0.0,
        title="Temperature",
        description="Scores are divided by this: below 1 sharpens, above 1 blurs.",
    )
    k: int | None = Field(default=None, ge=1, title="Keep", description="So many keys of each row keep their weight.")
    window: int | None = Field(
        default=None, ge=0, title="Window", description="Each position sees neighbours up to so many places away."
    )
    decay: float | None = Field(
        default=None, ge=0.0, title="Decay", description="Weights fall by the factor exp(-decay) with each place."
    )
    share: float | None = Field(
        default=None, ge=0.0, lt=1.0, title="Dropped", description="The share of the weights that is dropped at random."
    )
    rank: int | None = Field(
        default=None, ge=1, title="Rank", description="The map is replaced by its best approximation of this rank."
    )
    block: int | None = Field(default=None, ge=1, title="Block", description="Positions a side of a block.")
    gain: float | None = Field(
        default=None, ge=0.0, le=MOST_GAIN, title="Gain", description="What the head gives is multiplied by this."
    )
    gains: dict[str, tuple[float, ...]] = Field(
        default_factory=Fixed,
        title="Own gains",
        description="A gain for each head of some layers, by name: as the search for gains finds them.",
        json_schema_extra={"rare": True},
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        title="Seed",
        description="Where the random numbers of dropping start.",
        json_schema_extra={"rare": True},
    )

    @field_validator("edit")
    @classmethod
    def _known_edit(cls, value: str) -> str:
        EDITS[value]
        return value

    @field_validator("own_heads", "gains")
    @classmethod
    def _stays(cls, value: dict[str, Any]) -> dict[str, Any]:
        return Fixed(value)

    @field_validator("heads")
    @classmethod
    def _heads_from_zero(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(head < 0 for head in value):
            raise ValueError(f"head {min(value)} is below 0: heads count from 0")
        return tuple(sorted(set(value)))

    @field_validator("gains")
    @classmethod
    def _sound_gains(cls, value: dict[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
        wrong = [(name, gain) for name, gains in value.items() for gain in gains if not 0 <= gain <= MOST_GAIN]
        if wrong:
            raise ValueError(f'"{wrong[0][0]}" has the gain {wrong[0][1]:g}: give 0 to {MOST_GAIN:g}')
        return value

    @model_validator(mode="after")
    def _own_amounts(self) -> Self:
        wanted = AMOUNTS.get(self.edit, ())
        for name in USUAL:
            given = getattr(self, name)
            if name in wanted and given is None:
                if not (name == "gain" and self.gains):
                    object.__setattr__(self, name, type(self)._whole(name, USUAL[name]))
            elif name not in wanted and given is not None:
                takes = f"takes {' and '.join(wanted)}" if wanted else "takes no amount"
                raise ValueError(f'{name} does not belong to edit="{self.edit}", which {takes}')
        if self.gains and self.edit != "gain":
            raise ValueError('gains belong to edit="gain"')
        return self

    @staticmethod
    def _whole(name: str, value: float) -> float:
        return int(value) if name in ("k", "window", "rank", "block") else float(value)

    def heads_of(self, layer: str) -> tuple[int, ...]:
        """The heads that are edited in a layer; empty for all."""
        for glob, heads in self.own_heads.items():
            if layer == glob or fnmatchcase(layer, glob):
                return heads
        return self.heads

    @property
    def amounts(self) -> Mapping[str, float]:
        """The amounts of this edit, by field."""
        return {name: getattr(self, name) for name in AMOUNTS.get(self.edit, ()) if getattr(self, name) is not None}

    def sentence(self) -> str:
        """For example "temperature 2, heads 0, 1 in blocks.0.attn"."""
        amounts = ", ".join(f"{name} {value:g}" for name, value in self.amounts.items())
        what = EDITS[self.edit].label[:1].lower() + EDITS[self.edit].label[1:]
        if self.edit == "gain" and self.gains:
            what = "own gains"
        elif self.edit in ("gain", "temperature"):
            what = amounts
        elif amounts:
            what = f"{what} ({amounts})"
        if self.own_heads:
            count = sum(len(heads) for heads in self.own_heads.values())
            who = f"{count} head{'' if count == 1 else 's'}"
        elif self.heads:
            who = f"head{'' if len(self.heads) == 1 else 's'} {', '.join(map(str, self.heads))}"
        else:
            who = "all heads"
        return f"{who} {what}{self._where()}"
