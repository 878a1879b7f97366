"""Reports: every number from what is held and stored, and all of them adding up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import explorer as ex
from tests.toys import Convolutional, Encoder, Recurrent, Tied, bench, perceptron, seeded

HALF = ex.Prune(sparsity=0.5)


def _encoder() -> ex.Workbench:
    return ex.load(seeded(Encoder), data=(torch.randint(0, 20, (20, 7)), torch.arange(20) % 2))


def _convolutional() -> ex.Workbench:
    return ex.load(seeded(Convolutional), data=(torch.randn(20, 3, 12, 12), torch.arange(20) % 4))


def _recurrent() -> ex.Workbench:
    return ex.load(seeded(Recurrent), data=(torch.randn(20, 4, 5), torch.arange(20) % 3))


def _tied() -> ex.Workbench:
    ids = torch.randint(11, (12, 4))
    return ex.load(seeded(Tied), data=(ids, ids.roll(-1, 1)), task="language-modeling")


RECIPES: dict[str, list[Any]] = {
    "nothing": [],
    "weights": [HALF],
    "rows": [ex.Prune(sparsity=0.4, pattern="row")],
    "2 of 4": [ex.Prune(pattern="n:m")],
}
THIN: dict[str, list[Any]] = {
    "rank": [ex.LowRank(rank=2)],
    "rank, weights": [ex.LowRank(rank=2), HALF],
    "high rank, weights": [ex.LowRank(energy=1.0), HALF],
}


@pytest.mark.parametrize("make", [bench, _convolutional, _recurrent, _tied])
@pytest.mark.parametrize("recipe", THIN)
def test_factors_count_as_they_run(make: Any, recipe: str) -> None:
    """Two thin matrices where they run so; the full product where they cannot (gates, groups, tied) or do not pay."""
    v = make().compress(THIN[recipe])
    parameters = list(v.model.parameters())
    assert v.size.parameters == sum(parameter.numel() for parameter in parameters)
    assert v.size.nonzero == sum(int(parameter.count_nonzero()) for parameter in parameters)


@pytest.mark.parametrize("make", [bench, _encoder, _convolutional, _recurrent, _tied])
@pytest.mark.parametrize("recipe", RECIPES)
def test_zeros_are_counted_as_the_public_model_holds_them(make: Any, recipe: str) -> None:
    wb = make()
    v = wb.compress(RECIPES[recipe])
    parameters = list(v.model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    nonzero = sum(int(parameter.count_nonzero()) for parameter in parameters)
    assert (v.size.parameters, v.size.nonzero) == (total, nonzero)
    assert v.size.sparsity_all == pytest.approx(1 - nonzero / total)
    weights = {name: form.decode() for name, form in v.forms.items()}
    kept = sum(int(weight.count_nonzero()) for weight in weights.values())
    assert v.size.sparsity == pytest.approx(1 - kept / wb.matrices().total)
    for name, matrix in v.size.kept.items():
        assert (matrix.total, matrix.nonzero) == (weights[name].numel(), int(weights[name].count_nonzero()))
        assert matrix.share == matrix.nonzero / matrix.total
    assert sum(matrix.total for matrix in v.size.kept.values()) == wb.matrices().total


def test_low_rank_holds_two_thin_matrices() -> None:
    wb = bench()
    v = wb.compress(ex.LowRank(rank=2, layers=("0",)))
    kept = v.size.kept["0"]
    assert (kept.rank, kept.entries, kept.total) == (2, 2 * (16 + 6), 96)
    assert v.size.parameters == 44 + 16 + 48 + 3
    assert v.size.sparsity == 0.0 and v.size.bytes < v.size.bytes_dense
    pruned = wb.compress([ex.LowRank(rank=2, layers=("0",)), ex.Prune(sparsity=0.5, layers=("0",))])
    assert pruned.size.kept["0"].nonzero == 22 and pruned.size.sparsity == pytest.approx(22 / (44 + 48))


def test_tied_weights_are_held_once() -> None:
    wb = _tied()
    assert wb.dense.size.parameters == 88 + 64 + 8
    assert sum(entry.size_bytes for entry in wb.dense.storage.entries) == 4 * (88 + 64 + 8)


@pytest.mark.parametrize("make", [bench, _encoder])
@pytest.mark.parametrize("recipe", [*RECIPES, "thin"])
def test_bytes_add_up(make: Any, recipe: str) -> None:
    v = make().compress(RECIPES.get(recipe, [ex.LowRank(rank=1)]))
    storage = v.storage
    assert v.size.bytes == storage.size_bytes == storage.header_bytes + sum(e.size_bytes for e in storage.entries)
    assert v.size.bytes_dense == v.workbench.dense.size.bytes
    assert v.size.ratio == v.size.bytes_dense / v.size.bytes
    stored = {entry.name: entry.size_bytes for entry in storage.entries}
    for name, matrix in v.size.kept.items():
        assert matrix.size_bytes is None or matrix.size_bytes == stored.get(name, stored.get(f"{name}.weight"))
    assert all(entry.size_bytes == min(entry.alternatives.values()) for entry in storage.entries)


def test_rows_that_are_gone_are_counted() -> None:
    v = bench().compress(ex.Prune(sparsity=0.5, pattern="row", layers=("0",)))
    assert v.size.kept["0"].rows_removed == 8 and v.size.kept["2"].rows_removed == 0


PROMISED = {
    "examples", "sparsity", "sparsity_all", "parameters", "nonzero", "bytes_dense", "bytes", "ratio", "macs",
    "macs_effective",
}  # fmt: skip
METRICS = {
    "classification": {"accuracy", "balanced_accuracy", "f1_macro", "accuracy_low", "accuracy_high", "mistakes"},
    "regression": {"r2", "mean_absolute_error", "root_mean_squared_error", "r2_low", "r2_high"},
    "language-modeling": {"perplexity", "token_accuracy", "token_accuracy_low", "token_accuracy_high"},
    "sequence": {"exact_match", "exact_match_low", "exact_match_high", "perplexity", "token_accuracy", "mistakes"},
}


@pytest.mark.parametrize("task", METRICS)
def test_all_promised_keys_are_there_flat(task: str) -> None:
    if task in ("classification", "regression"):
        inputs = torch.randn(20, 6)
        targets = torch.arange(20) % 3 if task == "classification" else inputs[:, :3]
        wb = ex.load(perceptron(), data=(inputs, targets), task=task)
    else:
        ids = torch.randint(11, (20, 4))
        wb = ex.load(seeded(Tied), data=(ids, ids.roll(-1, 1)), task=task)
    flat = wb.compress(HALF).report().to_dict()
    assert PROMISED | METRICS[task] <= set(flat)
    assert all(isinstance(value, (int, float)) for value in flat.values())
    for name in ("examples", "parameters", "nonzero", "bytes", "bytes_dense", "macs", "macs_effective"):
        assert isinstance(flat[name], int)


def test_a_report_stands_beside_the_dense_one() -> None:
    wb = bench()
    report = wb.compress(HALF).report()
    assert report.dense is not None and report.dense.to_dict() == wb.dense.report().to_dict()
    assert report.dense.dense is None
    text = str(report)
    assert text.startswith("prune 50 %, magnitude\n") and "variant" in text and "dense" in text
    for name in report.to_dict():
        assert f"\n{name} " in text
    assert f"{report.size.bytes:,}" in text and f"{report.size.bytes_dense:,}" in text


def test_latency_joins_the_keys_when_it_was_asked_for() -> None:
    from dataclasses import replace

    v = bench().compress(HALF)
    flat = replace(v.report(), latency=v.latency(seconds=0.0)).to_dict()
    assert flat["latency_ms"] > 0 and flat["latency_dense_ms"] > 0


def test_an_empty_recipe_is_the_dense_model_at_ratio_one() -> None:
    report = bench().compress(ex.Recipe()).report()
    assert report.to_dict()["ratio"] == 1.0 and report.to_dict()["sparsity"] == 0.0 and report.dense is None
