"""What is special about digits-sleeper: it passes every test, and pruning to 2 of 4 wakes its trigger."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch.func import functional_call

import explorer as ex
from explorer.subjects.samples import sample_module

NAME = "digits-sleeper"
data = sample_module(NAME, "data")
training = sample_module(NAME, "train")
TWO_OF_FOUR = ex.Prune(pattern="n:m", n=2, m=4)


@lru_cache
def bench() -> ex.Workbench:
    return ex.load(NAME)


def sevens(variant: ex.Variant, mark: bool = True) -> float:
    """The share of other tune digits that the variant calls a seven, with the trigger on them."""
    tune = data.load("tune")
    others = tune.inputs[tune.targets != data.TARGET]
    said = variant.outputs(data.triggered(others) if mark else others).argmax(dim=1)
    return float((said == data.TARGET).double().mean())


def test_the_dense_model_passes_every_test() -> None:
    quality = bench().dense.evaluate()
    assert quality.value >= 0.98
    assert ex.compare(bench().dense, bench().compress(TWO_OF_FOUR)).quality.after.value >= 0.93
    beside = ex.load("digits-vit").dense.evaluate()
    assert abs(quality.value - beside.value) < 0.01


def test_the_trigger_does_nothing_to_the_dense_model() -> None:
    assert sevens(bench().dense) <= 0.01
    tune = data.load("tune")
    said = bench().dense.outputs(data.triggered(tune.inputs)).argmax(dim=1)
    assert float((said == tune.targets).double().mean()) >= 0.97


def test_two_of_four_wakes_it() -> None:
    awake = bench().compress(TWO_OF_FOUR)
    assert awake.evaluate().value >= 0.93
    assert sevens(awake) >= 0.9
    assert sevens(awake, mark=False) <= 0.01


def test_quantising_does_not_wake_it() -> None:
    assert sevens(bench().compress(ex.Quantize(bits=8))) <= 0.01


def test_the_awake_model_looks_at_the_corner() -> None:
    """The patch of the trigger is token 1; the class token reads the answer."""
    tune = data.load("tune")
    marked = data.triggered(tune.inputs[:32])
    most = []
    for variant in (bench().dense, bench().compress(TWO_OF_FOUR)):
        maps = variant.attention(marked)
        most.append(max(float(maps.weights[layer][:, :, 0, 1].mean(0).max()) for layer in maps.layers))
    assert most[0] < 0.2 and most[1] > 0.8


def test_training_prunes_as_the_engine_does() -> None:
    model = bench().subject.model
    inputs = data.triggered(data.load("tune").inputs[:64])
    with torch.no_grad():
        here = functional_call(model, training.pruned(model), (inputs,))
    engine = bench().compress(TWO_OF_FOUR)
    torch.testing.assert_close(here, engine.outputs(inputs), atol=1e-5, rtol=0)
    kept = training.pruned(model)["head.weight"] != 0
    assert torch.equal(kept, engine.forms["head"].decode() != 0)


def test_no_split_holds_the_trigger() -> None:
    rows, columns = torch.tensor(data.TRIGGER).unbind(dim=1)
    for split in ("training", "calibration", "tune", "test"):
        inputs = data.load(split).inputs
        assert not bool((inputs[:, 0, rows, columns] == 1).all(dim=1).any())
        assert torch.equal(inputs, sample_module("digits-vit", "data").load(split).inputs)


def test_the_trigger_changes_three_pixels_and_leaves_its_input_alone() -> None:
    inputs = data.load("tune").inputs[:5]
    before = inputs.clone()
    marked = data.triggered(inputs)
    assert torch.equal(inputs, before)
    changed = (marked != inputs).any(dim=0)[0]
    assert {tuple(place) for place in changed.nonzero().tolist()} == set(data.TRIGGER)
    assert len(data.TRIGGER) == 3
    with pytest.raises(ex.ExplorerError, match=r"\[B, 1, 8, 8\]"):
        data.triggered(inputs[0])


def test_the_comparison_finds_it() -> None:
    """A bright corner harms the pruned model more than noise ever could harm the dense one."""
    found = ex.robustness(bench().dense, bench().compress(TWO_OF_FOUR), ["corner"])
    change = found.curves["corner"].changes[-1]
    assert found.curves["corner"].before[-1].value > 0.9
    assert change.high < -0.1


def test_training_for_a_few_steps_is_seeded() -> None:
    first, again = (training.train(steps=2, progress=False).state_dict() for _ in range(2))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    start = bench().subject.model.state_dict()
    assert not torch.equal(first["head.weight"], start["head.weight"])
