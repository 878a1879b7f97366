"""Coded forms: each weight is a small whole number, and a grid or a table says what it stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log2
from typing import ClassVar

import torch
from torch import Tensor

from explorer.weights.forms import Form, Zeros


@dataclass(frozen=True, eq=False)
class Coded(Form):
    """A matrix of codes.

    codes: `[out, in]` whole numbers from 0, in bytes (uint8).
    zeros: what was removed; None where nothing was.
    """

    codes: Tensor
    zeros: Zeros | None = None

    @property
    def width(self) -> int:
        """Bits of one code in the file."""
        raise NotImplementedError

    @property
    def zero_codes(self) -> Tensor:
        """The code that stands for zero: `[1, 1]`, or one a row `[out, 1]`."""
        raise NotImplementedError

    def _values(self) -> Tensor:
        """The matrix `[out, in]` that the codes stand for."""
        raise NotImplementedError

    def with_codes(self, codes: Tensor, zeros: Zeros | None) -> Coded:
        """The same grid or table with other codes."""
        return replace(self, codes=codes, zeros=zeros)

    def decode(self) -> Tensor:
        return self._decoded

    @cached_property
    def _decoded(self) -> Tensor:
        return self._values()

    @property
    def shape(self) -> tuple[int, int]:
        return (int(self.codes.shape[0]), int(self.codes.shape[1]))

    @property
    def entries(self) -> int:
        return self.codes.numel()

    @cached_property
    def nonzero(self) -> int:
        return int(self.decode().count_nonzero())

    @property
    def resident_bytes(self) -> int:
        return self.codes.numel() * (1 + self.decode().element_size())

    def masked(self, zeros: Zeros) -> Coded:
        together = zeros.after(self.zeros)
        codes = torch.where(together.mask, self.codes, self.zero_codes.to(self.codes.dtype))
        return self.with_codes(codes, together)


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantised(Coded):
    """Codes on an even grid: (code - zero point) × scale.

    scale: `[out, 1]` or `[1, 1]`, in the weights' number type. bits: of a code.
    points: `[out, 1]` or `[1, 1]`, the code that stands for zero; None where that is the middle one, 2^(bits - 1).
    """

    kind: ClassVar[str] = "quantised"
    scale: Tensor
    bits: int = 8
    points: Tensor | None = None

    @property
    def width(self) -> int:
        return self.bits

    @property
    def zero_codes(self) -> Tensor:
        if self.points is not None:
            return self.points
        return torch.full((1, 1), 2 ** (self.bits - 1), dtype=torch.uint8, device=self.codes.device)

    def _values(self) -> Tensor:
        steps = self.codes.to(torch.float32) - self.zero_codes.to(torch.float32)
        return (steps * self.scale.to(torch.float32)).to(self.scale.dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class Codebook(Coded):
    """Codes that are indices into a table of shared values.

    table: `[k]`, in the weights' number type. Where zeros were there before, its first entry is exactly zero.
    """

    kind: ClassVar[str] = "codebook"
    table: Tensor

    @property
    def width(self) -> int:
        return ceil(log2(len(self.table))) if len(self.table) > 1 else 0

    @property
    def zero_codes(self) -> Tensor:
        return torch.zeros((1, 1), dtype=torch.uint8, device=self.codes.device)

    def with_codes(self, codes: Tensor, zeros: Zeros | None) -> Coded:
        if codes.numel() and int(codes.max()) >= len(self.table):
            raise ValueError("an index beyond the table")  # of a damaged file
        return super().with_codes(codes, zeros)

    def _values(self) -> Tensor:
        return self.table[self.codes.long()]

    def masked(self, zeros: Zeros) -> Coded:
        if len(self.table) and float(self.table[0]) == 0.0:
            return super().masked(zeros)
        if len(self.table) == 256:  # no code is left for zero: the value nearest to it gives its place
            nearest = int(self.table.abs().argmin())
            table = torch.cat([self.table.new_zeros(1), self.table[:nearest], self.table[nearest + 1 :]])
            moved = torch.arange(256, dtype=torch.uint8, device=self.codes.device)
            moved[:nearest] += 1
            moved[nearest] = 0
            codes = moved[self.codes.long()]
        else:
            table, codes = torch.cat([self.table.new_zeros(1), self.table]), self.codes + 1
        return Codebook(codes, self.zeros, table=table).masked(zeros)
