"""Baselines: the inputs that say nothing, in the inputs' own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from explorer.attribution.inputs import Part
from explorer.errors import ExplorerError

WORDS = ("zero", "mean", "blur", "pad")
KNOWN = {
    "image": ("zero", "mean", "blur"),
    "tokens": ("pad", "zero"),
    "table": ("mean", "zero"),
    "numbers": ("zero", "mean"),
}
"""The words that each kind of part knows, the default first."""
SAID = {
    ("image", "zero"): "zero, in the inputs' own units",
    ("image", "mean"): "the mean picture of {split}",
    ("image", "blur"): "the picture itself, blurred",
    ("tokens", "pad"): "padding (id {padding})",
    ("tokens", "zero"): "an embedding of zeros (padding where tokens are exchanged)",
    ("table", "mean"): "the mean row of {split}",
    ("table", "zero"): "zero, in the inputs' own units",
    ("numbers", "zero"): "zero",
    ("numbers", "mean"): "the mean of {split}",
}


def baselines_of(
    parts: Sequence[Part], tensors: Sequence[Tensor], given: Any, means: Mapping[int, Tensor], split: str
) -> tuple[tuple[Tensor, ...], tuple[str, ...], str]:
    """(a baseline for each part, in the shape of its tensor; the word of each; all of it in words).

    given: None, one of `WORDS`, a tensor (of the only part), or {part: one of these}. means: the mean of `split`'s
    examples by the part's place. Raises `ExplorerError` for a word that no part knows and for a wrong shape.
    """
    asked = _by_part(parts, given)
    found, words, said = [], [], []
    for part in parts:
        own = asked[part.name]
        tensor = tensors[part.at]
        word = own if isinstance(own, str) else "given"
        words.append(word)
        found.append(_given(part, tensor, own) if word == "given" else _made(part, tensor, word, means))
        told = "as given" if word == "given" else SAID[part.kind, word].format(split=split, padding=part.padding)
        said.append(told if len(parts) == 1 else f"{part.name}: {told}")
    return tuple(found), tuple(words), "; ".join(said)


def _by_part(parts: Sequence[Part], given: Any) -> dict[str, Any]:
    """What each part starts from: a word or a tensor."""
    default = {part.name: KNOWN[part.kind][0] for part in parts}
    names = [part.name for part in parts]
    if given is None:
        return default
    if isinstance(given, Mapping):
        for name, own in given.items():
            if name not in default:
                listed = ", ".join(names)
                raise ExplorerError(f'there is no part "{name}"', where="baseline", instead=f"name one of: {listed}")
            default[name] = own
        given = [own for own in given.values() if isinstance(own, str)]
        unknown = [(part, default[part.name]) for part in parts if isinstance(default[part.name], str)]
        for part, word in unknown:
            if word not in KNOWN[part.kind]:
                raise _no_word(word, [part])
        return default
    if isinstance(given, str):
        knowing = [part for part in parts if given in KNOWN[part.kind]]
        if not knowing:
            raise _no_word(given, parts)
        return default | {part.name: given for part in knowing}
    if len(parts) > 1:
        raise ExplorerError(
            "one baseline is given for several parts", where="baseline", instead=f"give a dict of {', '.join(names)}"
        )
    return {names[0]: given}


def _no_word(word: str, parts: Sequence[Part]) -> ExplorerError:
    have = ", ".join(dict.fromkeys(name for part in parts for name in KNOWN[part.kind]))
    return ExplorerError(f'"{word}" is no baseline here', where="baseline", instead=f"give a tensor or one of: {have}")


def _given(part: Part, tensor: Tensor, own: Any) -> Tensor:
    try:
        baseline = torch.as_tensor(own, device=tensor.device).to(tensor.dtype)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise ExplorerError("the baseline is no tensor", where="baseline", instead=f"give {WORDS} or one") from problem
    fits = tuple(baseline.shape) in (part.shape, (1, *part.shape), tuple(tensor.shape)) or baseline.dim() == 0
    if not fits:
        raise ExplorerError(
            f"the baseline has the shape {tuple(baseline.shape)}, and {part.name} has {part.shape} an example",
            where="baseline",
            instead=f"give {part.shape}, or one for each example",
        )
    return baseline.expand(tensor.shape).clone()


def _made(part: Part, tensor: Tensor, word: str, means: Mapping[int, Tensor]) -> Tensor:
    if part.kind == "tokens":
        return torch.full_like(tensor, part.padding)
    if word == "mean":
        return means[part.at].to(tensor).expand(tensor.shape).clone()
    return blurred(tensor) if word == "blur" else torch.zeros_like(tensor)


def blurred(images: Tensor) -> Tensor:
    """Images `[B, (C,) H, W]` under a Gaussian of an eighth of their side, mirrored at the edges by repetition."""
    sigma = max(1.0, max(images.shape[-2:]) / 8)
    reach = int(min(2 * sigma, min(images.shape[-2:])))
    weights = torch.exp(-torch.arange(-reach, reach + 1, dtype=torch.float64).square() / (2 * sigma**2))
    weights = (weights / weights.sum()).to(images)
    flat = images.reshape(-1, 1, *images.shape[-2:])
    padded = F.pad(flat, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, weights.view(1, 1, -1, 1))
    return F.conv2d(rows, weights.view(1, 1, 1, -1)).reshape(images.shape)
