"""What is special about digits-lenet: the data of digits-vit, three matrices, and far more weights than it needs."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from explorer.subjects.cards import Card, read_card
from explorer.subjects.digits import bundled_digits
from explorer.subjects.samples import sample_folder, sample_module

NAME = "digits-lenet"
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


def answers(module: nn.Module) -> Tensor:
    """[540], what the module reads in the tune digits."""
    with torch.no_grad():
        return module(data.load("tune").inputs).argmax(dim=1)


def accuracy(module: nn.Module) -> float:
    return (answers(module) == data.load("tune").targets).double().mean().item()


def pruned(module: nn.Module, sparsity: float) -> nn.Module:
    """A copy in which the smallest weights of all matrices together are zero, by hand."""
    smaller = copy.deepcopy(module)
    matrices = [parameter for parameter in smaller.parameters() if parameter.dim() == 2]
    sizes = torch.cat([weight.detach().abs().flatten() for weight in matrices])
    threshold = sizes.kthvalue(round(sparsity * len(sizes))).values
    with torch.no_grad():
        for weight in matrices:
            weight.mul_(weight.abs() > threshold)
    return smaller


def test_the_data_are_those_of_digits_vit(card: Card) -> None:
    digits, other = sample_module("digits-vit", "data"), read_card(sample_folder("digits-vit") / "card.toml")
    for split in ("training", "calibration", "tune", "test"):
        examples = data.load(split)
        assert examples is digits.load(split)
        assert len(examples) == card.splits[split] == other.splits[split]
    assert data.GRID == (8, 8)
    images, _ = bundled_digits()
    assert torch.equal(data.prepare(images[:3] * 16), images[:3].unsqueeze(1))
    assert torch.equal(data.picture(images[:3].unsqueeze(1)), 1 - images[:3])


def test_a_training_batch_is_varied_as_for_digits_vit() -> None:
    batch, again, theirs = (
        module.training_batch(50, torch.Generator().manual_seed(5))
        for module in (data, data, sample_module("digits-vit", "data"))
    )
    assert batch.inputs.shape == (50, 1, 8, 8) and batch.inputs.min() >= 0 and batch.inputs.max() <= 1
    assert batch.targets.min() >= 0 and batch.targets.max() <= 9
    for other in (again, theirs):
        assert torch.equal(batch.inputs, other.inputs) and torch.equal(batch.targets, other.targets)


def test_three_matrices_of_the_shape_of_lenet_300_100(card: Card) -> None:
    weights = {name: tuple(value.shape) for name, value in model.build().named_parameters() if value.dim() == 2}
    assert weights == {"hidden1.weight": (300, 64), "hidden2.weight": (100, 300), "head.weight": (10, 100)}
    assert card.training is not None and card.training["parameters"] == 50_610
    for said in ("64", "784", "1,797", "MNIST"):  # whoever knows the name must see what is different here
        assert said in card.about


def test_saved_weights_give_the_reference_outputs_of_the_card(card: Card, trained: nn.Module) -> None:
    assert card.metrics is not None and card.reference is not None
    assert card.metrics["accuracy"] >= 0.98
    with torch.no_grad():
        logits = trained(data.load("tune").inputs[card.reference["indices"]])
    torch.testing.assert_close(logits, torch.tensor(card.reference["outputs"]), atol=2e-3, rtol=0)


def test_nine_of_ten_weights_are_not_needed(trained: nn.Module) -> None:
    """The figures of the card, give or take one example."""
    assert accuracy(pruned(trained, 0.9)) == pytest.approx(0.983, abs=0.003)
    assert accuracy(pruned(trained, 0.92)) == pytest.approx(0.983, abs=0.003)
    assert accuracy(pruned(trained, 0.95)) == pytest.approx(0.859, abs=0.003)
    assert (answers(pruned(trained, 0.98)) == 8).double().mean() > 0.8


def test_training_on_with_the_zeros_kept_brings_the_accuracy_back(trained: nn.Module) -> None:
    smaller = pruned(trained, 0.95)
    matrices = [parameter for parameter in smaller.parameters() if parameter.dim() == 2]
    masks = [weight.detach() != 0 for weight in matrices]
    draw = torch.Generator().manual_seed(7)
    optimiser = torch.optim.Adam(smaller.parameters(), lr=1e-3)
    for _ in range(400):
        batch = data.training_batch(64, draw)
        optimiser.zero_grad()
        nn.functional.cross_entropy(smaller(batch.inputs), batch.targets).backward()
        optimiser.step()
        with torch.no_grad():
            for weight, mask in zip(matrices, masks, strict=True):
                weight.mul_(mask)
    assert sum(int(mask.sum()) for mask in masks) == 2510
    assert accuracy(smaller) > 0.96


def test_the_strip_has_every_class_early_ones_and_one_wrong_from_the_start(card: Card, trained: nn.Module) -> None:
    chosen = torch.tensor(card.strip)
    targets = data.load("tune").targets[chosen]
    assert set(targets.tolist()) == set(range(10)) and len(chosen) == 12
    right = {share: answers(pruned(trained, share))[chosen] == targets for share in (0.5, 0.9, 0.95)}
    assert (~right[0.5]).sum() == 1
    assert 2 <= (right[0.5] & ~right[0.9]).sum() < (right[0.5] & ~right[0.95]).sum() <= 6


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
