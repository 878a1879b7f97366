"""Forms: how one weight matrix is held. What runs is `form.decode()`, the very function that loading uses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from explorer.weights.threads import one_thread


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

    def masked(self, zeros: Zeros) -> Form:
        """The same kind of form with some of its weights removed, beside those that are gone already."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Zeros:
    """Which weights of a matrix were removed, and by what kind of pattern.

    mask: `[out, in]` booleans, true where kept.
    group: (N, M) where an N:M pattern made the mask: never more than N kept of each M neighbouring inputs.
    rows: `[out]` booleans where a row pattern made it: these rows, with their bias, are gone.
    """

    mask: Tensor
    group: tuple[int, int] | None = None
    rows: Tensor | None = None

    def after(self, earlier: Zeros | None) -> Zeros:
        """Both together; the later group counts."""
        if earlier is None:
            return self
        rows = self.rows if earlier.rows is None else earlier.rows if self.rows is None else self.rows | earlier.rows
        return Zeros(self.mask & earlier.mask, self.group or earlier.group, rows)


def zeros_of(form: Form) -> Zeros | None:
    """What was removed from a form, where something was; of factors, nothing can be said as a whole."""
    if isinstance(form, Masked):
        return Zeros(form.mask, form.group, form.rows_removed)
    return getattr(form, "zeros", None)


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

    def masked(self, zeros: Zeros) -> Masked:
        together = zeros.after(zeros_of(self))
        weight = torch.where(together.mask, self.weight, self.weight.new_zeros(()))
        return Masked(weight, together.mask, together.group, together.rows)


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
    """A product of two thin matrices: left `[out, r]` times right `[r, in]`, each itself dense, masked or coded."""

    kind: ClassVar[str] = "factors"
    left: Form
    right: Form

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
        with one_thread():  # the same digits, whoever asks first
            return self.left.decode() @ self.right.decode()

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
    zeros = zeros_of(form.left if isinstance(form, Factors) else form)
    return None if zeros is None else zeros.rows


def spread(units: Tensor, columns: int) -> Tensor:
    """The mask `[out, in]` for kept units: weights as they are, rows over all their columns."""
    return units if units.dim() == 2 else units[:, None].expand(-1, columns).contiguous()
