"""Robustness: inputs made worse in known ways, and how the quality of two models falls with the strength."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.evaluation.quality import Change, Quality
from explorer.shown import Shown
from explorer.subjects.examples import Inputs, map_tensors, tensors_in
from explorer.subjects.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

PGD_STEPS = 10
PGD_STEP = 2.5
"""So many times the largest change is what all steps together could walk."""


@dataclass(frozen=True)
class Reach:
    """What values the inputs take: per channel of images and feature of tables, as tensors that fit one example.

    low, high: the smallest and largest value. spread: the standard deviation (of an image's channel, of a feature).
    pad, unknown: the ids of padding and of a word that is not known, for texts; None where the model has none.
    """

    low: Tensor
    high: Tensor
    spread: Tensor
    pad: int | None = None
    unknown: int | None = None


Perturbation = Callable[[Tensor, float, torch.Generator, Reach], Tensor]


@dataclass(frozen=True)
class Trial:
    """One way to make inputs worse.

    what: "image", "text" or "table": on which inputs it works. strengths: how strong it is tried, beside 0. unit: of
    the strength. attack: searched with each model's own gradients, so that each meets inputs of its own.
    """

    name: str
    label: str
    what: str
    strengths: tuple[float, ...]
    unit: str
    change: Perturbation | None = None
    attack: bool = False


TRIALS: dict[str, Trial] = {}
"""All trials by name."""


def trial(
    name: str, label: str, what: str, strengths: tuple[float, ...], unit: str
) -> Callable[[Perturbation], Perturbation]:
    """Decorate `function(inputs, strength, draw, reach)` as a trial; strength 0 must leave the inputs as they are."""

    def note(function: Perturbation) -> Perturbation:
        TRIALS[name] = Trial(name, label, what, strengths, unit, function)
        return function

    return note


@trial("noise", "Noise", "image", (0.05, 0.1, 0.2, 0.4), "of the range of values, standard deviation")
def noise(images: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """Normal noise on every pixel, kept inside the range of values."""
    moved = images + strength * (reach.high - reach.low) * torch.randn(images.shape, generator=draw).to(images)
    return _inside(moved, reach)


@trial("outliers", "Salt and pepper", "image", (0.02, 0.05, 0.1, 0.2), "of the pixels")
def outliers(images: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """So many pixels become the smallest or the largest value, all channels of a pixel together."""
    shape = (len(images), 1, *images.shape[2:]) if images.dim() == 4 else images.shape
    hit = torch.rand(shape, generator=draw) < strength
    salt = torch.rand(shape, generator=draw) < 0.5
    return torch.where(hit, torch.where(salt, reach.high, reach.low), images)


@trial("occlusion", "Covered square", "image", (0.125, 0.25, 0.375, 0.5), "of the side")
def occlusion(images: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """A square at a random place becomes grey (the middle of the range)."""
    height, width = images.shape[-2:]
    size = round(strength * min(height, width))
    top = (torch.rand(len(images), generator=draw) * (height - size + 1)).long()
    left = (torch.rand(len(images), generator=draw) * (width - size + 1)).long()
    rows, columns = torch.arange(height), torch.arange(width)
    covered = (rows >= top[:, None]) & (rows < top[:, None] + size)
    across = (columns >= left[:, None]) & (columns < left[:, None] + size)
    square = covered[:, :, None] & across[:, None, :]  # (B, H, W)
    return torch.where(square.unsqueeze(1) if images.dim() == 4 else square, (reach.low + reach.high) / 2, images)


@trial("blur", "Blur", "image", (0.5, 0.75, 1.0, 1.5), "pixels, standard deviation")
def blur(images: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """A Gaussian blur; the border repeats its pixels."""
    if strength == 0:
        return images
    half = max(1, int(3 * strength + 0.5))
    steps = torch.arange(-half, half + 1, dtype=images.dtype)
    kernel = torch.exp(-(steps**2) / (2 * strength**2))
    kernel = kernel / kernel.sum()
    flat = images.reshape(-1, 1, *images.shape[-2:])
    flat = F.conv2d(F.pad(flat, (half, half, 0, 0), "replicate"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, half, half), "replicate"), kernel.view(1, 1, -1, 1))
    return flat.reshape(images.shape)


@trial("contrast", "Less contrast", "image", (0.25, 0.5, 0.7, 0.85), "of the contrast gone")
def contrast(images: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """Pixels move towards the mean of their image."""
    if strength == 0:
        return images
    middle = images.mean(dim=(-2, -1), keepdim=True)
    return middle + (1 - strength) * (images - middle)


@trial("shift", "Shift", "image", (1, 2, 3), "pixels")
def shift(images: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """Every image moves by whole pixels in one of four directions; the border repeats its pixels."""
    by = round(strength)
    turns = torch.randint(4, (len(images),), generator=draw)
    moved = images.clone()
    height, width = images.shape[-2:]
    rows, columns = torch.arange(height), torch.arange(width)
    for turn, (down, right) in enumerate(((by, 0), (-by, 0), (0, by), (0, -by))):
        chosen = images[turns == turn]
        chosen = chosen[..., (rows - down).clamp(0, height - 1), :]
        moved[turns == turn] = chosen[..., (columns - right).clamp(0, width - 1)]
    return moved


@trial("corner", "Bright corner", "image", (1, 2), "pixels, side of the square")
def corner(images: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """A small square in one of the four corners takes the largest value: where nothing is, nothing should matter."""
    size = round(strength)
    turns = torch.randint(4, (len(images),), generator=draw)
    rows, columns = (torch.arange(side) for side in images.shape[-2:])
    high, wide = images.shape[-2:]
    down = torch.where(turns[:, None] < 2, rows < size, rows >= high - size)  # (B, H)
    right = torch.where(turns[:, None] % 2 == 0, columns < size, columns >= wide - size)  # (B, W)
    square = down[:, :, None] & right[:, None, :]
    return torch.where(square.unsqueeze(1) if images.dim() == 4 else square, reach.high, images)


@trial("dropout", "Words left out", "text", (0.1, 0.2, 0.4), "of the words")
def dropout(ids: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """Words go, those behind them move up, and padding fills the end."""
    if reach.pad is None:
        raise ExplorerError("this model has no padding to fill the end with", where="dropout")
    gone = (torch.rand(ids.shape, generator=draw) < strength) & (ids != reach.pad)
    gone[:, 0] &= ((ids != reach.pad) & ~gone).any(1)  # never an empty text
    order = (gone | (ids == reach.pad)).to(torch.int8).argsort(dim=1, stable=True)
    return torch.where(gone, reach.pad, ids).gather(1, order)


@trial("typos", "Unknown words", "text", (0.1, 0.2, 0.4), "of the words")
def typos(ids: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """Words are misspelt, which makes them unknown; where the model knows no unknown word, another word of the text."""
    hit = torch.rand(ids.shape, generator=draw) < strength
    other = torch.randint(2**31, ids.shape, generator=draw) % max(1, ids.shape[1])
    replaced = ids.gather(1, other) if reach.unknown is None else torch.full_like(ids, reach.unknown)
    if reach.pad is not None:
        hit &= (ids != reach.pad) & (replaced != reach.pad)
    return torch.where(hit, replaced, ids)


@trial("feature noise", "Noise on features", "table", (0.25, 0.5, 1.0, 2.0), "standard deviations of each feature")
def feature_noise(rows: Tensor, strength: float, draw: torch.Generator, reach: Reach) -> Tensor:
    """Normal noise on every feature, by its own spread."""
    return rows + strength * reach.spread * torch.randn(rows.shape, generator=draw).to(rows)


for _name, _label in (("fgsm", "FGSM attack"), ("pgd", "PGD attack")):
    TRIALS[_name] = Trial(
        _name, _label, "float", (0.01, 0.03, 0.1), "of the range of values, largest change", None, True
    )


@dataclass(frozen=True)
class Curve:
    """How two models bear one trial. strengths: `[n]`, from 0 (the inputs as they are) up; each has its quality."""

    trial: Trial
    strengths: tuple[float, ...]
    before: tuple[Quality, ...]
    after: tuple[Quality, ...]

    @property
    def changes(self) -> list[Change]:
        """The paired change from the first model to the second at each strength."""
        return [second.against(first) for first, second in zip(self.before, self.after, strict=True)]

    @property
    def worst(self) -> int:
        """The place of the strength at which the second model loses most beside the first."""
        deltas = [change.delta for change in self.changes]
        return deltas.index(min(deltas))

    @property
    def is_weaker(self) -> bool:
        """Whether the second model loses more there than on the inputs as they are: the interval shows it."""
        changes = self.changes
        return changes[self.worst].high < changes[0].delta


@dataclass(frozen=True, eq=False)
class Robustness(Shown):
    """The quality of two models on inputs that are made worse, both on the very same ones.

    Only attacks are searched for each model by itself, with its own gradients: as strong against one as the other.
    """

    model: str
    primary: str
    examples: int
    curves: Mapping[str, Curve]
    left_out: Mapping[str, str]

    def to_frame(self) -> pd.DataFrame:
        """A row for each trial and strength."""
        import pandas as pd

        rows = []
        for name, curve in self.curves.items():
            for at, (strength, change) in enumerate(zip(curve.strengths, curve.changes, strict=True)):
                first, second = curve.before[at], curve.after[at]
                row: dict[str, Any] = {"trial": name, "strength": strength, "before": first.value}
                row |= {"before_low": first.low, "before_high": first.high, "after": second.value}
                row |= {"after_low": second.low, "after_high": second.high, "change": change.delta}
                rows.append(row | {"change_low": change.low, "change_high": change.high})
        return pd.DataFrame(rows)

    def sentence(self) -> str:
        """Which trial the second model bears worst beside the first."""
        if not self.curves:
            return "nothing could be tried on these inputs"
        weaker = [curve for curve in self.curves.values() if curve.is_weaker]
        if not weaker:
            return "no trial shows that the second model bears it worse than the first"
        worst = min(weaker, key=lambda curve: curve.changes[curve.worst].delta)
        at = worst.worst
        change, label = worst.changes[at], worst.trial.label.lower()
        ends = f"{worst.before[at].value:.3f} and {worst.after[at].value:.3f}"
        told = f"{change.delta:+.3f}, {change.low:+.3f} to {change.high:+.3f}"
        return f"borne worst beside the first: {label} at strength {worst.strengths[at]:g}, {ends} ({told})"

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.primary} on {self.examples:,} examples, first and second model"]
        for curve in self.curves.values():
            lines.append(f"{curve.trial.label} (strength: {curve.trial.unit})")
            for at, strength in enumerate(curve.strengths):
                pair = (curve.before[at], curve.after[at])
                told = "   ".join(f"{quality.value:.3f} ({quality.low:.3f} to {quality.high:.3f})" for quality in pair)
                lines.append(f"{strength:>8g}   {told}")
        lines += [f"left out: {name}, since {why}" for name, why in self.left_out.items()]
        return "\n".join([*lines, self.sentence()])


def reach_of(subject: Subject, inputs: Inputs) -> Reach:
    """What values the inputs of a subject take, from some of them."""
    floats = next((tensor for tensor in tensors_in(inputs) if tensor.is_floating_point()), None)
    pad, unknown = (getattr(subject.ways, name, None) for name in ("PAD", "UNKNOWN"))
    if floats is None:
        nothing = torch.zeros(())
        return Reach(nothing, nothing, nothing, pad, unknown)
    shape: tuple[int, ...]
    if floats.dim() == 4:  # by channel
        own, shape = floats.transpose(0, 1).flatten(1), (-1, 1, 1)
    elif floats.dim() == 2:  # by feature
        own, shape = floats.T, (-1,)
    else:
        own, shape = floats.reshape(1, -1), ()
    ends = own.amin(1).reshape(shape), own.amax(1).reshape(shape)
    return Reach(*ends, own.std(1, correction=0).reshape(shape), pad, unknown)


def trials_for(subject: Subject, inputs: Inputs, kinds: Sequence[str] | None) -> tuple[list[Trial], dict[str, str]]:
    """The trials that make sense on a subject (or those asked for), and why asked ones do not.

    Raises `ExplorerError` for unknown names.
    """
    unknown = [name for name in kinds or () if name not in TRIALS]
    if unknown:
        instead = f"choose of: {', '.join(TRIALS)}"
        raise ExplorerError(f'there is no trial "{unknown[0]}"', where="robustness", instead=instead)
    found, why = [], {}
    for each in TRIALS.values():
        if kinds is not None and each.name not in kinds:
            continue
        reason = _why_not(each, subject, inputs)
        if reason is None:
            found.append(each)
        elif kinds is not None:
            why[each.name] = reason
    return found, why


def _why_not(each: Trial, subject: Subject, inputs: Inputs) -> str | None:
    if each.attack:
        if subject.task not in ("classification", "regression"):
            return "an attack needs one loss an example, of a classification or regression"
        single = isinstance(inputs, Tensor) and inputs.is_floating_point()
        return None if single else "an attack needs inputs of one float tensor"
    if not any(_meant(each, tensor) for tensor in tensors_in(inputs)):
        return f"the inputs hold no {each.what}"
    if each.name == "dropout" and getattr(subject.ways, "PAD", None) is None:
        return "the model has no padding to fill the end with"
    if each.name == "dropout" and subject.task == "language-modeling":
        return "the next words would no longer stand at their places"
    return None


def _meant(each: Trial, tensor: Tensor) -> bool:
    """Whether a trial changes this tensor of the inputs."""
    if each.what == "image":
        return tensor.is_floating_point() and tensor.dim() in (3, 4) and min(tensor.shape[-2:]) > 1
    if each.what == "table":
        return tensor.is_floating_point() and tensor.dim() == 2
    return tensor.dtype in (torch.int32, torch.int64) and tensor.dim() == 2


def perturbed(each: Trial, inputs: Inputs, strength: float, number: int, reach: Reach) -> Inputs:
    """A batch made worse. number: of the batch: each batch has its own random numbers, the same at every strength."""
    if strength == 0:
        return inputs
    draw = torch.Generator().manual_seed(zlib.crc32(f"{each.name} {number}".encode()))
    change = each.change
    assert change is not None
    return map_tensors(inputs, lambda tensor: change(tensor, strength, draw, reach) if _meant(each, tensor) else tensor)


def attacked(
    each: Trial, subject: Subject, module: nn.Module, inputs: Tensor, targets: Tensor, strength: float, reach: Reach
) -> Tensor:
    """A batch changed by at most `strength` of the range of values so that the module's loss rises (by Captum).

    FGSM takes one step (Goodfellow et al. 2015), PGD ten smaller ones (Madry et al. 2018). Values stay in their range.
    """
    if strength == 0:
        return inputs
    from captum.robust import FGSM

    low, high = float(reach.low.min()), float(reach.high.max())
    size = strength * (high - low)
    steps = 1 if each.name == "fgsm" else PGD_STEPS
    fast = FGSM(lambda batch: subject.outputs(module, batch), _loss(subject.task), low, high)
    moved = inputs.detach().clone()
    with torch.enable_grad():
        for _ in range(steps):  # as Captum's PGD, which warns at every step that its inputs want no gradients
            step = size if steps == 1 else PGD_STEP * size / steps
            moved = fast.perturb(moved.requires_grad_(), step, targets).detach()
            moved = (inputs + (moved - inputs).clamp(-size, size)).clamp(low, high)
    return moved


def _loss(task: str) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if task == "regression":
            return (outputs.reshape(len(targets), -1) - targets.reshape(len(targets), -1)).square().sum(1)
        if outputs.dim() == 1 or outputs.shape[1] == 1:
            flat = outputs.reshape(-1)
            return F.binary_cross_entropy_with_logits(flat, targets.reshape(-1).to(flat), reduction="none")
        return F.cross_entropy(outputs, targets.reshape(-1).long(), reduction="none")

    return loss


def _inside(images: Tensor, reach: Reach) -> Tensor:
    return torch.maximum(torch.minimum(images, reach.high), reach.low)
