"""Reading attributions: the examples in batches, one method, its numerical error, and a stand-in where it cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from explorer.attention.reading import Wanted, read_attention
from explorer.attention.sites import Sites
from explorer.attribution.baselines import baselines_of
from explorer.attribution.inputs import Part, axis_of, check_values, exchanged, find_parts, present
from explorer.attribution.question import Found, Question, bearable, rows_that_fit
from explorer.attribution.result import Attributions, PartMap
from explorer.attribution.scoring import NoGradients, Scores, positions_of, targets_of
from explorer.errors import ExplorerError
from explorer.names import METHODS
from explorer.subjects.examples import Inputs, map_tensors, tensors_in
from explorer.subjects.subject import Subject

AT_ONCE = 64
"""So many examples are handed to a method together, and fewer where memory is short."""
STAND_IN = "feature-ablation"
TAKE_AWAY = ("feature-ablation", "occlusion", "kernel-shap", "lime")
"""They exchange tokens for the baseline's ids; the others go to its vectors, if anywhere."""
DEFAULT = "integrated-gradients"
DEFAULTS = {"sequence": STAND_IN}
"""By task: an answer that feeds its own choices back jumps along the way from the baseline, so gradients miss much."""
TAKES_LAYER = ("layer-gradcam", "layer-integrated-gradients", "attention-x-gradient")

Progress = Callable[[float], Any]
"""Told the share that is done; an answer of False stops the work."""


@dataclass(frozen=True)
class Asked:
    """The settings of one attribution; see `Variant.attribute`."""

    method: str | None = None
    target: Any = None
    baseline: Any = None
    layer: str | None = None
    samples: int | None = None
    seed: int = 0
    position: int = -1
    head: str | None = None

    def check(self) -> str:
        """The method's name; raises `ExplorerError` for settings that mean nothing."""
        name = METHODS[self.method or DEFAULT].name
        if self.samples is not None and (not isinstance(self.samples, int) or self.samples < 1):
            raise ExplorerError(f"{self.samples!r} is no number of samples", where="samples", instead="give 1 or more")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ExplorerError(f"{self.seed!r} is no seed", where="seed", instead="give a whole number, 0 or more")
        if self.layer is not None and name not in TAKES_LAYER:
            raise ExplorerError(
                f"{name} looks at no layer", where="layer", instead=f"leave it out, or use {', '.join(TAKES_LAYER)}"
            )
        return name


@dataclass(frozen=True)
class Ground:
    """What attributions stand on: the examples that baselines are means of, and where the model attends.

    means: the mean example by the place of the tensor, and the split it is of.
    """

    subject: Subject
    sites: Sites | None
    means: Callable[[], Mapping[int, Tensor]]
    split: str


def parts_on(ground: Ground, inputs: Inputs) -> tuple[Part, ...]:
    """The parts of the inputs, pictures cut as the model's attention cuts them."""
    return find_parts(ground.subject, inputs, _grids(ground, inputs))


def read_attributions(
    ground: Ground, module: nn.Module, inputs: Inputs, asked: Asked, caption: str = "", progress: Progress | None = None
) -> Attributions:
    """What the answers of `module` (a private clone, dressed) to `inputs` rest on.

    Raises `ExplorerError` for unknown methods, heads and layers, targets out of range, baselines of a wrong shape, and
    methods that cannot be right on this model. A method without gradients is replaced by feature ablation, and `note`
    says so.
    """
    started, name = time.perf_counter(), asked.check()
    check_values(inputs)
    question = _question(ground, module, inputs, asked)
    hooks = hook_count(module)
    found, note = _found(question, name, progress)
    used = STAND_IN if note else name
    if hook_count(module) != hooks:  # a method of Captum that broke off
        raise ExplorerError("hooks were left on the private clone", where=name, instead="report this as a bug")
    label = METHODS[used].label
    end = question.score(question.raw)
    delta = None
    if found.complete:
        whole = sum(
            (part.features(values) if found.by_feature else values).flatten(1).to(torch.float64).sum(1)
            for part, values in zip(question.parts, found.values, strict=True)
        )
        delta = (whole - (end - found.start)).to(torch.float32).cpu()
    parts = {}
    for at, part in enumerate(question.parts):
        error = None if found.errors is None else found.errors[at].cpu()
        there = present(part, question.raw[at]).cpu()
        parts[part.name] = PartMap(part, found.values[at].cpu(), axis_of(ground.subject, inputs, part), there, error)
    return Attributions(
        parts=parts,
        method=used,
        label=label,
        target=question.target.cpu(),
        target_words=_target_words(ground.subject, question.scores.head, question.target, asked.position),
        scores=(end.cpu(), found.start.cpu()),
        delta=delta,
        baseline=question.said,
        samples=found.samples,
        seconds=time.perf_counter() - started,
        note="; ".join(filter(None, (note, found.note, question.spared if used in TAKE_AWAY else ""))),
        asked=name,
        caption=caption,
    )


def _question(ground: Ground, module: nn.Module, inputs: Inputs, asked: Asked) -> AllExamples:
    subject = ground.subject
    parts = parts_on(ground, inputs)
    tensors = tuple(tensors_in(inputs))
    starts, words, said = baselines_of(parts, tensors, asked.baseline, _Lazy(ground.means), ground.split)
    scores = Scores(subject, module, inputs, parts, asked.head)
    positions = positions_of(subject, inputs, parts, asked.position)
    raw = tuple(tensors[part.at] for part in parts)
    one = tuple(tensor[:1] for tensor in (*raw, *tensors, positions))
    rows = rows_that_fit(scores, one)
    safe, spared = bearable(scores, starts, tensors, positions, rows)
    with torch.no_grad():
        outputs = [
            scores(*(tensor[at : at + rows] for tensor in (*raw, *tensors, positions)))
            for at in range(0, len(positions), rows)
        ]
    target = targets_of(torch.cat(outputs), asked.target)
    attends = ground.sites is not None and any(not site.is_gate for site in ground.sites.found)
    maps = (lambda question: _maps(ground, question)) if attends else None
    return AllExamples(
        subject, scores, parts, tensors, raw, safe, starts, words, positions, target, asked.samples, asked.seed,
        asked.layer, rows, maps, said=said, spared=spared,
    )  # fmt: skip


@dataclass
class AllExamples(Question):
    """The question about all examples, which is cut into pieces that fit into memory. said: the baseline in words.

    spared: what was done so that the model gives a number at the baseline."""

    said: str = ""
    spared: str = ""

    def score(self, tensors: Sequence[Tensor]) -> Tensor:
        """`[B]`, in pieces."""
        pieces = [self.piece(at).score([tensor[at : at + self.size] for tensor in tensors]) for at in self.cuts]
        return torch.cat(pieces)

    @property
    def size(self) -> int:
        """How many examples a piece has."""
        return max(1, min(AT_ONCE, self.rows))

    @property
    def cuts(self) -> range:
        """Where the pieces begin."""
        return range(0, len(self), self.size)

    def piece(self, at: int) -> Question:
        """The same question about the examples from `at` on."""

        def cut(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(tensor[at : at + self.size] for tensor in tensors)

        target, positions = cut((self.target, self.positions))
        return Question(
            self.subject,
            self.scores,
            self.parts,
            cut(self.tensors),
            cut(self.raw),
            cut(self.starts_raw),
            cut(self.starts_full),
            self.words,
            positions,
            target,
            self.samples,
            self.seed + at,
            self.layer,
            self.rows,
            self.maps,
        )


def _found(question: AllExamples, name: str, progress: Progress | None) -> tuple[Found, str]:
    """What the method found on all examples, and why another one stands in ("" where none does)."""
    done, total, note, pieces = 0.0, len(question), "", []
    method = METHODS[name].function

    def tick(share: float, size: int) -> None:
        nonlocal done
        done = min(1.0, done + share * size / total)
        if progress is not None and progress(done) is False:
            raise ExplorerError("the attribution was stopped before its end", where=name, instead="start it again")

    for at in question.cuts:
        piece = question.piece(at)
        before, size = done, len(piece)
        piece.tick = lambda share, size=size: tick(share, size)  # type: ignore[misc]  # bound to this piece
        try:
            pieces.append(method(piece))
        except NoGradients as problem:
            note = f"{METHODS[name].label} needs gradients, and {problem}: {METHODS[STAND_IN].label} stands in"
            method = METHODS[STAND_IN].function
            pieces = [*pieces, method(piece)]
        tick(max(0.0, (before + size / total - done) * total / size), size)
    return _joined(pieces), note


def _joined(pieces: Sequence[Found]) -> Found:
    first = pieces[0]
    values = tuple(torch.cat(list(listed)) for listed in zip(*(piece.values for piece in pieces), strict=True))
    errors = None
    if first.errors is not None:
        errors = tuple(
            torch.cat(list(listed)) for listed in zip(*(piece.errors or () for piece in pieces), strict=True)
        )
    return replace(first, values=values, errors=errors, start=torch.cat([piece.start for piece in pieces]))


class _Lazy(Mapping[int, Tensor]):
    """The means, computed when one is asked for."""

    def __init__(self, compute: Callable[[], Mapping[int, Tensor]]) -> None:
        self._compute = compute

    def __getitem__(self, at: int) -> Tensor:
        return self._compute()[at]

    def __iter__(self) -> Any:
        return iter(self._compute())

    def __len__(self) -> int:
        return len(self._compute())


def _grids(ground: Ground, inputs: Inputs) -> list[tuple[int, int]]:
    """The patch grids of the model's attention, by the axes of its keys."""
    if ground.sites is None:
        return []
    one = map_tensors(inputs, lambda tensor: tensor[:1])
    lengths = dict.fromkeys(site.keys for site in ground.sites.found if not site.is_gate and site.kind != "window")
    axes = [ground.subject.axis(one, length) for length in lengths]
    return [axis.grid for axis in axes if axis.grid is not None]


def _maps(ground: Ground, question: Question) -> Any:
    """Attention with the gradients of the explained outputs."""
    assert ground.sites is not None
    scores = question.scores
    outputs = lambda model, inputs: scores(  # noqa: E731  (one expression, used once)
        *(tensors_in(inputs)[part.at] for part in question.parts), *tensors_in(inputs), question.positions
    )
    single = replace(ground.subject, forward=outputs, task="classification", heads=())
    wanted = Wanted(exclude=(), target=question.target)
    inputs = exchanged(scores.nesting, question.tensors)
    return read_attention(single, scores.model, inputs, ground.sites, wanted)


def _target_words(subject: Subject, head: str | None, target: Tensor, position: int) -> tuple[str, ...]:
    """Each explained output as people read it."""
    if subject.task == "multi-task" and head is not None:
        own = next(one for one in subject.heads if one.name == head)
        return tuple(f"{head}: {own.label(number)}" for number in target.tolist())
    if subject.task == "classification":
        return tuple(subject.target_label(number) for number in target.tolist())
    if subject.task == "language-modeling":
        words = getattr(subject.ways, "VOCABULARY", None)
        return tuple(f'next "{words[n]}"' if words is not None else f"next {n}" for n in target.tolist())
    if subject.task == "sequence":
        signs = subject.written(target[:, None]) if subject.writes else [str(n) for n in target.tolist()]
        step = "last step" if position == -1 else f"step {position}"
        return tuple(f"{step}: {sign}" for sign in signs)
    return tuple("the output" if subject.task == "regression" else f"output {number}" for number in target.tolist())


def hook_count(module: nn.Module) -> int:
    """How many hooks stand on a module and all its parts."""
    return sum(
        len(own._forward_hooks) + len(own._forward_pre_hooks) + len(own._backward_hooks) + len(own._backward_pre_hooks)
        for own in module.modules()
    )
