"""One question to a method: which outputs of which examples, from which baseline, within which memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer.attribution.inputs import Part, present
from explorer.attribution.scoring import NoGradients, Scores
from explorer.errors import ExplorerError
from explorer.subjects.subject import Subject

MOST_BYTES = 2**28
"""So much memory a method's passes may take at once, as measured on one example."""
MOST_ROWS = 4096


@dataclass(frozen=True)
class Found:
    """What a method found: values at places for each part.

    start: `[B]`, F at the baseline. complete: the values promise to sum to F(x) - F(baseline). errors: standard errors
    of the values, of methods that sample. samples: how many samples or steps it took for an example. by_feature: a
    feature's value stands at all its places, so that it counts once in a sum.
    """

    values: tuple[Tensor, ...]
    start: Tensor
    complete: bool = False
    errors: tuple[Tensor, ...] | None = None
    samples: int | None = None
    note: str = ""
    by_feature: bool = False


@dataclass
class Question:
    """Some examples, and what is asked of them; methods take all they need from here.

    tensors: of the inputs, in order. raw, starts_raw: of each part its tensor and its baseline, at which the model
    gives a number. starts_full: the baselines as they were asked for. words: theirs.
    target: `[B]`. rows: so many examples may pass the model at once. maps: reads attention with gradients, where
    there is any. tick: called after each piece of slow work with how much of the examples' work it was.
    """

    subject: Subject
    scores: Scores
    parts: tuple[Part, ...]
    tensors: tuple[Tensor, ...]
    raw: tuple[Tensor, ...]
    starts_raw: tuple[Tensor, ...]
    starts_full: tuple[Tensor, ...]
    words: tuple[str, ...]
    positions: Tensor
    target: Tensor
    samples: int | None
    seed: int
    layer: str | None
    rows: int
    maps: Callable[[Question], Any] | None
    tick: Callable[[float], None] = field(default=lambda share: None)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def extras(self) -> tuple[Tensor, ...]:
        """What the scores need beside the parts."""
        return (*self.tensors, self.positions)

    @property
    def present(self) -> tuple[Tensor, ...]:
        """`[B, *places]` of each part: where something stands."""
        return tuple(present(part, raw) for part, raw in zip(self.parts, self.raw, strict=True))

    def at(self, example: int) -> Question:
        """The same question about one of the examples."""
        cut = lambda tensors: tuple(tensor[example : example + 1] for tensor in tensors)  # noqa: E731  (one use below)
        target, positions = cut((self.target, self.positions))
        return replace(
            self,
            tensors=cut(self.tensors),
            raw=cut(self.raw),
            starts_raw=cut(self.starts_raw),
            starts_full=cut(self.starts_full),
            positions=positions,
            target=target,
            seed=self.seed + example,
        )

    # -- as vectors, for gradients -----------------------------------------------------------------------------------

    @cached_property
    def points(self) -> tuple[Tensor, ...]:
        """The parts as floating-point tensors: tokens as the vectors of their embedding.

        Raises `NoGradients` where the outputs have none with respect to them.
        """
        found = []
        with torch.no_grad():
            for part, raw in zip(self.parts, self.raw, strict=True):
                found.append(self.scores.embedding(part)(raw).detach() if part.kind == "tokens" else raw)
        one = tuple(tensor[:1].clone().requires_grad_() for tensor in found)
        with torch.enable_grad():
            score = self.scores(*one, *(extra[:1] for extra in self.extras))
            if not score.requires_grad:
                raise NoGradients("its outputs have no gradients with respect to the inputs")
            slopes = torch.autograd.grad(score.sum(), one, allow_unused=True)
        if all(slope is None for slope in slopes):
            raise NoGradients("its outputs have no gradients with respect to the inputs")
        return tuple(found)

    @cached_property
    def starts(self) -> tuple[Tensor, ...]:
        """The baselines as floating-point tensors, like `points`."""
        found = []
        with torch.no_grad():
            for part, start, word in zip(self.parts, self.starts_full, self.words, strict=True):
                vectors = self.scores.embedding(part)(start).detach() if part.kind == "tokens" else start
                found.append(torch.zeros_like(vectors) if part.kind == "tokens" and word == "zero" else vectors)
        return tuple(found)

    # -- scores ------------------------------------------------------------------------------------------------------

    def score(self, tensors: Sequence[Tensor]) -> Tensor:
        """`[B]`: the target's output with these tensors as the parts."""
        with torch.no_grad():
            outputs = self.scores(*tensors, *self.extras)
        return outputs.gather(1, self.target[:, None]).squeeze(1).detach()

    # -- from entries to places --------------------------------------------------------------------------------------

    def summed(self, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Attributions of entries (or of vectors' channels) -> places, by the sum."""
        return tuple(part.reduced(value.detach()) for part, value in zip(self.parts, values, strict=True))

    def averaged(self, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Attributions of features, repeated on all their entries -> places."""
        return tuple(
            part.reduced(value.detach().to(torch.float32), total=False)
            for part, value in zip(self.parts, values, strict=True)
        )

    def shown(self, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Values at places, zero where nothing stands."""
        return tuple(value * there for value, there in zip(values, self.present, strict=True))

    def no(self, what: str) -> ExplorerError:
        """An error about the method on this model."""
        return ExplorerError(what, where="attribute", instead="choose another method, such as feature-ablation")


def bearable(
    scores: Scores, starts: Sequence[Tensor], tensors: Sequence[Tensor], positions: Tensor, rows: int
) -> tuple[tuple[Tensor, ...], str]:
    """(baselines at which the model gives a number, what was done for it in words).

    A model that masks padding may give NaN for an empty text; its last token stays then.
    """

    def sound(chosen: Sequence[Tensor]) -> bool:
        given = (*chosen, *tensors, positions)
        with torch.no_grad():
            cuts = range(0, len(positions), rows)
            return all(bool(scores(*(one[at : at + rows] for one in given)).isfinite().all()) for at in cuts)

    if sound(starts):
        return tuple(starts), ""
    kept = []
    for part, start in zip(scores.parts, starts, strict=True):
        ids = tensors[part.at]
        if part.kind == "tokens":
            places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
            last = (places * (ids != part.padding)).amax(1, keepdim=True)
            start = torch.where(places == last, ids, start)
        kept.append(start)
    if not sound(kept):
        raise ExplorerError("the model gives NaN at the baseline", where="baseline", instead="give another baseline")
    return tuple(kept), "the last token stays where tokens are taken away, since an empty text gives no number"


def rows_that_fit(scores: Scores, given: Sequence[Tensor]) -> int:
    """How many examples may pass the model at once: as many as keep what autograd holds below `MOST_BYTES`.

    given: what the scores are called with, of one example.
    """
    held = 0

    def weigh(tensor: Tensor) -> Tensor:
        nonlocal held
        held += tensor.numel() * tensor.element_size()
        return tensor

    ready = [tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor for tensor in given]
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        scores(*ready)
    own = sum(tensor.numel() * tensor.element_size() for tensor in given)
    return max(1, min(MOST_ROWS, MOST_BYTES // max(1, held + own)))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch and numpy from a seed, as they were before afterwards (Captum draws from both)."""
    before = np.random.get_state()  # Captum draws from this one
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # Captum draws from this one
            yield
    finally:
        np.random.set_state(before)  # Captum draws from this one
