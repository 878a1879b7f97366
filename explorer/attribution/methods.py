"""Attribution methods by gradients, from Captum: each takes a question and gives values at places.

Adding a method is one decorated function. Logits are explained, not probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor

from explorer.attribution.question import Found, Question, seeded
from explorer.names import METHODS

STEPS = 50
SAMPLES = 25
GROUPS = 5
"""Samples are drawn in so many groups, whose spread gives the standard error."""
NOISE = 0.15
"""Of SmoothGrad: the noise's standard deviation as a share of each example's range (Smilkov et al. 2017)."""


@METHODS.register(
    "integrated-gradients",
    label="Integrated gradients",
    help="Gradients summed along the straight way from the baseline; the values add up to what the output gained.",
    reference="Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks",
)
def integrated_gradients(question: Question) -> Found:
    """At the inputs; of tokens at the vectors of their embedding. samples: steps on the way."""
    steps = question.samples or STEPS
    points, starts = question.points, question.starts
    few = max(question.rows, len(question)) if steps * len(question) > question.rows else None
    found = IntegratedGradients(question.scores).attribute(
        points, starts, question.target, question.extras, n_steps=steps, internal_batch_size=few
    )
    return Found(question.summed(found), question.score(starts), complete=True, samples=steps)


@METHODS.register(
    "saliency",
    label="Saliency",
    help="The absolute gradient: where the output would move most if the input moved a little.",
    reference="Simonyan et al. 2014, Deep Inside Convolutional Networks",
)
def saliency(question: Question) -> Found:
    """Absolute gradients, summed over the channels of a place."""
    found = Saliency(question.scores).attribute(_copies(question.points), question.target, True, question.extras)
    return Found(question.shown(question.summed(found)), question.score(question.starts))


@METHODS.register(
    "input-x-gradient",
    label="Input × gradient",
    help="The gradient times the input: of a linear model what each input adds to the output.",
    reference="Shrikumar et al. 2016, Not Just a Black Box",
)
def input_x_gradient(question: Question) -> Found:
    """Of tokens, the vector of the embedding is the input."""
    found = InputXGradient(question.scores).attribute(_copies(question.points), question.target, question.extras)
    return Found(question.shown(question.summed(found)), question.score(question.starts))


@METHODS.register(
    "smoothgrad",
    label="SmoothGrad",
    help="Absolute gradients, averaged over noisy copies of the input.",
    reference="Smilkov et al. 2017, SmoothGrad: removing noise by adding noise",
)
def smoothgrad(question: Question) -> Found:
    """samples: noisy copies."""
    tunnel = NoiseTunnel(Saliency(question.scores))
    spreads = tuple(NOISE * float(point.amax() - point.amin()) for point in question.points)

    def draw(count: int) -> Sequence[Tensor]:
        return tunnel.attribute(
            _copies(question.points),
            nt_type="smoothgrad",
            nt_samples=count,
            nt_samples_batch_size=max(1, min(count, question.rows // len(question))),
            stdevs=spreads,
            target=question.target,
            additional_forward_args=question.extras,
        )

    return _in_groups(question, draw, complete=False)


@METHODS.register(
    "gradient-shap",
    label="GradientShap",
    help="Expected gradients: at random places on the way from the baseline; about Shapley values.",
    reference="Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions",
)
def gradient_shap(question: Question) -> Found:
    """samples: random places on the way. They add up to F(x) - F(baseline) only on average, so no delta is promised."""
    same = all(bool((start == start[:1]).all()) for start in question.starts)
    method = GradientShap(question.scores)

    def once(one: Question, count: int) -> Sequence[Tensor]:
        starts = tuple(start[:1] for start in one.starts)
        return method.attribute(
            _copies(one.points), starts, n_samples=count, target=one.target, additional_forward_args=one.extras
        )

    def draw(count: int) -> Sequence[Tensor]:
        if same:
            return once(question, count)
        each = [once(question.at(example), count) for example in range(len(question))]
        return [torch.cat(listed) for listed in zip(*each, strict=True)]

    return _in_groups(question, draw, complete=False)


@METHODS.register(
    "random",
    label="Random",
    help="Seeded random numbers: what a method must beat to say anything.",
)
def random(question: Question) -> Found:
    """Standard normal numbers, one for each feature."""
    draw = torch.Generator().manual_seed(question.seed)
    values = []
    for part in question.parts:
        numbers = torch.randn(len(question), part.count, generator=draw)
        values.append(part.spread(numbers).to(question.target.device))
    return Found(question.shown(values), question.score(question.starts_raw))


def _copies(points: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Fresh tensors: Captum takes gradients at the very ones that it is given."""
    return tuple(point.detach().clone().requires_grad_() for point in points)


def _in_groups(question: Question, draw: Callable[[int], Sequence[Tensor]], complete: bool) -> Found:
    """The mean of all samples, and its standard error from the spread of the groups."""
    count = max(1, (question.samples or SAMPLES) // GROUPS)
    groups = []
    for group in range(GROUPS):
        with seeded(question.seed + 7919 * group):
            groups.append(question.shown(question.summed(draw(count))))
        question.tick(1 / GROUPS)
    return together(groups, question.score(question.starts), complete, count * GROUPS)


def together(
    groups: Sequence[Sequence[Tensor]], start: Tensor, complete: bool, samples: int, by_feature: bool = False
) -> Found:
    """The mean of repeated runs with its standard error."""
    stacked = [torch.stack(list(listed)) for listed in zip(*groups, strict=True)]
    means = tuple(values.mean(0) for values in stacked)
    errors = tuple(values.std(0) / len(groups) ** 0.5 for values in stacked)
    return Found(means, start, complete, errors, samples, by_feature=by_feature)
