"""Coding: weights as few-bit numbers, on an even grid (quantisation) or as entries of a small table (codebook)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from explorer.steps.base import Fixed, Step

FEWEST_BITS, MOST_BITS = 2, 8


class Coding(Step):
    """What both ways of coding share: so many bits a weight, other bits for some matrices, and the rest."""

    fewest: ClassVar[int] = FEWEST_BITS

    bits: int = Field(default=8, ge=FEWEST_BITS, le=MOST_BITS, title="Bits", description="Bits for each weight.")
    overrides: dict[str, int | None] = Field(
        default_factory=Fixed,
        title="Own bits",
        description="Other bits for some matrices, by name or glob; null leaves a matrix alone.",
        json_schema_extra={"rare": True},
    )
    rest: int | None = Field(
        default=None,
        ge=FEWEST_BITS,
        le=MOST_BITS,
        title="Bits of the rest",
        description="Round biases, norms and positions, too, to so many bits (one scale a tensor); empty leaves them.",
        json_schema_extra={"rare": True},
    )

    @field_validator("overrides")
    @classmethod
    def _known_bits(cls, value: dict[str, int | None]) -> dict[str, int | None]:
        for glob, bits in value.items():
            if bits is not None and not cls.fewest <= bits <= MOST_BITS:
                raise ValueError(f'"{glob}" has {bits} bits: give {cls.fewest} to {MOST_BITS}')
        return value


class Quantize(Coding):
    """Round every weight to one of few evenly spaced values."""

    kind: ClassVar[str] = "quantize"
    label: ClassVar[str] = "Quantise"
    help: ClassVar[str] = "Round every weight to one of few evenly spaced values, held in so many bits."

    bits: int = Field(
        default=8,
        ge=FEWEST_BITS,
        le=MOST_BITS,
        title="Bits",
        description="Bits for each weight: 8 bits tell 256 values apart, 4 bits 16.",
    )
    scheme: Literal["symmetric", "affine"] = Field(
        default="symmetric",
        title="Grid",
        description="Symmetric: around zero. Affine: from the lowest to the highest weight, with zero on the grid.",
    )
    granularity: Literal["tensor", "channel"] = Field(
        default="channel",
        title="One scale per",
        description="A scale for each row follows large and small rows; one a tensor takes fewer bytes.",
    )

    def sentence(self) -> str:
        """For example "8 bits"."""
        return f"{self.bits} bits{self._where()}{self._own()}"


class Codebook(Coding):
    """Let the weights of a matrix share few values, found by k-means."""

    kind: ClassVar[str] = "codebook"
    label: ClassVar[str] = "Codebook"
    help: ClassVar[str] = "Let the weights of a matrix share few values, found by k-means; each weight is an index."
    fewest: ClassVar[int] = 1

    bits: int = Field(
        default=4,
        ge=1,
        le=MOST_BITS,
        title="Bits",
        description="Bits of an index: 4 bits tell 16 shared values apart. Zeros of an earlier step stay zero.",
    )

    def sentence(self) -> str:
        """For example "codebook of 16 values"."""
        return f"codebook of {2**self.bits} values{self._where()}{self._own()}"
