"""The first look at a subject: whether its weights and data are sound, what is compressible, how much work it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from explorer.errors import ExplorerError
from explorer.evaluation.cost import WorkRecord, record_work
from explorer.evaluation.pool import as_error
from explorer.evaluation.tasks import judge
from explorer.subjects.examples import Examples, map_tensors
from explorer.subjects.subject import Subject
from explorer.weights.install import PrivateModel
from explorer.weights.matrices import Matrices
from explorer.weights.watch import compressible


@dataclass(frozen=True)
class Look:
    """What the first forward passes tell: compressible matrices, work of one example, length of an answer.

    can_run_thin: the Parameters whose factors run as thin layers. answers: of several heads, the length of each.
    """

    matrices: Matrices
    can_run_thin: frozenset[str]
    work: WorkRecord
    answers: int | tuple[int, ...] | None


def first_look(subject: Subject, found: Matrices) -> Look:
    """Run the model on its first tune examples, watched and counted."""
    outputs: list[Any] = []

    def run(examples: Examples, module: nn.Module) -> None:
        outputs.append(subject.outputs(module, _on_device(examples.inputs, subject)))

    tune = subject.split("tune")
    try:
        matrices = compressible(subject.model, found, partial(run, tune.take(slice(0, 2))))
        private = PrivateModel(subject.model, matrices)
        work = record_work(private.module, partial(run, tune.take(slice(0, 1))))
        _judged_once(subject, tune.take(slice(0, 1)), outputs[-1])
    except ExplorerError:
        raise
    except Exception as problem:
        where, instead = subject.name, "check the shapes and types of the inputs, or give forward="
        raise ExplorerError(as_error(problem).what, where=where, instead=instead) from problem
    thin = frozenset(matrix.parameter for matrix in matrices if private.can_run_thin(matrix.parameter))
    return Look(matrices, thin, work, _answers(subject, outputs[-1]))


def _answers(subject: Subject, outputs: Any) -> int | tuple[int, ...] | None:
    if subject.task == "multi-task":
        return tuple(_width(logits) for logits in outputs.values())
    return _width(outputs) if isinstance(outputs, torch.Tensor) else None


def _width(logits: torch.Tensor) -> int:
    return int(logits.shape[-1]) if logits.dim() > 1 else 1


def _judged_once(subject: Subject, examples: Examples, outputs: Any) -> None:
    """Judge one batch, so that outputs and targets that do not belong together are told of at once."""
    on_cpu = map_tensors(outputs, lambda tensor: tensor.detach().cpu())
    judge(subject.task, on_cpu, examples.targets, subject.score)


def check_labels(subject: Subject) -> None:
    """Raise `ExplorerError` for a label that the model has no class for, naming split and example."""
    if subject.task != "classification":
        return
    classes = len(subject.classes)
    for split in subject.splits if subject.card is None else ():
        labels = subject.split(split).targets.reshape(len(subject.split(split)), -1)[:, 0]
        wrong = ((labels < 0) | (labels >= classes)).nonzero()
        if len(wrong):
            at = int(wrong[0])
            what = f"label {labels[at].item():g} of example {at} does not fit a model with {classes} classes"
            where = "data=" if split == "tune" else f"{split}="
            raise ExplorerError(what, where=where, instead=f"labels go from 0 to {classes - 1}")


def with_class_names(subject: Subject, answers: int | tuple[int, ...] | None) -> Subject:
    """The subject of a classifier with a name for each class; raises `ExplorerError` when the names do not fit."""
    if subject.task != "classification" or not isinstance(answers, int):
        return subject
    classes = max(2, answers)  # one logit tells two classes apart
    if not subject.classes:
        return replace(subject, classes=tuple(str(number) for number in range(classes)))
    if len(subject.classes) != classes:
        what = f"{len(subject.classes)} class names for a model with {classes} classes"
        raise ExplorerError(what, where="classes=", instead=f"name all {classes}, in the order of the outputs")
    return subject


def check_weights(subject: Subject) -> None:
    for name, tensor in subject.model.named_parameters():
        if tensor.is_meta or isinstance(tensor, nn.parameter.UninitializedParameter):
            what = f'the weight "{name}" holds no numbers yet'
            raise ExplorerError(what, where=subject.name, instead="load a checkpoint, or run a lazy module once")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ExplorerError(
                f'the weights hold NaN or infinity, first in "{name}"',
                where=subject.name,
                instead="load a sound checkpoint",
            )
    for name, buffer in subject.model.named_buffers():  # infinity may mean something there, as in a mask
        if buffer.is_floating_point() and bool(buffer.isnan().any()):
            raise ExplorerError(f'the buffer "{name}" holds NaN', where=subject.name, instead="load a sound checkpoint")


def _on_device(inputs: Any, subject: Subject) -> Any:
    device = next((p.device for p in subject.model.parameters()), torch.device("cpu"))
    return map_tensors(inputs, lambda tensor: tensor.to(device))
