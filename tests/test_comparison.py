"""Comparison: identities hold exactly, and every part tells what its engine measured."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import explorer as ex
from explorer.comparison.reasons import MEASURES, likeness, shuffled_variant
from explorer.comparison.trials import RobustnessJob, robustness_job
from explorer.evaluation.robustness import TRIALS
from tests.toys import Recurrent, Tied, TwoHeads, bench, seeded, two_answers


@lru_cache
def vit() -> ex.Workbench:
    return ex.load("digits-vit")


@lru_cache
def pruned() -> ex.Comparison:
    return ex.compare(vit().dense, vit().compress(ex.Prune(sparsity=0.7)))


# -- identities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [ex.Recipe(), ex.Recipe([ex.Prune(sparsity=0.0)])], ids=["empty", "nothing"])
def test_a_model_beside_itself_does_not_differ(recipe: ex.Recipe) -> None:
    same = ex.compare(vit().dense, vit().compress(recipe))
    assert same.identical and len(same.disagreements) == 0 and same.disagreements.distance == 0
    change = same.quality.change
    assert (change.delta, change.low, change.high, change.broken, change.repaired) == (0, 0, 0, 0, 0)
    assert {each.verdict for each in (*same.classes, *same.slices)} == {"same"}
    assert not same.confusion.difference.any() and same.calibration.change == 0
    assert set(same.layers.weights.values()) == {0.0}
    assert {(block.hidden, block.cka) for block in same.layers.blocks} == {(0.0, 1.0)}
    assert all(not bool(moved.any()) for moved in same.attention_drift.divergence.values())
    assert same.sentence() == "the two are the same model: nothing differs"


def test_a_compressed_model_beside_itself_does_not_differ_either() -> None:
    variant = vit().compress(ex.Prune(sparsity=0.7))
    same = ex.compare(variant, variant)
    assert same.identical and not same.disagreements.found and same.layers.first is None


def test_robustness_curves_of_a_model_and_itself_are_equal() -> None:
    wb = bench()
    found = ex.robustness(wb.dense, wb.compress(ex.Recipe()))
    assert set(found.curves) == {"feature noise", "fgsm", "pgd"}
    for curve in found.curves.values():
        assert [quality.value for quality in curve.before] == [quality.value for quality in curve.after]
        assert all(change.delta == 0 == change.high for change in curve.changes)


# -- what differs ----------------------------------------------------------------------------------------------------


def test_quality_is_that_of_both_and_the_change_is_paired() -> None:
    quality = pruned().quality
    assert quality.before.value == vit().dense.evaluate().value and quality.after.value < quality.before.value
    assert quality.change.low < quality.change.delta < quality.change.high


def test_disagreements_are_all_the_examples_with_another_class() -> None:
    found, quality = pruned().disagreements, pruned().quality
    tune = vit().subject.split("tune")
    said = [variant.outputs(tune.inputs) for variant in (pruned().before, pruned().after)]
    differ = (said[0].argmax(1) != said[1].argmax(1)).nonzero().squeeze(1).tolist()
    assert sorted(each.index for each in found) == differ
    apart = (said[0].double().softmax(1) - said[1].double().softmax(1)).abs().sum(1)
    for each in found:
        assert each.distance == pytest.approx(float(apart[each.index]), abs=1e-4)
    listed = [each.distance for each in found]
    assert listed == sorted(listed, reverse=True)
    assert found.distance == pytest.approx(float(apart.mean()), abs=1e-4)
    assert (len(pruned().broken), len(pruned().repaired)) == (quality.change.broken, quality.change.repaired)
    assert len(pruned().broken) > 0


def test_disagreements_filter_by_class_and_slice() -> None:
    found = pruned().disagreements
    targets = vit().subject.split("tune").targets
    for number, each in enumerate(pruned().classes):
        inside = found.within(each.name)
        assert len(inside.broken) == each.change.broken
        assert all(int(targets[one.index]) == number for one in inside)
    assert sum(len(found.within(f"contrast: {half}")) for half in ("low", "high")) == len(found)
    with pytest.raises(ex.ExplorerError, match='no slice "weather"'):
        found.within("weather")


def test_every_class_has_its_change_and_verdict() -> None:
    classes = pruned().classes
    assert [each.name for each in classes] == list("0123456789")
    assert sum(each.examples for each in classes) == 540
    quality = pruned().quality.after
    recall = {each.name: each.after for each in classes}
    eights = quality.judged.parts["target"] == 8
    assert recall["8"] == pytest.approx(quality.judged.score[eights].mean())
    assert any(each.verdict == "cannot tell" for each in classes)
    severe = ex.compare(vit().dense, vit().compress(ex.Prune(sparsity=0.85))).classes
    worst = min(severe, key=lambda each: each.change.delta)
    assert worst.verdict == "loss" and worst.change.high < 0


def test_the_damage_is_measured_block_by_block() -> None:
    layers = pruned().layers
    assert [block.block for block in layers.blocks] == ["embed", *(f"blocks.{at}" for at in range(4)), "head"]
    weight = vit().subject.model.get_parameter("blocks.1.mlp.0.weight").detach()
    after = pruned().after.model.get_parameter("blocks.1.mlp.0.weight").detach()
    assert layers.weights["blocks.1.mlp.0"] == pytest.approx(float((weight - after).norm() / weight.norm()), abs=1e-6)
    assert all(block.hidden > 0 and 0 < block.cka < 1 for block in layers.blocks)


def test_the_damage_starts_where_something_was_changed() -> None:
    late = vit().compress(ex.Prune(sparsity=0.8, scope="matrix", layers=["blocks.2.*"]))
    layers = ex.compare(vit().dense, late).layers
    assert layers.first is not None and layers.first.block == "blocks.2"
    assert [block.hidden for block in layers.blocks[:3]] == [0, 0, 0]
    assert layers.weights["blocks.1.mlp.0"] == 0 < layers.weights["blocks.2.mlp.0"]
    assert layers.sentence().startswith("the damage starts in blocks.2")


def test_the_same_hidden_states_by_hand() -> None:
    found: dict[bool, Tensor] = {}
    batches = vit().stage.batches("tune")
    inputs = batches[0][0]
    for after, variant in ((False, pruned().before), (True, pruned().after)):
        model = variant.model
        block = model.get_submodule("blocks.2")
        block.register_forward_hook(lambda module, args, output, after=after: found.__setitem__(after, output.detach()))
        with torch.no_grad():
            model(inputs)
    error = float((found[True] - found[False]).norm() / found[False].norm())
    assert pruned().layers.blocks[3].hidden == pytest.approx(error, rel=1e-3)


def test_it_says_in_a_sentence_what_changed() -> None:
    told = pruned().sentence()
    assert "accuracy" in told and "broken" in told and "most lost in" in told and "cannot tell for" in told
    printed = str(pruned())
    assert "dense beside prune 70 %" in printed and "verdict" in printed and "examples" in printed


def test_attention_drift_is_that_of_the_two() -> None:
    assert pruned().attention_drift is pruned().attention_drift
    drift = ex.attention_drift(pruned().before, pruned().after)
    for name, moved in drift.divergence.items():
        assert torch.equal(moved, pruned().attention_drift.divergence[name])


# -- other kinds of models -------------------------------------------------------------------------------------------


def halved(wb: ex.Workbench) -> ex.Comparison:
    return ex.compare(wb.dense, wb.compress(ex.Prune(sparsity=0.8)))


def test_several_heads() -> None:
    wb = ex.load(
        seeded(TwoHeads), data=two_answers(), task="multi-task", heads={"colour": ["r", "g", "b"], "size": ["s", "l"]}
    )
    found = halved(wb)
    assert [each.name for each in found.classes] == ["colour: r", "colour: g", "colour: b", "size: s", "size: l"]
    assert len(found.disagreements) and " · " in found.disagreements[0].after.label
    assert found.calibration.before.counts.sum() == 120
    with pytest.raises(ex.ExplorerError, match="no single class"):
        _ = found.confusion


def test_regression() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 4, generator=draw)
    wb = ex.load(seeded(lambda: nn.Linear(4, 1)), data=(inputs, inputs[:, 0]), task="regression")
    found = halved(wb)
    assert {each.kind for each in found.disagreements} == {"farther", "closer"} and found.classes == []
    with pytest.raises(ex.ExplorerError, match="no probability"):
        _ = found.calibration
    with pytest.raises(ex.ExplorerError):
        _ = found.attention_drift


def test_language_models() -> None:
    ids = torch.randint(11, (20, 6), generator=torch.Generator().manual_seed(0))
    wb = ex.load(seeded(Tied), data=(ids, ids.roll(-1, 1)), task="language-modeling")
    found = halved(wb).disagreements
    assert len(found) and all(each.place is not None and each.before.label.startswith("token") for each in found)


def test_recurrent_models() -> None:
    draw = torch.Generator().manual_seed(0)
    data = (torch.randn(30, 4, 5, generator=draw), torch.arange(30) % 3)
    layers = halved(ex.load(seeded(Recurrent), data=data)).layers
    assert [block.block for block in layers.blocks] == ["lstm", "head"] and layers.blocks[0].hidden > 0


# -- what cannot be compared -----------------------------------------------------------------------------------------


def test_a_variant_of_another_workbench_is_refused() -> None:
    other = bench()
    for ask in (ex.compare, ex.robustness):
        with pytest.raises(ex.ExplorerError, match="two workbenches"):
            ask(vit().dense, other.dense)


def test_the_sealed_split_stays_sealed() -> None:
    with pytest.raises(ex.ExplorerError, match="sealed"):
        ex.compare(vit().dense, vit().dense, split="test")
    with pytest.raises(ex.ExplorerError, match="no validation split"):
        ex.compare(vit().dense, vit().dense, split="validation")


# -- robustness ------------------------------------------------------------------------------------------------------


def test_both_variants_meet_the_same_worse_inputs() -> None:
    wb = bench()
    variant = wb.compress(ex.Prune(sparsity=0.5))
    told: list[tuple[int, int]] = []
    found = ex.robustness(wb.dense, variant, ["feature noise"], [1.0], 60, lambda *so_far: told.append(so_far))
    curve = found.curves["feature noise"]
    assert curve.strengths == (0.0, 1.0) and told[-1] == (16, 16)
    assert (curve.before[0].value, curve.after[0].value) == (wb.dense.evaluate().value, variant.evaluate().value)
    alone = ex.robustness(variant, wb.dense, ["feature noise"], [1.0], 60).curves["feature noise"]
    assert [quality.value for quality in alone.before] == [quality.value for quality in curve.after]
    assert [quality.value for quality in alone.after] == [quality.value for quality in curve.before]
    assert curve.before[1].low < curve.before[1].value < curve.before[1].high


def test_it_takes_as_many_examples_as_asked() -> None:
    wb = bench()
    found = ex.robustness(wb.dense, wb.compress(ex.Prune(sparsity=0.5)), ["fgsm"], examples=19)
    assert found.examples == 19
    assert all(quality.examples == 19 for quality in found.curves["fgsm"].before)
    assert len(found.to_frame()) == 4


def test_attacks_harm() -> None:
    found = ex.robustness(pruned().before, pruned().after, ["fgsm", "pgd"], [0.1], 128)
    for curve in found.curves.values():
        assert curve.before[1].value < curve.before[0].value - 0.05
        assert curve.after[1].value < curve.after[0].value - 0.05
    assert found.curves["pgd"].before[1].value <= found.curves["fgsm"].before[1].value


def test_a_job_can_be_stopped() -> None:
    wb = bench()
    job = robustness_job(wb.dense, wb.compress(ex.Prune(sparsity=0.5)), examples=60)
    job.cancel()
    assert job.wait(30) and job.cancelled
    assert set(job.robustness.curves) <= set(TRIALS)


def test_bad_wishes_are_refused() -> None:
    dense = bench().dense
    for wishes, says in (
        ({"kinds": ["rain"]}, "rain"),
        ({"strengths": [-1.0]}, "below 0"),
        ({"examples": 0}, "tell nothing"),
    ):
        with pytest.raises(ex.ExplorerError, match=says):
            RobustnessJob(dense, dense, **wishes)


def test_a_trial_that_does_not_fit_is_left_out_with_its_reason() -> None:
    dense = bench().dense
    found = ex.robustness(dense, dense, ["blur"])
    assert not found.curves and "no image" in found.left_out["blur"] and "left out: blur" in str(found)


# -- attribution drift -----------------------------------------------------------------------------------------------


def test_likeness_by_hand() -> None:
    first = torch.tensor([[4.0, -3.0, 2.0, 1.0, 0.5], [1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5])
    second = torch.tensor([[4.0, 3.0, -2.0, 1.0, 0.1], [1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5])
    found = likeness(first, second)
    assert set(found) == set(MEASURES)
    assert found["cosine"][0].item() == pytest.approx(float(first[0] @ second[0] / first[0].norm() / second[0].norm()))
    assert found["rank correlation"][0].item() == pytest.approx(spearmanr(first[0], second[0]).statistic)
    assert found["sign agreement"][0].item() == pytest.approx(3 / 5)
    assert found["overlap"][0].item() == 1.0
    assert all(values[1] == 1 for values in found.values())
    assert all(values[2].isnan() for values in found.values())


def test_top_features_are_counted() -> None:
    first = torch.zeros(1, 40)
    second = torch.zeros(1, 40)
    first[0, :10], second[0, 5:15] = torch.arange(10, 0, -1.0), torch.arange(10, 0, -1.0)
    found = likeness(first, second)
    assert found["top agreement"].item() == 0.5
    assert found["overlap"].item() == pytest.approx(3 / 13)


def test_attribution_drift_lies_between_noise_and_a_random_model() -> None:
    drift = pruned().attribution_drift("input-x-gradient", 32)
    noise, random = (float(bound["cosine"].nanmean()) for bound in (drift.floor, drift.ceiling))
    assert random < drift.mean("cosine") < noise <= 1
    assert 0 < drift.place() < 1 and "same reasons" in drift.sentence()
    same = ex.compare(vit().dense, vit().dense).attribution_drift("input-x-gradient", 32)
    assert all(same.mean(measure) == 1 for measure in MEASURES)


def test_a_shuffled_model_holds_the_same_numbers_in_another_order() -> None:
    dense = vit().dense
    model = shuffled_variant(dense).model
    for name, parameter in vit().subject.model.named_parameters():
        other = model.get_parameter(name)
        if name.endswith("mlp.0.weight"):
            assert not torch.equal(other, parameter)
        if "qkv" not in name:
            assert torch.equal(other.flatten().sort().values, parameter.flatten().sort().values)
    assert dense.evaluate().value > 0.9


def test_attribution_drift_takes_all_parts_of_an_input_together() -> None:
    bench = ex.load("scene-vqa")
    drift = ex.compare(bench.dense, bench.compress(ex.Prune(sparsity=0.5))).attribution_drift("input-x-gradient", 4)
    assert drift.examples == 4 and 0 < drift.mean("cosine") < 1
