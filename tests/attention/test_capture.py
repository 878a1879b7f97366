"""Attention maps: equal to the softmax by hand and to PyTorch's own, with gradients, and nothing left behind."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode

from explorer.attention.capture import captured, capturing
from explorer.weights.clone import private_clone
from explorer.weights.open_attention import open_attention

B, H, N, S, D = 2, 4, 5, 7, 3


def tensors(keys: int = S, heads: int = H, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randn(B, H, N, D, generator=draw),
        torch.randn(B, heads, keys, D, generator=draw),
        torch.randn(B, heads, keys, D, generator=draw),
    )


def by_hand(query: Tensor, key: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    scores = torch.einsum("bhnd,bhsd->bhns", query, key) * (1 / math.sqrt(D) if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


def told(*args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """(output, map) of the fused attention while captured; the output has to be PyTorch's own."""
    maps: list[Tensor] = []
    with captured(maps):
        output = F.scaled_dot_product_attention(*args, **options)
    assert torch.allclose(output, F.scaled_dot_product_attention(*args, **options), atol=1e-6)
    assert len(maps) == 1
    return output, maps[0]


@pytest.mark.parametrize("kind", ["none", "bool", "numbers", "scale"])
def test_the_fused_attention_shows_its_weights(kind: str) -> None:
    query, key, value = tensors()
    mask = torch.rand(B, 1, N, S, generator=torch.Generator().manual_seed(3)) > 0.3
    mask[..., 0] = True
    kinds: dict[str, dict[str, Any]] = {
        "none": {}, "bool": {"attn_mask": mask}, "numbers": {"attn_mask": torch.randn(N, S)}, "scale": {"scale": 0.3},
    }  # fmt: skip
    options = kinds[kind]
    _, found = told(query, key, value, **options)
    assert torch.allclose(found, by_hand(query, key, options.get("attn_mask"), options.get("scale")), atol=1e-6)
    assert torch.allclose(found.sum(-1), torch.ones(B, H, N))


@pytest.mark.parametrize("keys", [N, S])
def test_causal_attention_sees_no_later_key(keys: int) -> None:
    query, key, value = tensors(keys)
    _, found = told(query, key, value, is_causal=True)
    assert torch.allclose(found, by_hand(query, key, torch.ones(N, keys, dtype=torch.bool).tril()), atol=1e-6)


def test_grouped_queries_share_keys() -> None:
    query, key, value = tensors(heads=2)
    _, found = told(query, key, value, enable_gqa=True)
    assert torch.allclose(found, by_hand(query, key.repeat_interleave(2, 1)), atol=1e-6)


def test_single_heads_have_a_dimension_of_their_own() -> None:
    query, key, value = (tensor[:, 0] for tensor in tensors())
    assert told(query, key, value)[1].shape == (B, 1, N, S)


@pytest.mark.parametrize("additive", [False, True])
def test_a_query_that_sees_nothing_gives_nothing_and_no_gradient(additive: bool) -> None:
    query, key, value = (tensor.requires_grad_() for tensor in tensors())
    seen = torch.ones(N, S, dtype=torch.bool)
    seen[1] = False
    mask = torch.zeros(N, S).masked_fill(~seen, -torch.inf) if additive else seen
    maps: list[Tensor] = []
    with captured(maps):
        output = F.scaled_dot_product_attention(query, key, value, mask)
    assert maps[0][:, :, 1].eq(0).all() and maps[0].isfinite().all()
    (output.square().sum() + maps[0].square().sum()).backward()
    for tensor in (query, key, value):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_equal_to_what_multihead_attention_tells(need_weights: bool, padded: bool) -> None:
    torch.manual_seed(0)
    stock = nn.MultiheadAttention(H * D, H, batch_first=True).eval()
    x = torch.randn(B, N, H * D)
    padding = torch.zeros(B, N, dtype=torch.bool)
    padding[0, 3:] = padded
    wanted = stock(x, x, x, key_padding_mask=padding, average_attn_weights=False)[1]
    opened, maps = open_attention(copy.deepcopy(stock)), []  # type: ignore[var-annotated]
    with captured(maps):
        opened(x, x, x, key_padding_mask=padding, need_weights=need_weights)
    assert len(maps) == 1 and torch.allclose(maps[0], wanted, atol=1e-6)


def test_an_eager_softmax_before_a_product_is_noted() -> None:
    query, key, value = tensors()
    wanted = by_hand(query, key)
    maps: list[Tensor] = []
    with captured(maps):
        scores = query @ key.transpose(-2, -1) / math.sqrt(D)
        for weights in (scores.softmax(-1), F.softmax(scores, dim=-1), torch.softmax(scores, -1)):
            torch.matmul(F.dropout(weights, 0.5).to(torch.float32), value)
        flat = scores.softmax(-1).view(B * H, N, S)
        torch.bmm(flat, mat2=value.reshape(B * H, S, D))
    assert len(maps) == 4
    assert all(torch.allclose(found.reshape(wanted.shape), wanted, atol=1e-6) for found in maps)


def test_other_softmaxes_are_no_attention() -> None:
    maps: list[Tensor] = []
    with captured(maps):
        logits = torch.randn(B, 10).softmax(-1)
        logits @ torch.randn(10, 3)  # a mixture of classes, no product of batches
        torch.randn(B, N, D) @ torch.randn(B, D, S).softmax(-1)  # not on the left
        (torch.randn(B, N, S).softmax(-1) * 2).sum()
    assert maps == []


def test_gradients_flow_through_maps_and_outputs() -> None:
    query, key, value = (tensor.requires_grad_() for tensor in tensors())
    maps: list[Tensor] = []
    with captured(maps):
        output = F.scaled_dot_product_attention(query, key, value)
    grads = torch.autograd.grad(output.square().sum(), (query, key, value), retain_graph=True)
    wanted = torch.autograd.grad(F.scaled_dot_product_attention(query, key, value).square().sum(), (query, key, value))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(grads, wanted, strict=True))
    assert torch.autograd.grad(maps[0][..., 0].sum(), query)[0].any()


def test_nothing_is_collected_where_nothing_is_asked() -> None:
    maps: list[Tensor] = []
    with captured(maps, when=False):
        F.scaled_dot_product_attention(*tensors())
    assert maps == []


def test_nothing_stays_behind_after_an_exception() -> None:
    maps: list[Tensor] = []
    with pytest.raises(RuntimeError), captured(maps):
        F.scaled_dot_product_attention(*tensors())
        raise RuntimeError("stopped")
    assert _get_current_function_mode() is None
    F.scaled_dot_product_attention(*tensors())
    assert len(maps) == 1


def stock(kind: str) -> nn.Module:
    """A stock layer in training mode without dropout, which takes PyTorch's own slow path."""
    torch.manual_seed(2)
    made = nn.TransformerDecoderLayer if kind == "decoder" else nn.TransformerEncoderLayer
    return made(H * D, H, 16, dropout=0.0, batch_first=True, norm_first=kind == "norm first")


@pytest.mark.parametrize("kind", ["encoder", "norm first", "decoder"])
def test_stock_layers_show_what_they_would_tell_and_run_the_same(kind: str) -> None:
    layer, x, memory = stock(kind), torch.randn(B, N, H * D), torch.randn(B, S, H * D)
    padding, causal = torch.zeros(B, N, dtype=torch.bool), nn.Transformer.generate_square_subsequent_mask(N)
    padding[0, 3:] = True
    wanted: list[Tensor] = []

    def listen(module: nn.Module, args: Any, kwargs: Any) -> Any:
        told = {**kwargs, "need_weights": True, "average_attn_weights": False}
        wanted.append(nn.MultiheadAttention.forward(module, *args, **told)[1])  # type: ignore[arg-type]

    for module in layer.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(listen, with_kwargs=True)
    if kind == "decoder":
        given: dict[str, Any] = {"memory": memory, "tgt_mask": causal, "tgt_key_padding_mask": padding.float() * -1e9}
    else:
        given = {"src_key_padding_mask": padding}
    plain = layer(x, **given).detach()
    opened, seen = private_clone(stock(kind)), []  # type: ignore[var-annotated]
    with torch.no_grad(), capturing(seen.append, opened):
        output = opened(x, **given)
    assert [one.module for one in seen] == (["self_attn", "multihead_attn"] if kind == "decoder" else ["self_attn"])
    for one, weights in zip(seen, wanted, strict=True):
        assert torch.allclose(one.weights, weights, atol=1e-6)
    assert torch.allclose(output[~padding], plain[~padding], atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(opened(x, **given)[~padding], output[~padding], atol=1e-5)


def test_dropout_of_the_fused_attention_acts_on_the_weights_that_are_seen() -> None:
    query, key, value = tensors()
    maps: list[Tensor] = []
    with captured(maps):
        torch.manual_seed(4)
        output = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5)
    torch.manual_seed(4)
    assert torch.allclose(maps[0], by_hand(query, key), atol=1e-6)
    assert torch.equal(output, F.dropout(maps[0], 0.5) @ value)


def test_attention_that_is_not_wanted_runs_as_it_is() -> None:
    query, key, value = tensors()
    seen: list[Any] = []
    with capturing(seen.append, wants=lambda module, number: number == 1):
        first = F.scaled_dot_product_attention(query, key, value)
        F.scaled_dot_product_attention(query, key, value, attn_mask=None)
        (query @ key.mT).softmax(-1) @ value
    assert [(one.module, one.number) for one in seen] == [("", 1)]
    assert torch.equal(first, F.scaled_dot_product_attention(query, key, value))


def test_rows_are_followed_through_masks_casts_and_turns() -> None:
    query, key, value = tensors()
    wanted, maps = by_hand(query, key), []  # type: ignore[var-annotated]
    scores = query @ key.mT / math.sqrt(D)
    with captured(maps):
        scores.softmax(-1).double().float().clone() @ value
        scores.mT.softmax(-2).mT @ value
        torch.matmul(scores.softmax(-1).mul(0.5), value)
        torch.einsum("bhns,bhsd->bhnd", scores.softmax(-1), value)
        torch.einsum("...ns,...sd->...nd", scores.softmax(-1), value)
    assert [torch.allclose(found, wanted, atol=1e-6) for found in maps] == [True, True, False, True, True]
    assert torch.allclose(maps[2], wanted / 2, atol=1e-6)


def test_products_that_sum_over_something_else_are_no_attention() -> None:
    rows, values = torch.randn(B, N, S), torch.randn(B, S, D)
    maps: list[Tensor] = []
    with captured(maps):
        rows.softmax(1) @ values  # columns sum to one, and the product sums over rows
        torch.einsum("bns,bsd->bnd", rows.softmax(1), values)
        torch.einsum("bns,cd->bnd", rows.softmax(-1), torch.randn(S, D))
        rows.softmax(-1)[:, 0] @ torch.randn(S, D)
        (rows.softmax(-1).unsqueeze(-1) * values[:, None]).sum(2)  # no module says that it is attention
    assert maps == []
