"""Attribution methods that only take things away: they need no gradients, so they suit every model."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from torch import Tensor

from explorer.attribution.methods import together
from explorer.attribution.question import Found, Question, seeded
from explorer.names import METHODS

REPEATS = 4
"""Sampling methods run so often with other samples; the spread gives the standard error."""
WIDTH = 0.5
"""Of LIME's kernel: the share of features taken away at which a sample counts 0.6 times."""


@METHODS.register(
    "feature-ablation",
    label="Feature ablation",
    help="What the output loses when one feature is exchanged for the baseline, one after the other.",
    reference="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks",
)
def feature_ablation(question: Question) -> Found:
    """Features: tokens, columns, blocks of a picture (the model's patches, where it has them)."""
    found = FeatureAblation(question.scores).attribute(
        question.raw,
        question.starts_raw,
        question.target,
        question.extras,
        feature_mask=_masks(question),
        perturbations_per_eval=max(1, question.rows // len(question)),
    )
    return Found(question.averaged(found), question.score(question.starts_raw))


@METHODS.register(
    "occlusion",
    label="Occlusion",
    help="What the output loses when a window slides over the input and covers what is under it.",
    reference="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks",
)
def occlusion(question: Question) -> Found:
    """Windows of pictures are blocks, moved by half a block; of tokens and columns they are single ones."""
    windows, strides = [], []
    for part in question.parts:
        if part.grid is None:
            windows.append((1, *part.shape[1:]))
            strides.append((1, *part.shape[1:]))
        else:
            channels = part.shape[:-2]
            windows.append((*channels, *part.block))
            strides.append((*channels, *(max(1, side // 2) for side in part.block)))
    found = Occlusion(question.scores).attribute(
        question.raw,
        tuple(windows),
        tuple(strides),
        question.starts_raw,
        question.target,
        question.extras,
        perturbations_per_eval=max(1, question.rows // len(question)),
    )
    return Found(question.averaged(found), question.score(question.starts_raw))


@METHODS.register(
    "kernel-shap",
    label="KernelSHAP",
    help="Shapley values from a weighted line through many random choices of features; slow.",
    reference="Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions",
)
def kernel_shap(question: Question) -> Found:
    """samples: choices of features for an example."""
    return _sampled(question, KernelShap(question.scores), complete=True)


@METHODS.register(
    "lime",
    label="LIME",
    help="The weights of a line fitted to the output near the input, where random features are taken away; slow.",
    reference="Ribeiro et al. 2016, Why Should I Trust You?",
)
def lime(question: Question) -> Found:
    """samples: choices of features for an example. The kernel counts the share of features that is taken away."""
    method = Lime(question.scores, interpretable_model=SkLearnRidge(alpha=1.0), similarity_func=_nearness)
    return _sampled(question, method, complete=False)


def _nearness(original: Any, perturbed: Any, chosen: Tensor, **others: Any) -> Tensor:
    """How much a sample counts; distances of token ids would say nothing."""
    away = 1 - chosen.to(torch.float32).mean()
    return torch.exp(-(away**2) / (2 * WIDTH**2))


def _sampled(question: Question, method: Any, complete: bool) -> Found:
    features = sum(part.count for part in question.parts)
    count = max(4, (question.samples or REPEATS * (2 * features + 64)) // REPEATS)
    runs = []
    for repeat in range(REPEATS):
        rows = []
        for example in range(len(question)):
            one = question.at(example)
            with seeded(one.seed + 7919 * repeat), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Captum's advice on few samples; the standard error tells of it
                found = method.attribute(
                    one.raw,
                    one.starts_raw,
                    one.target,
                    one.extras,
                    feature_mask=_own_masks(one),
                    n_samples=count,
                    perturbations_per_eval=min(count, question.rows),
                )
            rows.append(one.shown(one.averaged(found)))
            question.tick(1 / (REPEATS * len(question)))
        runs.append([torch.cat(list(listed)) for listed in zip(*rows, strict=True)])
    return together(runs, question.score(question.starts_raw), complete, count * REPEATS, by_feature=True)


def _masks(question: Question) -> tuple[Tensor, ...]:
    """The features' numbers, all parts counted on."""
    masks, offset = [], 0
    for part, raw in zip(question.parts, question.raw, strict=True):
        masks.append(part.mask(offset).to(raw.device))
        offset += part.count
    return tuple(masks)


def _own_masks(one: Question) -> tuple[Tensor, ...]:
    """The same for one example: padding goes with the first token, which costs no sample and changes nothing."""
    masks = []
    for part, raw, mask in zip(one.parts, one.raw, _masks(one), strict=True):
        there = raw != part.padding
        if part.kind == "tokens" and bool(there.any()):
            mask = torch.where(there, mask, mask[there].min())
        masks.append(mask)
    numbers = torch.cat([mask.flatten() for mask in masks]).unique(sorted=True)
    return tuple(torch.searchsorted(numbers, mask) for mask in masks)
