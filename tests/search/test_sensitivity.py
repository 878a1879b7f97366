"""Sensitivity scans: their numbers are those of a plain loop, they stream, stop and are shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import explorer as ex
from explorer.errors import ExplorerError
from explorer.search.scan import LEVELS, blocks_of, scan_of
from explorer.search.sensitivity import watched
from explorer.workbench import POOL
from tests.toys import bench as toy


@pytest.fixture(scope="module")
def bench() -> ex.Workbench:
    return toy()


@pytest.fixture(scope="module")
def vit() -> ex.Workbench:
    return ex.load("digits-vit")


@pytest.mark.parametrize(
    "step",
    [
        ex.Prune,
        ex.Prune(sparsity=0.1, pattern="row", layers="0"),
        ex.LowRank,
        ex.Quantize(scheme="affine"),
        ex.Codebook,
    ],
)
@pytest.mark.parametrize("recipe", [None, ex.Prune(sparsity=0.2)])
def test_numbers_are_those_of_a_plain_loop(bench: ex.Workbench, step: Any, recipe: Any) -> None:
    found = bench.sensitivity(step, recipe=recipe, progress=False)
    assert found.complete
    base = bench.compress(found.scan.base)
    assert found.base.metrics == base.evaluate().metrics and found.base_bytes == base.size.bytes
    assert found.scan.levels == LEVELS[found.scan.field]
    for cell in found.cells:
        variant = bench.compress(found.scan.recipe(cell.target, cell.level))
        quality = variant.evaluate()
        assert cell.quality.metrics == quality.metrics and cell.quality.complete
        assert np.array_equal(cell.quality.judged.parts["loss"], quality.judged.parts["loss"])
        assert cell.size_bytes == variant.size.bytes
        change = quality.against(base.evaluate())
        if quality.judged is not base.evaluate().judged:  # the very same result has no interval at all
            assert cell.change == change
        assert set(variant.outfit.forms) - set(base.outfit.forms) <= set(cell.target.matrices)


def test_the_template_keeps_its_own_fields(bench: ex.Workbench) -> None:
    template = ex.Prune(threshold=0.1, criterion="random", seed=7, layers="2")
    found = bench.sensitivity(template, [0.5], progress=False)
    assert [target.name for target in found.scan.targets] == ["2"]
    step = found.scan.recipe(found.scan.targets[0], 0.5)[0]
    assert step == ex.Prune(sparsity=0.5, criterion="random", seed=7, layers="2")


def test_levels_go_from_mild_to_harsh_and_each_counts_once(bench: ex.Workbench) -> None:
    assert bench.sensitivity(ex.Prune, [0.9, 0.2, 0.9], progress=False).scan.levels == (0.2, 0.9)
    assert bench.sensitivity(ex.Quantize, [2, 8], progress=False).scan.levels == (8, 2)
    single: Any = 0.5
    assert bench.sensitivity(ex.LowRank, single, progress=False).scan.levels == (0.5,)


def test_answers_are_pruned_by_row_only_when_named(bench: ex.Workbench) -> None:
    def names(**fields: Any) -> list[str]:
        template = ex.Prune(sparsity=0.5, pattern="row", **fields)
        return [target.name for target in scan_of(bench, template, None, "matrix", None, False).targets]

    assert names() == ["0"]
    assert names(layers=("0", "2")) == ["0", "2"]


def test_leaving_out_spares_one_at_a_time(bench: ex.Workbench) -> None:
    recipe = ex.Recipe([ex.Prune(sparsity=0.9), ex.Quantize(bits=4)])
    found = bench.sensitivity(ex.Prune, recipe=recipe, leave_out=True, progress=False)
    assert found.scan.levels == (None,) and len(found.cells) == 2
    assert found.base.metrics == bench.compress(recipe).evaluate().metrics
    for cell in found.cells:
        spared = ex.Recipe([ex.Prune(sparsity=0.9, exclude=cell.target.name), ex.Quantize(bits=4)])
        assert cell.quality.metrics == bench.compress(spared).evaluate().metrics
    assert "left out" in str(found) and found.fragile
    assert list(found.to_frame()["level"]) == ["left out"] * 2


def test_blocks_and_kinds(vit: ex.Workbench) -> None:
    blocks = blocks_of(vit.matrices())
    assert set(blocks.values()) == {"embed", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "head"}
    assert blocks["blocks.0.mlp.2"] == "blocks.0"
    by_kind = vit.sensitivity(ex.Prune, [0.5], by="kind", quick=True, progress=False)
    assert {target.name for target in by_kind.scan.targets} == {matrix.kind for matrix in vit.matrices()}
    assert sum(len(target.matrices) for target in by_kind.scan.targets) == len(vit.matrices())


def test_the_ranking_and_the_sentence(vit: ex.Workbench) -> None:
    found = vit.sensitivity(ex.Prune, [0.3, 0.95], by="block", progress=False)
    assert found.ranked[0] == "embed" and found.bears["embed"] == 0.3 and found.bears["blocks.3"] == 0.95
    assert "embed" in found.fragile and "first" in found.fragile and "sparsity 95 %" in found.fragile
    assert str(found).splitlines()[2].startswith("embed")
    harmless = vit.sensitivity(ex.Quantize, [8], by="block", progress=False)
    assert harmless.fragile == "nothing breaks: each block alone bears 8 bits"
    frame = found.to_frame()
    assert len(frame) == 12 and set(frame["target"]) == set(found.by_target)
    assert (frame["change_low"] <= frame["change"]).all() and (frame["change"] <= frame["change_high"]).all()


def test_whoever_asks_the_same_shares_one_scan_and_nothing_counts_as_tried() -> None:
    bench = toy()
    job = bench.sensitivity_job(ex.Prune, [0.5])
    assert bench.sensitivity_job(ex.Prune(sparsity=0.3), (0.5,)) is job
    assert bench.sensitivity_job(ex.Prune, [0.5], quick=True) is job  # so few examples are quick anyway
    assert watched(job, progress=False).complete
    assert bench.recipes_tried == 0 and not job.urgent


def test_it_streams_and_stopping_keeps_what_is_there() -> None:
    bench = toy(examples=2000, batch_size=4)
    job = bench.sensitivity_job(ex.Prune, quick=True)
    while job.sensitivity is None or not job.cells:
        assert not job.wait(0.001)
    job.stop()
    assert job.cancelled
    found = watched(job, progress=False)
    assert 0 < len(found.cells) < 12 and not found.complete and "cells so far" in str(found)
    assert found.base.examples == 512 and "512 of 2,000" in str(found)
    assert bench.sensitivity_job(ex.Prune, quick=True) is not job


def test_an_interrupt_keeps_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = toy(examples=2000, batch_size=4)
    job = bench.sensitivity_job(ex.Prune)

    def interrupted(timeout: float | None = None) -> bool:
        while job.sensitivity is None:
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "wait", interrupted)
    assert not watched(job, progress=False).complete and job.cancelled


def test_stopped_before_anything_is_an_error() -> None:
    bench = toy()
    scan = scan_of(bench, ex.Prune, None, "matrix", None, False)
    from explorer.search.sensitivity import SensitivityJob

    job = SensitivityJob("toy", bench.stage, scan, bench._unkept, False)
    job.stop()
    POOL.submit(job)
    assert job.cells == () and job.sensitivity is None
    with pytest.raises(ExplorerError, match="stopped before anything"):
        watched(job, progress=False)


@pytest.mark.parametrize(
    ("step", "options", "message"),
    [
        (ex.Prune, {"by": "row"}, "matrix, block, kind"),
        (ex.Prune, {"levels": []}, "no level"),
        (ex.Prune, {"levels": [0.5, 1.5]}, "outside 0 to 1"),
        (ex.Quantize, {"levels": [1]}, "outside 2 to 8"),
        (ex.Quantize, {"levels": [2.5]}, "whole number"),
        (ex.LowRank, {"levels": [0.0]}, "energy is 0.0"),
        (ex.Recover, {}, "Recover cannot be scanned"),
        (ex.GradualPrune(), {}, "GradualPrune cannot be scanned"),
        ("prune", {}, "str cannot be scanned"),
        (ex.Prune(pattern="n:m"), {}, "N:M"),
        (ex.Prune(sparsity=0.5, layers="nowhere"), {}, "no weight matrix matches"),
        (ex.Prune, {"leave_out": True}, "no Prune step"),
        (ex.Prune, {"leave_out": True, "recipe": ex.Prune(sparsity=0.5), "levels": [0.5]}, "left out or not"),
        (ex.Prune, {"leave_out": True, "recipe": [ex.Prune(sparsity=0.5), ex.Recover(epochs=1)]}, "trained for anew"),
        (ex.Prune(sparsity=0.5, exclude="*"), {}, "no matrix"),
    ],
)
def test_what_cannot_be_scanned_says_why(bench: ex.Workbench, step: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExplorerError, match=message):
        bench.sensitivity(step, progress=False, **options)
