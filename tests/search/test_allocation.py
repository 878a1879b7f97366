"""Allocation: the recipe keeps the limit that was asked, and beats the same amount for all."""

from __future__ import annotations

from typing import Any

import pytest

import explorer as ex
from explorer.errors import ExplorerError
from explorer.search.allocation import AllocationJob, Tried
from explorer.search.path import path_of, recipe_of
from explorer.search.scan import template_of
from tests.toys import bench as toy


@pytest.fixture(scope="module")
def vit() -> ex.Workbench:
    return ex.load("digits-vit")


def test_a_loss_budget_gives_a_smaller_model_than_one_amount_for_all(vit: ex.Workbench) -> None:
    recipe = vit.allocate(ex.Prune, max_loss=0.01, progress=False)
    variant = vit.compress(recipe)
    dense = vit.dense.evaluate().value
    assert dense - variant.evaluate().value <= 0.01 + 1e-9
    assert len(recipe) == 1 and isinstance(recipe[0], ex.Prune) and recipe[0].overrides
    assert ex.Recipe.from_url(recipe.to_url()) == recipe
    uniform = [vit.compress(ex.Prune(sparsity=share)) for share in (0.5, 0.55, 0.6, 0.65, 0.7)]
    kept = [other.size.bytes for other in uniform if dense - other.evaluate().value <= 0.01]
    assert variant.size.bytes < min(kept, default=vit.dense.size.bytes)


@pytest.mark.parametrize("step", [ex.LowRank, ex.Quantize(bits=8, granularity="tensor", rest=8)])
def test_other_steps_get_ranks_and_bits(vit: ex.Workbench, step: Any) -> None:
    recipe = vit.allocate(step, max_loss=0.02, levels=[0.9, 0.7] if step is ex.LowRank else [8, 4, 2], progress=False)
    variant = vit.compress(recipe)
    assert vit.dense.evaluate().value - variant.evaluate().value <= 0.02 + 1e-9
    assert variant.size.bytes < vit.dense.size.bytes
    (only,) = recipe
    if isinstance(only, ex.LowRank):
        assert only.rank is not None and all(rank is None or rank >= 1 for rank in only.overrides.values())
    else:
        assert isinstance(only, ex.Quantize) and only.rest == 8 and only.granularity == "tensor"


def test_a_size_budget_is_kept_exactly(vit: ex.Workbench) -> None:
    recipe = vit.allocate(ex.Prune, max_bytes="200 kB", progress=False)
    assert 150_000 < vit.compress(recipe).size.bytes <= 200_000


def test_the_path_upgrades_one_matrix_at_a_time(vit: ex.Workbench) -> None:
    found = vit.sensitivity(ex.Prune, quick=True, progress=False)
    path = path_of(found, {})
    for before, after in zip([{}, *path], path, strict=False):
        (moved,) = set(after.items()) - set(before.items())
        assert before.get(moved[0], 0.0) < moved[1]
    heavier = path_of(found, {name: 2.0 if name.startswith("blocks.0") else 1.0 for name in found.by_target})
    assert sum(name.startswith("blocks.0") for name in heavier[len(path) // 2]) <= sum(
        name.startswith("blocks.0") for name in path[len(path) // 2]
    )


def test_layers_of_the_template_are_kept(vit: ex.Workbench) -> None:
    recipe = vit.allocate(ex.Prune(sparsity=0.5, layers="*.mlp.*"), max_loss=0.01, levels=[0.5, 0.9], progress=False)
    assert all(".mlp." in name for name in recipe[0].overrides)  # type: ignore[attr-defined]  # it is a Prune step


def test_attention_counts(vit: ex.Workbench) -> None:
    variant = vit.compress(vit.allocate(ex.Prune, max_loss=0.01, by="attention", progress=False))
    assert vit.dense.evaluate().value - variant.evaluate().value <= 0.01 + 1e-9
    with pytest.raises(ExplorerError, match="has no attention"):
        toy().allocate(ex.Prune, max_loss=0.1, by="attention", progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either max_loss or max_bytes"),
        ({"max_loss": 0.1, "max_bytes": 10}, "either max_loss or max_bytes"),
        ({"max_loss": 0.1, "by": "block"}, "attention"),
        ({"max_loss": -0.1}, "no limit"),
        ({"max_loss": 2}, "outside 0 to 1"),
        ({"max_bytes": "small"}, "no size"),
        ({"max_bytes": 10}, "closest has"),
        ({"max_bytes": 10**9}, "already"),
        ({"max_loss": 0.0, "levels": [1.0]}, "the closest loses"),
        ({"max_loss": 0.1, "levels": [0.0]}, "saves a byte"),
    ],
)
def test_limits_that_cannot_be_kept_say_so(options: dict[str, Any], message: str) -> None:
    bench = _learnt()
    with pytest.raises(ExplorerError, match=message):
        bench.allocate(ex.Prune, progress=False, **options)


def _learnt() -> ex.Workbench:
    """A model that is always right, so that removing all weights costs answers."""
    from tests.toys import numbers, perceptron

    model, (inputs, _) = perceptron(), numbers()
    return ex.load(model, data=(inputs, model(inputs).argmax(1)), batch_size=8)


# -- starting elsewhere, watching, stopping ---------------------------------------------------------------------------


def test_a_search_from_a_recipe_keeps_its_steps_and_only_gets_smaller(vit: ex.Workbench) -> None:
    start = ex.Recipe([ex.Prune(sparsity=0.5)])
    options: dict[str, Any] = {"max_loss": 0.02, "levels": [8, 5, 3], "progress": False}
    recipe = vit.allocate(ex.Quantize, start=start, **options)
    assert len(recipe) == 2 and recipe[0] == start[0] and isinstance(recipe[1], ex.Quantize)
    variant = vit.compress(recipe)
    assert vit.dense.evaluate().value - variant.evaluate().value <= 0.02 + 1e-9
    assert variant.size.bytes < vit.compress(start).size.bytes
    alone = vit.compress(vit.allocate(ex.Quantize, **options))
    assert variant.size.bytes < alone.size.bytes  # what was pruned before takes fewer bytes


def test_ranks_of_a_search_from_a_recipe_are_of_what_it_left(vit: ex.Workbench) -> None:
    start = ex.Recipe([ex.Prune(sparsity=0.4)])
    setting = {vit.matrices().names[0]: 0.9}
    template = template_of(ex.LowRank)
    (_, step), (own,) = (recipe_of(vit, template, setting, origin) for origin in (start, ex.Recipe()))
    assert isinstance(step, ex.LowRank) and isinstance(own, ex.LowRank)
    (name,) = setting
    assert step.rank == vit.spectrum(name, start).rank_for(0.9) and own.rank == vit.spectrum(name).rank_for(0.9)


def test_a_start_that_breaks_the_limit_already_is_told(vit: ex.Workbench) -> None:
    ruined = ex.Recipe([ex.Prune(sparsity=0.95)])
    with pytest.raises(ExplorerError, match="the recipe to start from loses .* already"):
        vit.allocate(ex.Quantize, max_loss=0.01, start=ruined, progress=False)
    with pytest.raises(ExplorerError, match="the recipe to start from has .* already"):
        vit.allocate(ex.Quantize, max_bytes="500 kB", start=ruined, progress=False)
    with pytest.raises(ExplorerError, match="no weight matrix matches"):
        vit.allocation_job(ex.Quantize, max_loss=0.01, start=ex.Prune(sparsity=0.5, layers="nothing"))


def test_the_way_is_told_and_goes_forward(vit: ex.Workbench) -> None:
    job = vit.allocation_job(ex.Prune, max_loss=0.015, levels=[0.4, 0.6, 0.8])
    seen: list[tuple[float, str]] = []
    while not job.wait(0.02):
        seen.append((job.share, job.words))
    assert job.error is None and job.recipe is not None and job.share == 1.0
    assert [share for share, _ in seen] == sorted(share for share, _ in seen)
    assert 1 <= len(job.tried) <= job.planned
    told = {words.split(":")[0] for _, words in seen}
    assert told <= {"starting", "scanning", "trying settings"} and {"scanning", "trying settings"} & told
    best = min((item for item in job.tried.values() if item.loss <= 0.015 + 1e-9), key=lambda item: item.size_bytes)
    assert job.recipe == best.recipe


def test_stopping_keeps_the_best_so_far(vit: ex.Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = AllocationJob._measured

    def stops_after_the_second(job: AllocationJob, recipe: ex.Recipe) -> Tried:
        found = measured(job, recipe)
        if any(item.loss <= 0.03 for item in job.tried.values()):
            job.stop()
        return found

    monkeypatch.setattr(AllocationJob, "_measured", stops_after_the_second)
    job = vit.allocation_job(ex.Prune, max_loss=0.03, levels=[0.3, 0.7])
    assert job.wait(120) and job.error is None and job.recipe is not None
    kept = {item.recipe: item for item in job.tried.values()}
    assert kept[job.recipe].loss <= 0.03 + 1e-9 and len(kept) < job.planned


def test_a_scan_that_is_stopped_finds_nothing(vit: ex.Workbench) -> None:
    job = vit.allocation_job(ex.Prune, max_loss=0.01, levels=[0.11, 0.23, 0.37, 0.53])
    job.stop()
    assert job.wait(60) and job.recipe is None
    assert "stopped before" in str(job.error) and job.stopping
