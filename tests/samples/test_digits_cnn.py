"""What is special about digits-cnn: the data of digits-vit, plain convolutions, each ReLU a module that runs once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import explorer as ex
from explorer.subjects.cards import Card, read_card
from explorer.subjects.digits import bundled_digits
from explorer.subjects.samples import sample_folder, sample_module

NAME = "digits-cnn"
data = sample_module(NAME, "data")
model = sample_module(NAME, "model")
training = sample_module(NAME, "train")


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(sample_folder(NAME) / "card.toml")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    built: nn.Module = model.build()
    built.load_state_dict(load_file(sample_folder(NAME) / "model.safetensors"))
    return built.eval()


def test_the_data_are_those_of_digits_vit(card: Card) -> None:
    digits = sample_module("digits-vit", "data")
    for split in ("training", "calibration", "tune", "test"):
        assert data.load(split) is digits.load(split) and len(data.load(split)) == card.splits[split]
    images, _ = bundled_digits()
    assert torch.equal(data.prepare(images[:3] * 16), images[:3].unsqueeze(1))
    assert torch.equal(data.picture(images[:3].unsqueeze(1)), 1 - images[:3])
    batch, theirs = (module.training_batch(9, torch.Generator().manual_seed(5)) for module in (data, digits))
    assert torch.equal(batch.inputs, theirs.inputs) and torch.equal(batch.targets, theirs.targets)


def test_channels_and_strides_are_those_of_its_twin() -> None:
    twin = sample_module("digits-cbam", "model")
    assert (model.STEM, model.WIDTHS, model.STRIDES) == (twin.STEM, twin.WIDTHS, twin.STRIDES)
    kernels = {name: tuple(weight.shape) for name, weight in model.build().named_parameters() if weight.dim() == 4}
    assert kernels == {
        "stem.weight": (32, 1, 3, 3),
        "blocks.0.conv.weight": (48, 32, 3, 3),
        "blocks.1.conv.weight": (64, 48, 3, 3),
        "blocks.2.conv.weight": (64, 64, 3, 3),
    }
    theirs = sample_module("digits-cbam", "train")
    for fact in ("STEPS", "BATCH", "LEARNING_RATE", "WEIGHT_DECAY", "WARM_UP"):
        assert getattr(training, fact) == getattr(theirs, fact)


def test_each_relu_is_a_module_that_runs_once_and_not_in_place(trained: nn.Module) -> None:
    calls: Counter[str] = Counter()
    handles = []
    for name, module in trained.named_modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace

            def count(_: nn.Module, args: Any, output: Any, name: str = name) -> None:
                calls[name] += 1

            handles.append(module.register_forward_hook(count))
    logits = trained(data.load("tune").inputs[:3])
    for handle in handles:
        handle.remove()
    assert logits.shape == (3, 10)
    assert set(calls) == {"relu", *(f"blocks.{block}.relu" for block in range(3))} and set(calls.values()) == {1}
    with torch.no_grad():  # no ReLU but these: with all of them taken away the network is affine
        straight: nn.Module = model.build()
        straight.load_state_dict(trained.state_dict())
        for name in calls:
            straight.set_submodule(name, nn.Identity())
        straight = straight.double().eval()
        a, b = data.load("tune").inputs[:2].double()
        middle = straight(((a + b) / 2)[None])
        torch.testing.assert_close(middle, (straight(a[None]) + straight(b[None])) / 2)


def test_saved_weights_give_the_reference_outputs_of_the_card(card: Card, trained: nn.Module) -> None:
    assert card.metrics is not None and card.reference is not None
    assert card.metrics["accuracy"] >= 0.98
    with torch.no_grad():
        logits = trained(data.load("tune").inputs[card.reference["indices"]])
    torch.testing.assert_close(logits, torch.tensor(card.reference["outputs"]), atol=2e-3, rtol=0)


def test_the_strip_has_every_class_early_ones_and_one_wrong_from_the_start(card: Card) -> None:
    bench = ex.load(NAME)
    targets = data.load("tune").targets[list(card.strip)]
    assert set(targets.tolist()) == set(range(10)) and len(targets) == 12
    right = {
        share: [a.right for a in bench.compress(ex.Prune(sparsity=share)).answers(card.strip)] for share in (0.5, 0.7)
    }
    assert [answer.right for answer in bench.dense.answers(card.strip)].count(False) == 1
    assert 1 <= right[0.5].count(False) < right[0.7].count(False) <= 6


def test_training_for_a_few_steps_is_seeded_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    first = training.train(steps=3, progress=False)
    again = training.train(steps=3, progress=False)
    other = training.train(steps=3, seed=1, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert not first.training
    weights = first.state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in weights.items())
    assert not torch.equal(weights["head.weight"], other.state_dict()["head.weight"])
