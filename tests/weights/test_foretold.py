"""The smallest file foretold: close to what is measured then, at once, and never in the way of who asks."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

import explorer as ex
from explorer.errors import ExplorerError
from explorer.weights.coded import Quantised
from explorer.weights.foretold import SmallestSize, drawn, foretold_bytes
from explorer.weights.forms import Dense, Form, Masked, Zeros
from explorer.weights.packing import Storage

RECIPES: dict[str, list[Any]] = {
    "pruned": [ex.Prune(sparsity=0.7)],
    "rows": [ex.Prune(sparsity=0.3, pattern="row")],
    "2 of 4": [ex.Prune(pattern="n:m")],
    "quantised": [ex.Quantize(bits=4, granularity="tensor", rest=8)],
    "a scale a row": [ex.Quantize(bits=6, scheme="affine")],
    "coded": [ex.Prune(sparsity=0.8), ex.Codebook(bits=4, rest=8)],
    "rank, coded": [ex.LowRank(rank=12), ex.Quantize(bits=5)],
}


@pytest.fixture(scope="module")
def vit() -> ex.Workbench:
    return ex.load("digits-vit")


def foretold(variant: ex.Variant, most: int) -> int:
    return foretold_bytes(variant.storage, {**variant.outfit.forms, **variant.outfit.rest}, most)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_quarter_of_the_weights_tells_the_length_within_some_percent(vit: ex.Workbench, recipe: str) -> None:
    variant = vit.compress(RECIPES[recipe])
    count = sum(form.entries for form in variant.outfit.forms.values())
    assert foretold(variant, count // 4) == pytest.approx(variant.bytes_smallest(), rel=0.05)
    whole = foretold(variant, 10 * count)  # all is looked at: only the header is a guess
    assert whole == pytest.approx(variant.bytes_smallest(), abs=20 * len(variant.storage.entries))


def test_what_changes_nothing_is_foretold_exactly(vit: ex.Workbench) -> None:
    assert foretold(vit.dense, 100) == vit.dense.bytes_smallest()
    assert foretold_bytes(Storage((), 77), {}) == 77


def test_a_drawn_part_is_of_the_same_kind() -> None:
    gone = torch.arange(12) % 3 == 0
    mask = (~gone)[:, None].expand(12, 5).contiguous()
    rows = drawn(Dense(torch.randn(12, 5)).masked(Zeros(mask, rows=gone)), 0.5)
    assert isinstance(rows, Masked) and rows.shape == (6, 5) and rows.rows_removed is not None
    assert torch.equal(rows.rows_removed, ~rows.mask.any(1))
    codes = torch.randint(0, 16, (12, 5), dtype=torch.uint8)
    points = torch.arange(12, dtype=torch.uint8)[:, None]
    grid = drawn(Quantised(codes, scale=torch.rand(12, 1), bits=4, points=points), 0.25)
    assert isinstance(grid, Quantised) and grid.shape == (3, 5) and grid.points is not None
    assert len(grid.scale) == len(grid.points) == 3 and torch.equal(grid.codes[-1], codes[-1])
    flat: Form = Quantised(codes.reshape(1, -1), Zeros(torch.ones(1, 60, dtype=torch.bool)), scale=torch.ones(1, 1))
    assert drawn(flat, 0.1).shape == (1, 6)
    assert drawn(Dense(torch.randn(3, 4)), 0.001).shape == (1, 4)


def test_the_estimate_stands_until_the_measured_length_is_there() -> None:
    begun, go = threading.Event(), threading.Event()

    def measure() -> int:
        begun.set()
        assert go.wait(10)
        return 1000

    job = SmallestSize(lambda: 990, measure)
    assert begun.wait(10)
    waiting = SmallestSize(lambda: 5, lambda: 7)  # one at a time
    dropped = SmallestSize(None, lambda: 9)
    dropped.cancel()
    assert not waiting.wait(0.2) and (job.estimate, job.bytes, waiting.estimate) == (990, None, 5)
    go.set()
    assert all(one.wait(10) for one in (job, waiting, dropped))
    assert (job.bytes, waiting.bytes, dropped.bytes) == (1000, 7, None)
    assert "was stopped" in str(dropped.error)


def test_what_fails_is_told() -> None:
    def refuse() -> int:
        raise ExplorerError("no")

    def stumble() -> int:
        raise MemoryError("full")

    jobs = [SmallestSize(None, refuse), SmallestSize(None, stumble)]
    assert all(job.wait(10) for job in jobs)
    assert [str(jobs[0].error), jobs[0].bytes] == ["no.", None]
    assert "(full)" in str(jobs[1].error) and jobs[1].finished


def test_a_variant_measures_in_the_background_what_it_would_write(vit: ex.Workbench) -> None:
    variant = vit.compress(ex.Prune(sparsity=0.77))
    job = variant.measure_smallest()
    assert job.wait(30) and job.bytes == variant.bytes_smallest() < variant.size.bytes
