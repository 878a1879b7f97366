"""Figures and notebook views of attention: labels, sizes, one scale, and nothing read as HTML."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
import torch

import explorer as ex
from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.attention.sites import Site
from explorer.figures.attention_head import head_figure
from explorer.figures.attention_overview import overview_figure
from explorer.search.heads import HeadRow, HeadTable
from explorer.subjects.axes import words_axis

SAMPLES = ("digits-vit", "negation-text", "cancer-tab", "story-lm", "dates-seq2seq", "scene-vqa", "digits-cbam")


@cache
def of(sample: str) -> AttentionMaps:
    bench = ex.load(sample)
    return bench.dense.attention(bench.subject.split("tune").take(slice(0, 2)).inputs)


def large(layers: int = 12, heads: int = 12, length: int = 128) -> AttentionMaps:
    draw = torch.Generator().manual_seed(0)
    axis = words_axis([[f"word{at}" for at in range(length)]], length)
    found = []
    for number in range(layers):
        weights = torch.rand(1, heads, length, length, generator=draw).pow(6)
        site = Site(f"layer.{number}", f"layer.{number}", 0, "self", True, heads, length, length)
        found.append(LayerMaps(site, weights / weights.sum(-1, keepdim=True), tuple(range(heads)), axis, axis))
    return AttentionMaps(tuple(found))


def test_many_heads_stay_small_and_quick() -> None:
    maps = large()
    began = time.perf_counter()
    figure = overview_figure(maps)
    assert len(figure.to_json()) < 2_000_000 and time.perf_counter() - began < 3.0
    assert len(figure.data[0].x) == 144 and tuple(figure.data[0].customdata[13]) == ("layer.1", 1)


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("dark", [False, True])
def test_every_sample_has_its_overview_and_each_layer_its_heads(sample: str, dark: bool) -> None:
    maps = of(sample)
    overview = maps.figure(dark=dark)
    assert overview.layout.title.text and overview.layout.meta["alt"]
    for layer in maps.found:
        one = maps.figure(layer=layer.name, head=layer.heads[0], example=1, dark=dark)
        assert layer.name[:10] in one.layout.title.text
        assert maps.figure(layer=layer.name, dark=dark).data


def test_a_map_leaves_padding_out_and_says_its_words() -> None:
    maps = of("negation-text")
    layer = maps.found[0]
    words = [word for word in layer.keys.labels[0] if word]
    (heat,) = head_figure(maps, layer.name, 1).data
    assert np.asarray(heat.z).shape == (len(words), len(words))
    assert np.allclose(heat.z, layer.weights[0, 1, : len(words), : len(words)].numpy(), atol=1e-6)
    assert [name.split(" (")[0] for name in heat.x] == words


def test_words_with_markup_are_shown_as_text() -> None:
    axis = words_axis([["<b>bold</b>", "plain"]], 2)
    site = Site("a", "a", 0, "self", True, 1, 2, 2)
    maps = AttentionMaps((LayerMaps(site, torch.full((1, 1, 2, 2), 0.5), (0,), axis, axis),))
    assert "<b>" not in "".join(head_figure(maps, "a").data[0].x)
    assert "<b>bold" not in maps._repr_mimebundle_()["text/html"]


def test_heads_keep_their_own_numbers() -> None:
    maps = of("digits-vit")
    bench = ex.load("digits-vit")
    some = bench.dense.attention(bench.subject.split("tune").take(slice(0, 1)).inputs, heads=[1, 3])
    assert some.found[0].heads == (1, 3)
    assert "head 3" in some.figure(layer="blocks.0.attn", head=3).layout.title.text
    assert torch.equal(some["blocks.0.attn"].weights[0, 1], maps["blocks.0.attn"].weights[0, 3])
    with pytest.raises(ex.ExplorerError, match="there is no head 2"):
        some.figure(layer="blocks.0.attn", head=2)


def test_the_notebook_view_says_what_was_read_and_what_it_means() -> None:
    html = of("scene-vqa")._repr_mimebundle_()["text/html"]
    assert "word_blocks.0.cross" in html and "not why" in html and "data:image/png" in html


def test_drift_has_a_cell_for_each_head_and_a_view() -> None:
    bench = ex.load("negation-text")
    drift = ex.attention_drift(bench.dense, bench.compress(ex.Prune(sparsity=0.6)), examples=32)
    (heat,) = drift.figure().data
    assert np.asarray(heat.z, dtype=float).shape == (2, 2) and "noise" in heat.customdata[0][0]
    assert drift.sentence() in drift._repr_mimebundle_()["text/html"].replace("&gt;", ">")


def test_heads_are_drawn_most_missed_first() -> None:
    rows = (
        HeadRow("a", 0, "self", 0.5, 0.5, 0.1, cost=-0.02, low=-0.04, high=0.0),
        HeadRow("a", 1, "self", 0.5, 0.5, 0.3, cost=-0.2, low=-0.25, high=-0.15),
    )
    table = HeadTable("toy", ex.Recipe(), rows, "calibration", 8, "accuracy", True)
    dots, bars = table.figure().data
    assert dots.x == (-20.0, -2.0) and bars.x == (0.3, 0.1) and list(dots.y) == ["a, head 1", "a, head 0"]
    assert "−20.0 points" in table._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_attention_lies_on_the_input_of_every_sample(sample: str) -> None:
    bench = ex.load(sample)
    inputs = bench.subject.split("tune").take(slice(0, 1)).inputs
    after = bench.compress(ex.Prune(sparsity=0.5)).attention(inputs)
    before = of(sample)
    layer = before.found[-1]
    head = None if layer.site.is_gate else layer.heads[0]
    one, other = before.on_input(layer.name, head), after.on_input(layer.name, head)
    assert one.figure().layout.title.text and other.figure(beside=one, dark=True).data
    assert after.figure(layer=layer.name, head=layer.heads[0], beside=before).data
    assert layer.name in one._repr_mimebundle_()["text/html"] and str(one)


def test_words_are_shaded_by_their_share_and_escaped() -> None:
    axis = words_axis([["<i>", "good", ""]], 3)
    site = Site("a", "a", 0, "self", True, 1, 3, 3)
    weights = torch.tensor([[[[0.25, 0.75, 0.0]] * 3]])
    found = AttentionMaps((LayerMaps(site, weights, (0,), axis, axis),)).on_input("a", 0)
    html = found._repr_mimebundle_()["text/html"]
    assert "<i>" not in html.replace("<i style", "") and "rgba(20,160,148,0.700)" in html
    assert "rgba(20,160,148,0.233)" in html and found.shown == [0, 1]


def test_two_models_share_a_scale_and_the_difference_has_its_own() -> None:
    bench = ex.load("cancer-tab")
    inputs = bench.subject.split("tune").take(slice(0, 1)).inputs
    before = bench.dense.attention(inputs).on_input("blocks.1.attention", 0)
    after = bench.compress(ex.Prune(sparsity=0.6)).attention(inputs).on_input("blocks.1.attention", 0)
    first, second, change = after.figure(beside=before).data
    assert first.xaxis != second.xaxis and np.allclose(np.subtract(second.x, first.x), change.x)
    figure = after.figure(beside=before)
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range


def test_rollout_of_all_layers_is_the_default() -> None:
    maps = of("digits-vit")
    assert torch.equal(maps.on_input().values, maps.flow_to(0)[0]) and "Rollout" in maps.on_input().title
    with pytest.raises(ex.ExplorerError, match="no gradients"):
        maps.on_input(gradients=True)
    with pytest.raises(ex.ExplorerError, match="no position"):
        maps.on_input("blocks.0.attn", 0, query=99)
