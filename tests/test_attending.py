"""Edited attention on a workbench: plans, errors, saving and loading, other steps beside it, and training under it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import explorer as ex
from explorer.recovery.asking import stand_of
from explorer.recovery.trainee import Trainee
from explorer.weights.install import PrivateModel
from tests.toys import Encoder, plain_outputs, seeded

IDS = torch.randint(1, 20, (24, 7), generator=torch.Generator().manual_seed(4))
IDS[1, 4:] = 0
TARGETS = (IDS > 10).sum(1) % 2
FIRST, SECOND = "encoder.layers.0.self_attn", "encoder.layers.1.self_attn"
OFF = ex.EditAttention(edit="off", heads=(1,), layers=(FIRST,))


def encoder() -> nn.Module:
    return seeded(lambda: Encoder(layers=2))


@pytest.fixture
def bench() -> ex.Workbench:
    return ex.load(encoder(), data=(IDS, TARGETS), calibration=(IDS, TARGETS))


def test_a_plan_says_what_happens_to_which_layer(bench: ex.Workbench) -> None:
    assert [(e.matrix, e.what) for e in bench.plan(OFF).entries] == [(FIRST, "off: head 1")]
    text = str(bench.plan(ex.EditAttention(edit="top-k", k=2, own_heads={SECOND: (0, 2)})))
    assert f"{SECOND}  top k (k 2): heads 0, 2" in text and "none of its heads is named" in text
    gains = ex.EditAttention(edit="gain", gains={FIRST: (1.0, 0.5, 0.0)})
    reasons = {entry.matrix: entry.skipped for entry in bench.plan(gains).entries}
    assert reasons == {FIRST: None, SECOND: "it has no gains of its own"}


def test_what_is_left_alone_says_why() -> None:
    from tests.attention.test_sites import PICTURES, Decoder, Gated, Twice, bench_of, rows

    reasons = {e.matrix: e.skipped for e in bench_of(seeded(Decoder)).plan(ex.EditAttention(edit="window")).entries}
    assert reasons["decoder.multihead_attn"] == "its queries and keys are not the same positions"
    assert reasons["decoder.self_attn"] is reasons["encoder.self_attn"] is None
    linear = {
        e.matrix: e.skipped or "" for e in bench_of(seeded(Twice), rows()).plan(ex.EditAttention(edit="linear")).entries
    }
    assert "only the fused attention hands them over" in linear["model"] and linear["model#2"] == ""
    gates = bench_of(seeded(Gated), PICTURES, gates=("channels",))
    (entry,) = gates.plan(ex.EditAttention(edit="temperature")).entries
    assert entry.skipped is not None and "it is a gate, whose values are no rows" in entry.skipped
    assert gates.plan(ex.EditAttention(edit="off")).entries[0].what == "the gate stays open (one everywhere)"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layers": ("decoder.*",)}, 'no attention layer matches "decoder.'),
        ({"exclude": ("nowhere",)}, 'no attention layer matches "nowhere"'),
        ({"heads": (3,)}, "there is no head 3. Heads go from 0 to 2"),
        ({"own_heads": {FIRST: (7,)}}, "there is no head 7"),
        ({"own_heads": {"nowhere": (0,)}}, 'no attention layer matches "nowhere"'),
        ({"edit": "gain", "gains": {FIRST: (1.0, 1.0)}}, "2 gains for 3 heads"),
    ],
)
def test_layers_and_heads_that_are_not_there(bench: ex.Workbench, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ex.ExplorerError) as told:
        bench.compress(ex.EditAttention(**fields))
    assert words in str(told.value)


def test_a_model_without_attention_says_so() -> None:
    with pytest.raises(ex.ExplorerError, match="this model has no attention"):
        ex.load("digits-lenet").plan(ex.EditAttention())


def test_an_edit_shows_in_outputs_maps_and_numbers_and_the_dense_model_stays(bench: ex.Workbench) -> None:
    edited = bench.compress(OFF)
    assert not edited.is_dense and edited.size.sparsity == 0.0
    assert not torch.allclose(edited.outputs(IDS), bench.dense.outputs(IDS), atol=1e-4)
    weights = edited.attention(IDS).weights[FIRST]
    assert weights[:, 1].abs().max() == 0 and torch.equal(
        weights[:, 0], bench.dense.attention(IDS).weights[FIRST][:, 0]
    )
    correct = (edited.outputs(IDS).argmax(1) == TARGETS).double().mean().item()
    assert edited.evaluate().metrics["accuracy"] == pytest.approx(correct)
    assert torch.equal(bench.dense.outputs(IDS), PrivateModel(encoder(), bench.matrices()).module(IDS))
    with torch.no_grad():
        assert torch.equal(edited.model(IDS), edited.outputs(IDS))
    bench.check_dense()


def test_off_on_the_bench_is_a_head_without_its_columns(bench: ex.Workbench) -> None:
    cut = encoder()
    with torch.no_grad():
        cut.get_submodule(FIRST).out_proj.weight[:, 4:8] = 0  # type: ignore[operator, union-attr]
    wanted = ex.load(cut, data=(IDS, TARGETS)).dense.outputs(IDS)
    assert torch.allclose(bench.compress(OFF).outputs(IDS), wanted, atol=1e-6)


def test_a_step_that_is_off_and_the_empty_recipe_change_nothing(bench: ex.Workbench) -> None:
    bench.compress(OFF).outputs(IDS)
    off = bench.compress(OFF.change(enabled=False))
    assert torch.equal(off.outputs(IDS), bench.dense.outputs(IDS)) and off.is_dense


def test_edits_join_pruning_low_rank_and_quantising(bench: ex.Workbench) -> None:
    weights = [ex.LowRank(rank=3, layers="*.self_attn.*"), ex.Prune(sparsity=0.5), ex.Quantize(bits=6)]
    plain, edited = bench.compress(weights), bench.compress([OFF, *weights])
    assert edited.size.sparsity == plain.size.sparsity
    model = plain.model

    def without_head(module: nn.Module, args: tuple[Tensor]) -> Tensor:
        return args[0].index_fill(-1, torch.arange(4, 8), 0.0)

    model.get_submodule(FIRST).out_proj.register_forward_pre_hook(without_head)  # type: ignore[union-attr]
    with torch.no_grad():
        assert torch.allclose(edited.outputs(IDS), model(IDS), atol=1e-5)
    again = bench.compress(weights)  # what was put on is gone
    assert torch.equal(again.outputs(IDS), plain.outputs(IDS))


@pytest.mark.parametrize("way", ["dense=", "architecture="])
def test_a_saved_edit_is_on_again_when_loaded(bench: ex.Workbench, way: str, tmp_path: Path) -> None:
    recipe = [OFF, ex.EditAttention(edit="top-k", k=2, layers=(SECOND,)), ex.Prune(sparsity=0.3), ex.Quantize(bits=8)]
    edited = bench.compress(recipe)
    folder = edited.save(tmp_path)
    other = {"dense": encoder()} if way == "dense=" else {"architecture": encoder}
    again = ex.load(folder, data=(IDS, TARGETS), **other)
    assert again.variant.recipe == edited.recipe and again.variant.plan.recipe == edited.recipe
    assert torch.equal(again.variant.outputs(IDS), edited.outputs(IDS))
    assert again.variant.evaluate().metrics == edited.evaluate().metrics
    found, wanted = again.variant.attention(IDS), edited.attention(IDS)
    assert all(torch.equal(found.weights[layer], wanted.weights[layer]) for layer in wanted.layers)


def test_a_sample_with_an_edit_is_saved_and_loaded(tmp_path: Path) -> None:
    wb = ex.load("digits-vit")
    edited = wb.compress([ex.EditAttention(edit="window", window=1, layers="blocks.0.*"), ex.Prune(sparsity=0.3)])
    images = wb.subject.split("tune").take(slice(0, 16)).inputs
    again = ex.load(edited.save(tmp_path))
    assert torch.equal(again.variant.outputs(images), edited.outputs(images))
    assert not torch.equal(edited.outputs(images), wb.compress(ex.Prune(sparsity=0.3)).outputs(images))
    near, far = (int((v.attention(images).weights["blocks.0.attn"] > 0).sum()) for v in (edited, wb.dense))
    assert near < far


def test_training_learns_under_the_edit(bench: ex.Workbench) -> None:
    edited = bench.compress([OFF, ex.Prune(sparsity=0.5)])
    before = stand_of(edited)
    training = bench.coach._prepare(ex.Recover(epochs=1), before)
    module = training.trainee.module.eval()
    with torch.no_grad():
        assert torch.allclose(training.trainee.dress()(IDS), edited.outputs(IDS), atol=1e-5)
    outputs = training.trainee.dress()(IDS)
    outputs.square().sum().backward()
    slope = training.trainee.holds[f"{FIRST}.out_proj"].leaves[0].grad
    assert slope is not None and slope[:, 4:8].abs().max() == 0 and slope[:, :4].abs().max() > 0
    assert module is training.trainee.module


def test_a_trainee_without_edits_runs_as_it_is(bench: ex.Workbench) -> None:
    trainee = Trainee(bench.subject.model, bench.matrices(), bench.dense_forms, bench.dense_rest)
    with torch.no_grad():
        assert torch.allclose(trainee.module.eval()(IDS), plain_outputs(encoder(), IDS), atol=1e-5)


def test_what_was_recovered_wears_the_edit_and_what_it_learnt(bench: ex.Workbench, tmp_path: Path) -> None:
    edited = bench.compress([OFF, ex.Prune(sparsity=0.5)])
    better = edited.recover(epochs=6, learning_rate=0.01, progress=False, hold_back=0.0)
    weights = better.attention(IDS).weights[FIRST]
    assert weights[:, 1].abs().max() == 0 and better.outfit.edits == edited.outfit.edits
    loss = lambda v: nn.functional.cross_entropy(v.outputs(IDS), TARGETS).item()  # noqa: E731  (used three times)
    assert loss(better) < loss(edited)
    assert torch.equal(bench.compress(better.recipe).outputs(IDS), better.outputs(IDS))
    again = ex.load(better.save(tmp_path), data=(IDS, TARGETS), calibration=(IDS, TARGETS), dense=encoder())
    assert torch.equal(again.variant.outputs(IDS), better.outputs(IDS))
    after = bench.compress([*better.recipe, ex.EditAttention(edit="uniform", layers=(SECOND,))])
    assert len(after.outfit.edits) == 2 and after.attention(IDS).weights[SECOND].std(-1)[0].max() < 1e-6


def test_another_thread_evaluates_the_edit_alike(bench: ex.Workbench) -> None:
    edited = bench.compress(ex.EditAttention(edit="dropout", share=0.3, seed=5))
    outputs: Tensor = edited.outputs(IDS)
    correct = (outputs.argmax(1) == TARGETS).double().mean().item()
    assert edited.evaluate().metrics["accuracy"] == pytest.approx(correct)
    assert torch.equal(outputs, edited.outputs(IDS))
