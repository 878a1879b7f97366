"""Holds: forms as they are trained. Each turns its leaves into the weight that runs, and back into the same form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.weights.coded import Codebook, Coded, Quantised
from explorer.weights.forms import Dense, Factors, Form, Zeros, zeros_of


class Hold:
    """One form in training.

    `leaves` are what the optimiser moves; `weight()` is the matrix that runs, `[out, in]`, with its gradient;
    `form()` is the form of the same kind that holds it. `zeros` is what was removed, where it is known as a whole.
    """

    zeros: Zeros | None = None

    @property
    def leaves(self) -> list[nn.Parameter]:
        """What is trained."""
        raise NotImplementedError

    def weight(self) -> Tensor:
        """The matrix that runs, differentiable in the leaves."""
        raise NotImplementedError

    def form(self) -> Form:
        """What is trained so far, as a form that shares nothing with the leaves."""
        raise NotImplementedError

    def plain(self) -> Iterator[PlainHold]:
        """The parts of it that are held as numbers (not as codes), which a pruning during training may act on."""
        yield from ()


class PlainHold(Hold):
    """A dense or masked matrix: the mask is applied again at every step, so what is gone stays exactly zero.

    returning: what is masked goes on learning as if it were there, so that it may come back (He et al. 2018, Soft
    filter pruning); a straight-through estimate.
    """

    def __init__(self, form: Dense) -> None:
        self.value = nn.Parameter(form.decode().detach().clone())
        self.zeros = zeros_of(form)
        self.returning = False
        self.scores: nn.Parameter | None = None

    @property
    def leaves(self) -> list[nn.Parameter]:
        return [self.value] if self.scores is None else [self.value, self.scores]

    def learn_scores(self) -> None:
        """Train a score for each weight, too: its gradient is that of the mask (Ramanujan et al., Sanh et al. 2020)."""
        self.scores = nn.Parameter(self.value.detach().abs())

    def weight(self) -> Tensor:
        if self.zeros is None:
            return self.value
        if self.returning:
            return self.value + (self.value * self.zeros.mask - self.value).detach()
        if self.scores is not None:
            return self.value * (self.scores - self.scores.detach() + self.zeros.mask)
        return self.value * self.zeros.mask

    def form(self) -> Dense:
        value = self.value.detach().clone()
        return Dense(value) if self.zeros is None else Dense(value).masked(self.zeros)

    def plain(self) -> Iterator[PlainHold]:
        yield self


class FactorsHold(Hold):
    """Two thin matrices, each trained as it is held; the rank stays."""

    def __init__(self, form: Factors) -> None:
        self.left, self.right = hold(form.left), hold(form.right)

    @property
    def leaves(self) -> list[nn.Parameter]:
        return [*self.left.leaves, *self.right.leaves]

    def weight(self) -> Tensor:
        return self.left.weight() @ self.right.weight()

    def form(self) -> Factors:
        return Factors(self.left.form(), self.right.form())

    def plain(self) -> Iterator[PlainHold]:
        yield from (*self.left.plain(), *self.right.plain())


class QuantisedHold(Hold):
    """Rounded weights: what is trained are the numbers behind them and the scale of the grid.

    Rounding has no gradient, so it is passed straight through; the scale moves by factors (Esser et al. 2020, Learned
    step size quantization; here its logarithm is trained, so that it stays positive).
    """

    def __init__(self, form: Quantised) -> None:
        self._like = form
        self.zeros = form.zeros
        self.value = nn.Parameter(form.decode().detach().clone())
        self.growth = nn.Parameter(torch.zeros_like(form.scale, dtype=torch.float32))

    @property
    def leaves(self) -> list[nn.Parameter]:
        return [self.value, self.growth]

    def _scale(self) -> Tensor:
        return (self._like.scale.float() * self.growth.exp()).to(self._like.scale.dtype)

    def _steps(self, scale: Tensor) -> Tensor:
        """The weights in steps of the grid (float32, as they are decoded), zero at zero.

        They are held so near to the grid that they round onto it: its outermost weights still learn.
        """
        points = self._like.zero_codes.to(torch.float32)
        low, high = (
            (-points, 2**self._like.bits - 1 - points) if self._like.points is not None else (1 - points, points - 1)
        )
        return torch.clamp(self.value.float() / scale.float(), low - 0.49, high + 0.49)

    def weight(self) -> Tensor:
        scale = self._scale()
        steps = self._steps(scale)
        weight = ((steps + (steps.round() - steps).detach()) * scale.float()).to(scale.dtype)
        return weight if self.zeros is None else weight * self.zeros.mask

    def form(self) -> Coded:
        with torch.no_grad():
            scale = self._scale().detach().clone()
            codes = (self._steps(scale).round() + self._like.zero_codes.to(torch.float32)).to(torch.uint8)
        trained = replace(self._like, codes=codes, zeros=None, scale=scale)
        return trained if self.zeros is None else trained.masked(self.zeros)


class CodebookHold(Hold):
    """Shared values: which weight has which stays; a value moves by its weights' summed gradients (Han et al. 2016)."""

    def __init__(self, form: Codebook) -> None:
        self._like = form
        self.zeros = form.zeros
        self._codes = form.codes.long()
        self._moves = (form.table != 0).to(form.table.dtype)  # zero stays zero
        self.table = nn.Parameter(form.table.detach().clone())

    @property
    def leaves(self) -> list[nn.Parameter]:
        return [self.table]

    def weight(self) -> Tensor:
        return (self.table * self._moves)[self._codes]

    def form(self) -> Codebook:
        return replace(self._like, table=(self.table.detach() * self._moves).clone())


class Frozen(Hold):
    """A form that is not trained."""

    def __init__(self, kept: Form) -> None:
        self.kept = kept

    @property
    def leaves(self) -> list[nn.Parameter]:
        return []

    def weight(self) -> Tensor:
        return self.kept.decode()

    def form(self) -> Form:
        return self.kept


def hold(form: Form) -> Hold:
    """The form, ready for training."""
    if isinstance(form, Factors):
        return FactorsHold(form)
    if isinstance(form, Quantised):
        return QuantisedHold(form)
    if isinstance(form, Codebook):
        return CodebookHold(form)
    if isinstance(form, Dense):
        return PlainHold(form)
    raise ExplorerError(f"a {form.kind} matrix cannot be trained", instead="put the recovery before that step")
