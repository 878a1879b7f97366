"""Attention drift: nothing between equals, everything beside its noise and a random model."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import explorer as ex
from explorer.attention.measures import divergence
from explorer.drift_bounds import NOISE, RowMeans, shuffled
from explorer.weights.clone import digest
from tests.toys import Encoder, numbers, perceptron, seeded


@pytest.fixture(scope="module")
def vit() -> ex.Workbench:
    return ex.load("digits-vit")


def words_bench() -> ex.Workbench:
    """An untrained encoder over word ids with padding."""
    ids = torch.randint(1, 20, (40, 7), generator=torch.Generator().manual_seed(1))
    ids[::3, 5:] = 0
    return ex.load(seeded(lambda: Encoder(layers=2)), data=(ids, torch.arange(40) % 2), batch_size=16)


def test_equal_variants_do_not_drift(vit: ex.Workbench) -> None:
    found = ex.attention_drift(vit.dense, vit.dense, examples=40)
    for name in vit.attention_sites.names:
        assert torch.equal(found.divergence[name], torch.zeros(4, dtype=torch.float64))
        assert torch.equal(found.entropy_change[name], torch.zeros(4, dtype=torch.float64))
        assert torch.equal(found.overlap[name], torch.ones(4, dtype=torch.float64))
        torch.testing.assert_close(found.correlation[name], torch.ones(4, dtype=torch.float64))
        assert float(found.floor[name].min()) > 0
    assert found.sentence() == "no head moved"
    assert found.examples == 40


def test_a_heavy_prune_lies_between_noise_and_a_random_model(vit: ex.Workbench) -> None:
    found = ex.attention_drift(vit.dense, vit.compress(ex.Prune(sparsity=0.7)))
    for name, moved in found.divergence.items():
        assert bool((moved > 20 * found.floor[name]).all())
        assert float(moved.mean()) < float(found.ceiling[name].mean())
        place = (moved - found.floor[name]) / (found.ceiling[name] - found.floor[name])
        torch.testing.assert_close(found.place()[name], place)
    harsher = ex.attention_drift(vit.dense, vit.compress(ex.Prune(sparsity=0.9)))
    total = [sum(float(moved.sum()) for moved in one.divergence.values()) for one in (found, harsher)]
    assert total[0] < total[1]


def test_numbers_equal_a_plain_reading_of_all_examples_at_once(vit: ex.Workbench) -> None:
    """In batches of 32 and added up; here read in one go, from the very same examples."""
    pruned = vit.compress(ex.Prune(sparsity=0.6))
    found = ex.attention_drift(vit.dense, pruned, examples=100, layers="blocks.1.*")
    inputs = torch.cat([vit.stage.batches("tune")[at][0] for at in range(2)])[:100]
    first, second = (variant.attention(inputs, "blocks.1.*") for variant in (vit.dense, pruned))
    name = "blocks.1.attn"
    assert found.layers == [name]
    whole = divergence(first.weights[name], second.weights[name]).mean((0, 2))
    torch.testing.assert_close(found.divergence[name], whole, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.entropy[1][name], second.entropy()[name], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.confidence[0][name], first.confidence()[name], rtol=1e-4, atol=1e-7)


def test_a_head_that_is_off_is_dead_and_a_flat_one_is_near_uniform(vit: ex.Workbench) -> None:
    off = ex.EditAttention(edit="off", own_heads={"blocks.1.attn": (2,)})
    flat = ex.EditAttention(edit="uniform", own_heads={"blocks.2.attn": (0, 3)})
    found = ex.attention_drift(vit.dense, vit.compress([off, flat]), examples=30)
    assert found.flags["blocks.1.attn"] == ("", "", "dead", "")
    assert found.flags["blocks.2.attn"] == ("near uniform", "", "", "near uniform")
    assert math.isnan(found.divergence["blocks.1.attn"][2]) and math.isnan(found.overlap["blocks.1.attn"][2])
    assert int(found.undefined["blocks.1.attn"][2]) == 30 * 17
    assert int(found.undefined["blocks.1.attn"][1]) == 0
    assert "blocks.1.attn head 2 gives nothing" in found.sentence()


def test_a_head_whose_output_is_not_read_is_dead() -> None:
    """Its maps are as before; only the columns of the output projection that read it are zero."""
    model = seeded(lambda: Encoder(layers=1, width=12, heads=3))
    with torch.no_grad():
        model.encoder.layers[0].self_attn.out_proj.weight[:, 4:8] = 0.0  # type: ignore[index, union-attr]
    ids = torch.randint(1, 20, (20, 6), generator=torch.Generator().manual_seed(1))
    bench = ex.load(model, data=(ids, torch.arange(20) % 2))
    found = ex.attention_drift(bench.dense, bench.dense)
    assert list(found.flags.values()) == [("", "dead", "")]
    assert float(found.divergence[found.layers[0]].max()) == 0.0


def test_noise_on_words_is_noise_on_their_embeddings_and_leaves_no_hook() -> None:
    bench = words_bench()
    before = digest(bench.subject.model)
    found = ex.attention_drift(bench.dense, bench.dense)
    assert all(float(floor.min()) > 0 for floor in found.floor.values())
    assert all(bool((found.floor[name] < found.ceiling[name]).all()) for name in found.layers)
    assert digest(bench.subject.model) == before
    assert not any(part._forward_hooks for part in bench.subject.model.modules())


def test_the_bounds_are_found_once(vit: ex.Workbench) -> None:
    first = vit.drift_bounds.of(("*",), 24, "tune")
    assert vit.drift_bounds.of(("*",), 24, "tune") is first
    assert vit.drift_bounds.of(("*",), 25, "tune") is not first


def test_shuffled_weights_are_the_same_numbers_elsewhere_and_the_model_stays() -> None:
    model = perceptron()
    before = digest(model)
    other = shuffled(model)
    assert digest(model) == before
    assert digest(shuffled(model)) == digest(other)
    for own, moved in zip(model.parameters(), other.parameters(), strict=True):
        assert not torch.equal(own, moved)
        assert torch.equal(own.flatten().sort().values, moved.flatten().sort().values)


def test_gates_are_compared_by_their_values() -> None:
    bench = ex.load("digits-cbam")
    gate = next(site for site in bench.attention_sites if site.is_gate)
    step = ex.EditAttention(edit="gain", gain=0.5, layers=(gate.name,))
    after = bench.compress(step)
    found = ex.attention_drift(bench.dense, after, examples=20, layers=(gate.name,))
    inputs = bench.stage.batches("tune")[0][0][:20]
    values = bench.dense.attention(inputs, (gate.name,)).weights[gate.name]
    assert float(found.gate_change[gate.name][0]) == pytest.approx(float(values.mean()) / 2, rel=1e-5)
    assert 0 < float(found.floor[gate.name][0]) < float(found.gate_change[gate.name][0])
    assert gate.name not in found.divergence


def test_row_means_know_what_is_not_defined() -> None:
    means = RowMeans()
    values = torch.tensor([[[1.0, torch.nan, 9.0], [2.0, 4.0, 9.0]]])  # [1 example, 2 heads, 3 queries]
    means.add("layer", values.double(), torch.tensor([[True, True, False]]))
    means.add("layer", torch.full((1, 2, 3), 6.0).double(), torch.tensor([[True, False, False]]))
    assert means.means()["layer"].tolist() == [3.5, 4.0]
    assert means.undefined()["layer"].tolist() == [1, 0]


def test_row_means_leave_out_padding_and_count_what_is_undefined() -> None:
    values = torch.tensor([[[1.0, math.nan, 5.0], [2.0, 4.0, math.nan]]], dtype=torch.float64)  # one example, two heads
    found = RowMeans()
    found.add("heads", values, torch.tensor([[True, True, False]]))
    assert found.means()["heads"].tolist() == [1.0, 3.0] and found.undefined()["heads"].tolist() == [1, 0]
    windows = torch.tensor([[[[1.0]], [[3.0]]]], dtype=torch.float64)  # two windows of one query
    found.add("windows", windows, torch.tensor([[True]]))
    assert found.means()["windows"].tolist() == [2.0]


def test_what_cannot_be_compared_is_refused(vit: ex.Workbench) -> None:
    with pytest.raises(ex.ExplorerError, match="sealed"):
        ex.attention_drift(vit.dense, vit.dense, split="test")
    with pytest.raises(ex.ExplorerError, match="two workbenches"):
        ex.attention_drift(vit.dense, words_bench().dense)
    plain = ex.load(nn.Sequential(nn.Linear(6, 3)), data=numbers())
    with pytest.raises(ex.ExplorerError, match="no attention"):
        ex.attention_drift(plain.dense, plain.dense)
    with pytest.raises(ex.ExplorerError, match="at least one"):
        ex.attention_drift(vit.dense, vit.dense, examples=0)


def test_it_prints_every_head_and_says_that_it_is_a_difference(vit: ex.Workbench) -> None:
    found = ex.attention_drift(vit.dense, vit.compress(ex.Prune(sparsity=0.7)), examples=30)
    text = str(found)
    assert text.count("blocks.0.attn ") == 4 and "a difference, not a loss" in text and "worse" not in text
    frame = found.to_frame()
    assert len(frame) == 16 and frame["divergence"].max() == max(float(m.max()) for m in found.divergence.values())
    top = max(found.divergence, key=lambda name: float(found.divergence[name].max()))
    assert found.sentence().startswith(top) and "noise" in found.sentence() and "random model" in found.sentence()


def test_the_floor_grows_with_the_noise(vit: ex.Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    small = vit.drift_bounds.of(("blocks.0.*",), 20, "tune").floor["blocks.0.attn"]
    monkeypatch.setattr("explorer.drift_bounds.NOISE", 10 * NOISE)
    large = vit.drift_bounds.of(("blocks.0.*",), 21, "tune").floor["blocks.0.attn"]
    assert bool((large > 20 * small).all())  # a divergence grows with the square
