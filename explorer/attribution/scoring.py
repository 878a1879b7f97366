"""What is explained: the outputs of a model as a function of floating-point tensors, as Captum asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from explorer.attribution.inputs import Part, exchanged
from explorer.errors import ExplorerError
from explorer.subjects.examples import Inputs, tensors_in
from explorer.subjects.subject import Subject


class NoGradients(Exception):
    """A method needs gradients that this model does not give; the message says why, as a clause."""


class Refused(ExplorerError):
    """A method that cannot be right on this model."""


class Scores(nn.Module):
    """The explained outputs (logits) of a model: `[N, outputs]`.

    Called with a tensor for each part, then all tensors of the inputs, then `[N]` positions. A part of tokens may come
    as ids, or as the vectors that its embedding gives for them.
    """

    def __init__(
        self, subject: Subject, model: nn.Module, inputs: Inputs, parts: Sequence[Part], head: str | None
    ) -> None:
        super().__init__()
        self.model = model
        self.subject, self.nesting, self.parts = subject, inputs, tuple(parts)
        self.head = _head_name(subject, head)
        self.by_position = subject.task in ("sequence", "language-modeling")
        self.embeddings = self._embeddings(inputs) if any(part.kind == "tokens" for part in parts) else {}

    def forward(self, *given: Tensor) -> Tensor:
        count = len(self.parts)
        own, held, positions = given[:count], list(given[count:-1]), given[-1]
        vectors: dict[str, tuple[Tensor, Tensor]] = {}
        for part, tensor in zip(self.parts, own, strict=True):
            if part.kind == "tokens" and tensor.is_floating_point():
                vectors[self.embeddings[part.name]] = (held[part.at], tensor)
            else:
                held[part.at] = tensor
        with self._embedded(vectors):
            outputs = self.subject.outputs(self.model, exchanged(self.nesting, held))
        return self.chosen(outputs, positions)

    def chosen(self, outputs: Any, positions: Tensor) -> Tensor:
        """Of the outputs, those of the head and the position."""
        if isinstance(outputs, Mapping):
            outputs = outputs[self.head if self.head is not None else next(iter(outputs))]
        if not isinstance(outputs, Tensor):
            raise ExplorerError("the outputs are no tensor", where="attribute", instead="give forward= to ex.load")
        if outputs.dim() == 3 and self.by_position:
            steps = outputs.shape[1]
            positions = torch.where(positions < 0, positions + steps, positions)
            if not 0 <= int(positions.min()) <= int(positions.max()) < steps:
                beyond = int(positions.max()) if int(positions.max()) >= steps else int(positions.min()) - steps
                what = f"there is no position {beyond}"
                raise ExplorerError(what, where="position", instead=f"give 0 to {steps - 1}, or -1 for the last")
            outputs = outputs[torch.arange(len(outputs), device=outputs.device), positions]
        if outputs.dim() == 1:
            outputs = outputs.unsqueeze(1)
        if outputs.dim() != 2:
            what = f"outputs of the shape {tuple(outputs.shape)} cannot be explained one by one"
            raise ExplorerError(what, where="attribute", instead="give forward= that returns [examples, outputs]")
        two = outputs.shape[1] == 1 and self.subject.task in ("classification", "multi-task")
        return torch.cat([-outputs, outputs], 1) if two else outputs  # one logit stands for the second of two classes

    def embedding(self, part: Part) -> nn.Embedding:
        """The module that turns the part's ids into vectors; raises `NoGradients` where none was seen."""
        if part.name not in self.embeddings:
            raise NoGradients("its token ids reach no nn.Embedding that gradients could be taken at")
        module = self.model.get_submodule(self.embeddings[part.name])
        assert isinstance(module, nn.Embedding)
        return module

    def _embeddings(self, inputs: Inputs) -> dict[str, str]:
        """The embedding that each part of tokens goes through, by the part's name, seen in one forward pass."""
        tensors = tensors_in(inputs)
        found: dict[str, str] = {}

        def look(name: str) -> Any:
            def hook(module: nn.Module, args: Any) -> None:
                for part in self.parts:
                    if part.kind == "tokens" and args and _same(args[0], tensors[part.at]):
                        found.setdefault(part.name, name)

            return hook

        handles = []
        try:
            for name, module in self.model.named_modules():
                if isinstance(module, nn.Embedding):
                    handles.append(module.register_forward_pre_hook(look(name)))
            with torch.no_grad():
                self.subject.outputs(self.model, inputs)
        finally:
            for handle in handles:
                handle.remove()
        return found

    @contextmanager
    def _embedded(self, vectors: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[None]:
        """While it lasts, the embeddings give these vectors for these ids."""

        def give(ids: Tensor, vector: Tensor) -> Any:
            return lambda module, args, output: vector if args and _same(args[0], ids) else None

        handles = []
        try:
            for name, (ids, vector) in vectors.items():
                handles.append(self.model.get_submodule(name).register_forward_hook(give(ids, vector)))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _same(one: Any, other: Tensor) -> bool:
    return isinstance(one, Tensor) and one.shape == other.shape and torch.equal(one, other)


def _head_name(subject: Subject, head: str | None) -> str | None:
    names = [own.name for own in subject.heads]
    if head is None:
        return names[0] if names else None
    if head not in names:
        have = f"choose one of: {', '.join(names)}" if names else "this model has one answer: leave head out"
        raise ExplorerError(f'there is no head "{head}"', where="head", instead=have)
    return head


def positions_of(subject: Subject, inputs: Inputs, parts: Sequence[Part], position: int) -> Tensor:
    """`[B]`: which of an answer's steps is explained; of texts that go on, a negative one counts from the last word."""
    tensors = tensors_in(inputs)
    count = len(tensors[0])
    texts = [part for part in parts if part.kind == "tokens"]
    if subject.task == "language-modeling" and texts:
        ids = tensors[texts[0].at]
        lengths = (torch.arange(1, ids.shape[1] + 1) * (ids.cpu() != texts[0].padding)).amax(1).clamp_min(1)
        found = lengths + position if position < 0 else torch.full((count,), position)
    else:
        found = torch.full((count,), position)
    return found.to(tensors[0].device)


def targets_of(scores: Tensor, given: Any) -> Tensor:
    """`[B]` output numbers: those given, or of each example the largest output."""
    count, outputs = scores.shape
    if given is None or (isinstance(given, str) and given == "predicted"):
        return scores.argmax(1)
    try:
        target = torch.as_tensor(given, device=scores.device)
        whole = not target.is_floating_point() and target.dtype != torch.bool
    except (TypeError, ValueError, RuntimeError):
        whole = False
    if not whole or target.dim() > 1 or (target.dim() == 1 and len(target) not in (1, count)):
        raise ExplorerError(
            f"{given!r} is no target", where="target", instead=f"give a number, or one for each of {count} examples"
        )
    target = target.long().expand(count).clone()
    if not 0 <= int(target.min()) <= int(target.max()) < outputs:
        beyond = int(target.max()) if int(target.max()) >= outputs else int(target.min())
        raise ExplorerError(f"there is no output {beyond}", where="target", instead=f"give 0 to {outputs - 1}")
    return target
