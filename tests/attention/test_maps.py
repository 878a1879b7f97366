"""What maps say together: rollout in closed form, entropy and confidence of known rows, padding left out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import explorer as ex
from explorer.attention.maps import AttentionMaps, LayerMaps
from explorer.attention.sites import Site
from explorer.subjects.axes import Axis, plain_axis
from tests.toys import Encoder, seeded

N = 5


def layer(weights: Tensor, name: str = "a", labels: tuple[str, ...] | None = None, kind: str = "self") -> LayerMaps:
    batch, heads, _, keys = weights.shape
    axis = plain_axis("places", batch, keys) if labels is None else Axis("words", (labels,) * batch)
    site = Site(name, name, 0, kind, True, heads, *weights.shape[-2:])
    return LayerMaps(site, weights, tuple(range(heads)), axis, axis)


def maps_of(*weights: Tensor) -> AttentionMaps:
    return AttentionMaps(tuple(layer(rows, f"layer {at}") for at, rows in enumerate(weights)))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_rollout_of_uniform_attention(layers: int) -> None:
    found = maps_of(*[torch.full((2, 3, N, N), 1 / N)] * layers).rollout()
    wanted = 2.0**-layers * torch.eye(N) + (1 - 2.0**-layers) * torch.full((N, N), 1 / N)
    assert torch.allclose(found, wanted.expand(2, N, N), atol=1e-7)


def test_rollout_of_attention_to_oneself_is_the_identity() -> None:
    assert torch.equal(maps_of(*[torch.eye(N).expand(2, 3, N, N)] * 4).rollout(), torch.eye(N).expand(2, N, N))


def test_rollout_multiplies_later_layers_from_the_left() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = (torch.randn(1, 2, N, N, generator=draw).softmax(-1) for _ in range(2))
    half = [(weights.mean(1)[0] + torch.eye(N)) / 2 for weights in (first, second)]
    maps = maps_of(first, second)
    assert torch.allclose(maps.rollout()[0], half[1] @ half[0], atol=1e-7)
    assert torch.allclose(maps.flow_to(2)[0], (half[1] @ half[0])[2], atol=1e-7)
    assert torch.allclose(maps.rollout(layers=["layer 1"])[0], half[1], atol=1e-7)
    assert torch.allclose(maps.rollout().sum(-1), torch.ones(1, N))


def test_rollout_with_gradients_by_hand() -> None:
    draw = torch.Generator().manual_seed(1)
    weights, slopes = torch.rand(1, 2, N, N, generator=draw), torch.randn(1, 2, N, N, generator=draw)
    chain = [layer(weights, "a"), layer(weights, "b")]
    for one in chain:
        object.__setattr__(one, "gradients", slopes)
    positive = (weights * slopes).relu().mean(1)[0]
    wanted = torch.eye(N) + positive
    assert torch.allclose(AttentionMaps(tuple(chain)).rollout(gradients=True)[0], wanted + positive @ wanted, atol=1e-6)
    with pytest.raises(ex.ExplorerError, match="no gradients"):
        maps_of(weights).rollout(gradients=True)


def test_rollout_takes_self_attention_alone() -> None:
    cross = layer(torch.full((1, 1, N, N), 1 / N), "cross", kind="cross")
    with pytest.raises(ex.ExplorerError, match="no self-attention to follow"):
        AttentionMaps((cross,)).rollout()
    own = layer(torch.eye(N).expand(1, 1, N, N), "own")
    assert torch.equal(AttentionMaps((cross, own)).rollout()[0], torch.eye(N))
    with pytest.raises(ex.ExplorerError, match="no position 5"):
        AttentionMaps((own,)).flow_to(N)


def test_entropy_and_confidence_of_known_rows() -> None:
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0], [0.7, 0.1, 0.1, 0.1], [1.0, 0.0, 0.0, 0.0]])
    entropy = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1)) / math.log(4)
    maps = maps_of(rows.expand(1, 1, 4, 4))
    assert maps.entropy()["layer 0"].item() == pytest.approx((1 + 1 + entropy) / 3)  # the last row has no choice
    assert maps.confidence()["layer 0"].item() == pytest.approx((0.25 + 0.5 + 0.7 + 1) / 4)


def test_padding_is_left_out() -> None:
    rows = torch.tensor([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]).expand(1, 1, 3, 3)
    maps = AttentionMaps((layer(rows, labels=("the", "cat", "")),))
    assert maps["a"].valid_queries.tolist() == [[True, True, False]]
    assert maps.confidence()["a"].item() == pytest.approx((0.5 + 0.9) / 2)


def encoder_with(change: str) -> nn.Module:
    model = seeded(lambda: Encoder(layers=2))
    with torch.no_grad():
        attention = model.get_submodule("encoder.layers.0.self_attn")
        if change == "no queries and keys":
            attention.in_proj_weight[:24] = 0  # type: ignore[operator]
            attention.in_proj_bias[:24] = 0  # type: ignore[operator]
        elif change == "no output":
            attention.out_proj.weight[:, :4] = 0  # type: ignore[operator, union-attr]
    return model


IDS = torch.randint(1, 20, (6, 7), generator=torch.Generator().manual_seed(4))


def maps_with(change: str) -> AttentionMaps:
    return ex.load(encoder_with(change), data=(IDS, torch.arange(6) % 2)).dense.attention(IDS)


def test_without_queries_and_keys_rows_are_uniform() -> None:
    maps = maps_with("no queries and keys")
    name = maps.layers[0]
    assert torch.allclose(maps.weights[name], torch.full((6, 3, 7, 7), 1 / 7), atol=1e-7)
    assert torch.allclose(maps.entropy()[name], torch.ones(3, dtype=torch.float64))


def test_a_head_without_output_keeps_its_map_and_moves_later_ones() -> None:
    plain, cut = maps_with("nothing"), maps_with("no output")
    first, second = plain.layers
    assert torch.equal(plain.weights[first], cut.weights[first])
    assert not torch.allclose(plain.weights[second], cut.weights[second], atol=1e-4)


def test_it_prints_its_layers_and_what_attention_is_not() -> None:
    text = str(maps_with("nothing"))
    assert "encoder.layers.1.self_attn  self" in text and "fused (computed here" in text and "not why" in text
    with pytest.raises(ex.ExplorerError, match='no attention layer "b"'):
        maps_of(torch.eye(3)[None, None])["b"]
    with pytest.raises(ex.ExplorerError, match="no head 4"):
        maps_of(torch.eye(3)[None, None])["layer 0"].place(4)
