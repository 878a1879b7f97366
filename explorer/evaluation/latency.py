"""Latency: two models timed in turn, so that a drifting machine is fair to both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch import nn

from explorer.shown import Shown


@dataclass(frozen=True)
class Latency(Shown):
    """Milliseconds a forward pass on `batch` examples: median and middle half of `runs` runs each."""

    dense_ms: float
    variant_ms: float
    dense_spread: tuple[float, float]
    variant_spread: tuple[float, float]
    batch: int
    runs: int

    @property
    def ratio(self) -> float:
        """How many times faster the variant is (below 1: slower)."""
        return self.dense_ms / self.variant_ms

    @property
    def differs(self) -> bool:
        """Whether the middle halves lie apart: otherwise no difference was measured."""
        return self.variant_spread[1] < self.dense_spread[0] or self.dense_spread[1] < self.variant_spread[0]

    def __str__(self) -> str:
        verdict = f"{self.ratio:.2f} times as fast" if self.differs else "no difference measured"
        low, high = self.variant_spread
        return (
            f"{self.variant_ms:.2f} ms ({low:.2f} to {high:.2f}) a batch of {self.batch}, "
            f"dense {self.dense_ms:.2f} ms: {verdict} ({self.runs} runs each, in turn)"
        )


def time_in_turn(
    dense: nn.Module, variant: nn.Module, run: Callable[[nn.Module], object], batch: int, seconds: float = 2.0
) -> Latency:
    """Run both models in turn for about `seconds` (at least 7 runs each, after two to warm up)."""
    times: tuple[list[float], list[float]] = ([], [])
    with torch.no_grad():
        for model in (dense, variant, dense, variant):
            run(model)
        end = time.perf_counter() + seconds
        while len(times[1]) < 7 or time.perf_counter() < end:
            for model, taken in zip((dense, variant), times, strict=True):
                start = time.perf_counter()
                run(model)
                taken.append(1e3 * (time.perf_counter() - start))
    spreads = [(q[0], q[2]) for q in (quantiles(taken, n=4) for taken in times)]
    return Latency(median(times[0]), median(times[1]), spreads[0], spreads[1], batch, len(times[0]))
