"""The length of the smallest file before it is there: an estimate from a sample, then the measured one from a thread.

Entropy-coding takes about a second for a million weights. So a face shows "≈ 1.2 MB" at once and the true number
when it is known, and nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from threading import Event, Lock, Thread

import numpy as np
import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.weights.coded import Codebook, Coded, Quantised
from explorer.weights.forms import Dense, Factors, Form, Masked, Zeros
from explorer.weights.packing import Storage
from explorer.weights.smallest import KEY, squeezed_blocks

SAMPLE = 2**17
"""So many weights are compressed for an estimate; of fewer, the file itself is made as fast."""
TABLES = ("table", "points")
"""Kinds of symbols of which a part of a matrix has as many as all of it."""


def foretold_bytes(storage: Storage, forms: Mapping[str, Form], most: int = SAMPLE) -> int:
    """About how long the smallest file is, from at most so many weights, evenly drawn from all matrices.

    storage: of the plain file. forms: what is changed, by name; those that stand in the file raw do not count.
    """
    coded = {entry.name: entry for entry in storage.entries if entry.encoding != "raw" and entry.name in forms}
    whole = dict(_parts({name: forms[name] for name in coded}))
    if not whole:
        return storage.size_bytes
    total = sum(form.entries for form in whole.values())
    sample = {name: drawn(form, most / total) for name, form in whole.items()} if total > most else whole
    share = sum(form.entries for form in sample.values()) / total
    length = 0.0
    for kind, block in squeezed_blocks(sample).items():
        alike = not kind or (kind.startswith(TABLES) and _same_tables(whole))
        length += len(block) / (1.0 if alike else share)
    saved = sum(entry.size_bytes + _listed(entry.name, entry.encoding) for entry in coded.values())
    name, _, encoding = KEY.partition(":")
    return min(storage.size_bytes, storage.size_bytes - saved + _listed(name, encoding) + round(length))


def drawn(form: Form, share: float) -> Form:
    """The form with a share of its rows, evenly drawn (of a single row, its first columns); it has at least one."""
    rows, columns = form.shape
    if rows == 1:
        return _cut(form, lambda tensor: tensor[:, : max(1, round(share * columns))])
    places = torch.from_numpy(np.unique(np.linspace(0, rows - 1, max(1, round(share * rows))).round().astype(int)))
    return _cut(form, lambda tensor: tensor[places.to(tensor.device)] if len(tensor) == rows else tensor)


def _cut(form: Form, cut: Callable[[Tensor], Tensor]) -> Form:
    """The form with every tensor that belongs to single weights or rows cut alike."""
    if isinstance(form, Coded):
        zeros = form.zeros
        if zeros is not None:
            gone = zeros.rows if zeros.rows is None or len(zeros.mask) == 1 else cut(zeros.rows)
            zeros = Zeros(cut(zeros.mask), zeros.group, gone)
        form = replace(form, codes=cut(form.codes), zeros=zeros)
        if isinstance(form, Quantised) and form.scale.numel() > 1:
            points = None if form.points is None or form.points.numel() == 1 else cut(form.points)
            form = replace(form, scale=cut(form.scale), points=form.points if points is None else points)
        return form
    if isinstance(form, Masked):
        gone = form.rows_removed
        if gone is not None and len(form.mask) > 1:
            gone = cut(gone)
        return Masked(cut(form.weight), cut(form.mask), form.group, gone)
    assert isinstance(form, Dense)
    return Dense(cut(form.weight))


def _parts(forms: Mapping[str, Form]) -> Iterator[tuple[str, Form]]:
    """The forms by name, factors as two of their own."""
    for name, form in forms.items():
        if isinstance(form, Factors):
            yield from _parts({f"{name}|left": form.left, f"{name}|right": form.right})
        else:
            yield name, form


def _same_tables(forms: Mapping[str, Form]) -> bool:
    """Whether each matrix has one table or scale, however many rows it has."""
    return all(
        isinstance(form, Codebook) or (isinstance(form, Quantised) and form.scale.numel() == 1)
        for form in forms.values()
        if isinstance(form, Coded)
    )


def _listed(name: str, encoding: str) -> int:
    """About how many bytes of the header an entry takes."""
    return len(f'"{name}:{encoding}":{{"dtype":"U8","shape":[12345],"data_offsets":[123456,123456]}},')


class SmallestSize:
    """The length of the smallest file, while it is measured in a thread of its own and afterwards.

    estimate: about how long, soon after the start (None where none is wanted). bytes: the length, measured; None until
    it is there. error: why it could not be measured. One is measured at a time in a process: others keep their cores.
    """

    def __init__(self, estimate: Callable[[], int] | None, measure: Callable[[], int]) -> None:
        self.estimate: int | None = None
        self.bytes: int | None = None
        self.error: ExplorerError | None = None
        self._cancelled = False
        self._finished = Event()
        Thread(target=self._run, args=(estimate, measure), name="smallest", daemon=True).start()

    @property
    def finished(self) -> bool:
        """Whether the length or an error is there."""
        return self._finished.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is finished (or `timeout` seconds); says whether it is."""
        return self._finished.wait(timeout)

    def cancel(self) -> None:
        """Do not begin, where others are measured first; what has begun goes on to its end."""
        self._cancelled = True

    def _run(self, estimate: Callable[[], int] | None, measure: Callable[[], int]) -> None:
        try:
            with torch.no_grad():
                if estimate is not None:
                    self.estimate = estimate()
                with _one_at_a_time:
                    if self._cancelled:
                        raise ExplorerError("the measurement was stopped", where="smallest", instead="start it again")
                    self.bytes = measure()
        except ExplorerError as problem:
            self.error = problem
        except Exception as problem:  # told by whoever waits: a thread has nobody above it
            self.error = ExplorerError(f"the smallest file could not be made ({problem})", instead="save the plain one")
        finally:
            self._finished.set()


_one_at_a_time = Lock()
