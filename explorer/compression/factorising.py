"""A LowRank step: what a matrix becomes, and the decompositions that are kept for it."""

from __future__ import annotations

import torch
from torch import Tensor

from explorer.compression.lowrank import Singular
from explorer.compression.memory import Memory
from explorer.compression.plan import PlanEntry
from explorer.names import FACTORISATIONS
from explorer.steps import LowRank
from explorer.weights.forms import Dense, Factors, Form, Zeros, rows_gone, spread


def singular(method: str, name: str, form: Form, memory: Memory, trained: str = "") -> Singular:
    """The decomposition of a form; that of a matrix which is dense is kept.

    trained: the steps until the last that trained, as text: what the weights of a dense matrix depend on.
    """
    decompose = FACTORISATIONS[method].function
    if type(form) is Dense:
        found = memory.recall(("singular", method, name, trained), lambda: decompose(form.decode()))
    else:
        found = decompose(form.decode())
    assert isinstance(found, Singular)
    return found


def factorise(step: LowRank, entry: PlanEntry, form: Form, memory: Memory, trained: str = "") -> Factors:
    """The two thin matrices that a LowRank step makes of a form."""
    found = singular(step.method, entry.matrix, form, memory, trained)
    rank = int(entry.amount) if entry.amount is not None else rank_for_energy(found.values, step.energy or 1.0)
    left, right = found.truncated(rank)
    dtype = form.decode().dtype
    held = Dense(left.to(dtype))
    removed = rows_gone(form)
    if removed is not None:  # a neuron that is gone stays gone
        held = held.masked(Zeros(spread(~removed, rank), rows=removed))
    return Factors(held, Dense(right.to(dtype)))


def rank_for_energy(values: Tensor, energy: float) -> int:
    """The smallest rank whose singular values hold that share of the squares (at least 1)."""
    squares = values.to(torch.float64).square()
    total = squares.sum()
    if total == 0:
        return 1
    reached = squares.cumsum(0) / total >= energy * (1 - 1e-12)
    return int(reached.to(torch.uint8).argmax()) + 1 if bool(reached.any()) else len(values)
