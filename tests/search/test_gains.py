"""Gains of heads: both searches go down, alike twice, on calibration alone, and keep the best when stopped."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn

import explorer as ex
from explorer.search.gains import GainsJob, TunedHeads
from tests.toys import Encoder, numbers, seeded


@pytest.fixture(scope="module")
def vit() -> ex.Workbench:
    return ex.load("digits-vit")


def small_bench(calibration: bool = True) -> ex.Workbench:
    ids = torch.randint(1, 20, (30, 6), generator=torch.Generator().manual_seed(4))
    targets = torch.arange(30) % 2
    extra: dict[str, Any] = {"calibration": (ids[:12], targets[:12])} if calibration else {}
    return ex.load(seeded(lambda: Encoder(layers=2)), data=(ids, targets), batch_size=8, **extra)


def objective(bench: ex.Workbench, recipe: ex.Recipe, gains: dict[str, tuple[float, ...]], weight: float) -> float:
    """Computed plainly: mean cross-entropy on calibration, plus weight * mean gain."""
    examples = bench.subject.split("calibration")
    outputs = bench.compress(recipe).outputs(examples.inputs)
    flat = [gain for own in gains.values() for gain in own]
    return float(nn.functional.cross_entropy(outputs, examples.targets)) + weight * sum(flat) / len(flat)


@pytest.mark.parametrize(("method", "steps"), [("gradient", 12), ("swarm", 5)])
def test_the_objective_falls_and_is_what_the_recipe_gives(vit: ex.Workbench, method: str, steps: int) -> None:
    found = vit.tune_heads(method=method, steps=steps, particles=8, progress=False)
    assert found.objective < found.objective_before - 0.005
    assert found.history[0] == (0, found.objective_before, found.loss_before, 1.0)
    assert [entry[0] for entry in found.history] == list(range(steps + 1))
    ones = dict.fromkeys(found.gains, (1.0,) * 4)
    assert found.objective_before == pytest.approx(objective(vit, ex.Recipe(), ones, 0.1), rel=1e-4)  # type: ignore[arg-type]
    assert found.objective == pytest.approx(objective(vit, found.recipe, dict(found.gains), 0.1), rel=1e-4)
    assert found.recipe[-1] == ex.EditAttention(edit="gain", gains=dict(found.gains))
    assert all(gain == round(gain, 3) and 0 <= gain <= 2 for own in found.gains.values() for gain in own)
    assert not any(0 < gain < 0.05 for own in found.gains.values() for gain in own)
    assert (found.split, found.examples) == ("calibration", 128)


@pytest.mark.parametrize("method", ["gradient", "swarm"])
def test_the_same_seed_finds_the_same(method: str) -> None:
    first, second = (
        small_bench().tune_heads(method=method, steps=4, particles=6, seed=3, progress=False) for _ in range(2)
    )
    assert first.gains == second.gains and first.history == second.history
    if method == "swarm":
        other = small_bench().tune_heads(method=method, steps=4, particles=6, seed=4, progress=False)
        assert other.history != first.history


def test_a_high_price_silences_more_heads() -> None:
    cheap, dear = (small_bench().tune_heads(weight=weight, progress=False) for weight in (0.0, 5.0))
    assert sum(map(sum, dear.gains.values())) < sum(map(sum, cheap.gains.values()))
    assert "of 6 heads are silent" in dear.sentence()


def test_it_goes_on_from_a_recipe(vit: ex.Workbench) -> None:
    start = ex.Recipe(ex.Prune(sparsity=0.5))
    found = vit.tune_heads(start, steps=3, progress=False)
    assert found.recipe.steps[:1] == start.steps and len(found.recipe) == 2
    pruned = vit.compress(start).outputs(vit.subject.split("calibration").inputs)
    loss = nn.functional.cross_entropy(pruned, vit.subject.split("calibration").targets)
    assert found.loss_before == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize("method", ["gradient", "swarm"])
def test_stopping_keeps_the_best_so_far(vit: ex.Workbench, method: str) -> None:
    job = vit.tune_heads_job(method=method, steps=100_000)
    deadline = time.monotonic() + 60
    while len(job.history) < 4 and not job.finished and time.monotonic() < deadline:
        time.sleep(0.01)
    job.stop()
    assert job.wait(30) and job.error is None
    found = job.tuned
    assert isinstance(found, TunedHeads) and 3 <= found.steps < 100_000
    best = min(entry[1] for entry in found.history)
    assert found.objective == pytest.approx(best, abs=2e-3)  # rounding and the smallest gains
    assert found.objective < found.objective_before


def test_it_never_tunes_on_tune_or_test(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ex.ExplorerError, match="never tuned on tune"):
        small_bench(calibration=False).tune_heads(progress=False)
    bench = small_bench()
    sites = bench.attention_sites
    assert len(sites) == 2
    asked: list[str] = []
    plain = type(bench.subject).split
    monkeypatch.setattr(type(bench.subject), "split", lambda self, name: asked.append(name) or plain(self, name))  # type: ignore[func-returns-value]
    bench.tune_heads(steps=2, progress=False)
    assert set(asked) == {"calibration"}


def test_a_head_that_is_off_stays_off(vit: ex.Workbench) -> None:
    off = ex.EditAttention(edit="off", own_heads={"blocks.3.attn": (1,)})
    found = vit.tune_heads([off], steps=2, progress=False)
    maps = vit.compress(found.recipe).attention(vit.subject.split("calibration").take(slice(0, 2)).inputs)
    assert float(maps.weights["blocks.3.attn"][:, 1].abs().max()) == 0.0


def test_what_makes_no_sense_is_refused(vit: ex.Workbench) -> None:
    for wishes, told in (
        ({"method": "luck"}, "gradient, swarm"),
        ({"weight": -1.0}, "0 or more"),
        ({"weight": float("nan")}, "0 or more"),
        ({"steps": 0}, "at least 1 step"),
    ):
        with pytest.raises(ex.ExplorerError, match=told):
            vit.tune_heads(progress=False, **wishes)
    plain = ex.load(nn.Sequential(nn.Linear(6, 3)), data=numbers(), calibration=numbers(20))
    with pytest.raises(ex.ExplorerError, match="no heads"):
        plain.tune_heads(progress=False)


def test_a_score_without_gradient_is_left_to_the_swarm() -> None:
    ids = torch.randint(1, 20, (16, 5), generator=torch.Generator().manual_seed(2))
    targets = torch.arange(16) % 2
    score = lambda outputs, targets: (outputs.argmax(-1) == targets).float()  # noqa: E731  (one expression, used once)
    data: dict[str, Any] = {"data": (ids, targets), "calibration": (ids, targets)}
    bench = ex.load(seeded(lambda: Encoder(layers=1)), task="score", score=score, **data)
    with pytest.raises(ex.ExplorerError, match="swarm"):
        bench.tune_heads(progress=False)
    found = bench.tune_heads(method="swarm", steps=3, particles=4, progress=False)
    assert found.objective <= found.objective_before


def test_a_job_says_how_far_it_is(vit: ex.Workbench) -> None:
    job = vit.tune_heads_job(steps=2)
    assert isinstance(job, GainsJob) and job.wait(60)
    assert job.share == 1.0 and job.tuned is not None and "objective" in job.words
    assert "gains by gradient" in str(job.tuned)
