"""Quantise and Codebook steps: weights as small whole numbers on a grid, or as indices into shared values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

from explorer.compression.plan import PlanEntry
from explorer.steps import Codebook, Quantize
from explorer.weights import coded
from explorer.weights.coded import Coded, Quantised
from explorer.weights.forms import Factors, Form, Zeros, zeros_of

ROUNDS = 40
"""Of k-means at most; on one line of values it settles long before."""


def code(step: Quantize | Codebook, entry: PlanEntry, form: Form) -> Form:
    """What the step makes of a form; the two factors of a low-rank matrix are coded each on its own."""
    bits = step.bits if entry.amount is None else int(entry.amount)
    if isinstance(form, Factors):
        return Factors(_coded(step, bits, form.left), _coded(step, bits, form.right))
    return _coded(step, bits, form)


def _coded(step: Quantize | Codebook, bits: int, form: Form) -> Coded:
    weight, zeros = form.decode(), zeros_of(form)
    if isinstance(step, Codebook):
        return share_values(weight, bits, zeros)
    return quantise(weight, bits, zeros, affine=step.scheme == "affine", by_row=step.granularity == "channel")


def quantise(
    weight: Tensor, bits: int, zeros: Zeros | None = None, *, affine: bool = False, by_row: bool = True
) -> Quantised:
    """A matrix `[out, in]` rounded to an even grid of 2^bits codes, on which zero always is.

    Symmetric: scale max|w| / (2^(bits-1) - 1), with as many codes below zero as above. Affine: from the lowest to the
    highest weight, zero included. by_row: a scale (and zero point) for each row, else one for all
    (Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only inference).
    """
    exact = weight.detach().to(torch.float32)
    over = 1 if by_row else (0, 1)
    if affine:
        low = exact.amin(over, keepdim=True).clamp_max(0)
        high = exact.amax(over, keepdim=True).clamp_min(0)
        scale, last = (high - low) / (2**bits - 1), 2**bits - 1
    else:
        scale, last = exact.abs().amax(over, keepdim=True) / (2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1
    scale = scale.to(weight.dtype)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a row of zeros has no scale of its own
    steps = exact / scale.to(torch.float32)
    if affine:
        points = (-low / scale.to(torch.float32)).round().clamp(0, last)
        codes = (steps + points).round().clamp(0, last)
        found = Quantised(codes.to(torch.uint8), None, scale=scale, bits=bits, points=points.to(torch.uint8))
    else:
        codes = steps.round().clamp(-last, last) + 2 ** (bits - 1)
        found = Quantised(codes.to(torch.uint8), None, scale=scale, bits=bits)
    if zeros is None:
        return found
    held = found.masked(zeros)
    assert isinstance(held, Quantised)
    return held


def share_values(weight: Tensor, bits: int, zeros: Zeros | None = None) -> coded.Codebook:
    """A matrix whose weights share at most 2^bits values: k-means from evenly spaced ones (Han et al. 2016).

    Where there are zeros, one of the values is exactly zero and holds just these.
    """
    exact = weight.detach().to(torch.float32).cpu().numpy().reshape(-1)
    kept = exact != 0
    with_zero = not kept.all()
    values = np.unique(exact[kept])
    most = 2**bits - with_zero
    if len(values) > most:
        start = np.linspace(values[0], values[-1], most).reshape(-1, 1)
        with threadpool_limits(1):  # a result must not depend on how many threads there are
            means = KMeans(most, init=start, n_init=1, max_iter=ROUNDS).fit(exact[kept].reshape(-1, 1))
        held = torch.from_numpy(means.cluster_centers_.reshape(-1)).to(weight.dtype)  # what the number type can hold
        values = np.unique(held.to(torch.float32).numpy())
        values = values[values != 0]
    codes = np.zeros(exact.shape, dtype=np.uint8)
    if len(values):
        borders = (values[1:] + values[:-1]) / 2
        codes[kept] = np.searchsorted(borders, exact[kept], side="left") + with_zero
    with_zero |= not len(values)
    table = torch.from_numpy(np.concatenate([[0.0], values] if with_zero else [values]).astype(np.float32))
    found = coded.Codebook(
        torch.from_numpy(codes).reshape(weight.shape).to(weight.device),
        None,
        table=table.to(device=weight.device, dtype=weight.dtype),
    )
    if zeros is None:
        return found
    masked = found.masked(zeros)
    assert isinstance(masked, coded.Codebook)
    return masked


def round_rest(tensors: Mapping[str, Form], bits: int) -> dict[str, Form]:
    """The other tensors rounded to an even grid, one scale each; those of a single value stay."""
    changed: dict[str, Form] = {}
    for name, form in tensors.items():
        values = form.decode()
        if values.is_floating_point() and values.numel() > 1:
            changed[name] = quantise(values, bits, zeros_of(form), by_row=False)
        else:
            changed[name] = form
    return changed
