"""What is special about scene-digits: held-out digits, the rationale, and training on scenes drawn on the fly."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from explorer.errors import ExplorerError
from explorer.subjects.cards import Card, read_card
from explorer.subjects.samples import sample_folder, sample_module
from explorer.subjects.scenes import draw_scenes

NAME = "scene-digits"


@pytest.fixture(scope="module")
def data() -> ModuleType:
    return sample_module(NAME, "data")


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(sample_folder(NAME) / "card.toml")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model: nn.Module = sample_module(NAME, "model").build()
    model.load_state_dict(load_file(sample_folder(NAME) / "model.safetensors"))
    return model.eval()


def test_tune_and_test_are_made_of_digits_never_seen_in_training(data: ModuleType) -> None:
    pools = {split: {digit.numpy().tobytes() for digit in data.pool(split)[0]} for split in data.SPLITS}
    assert pools["training"] == pools["calibration"]
    assert not pools["training"] & pools["tune"]
    assert not pools["training"] & pools["test"]
    assert not pools["tune"] & pools["test"]


def test_splits_are_as_large_as_the_card_says(data: ModuleType, card: Card) -> None:
    for split in ("calibration", "tune", "test"):
        examples = data.load(split)
        assert len(examples) == card.splits[split]
        assert examples.inputs.shape == (len(examples), 1, 32, 32)
    assert card.splits["tune"] >= 4000 and card.splits["test"] >= 4000
    assert data.SPLITS["training"][1] == card.splits["training"]
    assert len(set(card.strip)) == len(card.strip) in (10, 11, 12)
    assert max(card.strip) < card.splits["tune"]


def test_loading_twice_gives_the_same_scenes(data: ModuleType) -> None:
    kept = data.load("calibration")
    data.load.cache_clear()
    again = data.load("calibration")
    assert torch.equal(kept.inputs, again.inputs)
    assert torch.equal(kept.targets, again.targets)
    assert torch.equal(kept.rationale, again.rationale)


def test_rationale_and_slices_go_with_the_examples(data: ModuleType) -> None:
    examples = data.load("tune")
    assert examples.rationale.shape == (4000, 64) and examples.rationale.any(dim=1).all()
    assert examples.slices["digits in the scene"].unique().tolist() == [1, 2, 3, 4]
    assert torch.equal(examples.slices["digit"], examples.targets)
    assert (examples.targets.bincount() > 300).all()  # enough of each digit to tell damage from chance
    assert data.GRID[0] * data.GRID[1] == 64


def test_a_training_batch_is_new_scenes_of_varied_training_digits(data: ModuleType) -> None:
    before = torch.get_rng_state()
    draw = torch.Generator().manual_seed(5)
    batch, following = data.training_batch(40, draw), data.training_batch(40, draw)
    assert torch.equal(torch.get_rng_state(), before)
    assert batch.inputs.shape == (40, 1, 32, 32)
    assert batch.inputs.min() >= 0 and batch.inputs.max() <= 1
    assert batch.rationale.shape == (40, 64) and batch.rationale.any(dim=1).all()
    assert set(batch.slices) == set(data.load("calibration").slices)
    assert torch.equal(batch.slices["digit"], batch.targets)
    again = data.training_batch(40, torch.Generator().manual_seed(5))
    assert torch.equal(batch.inputs, again.inputs) and torch.equal(batch.targets, again.targets)
    assert not torch.equal(batch.inputs, following.inputs)
    digits, labels = data.pool("training")
    plain = draw_scenes(digits, labels, 40, torch.Generator().manual_seed(5))
    assert torch.equal(batch.targets, plain.answers)
    assert torch.equal(batch.slices["digits in the scene"], plain.digits)
    assert not torch.equal(batch.inputs, plain.images)  # the same digits in the same places, by another hand


def test_unknown_split_names_those_there_are(data: ModuleType) -> None:
    with pytest.raises(ExplorerError, match="training, calibration, tune, test"):
        data.load("validation")


def test_picture_is_dark_ink_on_white_paper(data: ModuleType) -> None:
    inputs = data.load("calibration").inputs[:5]
    assert torch.equal(data.picture(inputs), 1 - inputs[:, 0])


def test_prepare_takes_scenes_as_arrays_and_refuses_others(data: ModuleType) -> None:
    inputs = data.load("calibration").inputs[:3]
    assert torch.equal(data.prepare(inputs[:, 0].numpy()), inputs)
    assert torch.equal(data.prepare(inputs[0, 0].tolist()), inputs[:1])
    for scenes, says in ((torch.zeros(8, 8), "32 x 32"), (torch.full((32, 32), 255.0), "0 to 1")):
        with pytest.raises(ExplorerError, match=says):
            data.prepare(scenes)


def test_saved_weights_give_the_reference_outputs_of_the_card(data: ModuleType, card: Card, trained: nn.Module) -> None:
    assert card.metrics is not None and card.reference is not None
    assert card.metrics["accuracy"] >= 0.95
    with torch.no_grad():
        logits = trained(data.load("tune").inputs[card.reference["indices"]])
    torch.testing.assert_close(logits, torch.tensor(card.reference["outputs"]), atol=2e-3, rtol=0)


def test_the_answer_rests_on_the_rationale(data: ModuleType, trained: nn.Module) -> None:
    """Wiping the framed digit's patches must cost nearly all, wiping as many others little."""
    examples = data.load("tune").take(slice(0, 400))
    order = torch.rand(examples.rationale.shape, generator=torch.Generator().manual_seed(0))
    order = order.masked_fill(examples.rationale, 2.0).argsort(dim=1).argsort(dim=1)
    others = order < examples.rationale.sum(dim=1, keepdim=True)

    def accuracy(wiped: torch.Tensor) -> float:
        pixels = wiped.view(-1, 1, 8, 8).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        with torch.no_grad():
            answers = trained(examples.inputs * ~pixels).argmax(dim=1)
        return (answers == examples.targets).double().mean().item()

    assert accuracy(examples.rationale) < 0.3
    assert accuracy(others) > 0.75


def test_training_for_a_few_steps_is_seeded_and_leaves_the_random_state_alone() -> None:
    training = sample_module(NAME, "train")
    before = torch.get_rng_state()
    first = training.train(steps=2, progress=False).state_dict()
    again = training.train(steps=2, progress=False).state_dict()
    other = training.train(steps=2, seed=1, progress=False).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])
