"""Applying a plan: from the dense matrices, step by step, to the forms that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from explorer.compression.criteria import Asked
from explorer.compression.lowrank import Singular
from explorer.compression.order import ScoreIndex, removed_count
from explorer.compression.patterns import n_of_m, spread
from explorer.compression.plan import Plan, PlanEntry
from explorer.errors import ExplorerError
from explorer.names import CRITERIA, FACTORISATIONS, PATTERNS
from explorer.recipe import LowRank, Prune, Recipe
from explorer.weights.forms import Dense, Factors, Form, Masked, rows_gone

REMOVED = -torch.finfo(torch.float32).tiny
"""The score of a weight that an earlier step removed: it goes first, and no threshold lies below it."""


@dataclass(frozen=True)
class Piece:
    """One matrix of numbers that a step acts on: a matrix itself, or a factor ("left", "right") of one."""

    matrix: str
    side: str
    form: Dense

    @property
    def name(self) -> str:
        """For random scores: the matrix, with the side of a factor."""
        return f"{self.matrix}.{self.side}" if self.side else self.matrix


class Memory:
    """What is computed once per dense model: decompositions and score indexes. Bounded, thread-safe.

    limit_bytes: what the kept results may take; the least recently used goes first.
    """

    def __init__(self, limit_bytes: int = 512 * 2**20) -> None:
        self._limit = limit_bytes
        self._kept: dict[Any, Any] = {}
        self._lock = Lock()

    def recall(self, key: Any, compute: Callable[[], Any]) -> Any:
        """The kept result for `key`, computed when it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept[key] = self._kept.pop(key)
                return self._kept[key]
        result = compute()
        with self._lock:
            self._kept[key] = result
            while len(self._kept) > 1 and sum(item.resident_bytes for item in self._kept.values()) > self._limit:
                self._kept.pop(next(iter(self._kept)))
        return result


@dataclass(frozen=True)
class Stand:
    """What the matrices are after some steps: the changed forms, and those steps as text (what results depend on)."""

    forms: Mapping[str, Form]
    steps: str

    @property
    def resident_bytes(self) -> int:
        """Memory that the forms take."""
        return sum(form.resident_bytes for form in self.forms.values())


def apply_plan(plan: Plan, dense: Mapping[str, Dense], memory: Memory) -> dict[str, Form]:
    """The forms of the matrices that the plan changes.

    dense: the dense form of every matrix of the model; never written to.
    """
    last = max((at for at, step in enumerate(plan.recipe) if step.enabled), default=0)
    before = _stand(plan, last, dense, memory)  # kept: while the last step's knob moves, the others stand still
    return dict(_after(plan, last, before, dense, memory).forms)


def score_index(plan: Plan, position: int, dense: Mapping[str, Dense], memory: Memory) -> ScoreIndex:
    """The scores that the Prune step at `position` ranks, after the active steps before it.

    Matrices with a sparsity of their own are not among them.
    """
    step = plan.recipe[position]
    if not isinstance(step, Prune):
        raise ExplorerError(f"step {position + 1} is no Prune step: it ranks no scores")
    before = _stand(plan, position, dense, memory)
    entries = [entry for entry in plan.acting(position) if step.scope == "matrix" or entry.amount is None]
    return _index(step, _pieces(entries, {**dense, **before.forms}, step), memory, before.steps)


def _stand(plan: Plan, position: int, dense: Mapping[str, Dense], memory: Memory) -> Stand:
    """What the matrices are before the step at `position`."""
    if position == 0:
        return Stand({}, "")
    before = _stand(plan, position - 1, dense, memory)
    if not plan.recipe[position - 1].enabled:
        return before
    key = ("stand", Recipe(plan.recipe.steps[:position]).active().to_url())
    stand = memory.recall(key, lambda: _after(plan, position - 1, before, dense, memory))
    assert isinstance(stand, Stand)
    return stand


def _after(plan: Plan, position: int, before: Stand, dense: Mapping[str, Dense], memory: Memory) -> Stand:
    """What the step at `position` makes of what it finds."""
    steps = Recipe(plan.recipe.steps[: position + 1]).active().to_url()
    entries = plan.acting(position)
    if not entries:
        return Stand(before.forms, steps)
    step, found = plan.recipe[position], {**dense, **before.forms}
    if isinstance(step, Prune):
        changed = _prune(step, entries, found, memory, before.steps)
    else:
        assert isinstance(step, LowRank)
        changed = {entry.matrix: _factorise(step, entry, found[entry.matrix], memory) for entry in entries}
    return Stand({**before.forms, **changed}, steps)


# -- pruning ------------------------------------------------------------------------------------------------------


def _prune(
    step: Prune, entries: list[PlanEntry], forms: Mapping[str, Form], memory: Memory, before: str
) -> dict[str, Form]:
    pieces = _pieces(entries, forms, step)
    if step.pattern == "n:m":
        assert step.n is not None and step.m is not None
        masks = [n_of_m(_scores(step, piece), step.n, step.m) for piece in pieces]
        return _with_masks(step, pieces, masks, forms)
    own = {entry.matrix: entry.amount for entry in entries if entry.amount is not None}
    masks = [torch.empty(0)] * len(pieces)
    together = [at for at, piece in enumerate(pieces) if piece.matrix not in own]
    if together:
        index = _index(step, [pieces[at] for at in together], memory, before)
        if step.threshold is not None:
            kept = index.keep_from(step.threshold)
        else:
            kept = index.keep(removed_count(step.sparsity or 0.0, index.total))
        for at, units in zip(together, kept, strict=True):
            masks[at] = units
    for at, piece in enumerate(pieces):
        if piece.matrix in own:
            index = _index(step, [piece], memory, before)
            masks[at] = index.keep(removed_count(own[piece.matrix] or 0.0, index.total))[0]
    return _with_masks(step, pieces, masks, forms)


def _pieces(entries: list[PlanEntry], forms: Mapping[str, Form], step: Prune) -> list[Piece]:
    pieces = []
    for entry in entries:
        form = forms[entry.matrix]
        if isinstance(form, Factors):
            pieces.append(Piece(entry.matrix, "left", form.left))
            if step.pattern != "row":  # the rows of the product are the rows of its left factor
                pieces.append(Piece(entry.matrix, "right", form.right))
        else:
            assert isinstance(form, Dense)
            pieces.append(Piece(entry.matrix, "", form))
    return pieces


def _index(step: Prune, pieces: list[Piece], memory: Memory, before: str) -> ScoreIndex:
    """The order of the scores of these pieces after the steps `before`; kept, since every knob position asks for it."""
    key = ("scores", before, step.criterion, step.seed, step.pattern, tuple(piece.name for piece in pieces))
    index = memory.recall(key, lambda: ScoreIndex(_units(step, pieces)))
    assert isinstance(index, ScoreIndex)
    return index


def _units(step: Prune, pieces: list[Piece]) -> list[Tensor]:
    if step.pattern == "n:m":  # it competes inside its groups; what can be looked at are the single weights
        return [_scores(step, piece) for piece in pieces]
    pattern = PATTERNS[step.pattern].function
    return [pattern(_scores(step, piece)) for piece in pieces]


def _scores(step: Prune, piece: Piece) -> Tensor:
    """Scores `[out, in]`; what an earlier step removed scores lowest, so that it goes first."""
    scores = CRITERIA[step.criterion].function(piece.form.weight, Asked(piece.name, step.seed))
    assert isinstance(scores, Tensor)
    scores = scores.to(torch.float32)
    if scores.isnan().any():
        raise ExplorerError(
            f"the scores of {piece.name} hold NaN", where=step.criterion, instead="look for NaN in the weights"
        )
    if isinstance(piece.form, Masked):
        scores = scores.masked_fill(~piece.form.mask, REMOVED if step.pattern != "row" else 0.0)
    return scores


def _with_masks(step: Prune, pieces: list[Piece], masks: list[Tensor], forms: Mapping[str, Form]) -> dict[str, Form]:
    changed: dict[str, Form] = {}
    for piece, units in zip(pieces, masks, strict=True):
        if bool(units.all()):  # nothing goes: the form stays what it is, to the bit and to the byte
            continue
        pruned = _masked(step, piece.form, units)
        if not piece.side:
            changed[piece.matrix] = pruned
            continue
        factors = changed.get(piece.matrix, forms[piece.matrix])
        assert isinstance(factors, Factors)
        sides = {"left": factors.left, "right": factors.right} | {piece.side: pruned}
        changed[piece.matrix] = Factors(**sides)
    return changed


def _masked(step: Prune, form: Dense, units: Tensor) -> Masked:
    units = units.to(form.weight.device)
    mask = spread(units, form.shape[1])
    removed = ~units if units.dim() == 1 else None
    group = (step.n, step.m) if step.pattern == "n:m" and step.n is not None and step.m is not None else None
    if isinstance(form, Masked):
        mask = mask & form.mask
        if form.rows_removed is not None:
            removed = form.rows_removed if removed is None else removed | form.rows_removed
        group = group or form.group
    weight = torch.where(mask, form.weight, form.weight.new_zeros(()))
    return Masked(weight, mask, group, removed)


# -- low rank -----------------------------------------------------------------------------------------------------


def singular(method: str, name: str, form: Form, memory: Memory) -> Singular:
    """The decomposition of a form; that of a dense matrix is kept."""
    decompose = FACTORISATIONS[method].function
    if type(form) is Dense:
        found = memory.recall(("singular", method, name), lambda: decompose(form.decode()))
    else:
        found = decompose(form.decode())
    assert isinstance(found, Singular)
    return found


def _factorise(step: LowRank, entry: PlanEntry, form: Form, memory: Memory) -> Factors:
    found = singular(step.method, entry.matrix, form, memory)
    rank = int(entry.amount) if entry.amount is not None else rank_for_energy(found.values, step.energy or 1.0)
    left, right = found.truncated(rank)
    dtype = form.decode().dtype
    held = Dense(left.to(dtype))
    removed = rows_gone(form)
    if removed is not None:  # a neuron that is gone stays gone
        held = _without_rows(held, removed)
    return Factors(held, Dense(right.to(dtype)))


def _without_rows(form: Dense, removed: Tensor) -> Masked:
    mask = spread(~removed, form.shape[1])
    return Masked(torch.where(mask, form.weight, form.weight.new_zeros(())), mask, rows_removed=removed)


def rank_for_energy(values: Tensor, energy: float) -> int:
    """The smallest rank whose singular values hold that share of the squares (at least 1)."""
    squares = values.to(torch.float64).square()
    total = squares.sum()
    if total == 0:
        return 1
    reached = squares.cumsum(0) / total >= energy * (1 - 1e-12)
    return int(reached.to(torch.uint8).argmax()) + 1 if bool(reached.any()) else len(values)
