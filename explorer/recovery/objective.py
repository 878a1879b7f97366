"""What a recovery minimises: the task's loss, distances to teachers, pulls to sparsity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.attention.capture import captured
from explorer.errors import ExplorerError
from explorer.evaluation.tasks import IGNORED
from explorer.recovery.features import blocks_of, features
from explorer.steps import Recover
from explorer.subjects.examples import Examples, concatenate, map_tensors
from explorer.subjects.subject import Subject

Run = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Teacher:
    """A model to learn from, with the weight of its answers."""

    model: nn.Module
    weight: float


class Objective:
    """The loss of one batch, by the wishes of a Recover step.

    dense: the dense model, for hidden features and attention maps. teachers: models whose answers are followed.
    """

    def __init__(self, step: Recover, subject: Subject, dense: nn.Module, teachers: Sequence[Teacher]) -> None:
        self.step, self.subject, self.dense, self.teachers = step, subject, dense, teachers
        self._blocks = blocks_of(dense) if step.hidden else []

    def loss(self, student: nn.Module, batch: Examples) -> Tensor:
        """The whole loss of a batch, with its gradient."""
        inside: dict[str, Tensor] = {}
        maps: list[Tensor] = []
        with features(student, self._blocks, inside), captured(maps, when=self.step.attention > 0):
            outputs = self.subject.outputs(student, batch.inputs)
        total = torch.zeros(())
        if self.step.task_weight:
            total = total + self.step.task_weight * task_loss(
                self.subject, outputs, batch.targets, self.step.label_smoothing
            )
        for teacher in self.teachers:
            with torch.no_grad():
                told = self.subject.outputs(teacher.model, batch.inputs)
            total = total + teacher.weight * taught(self.subject, outputs, told, batch.targets, self.step.temperature)
        if self.step.hidden or self.step.attention:
            total = total + self._inner_distance(batch, inside, maps)
        return total

    def _inner_distance(self, batch: Examples, inside: dict[str, Tensor], maps: list[Tensor]) -> Tensor:
        """How far the student's insides are from the dense model's."""
        wanted: dict[str, Tensor] = {}
        wanted_maps: list[Tensor] = []
        with (
            torch.no_grad(),
            features(self.dense, self._blocks, wanted),
            captured(wanted_maps, when=bool(self.step.attention)),
        ):
            self.subject.outputs(self.dense, batch.inputs)
        total = torch.zeros(())
        if self.step.hidden and wanted:
            parts = [
                ((inside[name] - wanted[name]) ** 2).mean() / wanted[name].var(correction=0).clamp_min(1e-8)
                for name in wanted
            ]
            total = total + self.step.hidden * torch.stack(parts).mean()
        if self.step.attention:
            if not wanted_maps or len(maps) != len(wanted_maps):
                raise ExplorerError(
                    "this model has no attention that can be compared", where="attention=", instead="leave it at 0"
                )
            parts = [
                (w * (w.clamp_min(1e-8).log() - m.clamp_min(1e-8).log())).sum(-1).mean()
                for m, w in zip(maps, wanted_maps, strict=True)
            ]
            total = total + self.step.attention * torch.stack(parts).mean()
        return total

    def moved_against(self, student: nn.Module, batch: Examples) -> Examples:
        """The batch with its first examples moved a step against the student (Goodfellow et al. 2015, FGSM)."""
        count = round(self.step.adversarial * len(batch))
        if not count:
            return batch
        some = batch.take(slice(0, count))
        held: list[Tensor] = []

        def watched(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            held.append(tensor.detach().clone().requires_grad_(True))
            return held[-1]

        inputs = map_tensors(some.inputs, watched)
        if not held:
            raise ExplorerError(
                "the inputs are whole numbers, which cannot be moved a little",
                where="adversarial=",
                instead="leave it at 0",
            )
        loss = task_loss(self.subject, self.subject.outputs(student, inputs), some.targets, 0.0)
        gradients = iter(torch.autograd.grad(loss, held, allow_unused=True, materialize_grads=True))
        with torch.no_grad():
            moved = map_tensors(
                some.inputs,
                lambda tensor: (
                    tensor + self.step.epsilon * next(gradients).sign() if tensor.is_floating_point() else tensor
                ),
            )
        rest = batch.take(slice(count, None))
        return Examples(concatenate([moved, rest.inputs]), batch.targets)


def task_loss(subject: Subject, outputs: Any, targets: Tensor, smoothing: float) -> Tensor:
    """The loss that the task is trained with: cross-entropy, mean squared error, or the score turned round.

    Of several heads it is the sum of their cross-entropies, each times the head's weight.
    """
    if subject.task == "score":
        assert subject.score is not None
        value = -torch.as_tensor(subject.score(outputs, targets)).mean()
        if torch.is_grad_enabled() and not value.requires_grad:
            raise ExplorerError(
                "score= has no gradient, so it cannot be trained for",
                instead="let a teacher teach: task_weight=0, distill=1",
            )
        return value
    if subject.task == "multi-task":
        by_head = zip(subject.heads, targets.unbind(dim=1), strict=True)
        return torch.stack([head.weight * _of_head(outputs[head.name], own, smoothing) for head, own in by_head]).sum()
    if subject.task == "regression":
        return F.mse_loss(outputs.reshape(len(targets), -1), targets.reshape(len(targets), -1).to(outputs.dtype))
    if subject.task == "classification":
        return _of_classes(outputs, targets, smoothing)
    return F.cross_entropy(
        outputs.flatten(0, -2), targets.flatten().long(), ignore_index=IGNORED, label_smoothing=smoothing
    )


def _of_classes(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    if outputs.dim() == 1 or outputs.shape[1] == 1:
        wanted = targets.reshape(-1).to(outputs.dtype) * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs.reshape(-1), wanted)
    return F.cross_entropy(outputs, targets.reshape(-1).long(), label_smoothing=smoothing)


def _of_head(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The loss of one head on the examples that have a label for it; nothing where none has."""
    labelled = targets != IGNORED
    return _of_classes(outputs[labelled], targets[labelled], smoothing) if bool(labelled.any()) else 0 * outputs.sum()


def taught(subject: Subject, outputs: Any, told: Any, targets: Tensor, temperature: float) -> Tensor:
    """How far the answers are from a teacher's (see `distance`); of several heads the sum, each times its weight."""
    if subject.task != "multi-task":
        return distance(subject.task, outputs, told, targets, temperature)
    parts = [
        head.weight * distance("classification", outputs[head.name], told[head.name], targets, temperature)
        for head in subject.heads
    ]
    return torch.stack(parts).sum()


def distance(task: str, outputs: Tensor, told: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """How far the answers are from a teacher's: softened Kullback-Leibler divergence (Hinton et al. 2015), or squares.

    The temperature's square keeps its gradients as large as those of the labels.
    """
    if task in ("regression", "score"):
        return F.mse_loss(outputs, told)
    if task == "classification" and (outputs.dim() == 1 or outputs.shape[1] == 1):
        outputs, told = (torch.stack([torch.zeros_like(o.reshape(-1)), o.reshape(-1)], 1) for o in (outputs, told))
    logs, wanted = ((o / temperature).log_softmax(-1).flatten(0, -2) for o in (outputs, told))
    apart = F.kl_div(logs, wanted, reduction="none", log_target=True).sum(-1)
    if task != "classification":
        seen = targets.flatten() != IGNORED
        apart = apart[seen]
    return temperature**2 * apart.mean()


def pull(step: Recover, weights: Sequence[Tensor]) -> Tensor:
    """Sparse training: the sum of |w| (L1) and of the rows' lengths (group lasso, Yuan and Lin 2006)."""
    total = torch.zeros(())
    if step.l1:
        total = total + step.l1 * torch.stack([weight.abs().sum() for weight in weights]).sum()
    if step.group_l1:
        total = total + step.group_l1 * torch.stack([weight.norm(dim=1).sum() for weight in weights]).sum()
    return total
