"""Low rank: matrices as products of two thin ones."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from explorer.names import FACTORISATIONS
from explorer.steps.base import Fixed, Share, Step


class LowRank(Step):
    """Write each matrix as a product of two thin ones."""

    kind: ClassVar[str] = "low-rank"
    label: ClassVar[str] = "Low rank"
    help: ClassVar[str] = "Write each matrix as a product of two thin ones."

    rank: int | None = Field(
        default=None, ge=1, title="Rank", description="How many singular values are kept in each matrix."
    )
    energy: Share | None = Field(
        default=None,
        gt=0.0,
        title="Energy",
        description="Keep the fewest singular values whose squares add up to this share.",
    )
    method: str = Field(
        default="svd",
        title="Method",
        description="How the two thin matrices are found.",
        json_schema_extra={"rare": True},
    )
    overrides: dict[str, int | None] = Field(
        default_factory=Fixed,
        title="Own rank",
        description="Another rank for some matrices, by name or glob; null leaves a matrix alone.",
        json_schema_extra={"rare": True},
    )

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        FACTORISATIONS[value]
        return value

    @field_validator("overrides")
    @classmethod
    def _ranks_from_one(cls, value: dict[str, int | None]) -> dict[str, int | None]:
        for glob, rank in value.items():
            if rank is not None and rank < 1:
                raise ValueError(f'the rank of "{glob}" is {rank}: a rank is at least 1')
        return value

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if (self.rank is None) == (self.energy is None):
            raise ValueError("give either a rank or an energy")
        return self

    def sentence(self) -> str:
        """For example "rank 16"."""
        amount = f"rank {self.rank}" if self.rank is not None else f"rank for {100 * (self.energy or 0):.4g} % energy"
        return f"{amount}{self._where()}{self._own()}"
