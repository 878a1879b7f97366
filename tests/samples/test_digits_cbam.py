"""What is special about digits-cbam: two answers on one trunk, gates as modules, and how light it is by its twin."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import explorer as ex
from explorer.subjects.cards import Card, read_card
from explorer.subjects.samples import sample_folder, sample_module

NAME = "digits-cbam"
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


def test_the_digits_are_those_of_digits_vit_with_a_loop_told_by_the_class(card: Card) -> None:
    digits = sample_module("digits-vit", "data")
    for split in ("training", "calibration", "tune", "test"):
        examples, theirs = data.load(split), digits.load(split)
        assert torch.equal(examples.inputs, theirs.inputs) and torch.equal(examples.targets[:, 0], theirs.targets)
        assert examples.targets.shape == (card.splits[split], 2)
        loops = {digit: set(examples.targets[examples.targets[:, 0] == digit, 1].tolist()) for digit in range(10)}
        assert loops == {digit: {int(digit in (0, 6, 8, 9))} for digit in range(10)}
    assert "4" in card.about  # whoever looks at a closed four must read why it has no loop


def test_a_training_batch_is_varied_as_for_digits_vit() -> None:
    batch, again, theirs = (
        module.training_batch(50, torch.Generator().manual_seed(5))
        for module in (data, data, sample_module("digits-vit", "data"))
    )
    assert torch.equal(batch.inputs, again.inputs) and torch.equal(batch.targets, again.targets)
    assert torch.equal(batch.inputs, theirs.inputs) and torch.equal(batch.targets[:, 0], theirs.targets)
    assert batch.targets.shape == (50, 2) and set(batch.targets[:, 1].tolist()) == {0, 1}


def test_the_heads_of_the_card_are_those_of_the_model(card: Card, trained: nn.Module) -> None:
    outputs = trained(data.load("tune").inputs[:3])
    assert {name: tuple(logits.shape) for name, logits in outputs.items()} == {"digit": (3, 10), "loop": (3, 2)}
    assert {head.name: len(head.classes) for head in card.heads} == model.HEADS
    assert [head.name for head in card.heads] == list(outputs)


def test_gates_are_modules_whose_output_is_the_gate(card: Card, trained: nn.Module) -> None:
    wanted = {f"blocks.{block}.{kind}" for block in range(3) for kind in ("channel", "spatial")}
    patterns = [re.compile(glob.replace(".", r"\.").replace("*", ".*") + "$") for glob in card.gates]
    named = {name for name, _ in trained.named_modules() if any(pattern.match(name) for pattern in patterns)}
    assert named == wanted
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        return lambda module, args, output: seen.update({name: output})

    handles = [trained.get_submodule(name).register_forward_hook(note(name)) for name in wanted]
    with torch.no_grad():
        trained(data.load("tune").inputs[:5])
    for handle in handles:
        handle.remove()
    for block, (width, side) in enumerate(((48, 8), (64, 4), (64, 4))):
        assert seen[f"blocks.{block}.channel"].shape == (5, width, 1, 1)
        assert seen[f"blocks.{block}.spatial"].shape == (5, 1, side, side)
    for gate in seen.values():
        assert 0 <= gate.min() < gate.max() <= 1  # sigmoids, and not the same everywhere


def test_a_channel_gate_is_one_network_on_mean_and_maximum(trained: nn.Module) -> None:
    gate, maps = trained.get_submodule("blocks.0.channel"), torch.randn(2, 48, 8, 8)
    squeeze, excite = gate.get_submodule("squeeze"), gate.get_submodule("excite")
    both = [excite(F.relu(squeeze(pooled))) for pooled in (maps.mean((2, 3)), maps.amax((2, 3)))]
    torch.testing.assert_close(gate(maps), torch.sigmoid(both[0] + both[1])[:, :, None, None])
    gate = trained.get_submodule("blocks.0.spatial")
    pooled = torch.cat([maps.mean(1, keepdim=True), maps.amax(1, keepdim=True)], dim=1)
    torch.testing.assert_close(gate(maps), torch.sigmoid(gate.get_submodule("conv")(pooled)))


def test_the_gates_are_multiplied_outside_of_them(trained: nn.Module) -> None:
    block, maps = trained.get_submodule("blocks.0"), torch.randn(2, 32, 8, 8)
    before = block(maps)
    for name, gate in (("channel", torch.ones(1, 1, 1, 1)), ("spatial", torch.zeros(1, 1, 1, 1))):
        with torch.no_grad():
            handle = block.get_submodule(name).register_forward_hook(lambda module, args, output, gate=gate: gate)
            changed = block(maps)
            handle.remove()
        assert not changed.any() if name == "spatial" else not torch.equal(changed, before)


def test_saved_weights_give_the_reference_outputs_of_the_card(card: Card, trained: nn.Module) -> None:
    assert card.metrics is not None and card.reference is not None
    assert min(card.metrics.values()) >= 0.97
    with torch.no_grad():
        outputs = trained(data.load("tune").inputs[card.reference["indices"]])
    both = torch.cat([outputs["digit"], outputs["loop"]], dim=1)
    torch.testing.assert_close(both, torch.tensor(card.reference["outputs"]), atol=2e-3, rtol=0)


def test_it_is_as_much_smaller_than_its_twin_as_the_cards_say(card: Card) -> None:
    light, plain = ex.load(NAME).dense, ex.load("digits-cnn").dense
    times = {
        "parameters": plain.size.parameters / light.size.parameters,
        "bytes": plain.size.bytes / light.size.bytes,
        "work": plain.cost.macs / light.cost.macs,
    }
    for text in (card.teaches, plain.workbench.subject.card.teaches):  # type: ignore[union-attr]
        for amount in times.values():
            assert f"{amount:.1f} times" in " ".join(text.split()), (amount, text)
    assert times["parameters"] > 4 and times["work"] > 4


def test_the_answers_break_apart_as_the_card_says() -> None:
    """The figures of the cards at 60 %, give or take two examples."""
    bench, twin = ex.load(NAME), ex.load("digits-cnn")
    sixty = ex.Prune(sparsity=0.6)
    v, found = bench.compress(sixty), bench.compress(sixty).evaluate()
    assert found.by_head == pytest.approx({"digit": 0.628, "loop": 0.872}, abs=0.004)
    assert twin.compress(sixty).evaluate().value == pytest.approx(0.987, abs=0.004)
    said = {name: logits.argmax(1) for name, logits in v.outputs(bench.subject.split("tune").inputs).items()}
    loops = torch.isin(said["digit"], torch.tensor(data.LOOPS)).long()
    assert int((loops != said["loop"]).sum()) == pytest.approx(71, abs=2)
    for glob, left in (("*.channel.*", 0.407), ("*.spatial.*", 0.9)):
        gone = bench.compress(ex.Prune(sparsity=1.0, layers=glob))
        assert gone.evaluate().value == pytest.approx(left, abs=0.004)


def test_the_strip_has_every_class_early_ones_and_one_wrong_from_the_start(card: Card) -> None:
    bench = ex.load(NAME)
    targets = data.load("tune").targets[list(card.strip), 0]
    assert set(targets.tolist()) == set(range(10)) and len(targets) == 12
    right = {
        share: [a.right for a in bench.compress(ex.Prune(sparsity=share)).answers(card.strip)] for share in (0.3, 0.5)
    }
    dense = bench.dense.answers(card.strip)
    assert [answer.right for answer in dense].count(False) == 1
    assert 1 <= right[0.3].count(False) < right[0.5].count(False) <= 8
    assert dense[0].label == "0 · loop" and dense[0].detail.count("%") == 2


def test_it_recovers_and_tells_what_each_matrix_bears() -> None:
    bench = ex.load(NAME)
    v = bench.compress(ex.Prune(sparsity=0.7))
    back = v.recover(epochs=8, teacher="dense", progress=False)
    assert back.evaluate().value > v.evaluate().value + 0.1
    assert set(back.evaluate().by_head) == {"digit", "loop"}
    found = bench.sensitivity(ex.Prune, levels=[0.5, 0.9], quick=True, progress=False)
    assert {cell.target.name for cell in found.cells} == set(bench.matrices().names)


def test_training_for_a_few_steps_is_seeded_and_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    first = training.train(steps=3, progress=False)
    again = training.train(steps=3, progress=False)
    other = training.train(steps=3, weights={"loop": 5.0}, progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert not first.training
    weights = first.state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in weights.items())
    assert not torch.equal(weights["heads.loop.weight"], other.state_dict()["heads.loop.weight"])
