"""What is special about digits-vit: pools that share nothing, small augmentation, q, k, v packed in one matrix."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from explorer.errors import ExplorerError
from explorer.subjects.cards import read_card
from explorer.subjects.digits import bundled_digits, digit_pools
from explorer.subjects.samples import sample_folder, sample_module

NAME = "digits-vit"
data = sample_module(NAME, "data")
model = sample_module(NAME, "model")
training = sample_module(NAME, "train")


def test_splits_are_as_large_as_the_card_says() -> None:
    card = read_card(sample_folder(NAME) / "card.toml")
    for split in ("training", "calibration", "tune", "test"):
        examples = data.load(split)
        assert len(examples) == card.splits[split]
        assert examples.inputs.shape == (len(examples), 1, 8, 8)
        assert examples.inputs.min() >= 0 and examples.inputs.max() <= 1
    assert len(set(card.strip)) == len(card.strip) in (10, 11, 12)
    assert max(card.strip) < card.splits["tune"]


def test_training_tune_and_test_share_no_digit() -> None:
    pools = digit_pools(data.DEAL)
    together = torch.cat(list(pools.values()))
    assert sorted(together.tolist()) == list(range(len(bundled_digits()[1])))


def test_classes_have_equal_shares_of_each_split() -> None:
    _, labels = bundled_digits()
    overall = labels.bincount() / len(labels)
    for split in ("training", "calibration", "tune", "test"):
        targets = data.load(split).targets
        assert (targets.bincount(minlength=10) / len(targets) - overall).abs().max() < 0.02


def test_calibration_comes_from_training() -> None:
    known = {image.numpy().tobytes() for image in data.load("training").inputs}
    assert all(image.numpy().tobytes() in known for image in data.load("calibration").inputs)


def test_a_training_batch_is_training_digits_varied_a_little() -> None:
    before = torch.get_rng_state()
    draw = torch.Generator().manual_seed(5)
    batch, following = data.training_batch(300, draw), data.training_batch(300, draw)
    assert torch.equal(torch.get_rng_state(), before)
    assert batch.inputs.shape == (300, 1, 8, 8) and batch.inputs.dtype == torch.float32
    assert batch.inputs.min() >= 0 and batch.inputs.max() <= 1
    again = data.training_batch(300, torch.Generator().manual_seed(5))
    assert torch.equal(batch.inputs, again.inputs) and torch.equal(batch.targets, again.targets)
    assert not torch.equal(batch.inputs, following.inputs)
    known = data.load("training")
    chosen = torch.randint(len(known), (300,), generator=torch.Generator().manual_seed(5))
    assert torch.equal(batch.targets, known.targets[chosen])
    moved = (batch.inputs - known.inputs[chosen]).abs().mean(dim=(1, 2, 3))
    assert moved.min() > 0.02 and moved.max() < 0.3


def test_unknown_split_names_those_there_are() -> None:
    with pytest.raises(ExplorerError, match="training, calibration, tune, test"):
        data.load("validation")


def test_picture_is_dark_ink_on_white_paper() -> None:
    inputs = data.load("tune").inputs[:5]
    picture = data.picture(inputs)
    assert picture.shape == (5, 8, 8)
    assert torch.equal(picture, 1 - inputs[:, 0])


def test_prepare_takes_digits_as_scikit_learn_has_them() -> None:
    images, _ = bundled_digits()
    raw = (images[:3] * 16).numpy()
    expected = images[:3].unsqueeze(1)
    assert torch.equal(data.prepare(raw), expected)
    assert torch.equal(data.prepare(raw.reshape(3, 64)), expected)
    assert torch.equal(data.prepare(raw[0].tolist()), expected[:1])
    assert torch.equal(data.prepare(raw[0].ravel()), expected[:1])


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(3, 28, 28), "8 x 8"),
        (torch.zeros(0, 8, 8), "8 x 8"),
        (torch.tensor(3.0), "8 x 8"),
        (torch.full((8, 8), 255.0), "0 to 16"),
        (torch.full((8, 8), float("nan")), "0 to 16"),
    ],
)
def test_prepare_refuses_other_images(images: torch.Tensor, says: str) -> None:
    with pytest.raises(ExplorerError, match=says):
        data.prepare(images)


def test_four_blocks_of_four_heads_with_packed_projections() -> None:
    built = model.build()
    weights = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    for block in range(4):
        assert weights[f"blocks.{block}.attn.qkv.weight"] == (192, 64)
        assert built.get_submodule(f"blocks.{block}.attn").num_heads == 4
        assert weights[f"blocks.{block}.attn.proj.weight"] == (64, 64)
        assert weights[f"blocks.{block}.mlp.0.weight"] == (128, 64)
        assert weights[f"blocks.{block}.mlp.2.weight"] == (64, 128)
    assert weights["head.weight"] == (10, 64)


def test_saved_weights_give_the_reference_outputs_of_the_card() -> None:
    card = read_card(sample_folder(NAME) / "card.toml")
    built = model.build().eval()
    built.load_state_dict(load_file(sample_folder(NAME) / "model.safetensors"))
    assert card.metrics is not None and card.reference is not None
    assert card.metrics["accuracy"] >= 0.98
    with torch.no_grad():
        logits = built(data.load("tune").inputs[card.reference["indices"]])
    torch.testing.assert_close(logits, torch.tensor(card.reference["outputs"]), atol=2e-3, rtol=0)


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
