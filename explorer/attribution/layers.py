"""Attribution methods that look inside: at a layer's maps or tokens, and at attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, LayerIntegratedGradients
from torch import Tensor, nn

from explorer.attribution.inputs import Part
from explorer.attribution.methods import STEPS, integrated_gradients
from explorer.attribution.question import Found, Question
from explorer.attribution.scoring import NoGradients
from explorer.errors import ExplorerError
from explorer.names import METHODS

MIXING = (nn.Linear, nn.Dropout, nn.Identity, nn.Flatten)
"""Modules whose output is not taken as a picture of tokens by default."""


@dataclass(frozen=True)
class Place:
    """A layer whose output lies on a picture: maps `[B, C, h, w]`, or tokens `[B, first + h * w, D]`."""

    name: str
    grid: tuple[int, int]
    first: int | None = None

    @property
    def of_tokens(self) -> bool:
        """Whether it gives tokens; maps otherwise."""
        return self.first is not None


@METHODS.register(
    "layer-gradcam",
    label="Grad-CAM",
    help="Where the maps of a late layer speak for the output: each map weighted by its mean gradient.",
    reference="Selvaraju et al. 2017, Grad-CAM",
)
def layer_gradcam(question: Question) -> Found:
    """Of pictures. layer: its name; by default the last whose maps or patches the output still depends on.

    Tokens are laid out on the patch grid first (Captum takes tokens for channels). Maps are spread over the picture:
    of convolutions bilinearly, patches as blocks. Only what speaks for the output is kept, as in the paper.
    """
    picture = _picture(question, "Grad-CAM")
    place = _place(question, picture)
    module = question.scores.model.get_submodule(place.name)
    pieces = []
    for cut in range(0, len(question), question.rows):
        end = cut + question.rows
        inputs = tuple(point[cut:end].detach().clone().requires_grad_() for point in question.points)
        extras = tuple(extra[cut:end] for extra in question.extras)
        with _regridded(module, place) as layer:
            found = LayerGradCam(question.scores, layer).attribute(
                inputs, question.target[cut:end], extras, relu_attributions=True
            )
        pieces.append(found.detach())
    cam = torch.cat(pieces).squeeze(1)  # (B, h, w)
    values = [torch.zeros(present.shape, device=cam.device) for present in question.present]
    values[question.parts.index(picture)] = _over(picture, cam, place)
    return Found(tuple(values), question.score(question.starts), note=f"at {place.name}")


@METHODS.register(
    "layer-integrated-gradients",
    label="Layer integrated gradients",
    help="Integrated gradients at the output of a layer; of tokens at their embedding.",
    reference="Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks",
)
def layer_integrated_gradients(question: Question) -> Found:
    """layer: a layer whose output lies on the picture or along the tokens; by default the embedding of tokens."""
    if question.layer is None:
        if any(part.kind == "tokens" for part in question.parts):
            return integrated_gradients(question)
        question.layer = _picture_layers(question, ())[0].name
    if len(question.parts) > 1:
        raise question.no("a layer of several parts at once cannot be told apart")
    part, name = question.parts[0], question.layer
    module = _module(question, name)
    steps = question.samples or STEPS
    shape = _output_of(question, module, name)
    points = tuple(point.detach().clone().requires_grad_() for point in question.raw)
    if part.kind == "tokens":
        raise question.no("layers after the embedding of tokens are not explained")
    few = max(question.rows, len(question)) if steps * len(question) > question.rows else None
    found = LayerIntegratedGradients(question.scores, module).attribute(
        points, question.starts, question.target, question.extras, n_steps=steps, internal_batch_size=few
    )
    found = found[0] if isinstance(found, tuple) else found
    if part.kind == "image":
        place = _as_place(question, part, name, shape)
        if place is None:
            raise question.no(f"the output of {name} lies on no picture")
        own = (_on_grid(found, place) if place.of_tokens else found).sum(1)  # (B, h, w)
        lost = found[:, : place.first].sum((1, 2)) if place.of_tokens else torch.zeros(len(found))
        values = _over(part, own, place)
        whole = values.flatten(1).sum(1)
        share = own.flatten(1).sum(1) / torch.where(whole == 0, 1, whole)  # spreading keeps the sum
        values = values * share[:, None, None]
        start = question.score(question.starts)
        note = f"at {name}" + (f", {float(lost.abs().mean()):.2g} at other tokens" if place.first else "")
        return Found((values,), start, complete=not place.first, samples=steps, note=note)
    if tuple(shape[1:2]) != part.places:
        raise question.no(f"the output of {name} does not lie along the {part.name}")
    return Found((found.flatten(2).sum(2),), question.score(question.starts), True, samples=steps, note=f"at {name}")


@METHODS.register(
    "attention-x-gradient",
    label="Attention × gradient",
    help="The attention of the last layer to each place, where more of it would raise the output.",
    reference="Chefer et al. 2021, Generic Attention-model Explainability",
)
def attention_x_gradient(question: Question) -> Found:
    """relu(gradient * attention), heads averaged, of all queries together; layer="rollout" follows it to the input.

    Self-attention is followed back by gradient-weighted rollout with layer="rollout"; by default the last layer is
    taken whose keys are the part's places.
    """
    if question.maps is None:
        raise question.no("this model has no attention that can be seen")
    try:
        maps = question.maps(question)
    except ExplorerError as problem:
        if "reaches this map" in problem.what:
            raise NoGradients("no weight of the model reaches its attention") from problem
        raise
    values, notes = [], []
    for part, present in zip(question.parts, question.present, strict=True):
        fitting = [layer for layer in maps.found if not layer.site.is_gate and _along(layer, part)]
        if not fitting:
            values.append(torch.zeros(present.shape))
            notes.append(f"no attention to the {part.name}")
            continue
        crossing = [layer for layer in fitting if layer.kind == "cross"]
        last = (crossing or fitting)[-1]
        weighted = _speaking(last).sum(1)  # (B, keys)
        if question.layer == "rollout":
            chain = [layer for layer in fitting if layer.kind == "self"]
            if not crossing:  # whose rows are read: where more attention in the last layer would raise the output
                read = _speaking(last).sum(2)  # (B, queries)
                weighted = read / read.sum(1, keepdim=True).clamp_min(1e-30)
            for layer in reversed(chain):
                weighted = weighted + (weighted[:, None] @ _speaking(layer)).squeeze(1)
        values.append(part.spread(weighted[:, last.keys.first :]))
        notes.append(f"{part.name} at {last.name}" if len(question.parts) > 1 else f"at {last.name}")
    if all(note.startswith("no attention") for note in notes):
        raise question.no("no attention of this model has the inputs' places as keys")
    device = question.target.device
    shown = question.shown([value.to(device) for value in values])
    return Found(shown, question.score(question.starts_raw), note="; ".join(notes))


def _speaking(layer: Any) -> Tensor:
    """`[B, queries, keys]`: relu(gradient * attention), heads averaged (Chefer et al. 2021, equation 5)."""
    return (layer.weights * layer.gradients).relu().mean(1)


def _along(layer: Any, part: Part) -> bool:
    """Whether the keys of an attention layer are the places of a part."""
    if layer.weights.dim() != 4:
        return False
    if part.kind == "image":
        return layer.keys.grid is not None and layer.keys.grid == part.grid
    return layer.keys.grid is None and layer.keys.length - layer.keys.first == part.count


# -- layers on a picture -----------------------------------------------------------------------------------------------


def _picture(question: Question, who: str) -> Part:
    pictures = [part for part in question.parts if part.kind == "image"]
    if not pictures:
        raise question.no(f"{who} needs a picture")
    return pictures[0]


def _module(question: Question, name: str) -> nn.Module:
    names = [own for own, _ in question.scores.model.named_modules() if own]
    if name not in names:
        raise ExplorerError(f'there is no layer "{name}"', where="layer", instead=f"one is {names[-1]}")
    return question.scores.model.get_submodule(name)


def _place(question: Question, picture: Part) -> Place:
    if question.layer is not None:
        shape = _output_of(question, _module(question, question.layer), question.layer)
        place = _as_place(question, picture, question.layer, shape)
        if place is None:
            raise question.no(f"the output of {question.layer} lies on no picture")
        return place
    return _picture_layers(question)[-1]


def _output_of(question: Question, module: nn.Module, name: str) -> tuple[int, ...]:
    """The shape of a module's output for one example."""
    shapes: list[tuple[int, ...]] = []
    handle = module.register_forward_hook(lambda m, a, out: shapes.append(tuple(out.shape)) if _is(out) else None)
    try:
        one = question.at(0)
        one.score(one.raw)
    finally:
        handle.remove()
    if not shapes:
        raise question.no(f"{name} gives no tensor while the model runs")
    return shapes[0]


def _as_place(question: Question, picture: Part, name: str, shape: tuple[int, ...]) -> Place | None:
    if len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1:
        return Place(name, (shape[2], shape[3]))
    if len(shape) == 3 and shape[2] > 1 and picture.grid is not None and 0 <= shape[1] - picture.count <= 2:
        return Place(name, picture.grid, shape[1] - picture.count)
    return None


def _picture_layers(question: Question, mixing: tuple[type, ...] = MIXING) -> list[Place]:
    """The layers whose output lies on the picture and which the explained output depends on, in their order."""
    picture, one = _picture(question, "a layer's map"), question.at(0)
    seen: list[tuple[Place, Tensor]] = []

    def look(name: str, module: nn.Module) -> Any:
        def hook(owner: nn.Module, args: Any, output: Any) -> None:
            if not _is(output) or not output.requires_grad or any(output is known for _, known in seen):
                return
            place = _as_place(question, picture, name, tuple(output.shape))
            if place is not None and not (place.of_tokens and isinstance(module, mixing)):
                seen.append((place, output))

        return hook

    handles = []
    try:
        for name, module in question.scores.model.named_modules():
            if name:
                handles.append(module.register_forward_hook(look(name, module)))
        inputs = tuple(point.clone().requires_grad_() for point in one.points)
        with torch.enable_grad():
            score = question.scores(*inputs, *one.extras)[0, one.target[0]]
    finally:
        for handle in handles:
            handle.remove()
    slopes = torch.autograd.grad(score, [output for _, output in seen], allow_unused=True) if seen else ()
    found = []
    for (place, _), slope in zip(seen, slopes, strict=True):
        if slope is not None and bool((slope[:, place.first or 0 :] if place.of_tokens else slope).any()):
            found.append(place)
    if not found:
        raise question.no("no layer of this model keeps the picture's places")
    return found


@contextmanager
def _regridded(module: nn.Module, place: Place) -> Iterator[nn.Module]:
    """A module through which the layer's output passes as maps `[B, C, h, w]`, for Captum to watch."""
    watched = nn.Identity()

    def pass_through(owner: nn.Module, args: Any, output: Tensor) -> Tensor:
        if not place.of_tokens:
            return watched(output)
        maps = watched(_on_grid(output, place))
        return torch.cat([output[:, : place.first], maps.flatten(2).transpose(1, 2)], 1)

    handle = module.register_forward_hook(pass_through)
    try:
        yield watched
    finally:
        handle.remove()


def _on_grid(tokens: Tensor, place: Place) -> Tensor:
    """Tokens `[B, first + h * w, D]` -> maps `[B, D, h, w]`."""
    return tokens[:, place.first :].transpose(1, 2).unflatten(2, place.grid)


def _over(picture: Part, maps: Tensor, place: Place) -> Tensor:
    """Maps `[B, h, w]` spread over the picture `[B, H, W]`."""
    if place.of_tokens and place.grid == picture.grid:
        return picture.spread(maps.flatten(1))
    size = picture.shape[-2:]
    return F.interpolate(maps.unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)


def _is(output: Any) -> bool:
    return isinstance(output, Tensor)
