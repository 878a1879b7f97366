"""Attention sites: where they are, how they are named, of which kind they are, and what cannot be had."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import explorer as ex
from tests.toys import seeded

B, T, E, H = 4, 6, 8, 2


def rows(examples: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(examples, T, E, generator=torch.Generator().manual_seed(seed))


def bench_of(module: nn.Module, inputs: Any = None, **wishes: Any) -> ex.Workbench:
    inputs = rows() if inputs is None else inputs
    return ex.load(module, data=(inputs, torch.arange(8) % 2), **wishes)


class Layered(nn.Module):
    """What the toys share: `attend(x)` gives `[B, T, E]`, and a head makes two answers of its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(E, E) for _ in range(3))
        self.head = nn.Linear(E, 2)

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (H, E // H)).transpose(1, 2)

    def attend(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attend(x).mean(1))

    def scores(self, x: Tensor) -> Tensor:
        return self.heads(self.query(x)) @ self.heads(self.key(x)).transpose(-2, -1) / math.sqrt(E // H)

    def wanted(self, x: Tensor) -> Tensor:
        """The map `[B, H, T, T]`, by hand."""
        scores = self.scores(x)
        return scores.exp() / scores.exp().sum(-1, keepdim=True)


class Twice(Layered):
    """Two attentions in one module, eager and fused, and a softmax between them that is none."""

    def attend(self, x: Tensor) -> Tensor:
        first = (self.scores(x).softmax(-1) @ self.heads(self.value(x))).transpose(1, 2).flatten(2)
        gated = x * first.softmax(-1)
        second = F.scaled_dot_product_attention(
            *(self.heads(part(gated)) for part in (self.query, self.key, self.value))  # type: ignore[arg-type]
        )
        return first + second.transpose(1, 2).flatten(2)


class Folded(Layered):
    """Heads folded into the batch, as `bmm` wants them."""

    num_heads = H

    def attend(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.scores(x).flatten(0, 1), dim=-1)
        return (
            torch.bmm(weights, self.heads(self.value(x)).flatten(0, 1)).unflatten(0, (-1, H)).transpose(1, 2).flatten(2)
        )


class FoldedUnsaid(Folded):
    """The same, without saying how many heads there are."""

    num_heads = None  # type: ignore[assignment]


class Equation(Layered):
    """Maps with the heads last, `[B, queries, keys, heads]`, summed by an equation."""

    def attend(self, x: Tensor) -> Tensor:
        weights = self.scores(x).permute(0, 2, 3, 1).softmax(2)
        return torch.einsum("bqkh,bhkd->bqhd", weights, self.heads(self.value(x))).flatten(2)


class Turned(Layered):
    """A softmax over columns, turned before the product."""

    def attend(self, x: Tensor) -> Tensor:
        weights = F.dropout(self.scores(x).transpose(-2, -1).softmax(dim=-2), 0.0).transpose(2, 3)
        return (weights @ self.heads(self.value(x))).transpose(1, 2).flatten(2)


class MaskedAfter(Layered):
    """Weights that are masked by a product after the softmax (of ones here)."""

    def attend(self, x: Tensor) -> Tensor:
        weights = torch.ones(T, T) * self.scores(x).softmax(-1)
        return (weights @ self.heads(self.value(x))).transpose(1, 2).flatten(2)


class WithSink(Layered):
    """A softmax with one more score, which is cut off before the product."""

    def attend(self, x: Tensor) -> Tensor:
        scores = self.scores(x)
        weights = torch.cat([scores, torch.full_like(scores[..., :1], -100.0)], -1).softmax(-1)[..., :-1]
        return (weights @ self.heads(self.value(x))).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("kind", [Folded, FoldedUnsaid, Equation, Turned, MaskedAfter, WithSink])
def test_every_way_to_write_it_gives_the_same_map(kind: Callable[[], Layered]) -> None:
    model, x = seeded(kind), rows(B)
    bench = bench_of(model)
    site = bench.attention_sites.found[0]
    assert (len(bench.attention_sites), site.name, site.kind, site.heads) == (1, "model", "self", H)
    with torch.no_grad():
        assert torch.allclose(bench.dense.attention(x).weights["model"], model.wanted(x), atol=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("kind", [Folded, FoldedUnsaid, Equation, Turned, MaskedAfter])
@pytest.mark.parametrize("edit", ["off", "top-k", "window", "temperature"])
def test_every_way_to_write_it_is_edited_alike(kind: Callable[[], Layered], edit: str) -> None:
    model, x = seeded(kind), rows(B)
    found = bench_of(model).compress(ex.EditAttention(edit=edit, heads=(1,)))
    with torch.no_grad():
        scores, weights = model.scores(x), model.wanted(x)  # type: ignore[operator]
        if edit == "off":
            weights[:, 1] = 0
        elif edit == "top-k":
            kept = weights[:, 1] >= weights[:, 1].sort(-1, descending=True).values[..., 2:3]
            weights[:, 1] = weights[:, 1] * kept / (weights[:, 1] * kept).sum(-1, keepdim=True)
        elif edit == "window":
            near = (torch.arange(T)[:, None] - torch.arange(T)).abs() <= 1
            weights[:, 1] = weights[:, 1] * near / (weights[:, 1] * near).sum(-1, keepdim=True)
        else:
            weights[:, 1] = (scores[:, 1] / 2).softmax(-1)
        mixed = (weights @ model.heads(model.value(x))).transpose(1, 2).flatten(2)  # type: ignore[operator]
        wanted = model.head(mixed.mean(1))  # type: ignore[operator]
    assert torch.allclose(found.attention(x).weights["model"], weights, atol=1e-6)
    assert torch.allclose(found.outputs(x), wanted, atol=1e-5)


def test_two_attentions_of_one_module_have_names_of_their_own() -> None:
    model, x = seeded(Twice), rows(B)
    bench = bench_of(model)
    assert bench.attention_sites.names == ["model", "model#2"]
    assert [site.number for site in bench.attention_sites] == [0, 2]  # the gate's softmax between them is none
    assert [site.fused for site in bench.attention_sites] == [False, True]
    dense, edited = (v.attention(x) for v in (bench.dense, bench.compress(ex.EditAttention(edit="temperature"))))
    assert edited.layers == dense.layers  # an edit's own softmax moves no number
    one = bench.compress(ex.EditAttention(edit="uniform", layers=("model#2",))).attention(x)
    assert torch.equal(one.weights["model"], dense.weights["model"])
    assert torch.allclose(one.weights["model#2"], torch.full((B, H, T, T), 1 / T))


class Shared(nn.Module):
    """One layer that runs three times, as ALBERT's does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(E, H, 16, batch_first=True)
        self.head = nn.Linear(E, 2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.layer(x)
        return self.head(x.mean(1))


def test_a_layer_that_runs_several_times_has_a_map_each_time() -> None:
    model, x = seeded(Shared), rows(B)
    bench = bench_of(model)
    site = bench.attention_sites["layer.self_attn"]
    assert (len(bench.attention_sites), site.calls, site.fused) == (1, 3, True)
    maps = bench.dense.attention(x)
    assert maps.layers == ["layer.self_attn", "layer.self_attn@2", "layer.self_attn@3"]
    with torch.no_grad():
        layer, then = model.get_submodule("layer").train(), x
        layer.apply(lambda module: setattr(module, "p", 0.0) if isinstance(module, nn.Dropout) else None)
        layer.self_attn.dropout = 0.0  # type: ignore[union-attr]
        for name in maps.layers:
            wanted = layer.self_attn(then, then, then, average_attn_weights=False)[1]  # type: ignore[operator]
            assert torch.allclose(maps.weights[name], wanted, atol=1e-6)
            then = layer(then)


class Decoder(nn.Module):
    """A stock encoder and decoder layer: self, self, cross."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(E, H, 16, batch_first=True)
        self.decoder = nn.TransformerDecoderLayer(E, H, 16, batch_first=True)
        self.head = nn.Linear(E, 2)

    def forward(self, x: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(T)
        return self.head(self.decoder(x, self.encoder(x), tgt_mask=causal, tgt_is_causal=True).mean(1))


def test_stock_layers_say_which_attention_is_cross() -> None:
    bench = bench_of(seeded(Decoder))
    kinds = {site.name: site.kind for site in bench.attention_sites}
    assert kinds == {"encoder.self_attn": "self", "decoder.self_attn": "self", "decoder.multihead_attn": "cross"}
    maps = bench.dense.attention(rows(B))
    assert maps.weights["decoder.self_attn"].triu(1).abs().max() == 0
    assert torch.allclose(maps.weights["decoder.multihead_attn"].sum(-1), torch.ones(B, H, T))


class Additive(nn.Module):
    """Bahdanau's attention in a module of its own; `way` is how it weighs."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.score = way, nn.Linear(2 * E, 1)

    def forward(self, state: Tensor, memory: Tensor) -> Tensor:
        both = torch.cat([memory, state[:, None].expand_as(memory)], -1)
        scores = self.score(both.tanh())  # (B, T, 1)
        if self.way == "bmm":
            return torch.bmm(scores.squeeze(2).softmax(-1).unsqueeze(1), memory).squeeze(1)
        if self.way == "equation":
            return torch.einsum("bt,bte->be", scores.squeeze(2).softmax(-1), memory)
        return (scores.softmax(1) * memory).sum(1)


class Recurrent(nn.Module):
    """A recurrent decoder of three steps with additive attention."""

    def __init__(self, way: str = "bmm") -> None:
        super().__init__()
        self.attention, self.cell, self.head = Additive(way), nn.GRUCell(E, E), nn.Linear(E, 2)

    def forward(self, memory: Tensor) -> Tensor:
        state = memory.mean(1)
        for _ in range(3):
            state = self.cell(self.attention(state, memory), state)
        return self.head(state)


@pytest.mark.parametrize("way", ["bmm", "equation", "sum"])
def test_the_steps_of_a_recurrent_decoder_are_queries(way: str) -> None:
    model, x = seeded(lambda: Recurrent(way)), rows(B)
    bench = bench_of(model)
    site = bench.attention_sites["attention"]
    assert (site.kind, site.calls, site.heads) == ("cross", 3, 1)
    maps = bench.dense.attention(x)
    assert maps.weights["attention"].shape == (B, 1, 3, T)
    with torch.no_grad():
        both = torch.cat([x, x.mean(1)[:, None].expand_as(x)], -1)
        first = model.attention.score(both.tanh()).squeeze(2)  # type: ignore[operator, union-attr]
    assert torch.allclose(maps.weights["attention"][:, 0, 0], first.softmax(-1), atol=1e-6)
    hard = bench.compress(ex.EditAttention(edit="top-k", k=1)).attention(x).weights["attention"]
    assert torch.equal(hard.sort(-1).values[..., -2:], torch.tensor([0.0, 1.0]).expand(B, 1, 3, 2))


class Experts(nn.Module):
    """A gate of experts and a classifier's softmax: neither is attention."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts, self.head = (
            nn.Linear(E, 3),
            nn.ModuleList(nn.Linear(E, E) for _ in range(3)),
            nn.Linear(E, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1)
        told = torch.stack([expert(mean) for expert in self.experts], 1)  # (B, 3, E)
        return self.head((self.gate(mean).softmax(-1).unsqueeze(-1) * told).sum(1)).softmax(-1)


def test_gates_of_experts_and_classifiers_are_no_attention() -> None:
    bench = bench_of(seeded(Experts))
    assert len(bench.attention_sites) == 0 and bench.attention_sites.unavailable == ()
    with pytest.raises(ex.ExplorerError, match="has no attention"):
        bench.dense.attention(rows(B))


class Squeeze(nn.Module):
    """The gate of squeeze and excitation: `[B, C, H, W]` -> `[B, C, 1, 1]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, 2), nn.Linear(2, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]


class SpatialAttention(nn.Module):
    """CBAM's second gate: `[B, C, H, W]` -> `[B, 1, H, W]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.stack([x.mean(1), x.amax(1)], 1)).sigmoid()


class Gated(nn.Module):
    """A convolution with both gates: `[B, 3, 8, 8]` -> `[B, 2]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.channels, self.places = nn.Conv2d(3, 5, 3, padding=1), Squeeze(5), SpatialAttention()
        self.head = nn.Linear(5, 2)

    def features(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = x * self.channels(x)
        return self.head((x * self.places(x)).mean((2, 3)))


PICTURES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def gated() -> ex.Workbench:
    return bench_of(seeded(Gated), PICTURES, gates=("channels", "places"))


def test_gates_are_had_by_name(gated: ex.Workbench) -> None:
    sites = gated.attention_sites
    assert [(site.name, site.kind, site.keys, site.grid) for site in sites] == [
        ("channels", "channel gate", 5, None), ("places", "spatial gate", 64, (8, 8)),
    ]  # fmt: skip
    maps, model = gated.dense.attention(PICTURES), gated.subject.model
    with torch.no_grad():
        x = model.features(PICTURES)  # type: ignore[operator]
        gate = model.channels(x)  # type: ignore[operator]
        wanted = model.places(x * gate)  # type: ignore[operator]
    assert torch.equal(maps.weights["channels"].flatten(), gate.flatten())
    assert torch.allclose(maps.weights["places"][:, 0, 0], wanted.flatten(1), atol=1e-6)
    assert maps["places"].keys.grid == (8, 8) and maps.entropy() == {}
    assert maps.source["channels"] == "gate (the output of its module)"


def test_a_gate_is_edited(gated: ex.Workbench) -> None:
    model = gated.subject.model
    with torch.no_grad():
        x = model.features(PICTURES)  # type: ignore[operator]
        gate = model.channels(x)  # type: ignore[operator]
        best = gate.flatten(1).topk(2, 1).indices[:, :, None, None]
        only = torch.zeros_like(gate).scatter(1, best, gate.gather(1, best))
        for step, opened in (
            (ex.EditAttention(edit="off", layers=("channels",)), torch.ones_like(gate)),
            (ex.EditAttention(edit="uniform", layers=("channels",)), gate.mean(1, keepdim=True).expand_as(gate)),
            (ex.EditAttention(edit="gain", gain=0.25, layers=("channels",)), gate * 0.25),
            (ex.EditAttention(edit="top-k", k=2, layers=("channels",)), only),
        ):
            through = x * opened
            wanted = model.head((through * model.places(through)).mean((2, 3)))  # type: ignore[operator]
            edited = gated.compress(step)
            assert torch.allclose(edited.outputs(PICTURES), wanted, atol=1e-6)
            assert torch.allclose(edited.attention(PICTURES).weights["channels"].flatten(), opened.flatten(), atol=1e-6)


def test_gates_are_kept_by_saving(gated: ex.Workbench, tmp_path: Path) -> None:
    folder = gated.compress(ex.EditAttention(edit="off", layers=("places",))).save(tmp_path)
    again = ex.load(folder, architecture=Gated, data=(PICTURES, torch.arange(8) % 2))
    assert again.subject.gates == ("channels", "places") and again.attention_sites.names == ["channels", "places"]
    assert torch.equal(
        again.variant.outputs(PICTURES), gated.compress(ex.EditAttention(layers=("places",))).outputs(PICTURES)
    )


def test_gates_by_globs_and_their_errors() -> None:
    assert bench_of(seeded(Gated), PICTURES, gates="channel?").attention_sites.names == ["channels"]
    with pytest.raises(ex.ExplorerError, match='no module matches "nowhere"'):
        bench_of(seeded(Gated), PICTURES, gates=("nowhere",))
    with pytest.raises(ex.ExplorerError, match="opened as it is bundled"):
        ex.load("digits-vit", gates=("blocks.0",))


class Forgotten(Layered):
    """One attention that runs and one that never does."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = (nn.MultiheadAttention(E, H, batch_first=True) for _ in range(2))

    def attend(self, x: Tensor) -> Tensor:
        return self.used(x, x, x, need_weights=False)[0]


class OwnAttention(nn.Module):
    """A softmax of its own making, which nobody can recognise."""

    def forward(self, x: Tensor) -> Tensor:
        powers = (x @ x.transpose(1, 2)).sigmoid()
        return powers / powers.sum(-1, keepdim=True) @ x


class Scripted(Layered):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(OwnAttention())

    def attend(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Mapped(Layered):
    """Attention over single examples, spread over the batch by `torch.func`."""

    def attend(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda one: (one @ one.T)[None].softmax(-1).matmul(one[None])[0])(x)


def test_what_cannot_be_had_says_why() -> None:
    bench = bench_of(seeded(Forgotten))
    assert bench.attention_sites.names == ["used"]
    assert bench.attention_sites.unavailable == (("unused", "a forward pass never comes there"),)
    assert "unavailable: unused, since a forward pass never comes there" in str(bench.dense.attention(rows(B)))
    ungated = bench_of(seeded(Gated), PICTURES).attention_sites
    assert [name for name, _ in ungated.unavailable] == ["places"] and "gates=" in ungated.unavailable[0][1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_unavailable() -> None:
    sites = bench_of(seeded(Scripted)).attention_sites
    assert len(sites) == 0 and sites.unavailable == (("inner", "it is a scripted module, which runs outside Python"),)
    with pytest.raises(ex.ExplorerError, match="no attention.*Inner is not seen"):
        sites.select(("*",))


def test_attention_inside_a_transform_is_left_alone() -> None:
    model, x = seeded(Mapped), rows(B)
    bench = bench_of(model)
    assert len(bench.attention_sites) == 0
    with torch.no_grad():
        assert torch.equal(bench.dense.outputs(x), model(x))


def test_layers_are_chosen_by_names_and_globs() -> None:
    sites = bench_of(seeded(Decoder)).attention_sites
    assert [site.name for site in sites.select(("decoder.*",), ("*.self_attn",))] == ["decoder.multihead_attn"]
    assert [site.name for site in sites.select(("encoder.self_attn",))] == ["encoder.self_attn"]
    with pytest.raises(ex.ExplorerError, match='no attention layer matches "encoder.7"'):
        sites.select(("encoder.7",))
    with pytest.raises(ex.ExplorerError, match='there is no attention layer "head"'):
        sites["head"]
