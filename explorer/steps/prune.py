"""Pruning: which weights are set to zero."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from explorer.names import CRITERIA
from explorer.steps.base import LARGEST_SEED, Fixed, Share, Step


class Prune(Step):
    """Set the least important weights to zero."""

    kind: ClassVar[str] = "prune"
    label: ClassVar[str] = "Prune"
    help: ClassVar[str] = "Set the least important weights to zero."

    sparsity: Share | None = Field(
        default=None,
        title="Sparsity",
        description="The share of the chosen layers' weights, or neurons, that is set to zero.",
    )
    threshold: float | None = Field(
        default=None, ge=0.0, title="Threshold", description="Every weight whose score is below this is set to zero."
    )
    criterion: str = Field(default="magnitude", title="Score by", description="What makes a weight important.")
    pattern: Literal["unstructured", "n:m", "row"] = Field(
        default="unstructured", title="Pattern", description="Which weights live and die together."
    )
    n: int | None = Field(
        default=None, ge=0, title="Keep N", description="How many of each M neighbouring inputs are kept."
    )
    m: int | None = Field(
        default=None, ge=1, title="of each M", description="The length of a group of neighbouring inputs."
    )
    scope: Literal["global", "matrix"] = Field(
        default="global", title="Compete", description="Scores compete across all chosen layers, or inside each matrix."
    )
    overrides: dict[str, Share | None] = Field(
        default_factory=Fixed,
        title="Own sparsity",
        description="Another sparsity for some matrices, by name or glob; null leaves a matrix alone.",
        json_schema_extra={"rare": True},
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        title="Seed",
        description="Where random scores start from.",
        json_schema_extra={"rare": True},
    )

    @field_validator("criterion")
    @classmethod
    def _known_criterion(cls, value: str) -> str:
        CRITERIA[value]
        return value

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if self.pattern == "n:m":
            n, m = self.n if self.n is not None else 2, self.m if self.m is not None else 4
            if n > m:
                raise ValueError(f"N is {n} and M is {m}: give an N of at most {m}, as no more of each {m} can be kept")
            if self.sparsity is not None or self.threshold is not None:
                raise ValueError("an N:M pattern sets its own sparsity, 1 - N/M: leave out sparsity and threshold")
            if self.overrides:
                raise ValueError("an N:M pattern sets its own sparsity: leave out overrides, and use exclude")
            object.__setattr__(self, "n", n)
            object.__setattr__(self, "m", m)
            return self
        if self.n is not None or self.m is not None:
            raise ValueError('n and m belong to pattern="n:m"')
        if (self.sparsity is None) == (self.threshold is None):
            raise ValueError("give either a sparsity or a threshold")
        return self

    def sentence(self) -> str:
        """For example "prune 50 %, magnitude"."""
        if self.pattern == "n:m":
            amount = f"{self.n}:{self.m}"
        elif self.sparsity is not None:
            amount = f"{100 * self.sparsity:.4g} %"
        else:
            amount = f"below {self.threshold:.3g}"
        rows = " of neurons" if self.pattern == "row" else ""
        return f"prune {amount}{rows}, {self.criterion}{self._where()}{self._own()}"
