"""Attribution methods with a rule for each operation: refused where an operation of the model has none."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import LRP, DeepLift
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explorer.attribution.question import Found, Question
from explorer.attribution.scoring import Refused, Scores
from explorer.names import METHODS

STRAIGHT = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.AvgPool1d,
    nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity, nn.Flatten,
)  # fmt: skip
"""Straight lines of their input (in eval mode): the gradient is the multiplier."""
BENT = (
    nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
)  # fmt: skip
"""Bends that DeepLift has a rule for, as a module of its own that runs once."""
RELEVANCE = (
    nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool1d, nn.MaxPool2d, nn.ReLU,
    nn.Tanh, nn.Dropout,
)  # fmt: skip
"""What Captum's LRP has a rule for."""
MOVES = {
    torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape, Tensor.permute, torch.permute,
    Tensor.transpose, torch.transpose, Tensor.squeeze, torch.squeeze, Tensor.unsqueeze, torch.unsqueeze,
    Tensor.contiguous, Tensor.__getitem__, Tensor.unflatten, Tensor.to, Tensor.float,
}  # fmt: skip
"""Numbers change places only."""
LINES = {
    Tensor.add, torch.add, Tensor.__add__, Tensor.__radd__, Tensor.sub, torch.sub, Tensor.__sub__, Tensor.__rsub__,
    Tensor.mean, torch.mean, Tensor.sum, torch.sum, torch.cat, torch.stack, F.avg_pool2d, F.adaptive_avg_pool2d,
}  # fmt: skip
SCALINGS = {
    Tensor.mul, torch.mul, Tensor.__mul__, Tensor.__rmul__, Tensor.div, torch.div, Tensor.__truediv__, torch.matmul,
    Tensor.matmul, Tensor.__matmul__, F.linear,
}  # fmt: skip
"""Straight lines as long as only one operand depends on the input."""
RELUS = {F.relu, torch.relu, Tensor.relu}


class _Rules(TorchFunctionMode):
    """Notes the first operation of a forward pass that a method has no rule for."""

    def __init__(self, functions: set[Any], scalings: set[Any]) -> None:
        super().__init__()
        self.functions, self.scalings = functions, scalings
        self.inside: list[nn.Module] = []
        self.runs: dict[nn.Module, int] = {}
        self.reason = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if self.inside or self.reason or not isinstance(output, (Tensor, tuple, list)):
            return output
        moving = sum(_depends(one) for one in (*args, *(kwargs or {}).values()))
        if not moving or not any(isinstance(one, Tensor) for one in ([output] if _is(output) else output)):
            return output
        known = func in self.functions or (func in self.scalings and moving == 1)
        if not known or not _depends(output):
            self.reason = f"its function {getattr(func, '__name__', str(func))} has no rule"
        return output


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)


def _depends(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.requires_grad
    return isinstance(value, (tuple, list)) and any(_depends(one) for one in value)


def why_not(question: Question, modules: tuple[type, ...], once: tuple[type, ...], functions: set[Any]) -> str:
    """The first operation of a watched forward pass that has no rule, in words; "" where all have one."""
    watch = _Rules(functions, SCALINGS if once else set())
    inputs = tuple(point.clone().requires_grad_() for point in question.at(0).points)
    handles: list[Any] = []

    def enter(module: nn.Module, args: Any) -> None:
        if type(module) in modules:
            watch.inside.append(module)
            watch.runs[module] = watch.runs.get(module, 0) + 1

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if type(module) in modules:
            watch.inside.pop()

    try:
        for module in question.scores.model.modules():
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        with torch.enable_grad(), watch:
            question.subject.outputs(question.scores.model, _nested(question.scores, inputs))
    finally:
        for handle in handles:
            handle.remove()
    names = {module: name for name, module in question.scores.model.named_modules()}
    again = [names[module] for module, runs in watch.runs.items() if runs > 1 and (type(module) in once or not once)]
    if watch.reason:
        return watch.reason
    return f"its {again[0]} runs more than once in a pass" if again else ""


def _nested(scores: Scores, inputs: tuple[Tensor, ...]) -> Any:
    nesting = scores.nesting
    if isinstance(nesting, Mapping):
        return dict(zip(nesting, inputs, strict=True))
    return inputs if isinstance(nesting, (tuple, list)) else inputs[0]


def _refuse_tokens(question: Question, method: str) -> None:
    if len(question.parts) != len(question.tensors) or any(part.kind == "tokens" for part in question.parts):
        what = f"{method} has no rule for what this model does to its inputs (token ids or masks)"
        raise Refused(what, where="attribute", instead="choose integrated-gradients or feature-ablation")


@METHODS.register(
    "deeplift",
    label="DeepLIFT",
    help="Differences of activations from the baseline's, handed back layer by layer; only for plain networks.",
    reference="Shrikumar et al. 2017, Learning Important Features Through Propagating Activation Differences",
)
def deeplift(question: Question) -> Found:
    """The rescale rule. Refused where a watched forward pass has an operation without a rule."""
    _refuse_tokens(question, "DeepLIFT")
    reason = why_not(question, STRAIGHT + BENT, BENT, MOVES | LINES)
    if reason:
        what = f"DeepLIFT is not right on this model: {reason}"
        raise Refused(what, where="attribute", instead="choose integrated-gradients or feature-ablation")
    inputs = tuple(point.detach().clone().requires_grad_() for point in question.points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum tells that it sets hooks; they are counted and gone afterwards
        found = DeepLift(question.scores).attribute(inputs, question.starts, question.target, question.extras)
    return Found(question.summed(found), question.score(question.starts), complete=True)


@METHODS.register(
    "lrp",
    label="LRP",
    help="The output shared out backwards, layer by layer, by what each input added (epsilon rule).",
    reference="Bach et al. 2015, On Pixel-Wise Explanations for Non-Linear Classifier Decisions",
)
def lrp(question: Question) -> Found:
    """Refused where a watched forward pass has an operation without a rule. Biases keep their share."""
    _refuse_tokens(question, "LRP")
    reason = why_not(question, RELEVANCE, (), MOVES | RELUS)
    if reason:
        what = f"LRP is not right on this model: {reason}"
        raise Refused(what, where="attribute", instead="choose integrated-gradients or feature-ablation")
    leaves = [(name, module) for name, module in question.scores.model.named_modules() if not any(module.children())]
    ruled = [name for name, module in leaves if type(module) not in RELEVANCE]
    if ruled:
        what = f"LRP is not right on this model: its {ruled[0] or 'module'} has no rule"
        raise Refused(what, where="attribute", instead="choose integrated-gradients or feature-ablation")
    scores = copy.deepcopy(question.scores.model)  # Captum writes weights while it works, and these are shared
    own = _Plain(question, scores)
    inputs = tuple(point.detach().clone().requires_grad_() for point in question.points)
    found = LRP(own).attribute(inputs if len(inputs) > 1 else inputs[0], question.target)
    found = found if isinstance(found, tuple) else (found,)
    return Found(question.summed(found), question.score(question.starts))


class _Plain(nn.Module):
    """A model with its head chosen, called with the parts alone: LRP asks for it so."""

    def __init__(self, question: Question, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._question = [question]

    def forward(self, *inputs: Tensor) -> Tensor:
        question = self._question[0]
        outputs = question.subject.outputs(self.model, _nested(question.scores, inputs))
        return question.scores.chosen(outputs, question.positions)
