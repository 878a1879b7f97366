"""Forms: how one weight matrix is held. What runs is `form.decode()`, the very function that loading uses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor


class Form:
    """How one matrix `[out, in]` is held. Immutable; steps map form to form."""

    kind: ClassVar[str]

    def decode(self) -> Tensor:
        """The matrix that runs, `[out, in]`."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        raise NotImplementedError

    @property
    def entries(self) -> int:
        """How many numbers the form holds."""
        raise NotImplementedError

    @property
    def nonzero(self) -> int:
        """How many of them are not zero."""
        raise NotImplementedError

    @property
    def resident_bytes(self) -> int:
        """Memory that holding the form takes."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Dense(Form):
    """All entries, as they are: `weight` is `[out, in]`."""

    kind: ClassVar[str] = "dense"
    weight: Tensor

    def decode(self) -> Tensor:
        return self.weight

    @property
    def shape(self) -> tuple[int, int]:
        return (int(self.weight.shape[0]), int(self.weight.shape[1]))

    @property
    def entries(self) -> int:
        return self.weight.numel()

    @cached_property
    def nonzero(self) -> int:
        return int(self.weight.count_nonzero())

    @property
    def resident_bytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()


@dataclass(frozen=True, eq=False)
class Masked(Dense):
    """A matrix with removed weights.

    weight: `[out, in]`, zero where removed.
    mask: `[out, in]` booleans, true where kept.
    group: (N, M) where an N:M pattern made the mask: never more than N kept of each M neighbouring inputs.
    rows_removed: `[out]` booleans where a row pattern made it: these rows, with their bias, are gone.
    """

    kind: ClassVar[str] = "masked"
    mask: Tensor
    group: tuple[int, int] | None = None
    rows_removed: Tensor | None = None

    @property
    def resident_bytes(self) -> int:
        return super().resident_bytes + self.mask.numel()


@dataclass(frozen=True, eq=False)
class Factors(Form):
    """A product of two thin matrices: left `[out, r]` times right `[r, in]`, each itself dense or masked."""

    kind: ClassVar[str] = "factors"
    left: Dense
    right: Dense

    @property
    def rank(self) -> int:
        """r: the number of columns of `left`."""
        return self.left.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return (self.left.shape[0], self.right.shape[1])

    @property
    def runs_thin(self) -> bool:
        """Whether two thin products are less work than one with the full matrix."""
        rows, columns = self.shape
        return self.rank * (rows + columns) < rows * columns

    def decode(self) -> Tensor:
        return self._product

    @cached_property
    def _product(self) -> Tensor:
        return self.left.weight @ self.right.weight

    @property
    def entries(self) -> int:
        rows, columns = self.shape
        return self.left.entries + self.right.entries if self.runs_thin else rows * columns

    @property
    def nonzero(self) -> int:
        if self.runs_thin:
            return self.left.nonzero + self.right.nonzero
        return int(self.decode().count_nonzero())

    @property
    def resident_bytes(self) -> int:
        return self.left.resident_bytes + self.right.resident_bytes


def as_run(form: Form, can_run_thin: bool) -> Form:
    """The form that really runs: factors become the whole matrix where the layer cannot run them as thin ones."""
    return form if not isinstance(form, Factors) or (can_run_thin and form.runs_thin) else Dense(form.decode())


def rows_gone(form: Form) -> Tensor | None:
    """`[out]` booleans of the rows that a row pattern removed; of factors, those of the left one."""
    held = form.left if isinstance(form, Factors) else form
    return held.rows_removed if isinstance(held, Masked) else None
