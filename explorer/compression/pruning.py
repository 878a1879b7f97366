"""A Prune step: which weights of which matrices go, and what a removed neuron takes along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from explorer.compression.criteria import Asked
from explorer.compression.memory import Memory
from explorer.compression.order import ScoreIndex, removed_count
from explorer.compression.patterns import n_of_m
from explorer.compression.plan import PlanEntry
from explorer.errors import ExplorerError
from explorer.names import CRITERIA, PATTERNS
from explorer.steps import Prune
from explorer.weights.forms import Dense, Factors, Form, Zeros, rows_gone, spread, zeros_of
from explorer.weights.matrices import WeightMatrix

REMOVED = -torch.finfo(torch.float32).tiny
"""The score of a weight that an earlier step removed: it goes first, and no threshold lies below it."""


@dataclass(frozen=True)
class Piece:
    """One matrix of numbers that a step acts on: a matrix itself, or a factor ("left", "right") of one."""

    matrix: str
    side: str
    form: Form

    @property
    def name(self) -> str:
        """For random scores: the matrix, with the side of a factor."""
        return f"{self.matrix}.{self.side}" if self.side else self.matrix


def prune(
    step: Prune, entries: list[PlanEntry], forms: Mapping[str, Form], memory: Memory, before: str
) -> dict[str, Form]:
    """The forms that a Prune step changes. before: the steps before it, as text (what the scores depend on)."""
    pieces = pieces_of(entries, forms, step)
    if step.pattern == "n:m":
        assert step.n is not None and step.m is not None
        masks = [n_of_m(_scores(step, piece), step.n, step.m) for piece in pieces]
        return _with_masks(step, pieces, masks, forms)
    own = {entry.matrix: entry.amount for entry in entries if entry.amount is not None}
    masks = [torch.empty(0)] * len(pieces)
    together = [at for at, piece in enumerate(pieces) if piece.matrix not in own]
    if together:
        index = index_of(step, [pieces[at] for at in together], memory, before)
        if step.threshold is not None:
            kept = index.keep_from(step.threshold)
        else:
            kept = index.keep(removed_count(step.sparsity or 0.0, index.total))
        for at, units in zip(together, kept, strict=True):
            masks[at] = units
    for at, piece in enumerate(pieces):
        if piece.matrix in own:
            index = index_of(step, [piece], memory, before)
            masks[at] = index.keep(removed_count(own[piece.matrix] or 0.0, index.total))[0]
    return _with_masks(step, pieces, masks, forms)


def pieces_of(entries: Iterable[PlanEntry], forms: Mapping[str, Form], step: Prune) -> list[Piece]:
    """What the step acts on: whole matrices, or the two factors of one."""
    pieces = []
    for entry in entries:
        form = forms[entry.matrix]
        if isinstance(form, Factors):
            pieces.append(Piece(entry.matrix, "left", form.left))
            if step.pattern != "row":  # the rows of the product are the rows of its left factor
                pieces.append(Piece(entry.matrix, "right", form.right))
        else:
            pieces.append(Piece(entry.matrix, "", form))
    return pieces


def index_of(step: Prune, pieces: list[Piece], memory: Memory, before: str) -> ScoreIndex:
    """The order of the scores of these pieces after the steps `before`; kept, since every knob position asks for it."""
    key = ("scores", before, step.criterion, step.seed, step.pattern, tuple(piece.name for piece in pieces))
    index = memory.recall(key, lambda: ScoreIndex(_units(step, pieces)))
    assert isinstance(index, ScoreIndex)
    return index


def without_biases(
    forms: Mapping[str, Form], rest: Mapping[str, Form], model: Mapping[str, Dense], matrices: Iterable[WeightMatrix]
) -> dict[str, Form]:
    """`rest` with the biases of removed rows gone: a removed neuron adds nothing, so its bias goes with it.

    forms: the changed matrices; model: what the model's other parameters are, as rows.
    """
    changed = dict(rest)
    for matrix in matrices:
        removed = rows_gone(forms[matrix.name]) if matrix.name in forms else None
        if removed is None or not bool(removed.any()):
            continue
        bias, first = matrix.bias
        held = changed.get(bias, model.get(bias))
        if matrix.kind in ("gate", "embedding") or held is None:
            continue
        mask = torch.ones(held.shape, dtype=torch.bool, device=removed.device)
        mask[0, first : first + matrix.rows] = ~removed
        gone = held.masked(Zeros(mask))
        changed[bias] = Dense(gone.decode()) if isinstance(held, Dense) else gone  # a raw vector stays one
    return changed


def _units(step: Prune, pieces: list[Piece]) -> list[Tensor]:
    if step.pattern == "n:m":  # it competes inside its groups; what can be looked at are the single weights
        return [_scores(step, piece) for piece in pieces]
    pattern = PATTERNS[step.pattern].function
    return [pattern(_scores(step, piece)) for piece in pieces]


def _scores(step: Prune, piece: Piece) -> Tensor:
    """Scores `[out, in]`; what an earlier step removed scores lowest, so that it goes first."""
    scores = CRITERIA[step.criterion].function(piece.form.decode(), Asked(piece.name, step.seed))
    assert isinstance(scores, Tensor)
    scores = scores.to(torch.float32)
    if scores.isnan().any():
        raise ExplorerError(
            f"the scores of {piece.name} hold NaN", where=step.criterion, instead="look for NaN in the weights"
        )
    zeros = zeros_of(piece.form)
    return scores if zeros is None else scores.masked_fill(~zeros.mask, REMOVED if step.pattern != "row" else 0.0)


def _with_masks(step: Prune, pieces: list[Piece], masks: list[Tensor], forms: Mapping[str, Form]) -> dict[str, Form]:
    changed: dict[str, Form] = {}
    for piece, units in zip(pieces, masks, strict=True):
        if bool(units.all()):  # nothing goes: the form stays what it is, to the bit and to the byte
            continue
        units = units.to(piece.form.decode().device)
        group = (step.n, step.m) if step.pattern == "n:m" and step.n is not None and step.m is not None else None
        rows = ~units if units.dim() == 1 else None
        pruned = piece.form.masked(Zeros(spread(units, piece.form.shape[1]), group, rows))
        if not piece.side:
            changed[piece.matrix] = pruned
            continue
        factors = changed.get(piece.matrix, forms[piece.matrix])
        assert isinstance(factors, Factors)
        sides = {"left": factors.left, "right": factors.right} | {piece.side: pruned}
        changed[piece.matrix] = Factors(**sides)
    return changed
