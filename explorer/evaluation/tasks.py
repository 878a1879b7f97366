"""Tasks: from a batch of outputs to what is known of each example, and from all of them to metrics.

Metrics bear their scikit-learn names and agree with scikit-learn's values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.evaluation import intervals

IGNORED = -100
Array = NDArray[Any]


@dataclass(frozen=True)
class Judged:
    """What is known of each example of a batch: arrays `[examples]`.

    score: one value an example, higher is better (right = 1). prediction: class, number, or None for texts; of several
        heads `[examples, heads]`, the class of each; of sequences `[examples, positions]`, the ids.
    parts: what the task's metrics add up.
    """

    score: Array
    prediction: Array | None
    parts: dict[str, Array]

    def take(self, places: Array) -> Judged:
        """Some of the examples, in the order of `places`."""
        prediction = None if self.prediction is None else self.prediction[places]
        return Judged(self.score[places], prediction, {name: part[places] for name, part in self.parts.items()})

    @staticmethod
    def together(batches: Sequence[Judged]) -> Judged:
        """Batches one after the other."""
        prediction = None
        if batches[0].prediction is not None:
            prediction = np.concatenate([b.prediction for b in batches if b.prediction is not None])
        parts = {name: np.concatenate([b.parts[name] for b in batches]) for name in batches[0].parts}
        return Judged(np.concatenate([b.score for b in batches]), prediction, parts)


@dataclass(frozen=True)
class Summary:
    """Metrics by name, and the interval of the primary one."""

    metrics: dict[str, float]
    low: float
    high: float


def judge(task: str, outputs: Any, targets: Tensor, score: Callable[[Any, Tensor], Tensor] | None = None) -> Judged:
    """Judge one batch. Raises `ExplorerError` where outputs and targets cannot belong together."""
    if task == "score":
        assert score is not None
        try:
            values = torch.as_tensor(score(outputs, targets)).detach().to(torch.float64).cpu()
        except Exception as problem:
            said = f"it raises {type(problem).__name__}: {problem}"
            raise ExplorerError(
                said, where="score=", instead="check it on one batch of outputs and targets"
            ) from problem
        if bool(values.isnan().any()):
            raise ExplorerError("it gives NaN", where="score=", instead="return a number for each example")
        if values.shape != targets.shape[:1]:
            raise ExplorerError(
                f"score gave shape {tuple(values.shape)}", where="score=", instead="return one value an example"
            )
        return Judged(values.numpy(), None, {})
    if task == "multi-task":
        return _judge_heads(outputs, targets)
    if not isinstance(outputs, Tensor):
        raise ExplorerError(
            f"the model gives {type(outputs).__name__}, not a tensor", instead="give forward= that returns the logits"
        )
    return _JUDGES[task](_sound(outputs), targets)


def _sound(outputs: Tensor) -> Tensor:
    """The outputs in single precision at least; raises `ExplorerError` where they hold NaN."""
    outputs = outputs.detach()
    if outputs.is_floating_point() and bool(outputs.isnan().any()):
        raise ExplorerError(
            "the model's outputs hold NaN", instead="compress less, or load it in a number type of wider range"
        )
    return outputs if outputs.dtype == torch.float64 else outputs.to(torch.float32)


def summarise(task: str, judged: Judged) -> Summary:
    """The metrics of a task over all judged examples."""
    return _SUMMARIES[task](judged)


def change_between(task: str, before: Judged, after: Judged) -> tuple[float, float, float]:
    """(change, low, high) of the task's primary metric on the same examples, paired, with its 95 % interval."""
    if task == "language-modeling":
        return intervals.of_ratio_change(
            (after.parts["right"] - before.parts["right"])[:, None], before.parts["tokens"][:, None]
        )
    if task == "regression":
        wanted = before.parts["wanted"]
        errors = [(judged.parts["value"] - wanted) ** 2 for judged in (before, after)]
        return intervals.of_ratio_change(errors[0] - errors[1], (wanted - wanted.mean(0)) ** 2)
    return intervals.of_paired_change(before.score, after.score)


def _judge_classification(outputs: Tensor, targets: Tensor) -> Judged:
    """Logits `[B, C]` (or `[B]`, `[B, 1]` for two classes) against class numbers `[B]`."""
    if outputs.dim() == 1 or (outputs.dim() == 2 and outputs.shape[1] == 1):
        flat = outputs.reshape(-1, 1)
        outputs = torch.cat([torch.zeros_like(flat), flat], dim=1)
    targets = targets.reshape(len(targets), -1).squeeze(1) if targets.dim() > 1 else targets
    if outputs.dim() != 2 or targets.dim() != 1 or len(outputs) != len(targets):
        shapes = f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}"
        raise ExplorerError(
            f"classification wants logits [examples, classes] ({shapes})",
            instead="choose another task or give forward=",
        )
    if targets.is_floating_point() and not torch.equal(targets, targets.round()):
        raise ExplorerError("the targets are fractions, not class numbers", instead='use task="regression"')
    targets = targets.long()
    classes = outputs.shape[1]
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        bad = int(targets.min()) if int(targets.min()) < 0 else int(targets.max())
        raise ExplorerError(
            f"label {bad} does not fit a model with {classes} classes", instead=f"labels go from 0 to {classes - 1}"
        )
    logs = F.log_softmax(outputs, dim=1)
    best, prediction = logs.max(dim=1)
    right = (prediction == targets).to(torch.float64)
    parts = {
        "target": targets.numpy(),
        "loss": -logs.gather(1, targets[:, None]).squeeze(1).numpy().astype(np.float64),
        "probability": best.exp().numpy(),
        "classes": np.full(len(targets), classes),
    }
    return Judged(right.numpy(), prediction.numpy(), parts)


def _summarise_classification(judged: Judged) -> Summary:
    assert judged.prediction is not None
    classes = int(judged.parts["classes"][0])
    pairs = judged.parts["target"] * classes + judged.prediction
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.float64)
    hits, actual, given = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    present, either = actual > 0, (actual + given) > 0
    recall = hits[present] / actual[present]
    f1 = 2 * hits[either] / (actual + given)[either]
    total = len(judged.score)
    right = int(judged.score.sum())
    metrics = {
        "accuracy": right / total,
        "balanced_accuracy": float(recall.mean()),
        "f1_macro": float(f1.mean()),
        "log_loss": float(judged.parts["loss"].mean()),
    }
    return Summary(metrics, *intervals.wilson(right, total))


def _judge_heads(outputs: Any, targets: Tensor) -> Judged:
    """{head: logits `[B, C]`} against class numbers `[B, heads]`; where a head's number is -100, it does not count.

    An example is right when every head with a label is.
    """
    if not isinstance(outputs, Mapping):
        what = f"the model gives {type(outputs).__name__}, not its outputs by head"
        raise ExplorerError(what, instead="give heads=, and forward= where needed")
    if targets.dim() != 2 or targets.shape[1] != len(outputs):
        what = f"the targets have the shape {tuple(targets.shape)} for {len(outputs)} heads ({', '.join(outputs)})"
        raise ExplorerError(what, instead="give one column of class numbers a head: [examples, heads]")
    counted = targets != IGNORED
    if not bool(counted.any(dim=1).all()):
        raise ExplorerError("an example has no label at all", instead="leave it out, or label one of its heads")
    parts: dict[str, Array] = {}
    right, said = [], []
    for at, (name, logits) in enumerate(outputs.items()):
        seen = counted[:, at]
        try:
            judged = _judge_classification(_sound(logits), torch.where(seen, targets[:, at], 0))
        except ExplorerError as problem:
            raise problem.at(f"head {name}") from problem
        assert judged.prediction is not None
        said.append(judged.prediction)
        right.append(np.where(seen.numpy(), judged.score, 1.0))
        parts[f"right_{name}"] = judged.score * seen.numpy()
        parts[f"labelled_{name}"] = seen.numpy().astype(np.float64)
        parts[f"probability_{name}"] = judged.parts["probability"]
    return Judged(np.stack(right, axis=1).min(axis=1), np.stack(said, axis=1), parts)


def _summarise_heads(judged: Judged) -> Summary:
    """The share of examples with all heads right (scikit-learn's accuracy of several outputs), then of each head."""
    parts, right, total = judged.parts, int(judged.score.sum()), len(judged.score)
    metrics = {"accuracy": right / total}
    for name in [part.removeprefix("right_") for part in parts if part.startswith("right_")]:
        labelled = float(parts[f"labelled_{name}"].sum())
        metrics[f"accuracy_{name}"] = float(parts[f"right_{name}"].sum()) / labelled if labelled else float("nan")
    return Summary(metrics, *intervals.wilson(right, total))


def _judge_regression(outputs: Tensor, targets: Tensor) -> Judged:
    """Numbers `[B]` or `[B, K]` against the same shape; of several, the errors are averaged."""
    if [n for n in outputs.shape if n != 1] != [n for n in targets.shape if n != 1]:  # (B, 1) may meet (B)
        shapes = f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}"
        raise ExplorerError(
            f"outputs and targets have different shapes ({shapes})", instead="give one number an example and output"
        )
    values = outputs.reshape(len(targets), -1).to(torch.float64).numpy()
    wanted = targets.reshape(len(targets), -1).to(torch.float64).numpy()
    error = values - wanted
    parts = {"value": values, "wanted": wanted, "absolute": np.abs(error).mean(1)}
    return Judged(-np.abs(error).mean(1), values[:, 0], parts)


def _summarise_regression(judged: Judged) -> Summary:
    values, wanted = judged.parts["value"], judged.parts["wanted"]
    errors, spreads = (values - wanted) ** 2, (wanted - wanted.mean(0)) ** 2
    totals, missed = spreads.sum(0), errors.sum(0)
    constant = totals == 0  # as in scikit-learn: all or nothing
    each = np.where(constant, np.where(missed == 0, 1.0, 0.0), 1 - missed / np.where(constant, 1, totals))
    metrics = {
        "r2": float(each.mean()),
        "mean_absolute_error": float(judged.parts["absolute"].mean()),
        "root_mean_squared_error": float(np.sqrt(errors.mean(0)).mean()),
    }
    return Summary(metrics, *intervals.of_r2(errors, spreads))


def _judge_tokens(outputs: Tensor, targets: Tensor) -> Judged:
    """Logits `[B, T, V]` against token ids `[B, T]`; positions with -100 do not count."""
    if outputs.dim() != 3 or targets.shape != outputs.shape[:2]:
        shapes = f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}"
        raise ExplorerError(
            f"this task wants logits [examples, positions, words] ({shapes})", instead="check the task and forward="
        )
    counted = targets != IGNORED
    known = targets[counted]
    if len(known) and (int(known.min()) < 0 or int(known.max()) >= outputs.shape[2]):
        bad = int(known.min()) if int(known.min()) < 0 else int(known.max())
        raise ExplorerError(
            f"token {bad} does not fit a model with {outputs.shape[2]} words",
            instead=f"tokens go from 0 to {outputs.shape[2] - 1}; {IGNORED} is left out",
        )
    losses = F.cross_entropy(outputs.transpose(1, 2), targets.long(), ignore_index=IGNORED, reduction="none")
    right = (outputs.argmax(dim=2) == targets) & counted
    parts = {
        "loss": losses.sum(1).numpy().astype(np.float64),
        "right": right.sum(1).numpy().astype(np.float64),
        "tokens": counted.sum(1).numpy().astype(np.float64),
    }
    return Judged(parts["right"] / np.maximum(parts["tokens"], 1), None, parts)


def _summarise_language(judged: Judged) -> Summary:
    parts = judged.parts
    tokens = max(parts["tokens"].sum(), 1.0)
    metrics = {
        "token_accuracy": float(parts["right"].sum() / tokens),
        "perplexity": float(np.exp(min(parts["loss"].sum() / tokens, 700.0))),
    }
    return Summary(metrics, *intervals.of_ratio(parts["right"], parts["tokens"]))


def _judge_sequence(outputs: Tensor, targets: Tensor) -> Judged:
    judged = _judge_tokens(outputs, targets)
    whole = (judged.parts["right"] == judged.parts["tokens"]).astype(np.float64)
    return Judged(whole, outputs.argmax(dim=2).to(torch.int32).numpy(), judged.parts)


def _summarise_sequence(judged: Judged) -> Summary:
    words = _summarise_language(judged).metrics
    right, total = int(judged.score.sum()), len(judged.score)
    return Summary({"exact_match": right / total, **words}, *intervals.wilson(right, total))


def _summarise_score(judged: Judged) -> Summary:
    return Summary({"score": float(judged.score.mean())}, *intervals.of_mean(judged.score))


_JUDGES: dict[str, Callable[[Tensor, Tensor], Judged]] = {
    "classification": _judge_classification,
    "regression": _judge_regression,
    "language-modeling": _judge_tokens,
    "sequence": _judge_sequence,
}
_SUMMARIES: dict[str, Callable[[Judged], Summary]] = {
    "classification": _summarise_classification,
    "multi-task": _summarise_heads,
    "regression": _summarise_regression,
    "language-modeling": _summarise_language,
    "sequence": _summarise_sequence,
    "score": _summarise_score,
}
RIGHT_OR_WRONG = ("classification", "multi-task", "sequence")
"""The tasks in which every single answer is right or wrong."""
