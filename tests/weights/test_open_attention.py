"""Our attention against PyTorch's, on all options; stock encoder and decoder layers with thin projections."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from explorer import ExplorerError
from explorer.weights.clone import digest, private_clone
from explorer.weights.forms import Dense, Factors, Form
from explorer.weights.install import Outfit, PrivateModel
from explorer.weights.matrices import find_matrices
from explorer.weights.open_attention import OpenAttention, open_attention

WIDTH, HEADS, BATCH, QUERIES, KEYS = 8, 2, 3, 4, 5


def pair(**options: Any) -> tuple[nn.MultiheadAttention, OpenAttention]:
    """(PyTorch's attention, the same one opened), in eval mode, with biases that are not zero."""
    torch.manual_seed(0)
    stock = nn.MultiheadAttention(WIDTH, HEADS, **options).eval()
    for parameter in stock.parameters():
        nn.init.normal_(parameter, std=0.5)
    return stock, open_attention(copy.deepcopy(stock))


def inputs(stock: nn.MultiheadAttention, batched: bool, same_length: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """(query, key, value), in the order of axes that the module wants."""
    torch.manual_seed(1)
    keys = QUERIES if same_length else KEYS
    shapes = ((QUERIES, WIDTH), (keys, stock.kdim), (keys, stock.vdim))
    query, key, value = (torch.randn(BATCH, *shape) for shape in shapes)
    if not batched:
        return query[0], key[0], value[0]
    if stock.batch_first:
        return query, key, value
    return query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)


def same(stock: nn.MultiheadAttention, opened: OpenAttention, *args: Any, **options: Any) -> None:
    with torch.no_grad():
        wanted, wanted_weights = stock(*args, **options)
        found, weights = opened(*args, **options)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6, equal_nan=True)
    assert (weights is None) == (wanted_weights is None)
    if weights is not None:
        torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=1e-6, equal_nan=True)


def padding(kind: str, batched: bool) -> Tensor | None:
    """The last key of the first example and two keys of the last are padding."""
    mask = torch.zeros(BATCH, KEYS, dtype=torch.bool)
    mask[0, -1:] = mask[2, :2] = True
    chosen = mask if batched else mask[0]
    return None if kind == "none" else chosen if kind == "bool" else floats(chosen)


def hidden(kind: str, batched: bool) -> Tensor | None:
    """Which keys a query must not see: never all of them, also beside the padding."""
    torch.manual_seed(2)
    lines = BATCH * HEADS if batched else HEADS
    mask = torch.rand(lines, QUERIES, KEYS) < 0.3 if "3" in kind else torch.rand(QUERIES, KEYS) < 0.3
    mask[..., 2] = False
    if kind == "none":
        return None
    return mask if "bool" in kind else floats(mask) + 0.1 * torch.randn(mask.shape)


def floats(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(mask, float("-inf"))


BUILDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False, "batch_first": True},
    "learned keys": {"add_bias_kv": True},
    "zero key": {"add_zero_attn": True, "batch_first": True},
    "both extra keys": {"add_bias_kv": True, "add_zero_attn": True},
    "other widths": {"kdim": 6, "vdim": 10, "batch_first": True},
    "other key width, extra keys": {"kdim": 6, "add_bias_kv": True, "add_zero_attn": True},
    "dropout, which eval turns off": {"dropout": 0.5, "batch_first": True},
}
PADDINGS = ("none", "bool", "float")
MASKS = ("none", "bool 2-D", "float 2-D", "bool 3-D", "float 3-D")
ANSWERS: tuple[dict[str, bool], ...] = ({"need_weights": False}, {}, {"average_attn_weights": False})


@pytest.mark.filterwarnings("ignore:Support for mismatched")  # PyTorch's own opinion about mixed kinds of masks
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize("build", BUILDS)
def test_open_attention_is_attention(build: str, batched: bool) -> None:
    stock, opened = pair(**BUILDS[build])
    args = inputs(stock, batched)
    for (pads, masks), answer in zip(itertools.product(PADDINGS, MASKS), itertools.cycle(ANSWERS), strict=False):
        options = {"key_padding_mask": padding(pads, batched), "attn_mask": hidden(masks, batched), **answer}
        same(stock, opened, *args, **options)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_causal_attention(need_weights: bool, padded: bool) -> None:
    stock, opened = pair(batch_first=True)
    args = inputs(stock, True, same_length=True)
    mask = nn.Transformer.generate_square_subsequent_mask(QUERIES)
    pads = floats(torch.tensor([[False] * 4, [False] * 3 + [True], [False] * 4])) if padded else None
    same(stock, opened, *args, attn_mask=mask, is_causal=True, need_weights=need_weights, key_padding_mask=pads)
    same(stock, opened, *args, attn_mask=mask.isinf(), is_causal=True, need_weights=need_weights)


def test_the_causal_hint_needs_its_mask() -> None:
    stock, opened = pair()
    args = inputs(stock, True, same_length=True)
    with pytest.raises(RuntimeError):
        stock(*args, is_causal=True)
    with pytest.raises(ExplorerError, match="Give attn_mask"):
        opened(*args, is_causal=True)


def test_a_query_that_sees_nothing_gets_what_pytorch_gives_it() -> None:
    stock, opened = pair(batch_first=True)
    mask = torch.zeros(QUERIES, KEYS, dtype=torch.bool)
    mask[1] = True
    for need_weights in (True, False):
        same(stock, opened, *inputs(stock, True), attn_mask=mask, need_weights=need_weights)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype: torch.dtype) -> None:
    stock, opened = (module.to(dtype) for module in pair(batch_first=True))
    args = [x.to(dtype) for x in inputs(stock, True)]
    with torch.no_grad():
        for answer in ANSWERS:
            wanted, found = stock(*args, **answer)[0], opened(*args, **answer)[0]
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12 if dtype is torch.float64 else 0.05)


def test_rows_of_weights_sum_to_one() -> None:
    stock, opened = pair(batch_first=True, add_zero_attn=True)
    weights = opened(*inputs(stock, True), average_attn_weights=False)[1]
    assert weights is not None and weights.shape == (BATCH, HEADS, QUERIES, KEYS + 1)
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, QUERIES))


def test_gradients_flow_as_in_the_original() -> None:
    stock, opened = (module.double() for module in pair(batch_first=True))
    args = [x.double() for x in inputs(stock, True)]
    for module in (stock, opened):
        module(*args, need_weights=False)[0].square().sum().backward()
    for (name, a), (_, b) in zip(stock.named_parameters(), opened.named_parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        torch.testing.assert_close(b.grad, a.grad, rtol=0, atol=1e-12, msg=name)


def test_dropout_works_in_training_mode() -> None:
    stock, opened = pair(batch_first=True, dropout=0.5)
    args = inputs(stock, True)
    opened.train()
    for need_weights in (True, False):
        torch.manual_seed(0)
        first = opened(*args, need_weights=need_weights)[0]
        assert not torch.equal(first, opened(*args, need_weights=need_weights)[0])


def test_opening_keeps_parameters_names_and_state() -> None:
    stock, opened = pair(add_bias_kv=True)
    assert list(opened.state_dict()) == list(stock.state_dict())
    assert open_attention(opened) is opened and isinstance(opened, nn.MultiheadAttention)
    opened.load_state_dict(stock.state_dict())
    same(stock, copy.deepcopy(opened), *inputs(stock, True))


# -- stock transformer layers -------------------------------------------------------------------------------------


def thin_outfit(model: nn.Module, rank: int = 2) -> Outfit:
    """Low-rank factors for every matrix of the model."""
    forms: dict[str, Form] = {}
    for matrix in find_matrices(model):
        weight = matrix.view(model.get_parameter(matrix.parameter).detach())
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        forms[matrix.name] = Factors(Dense(u[:, :rank] * s[:rank]), Dense(v[:rank].contiguous()))
    return Outfit(forms, {})


def with_full_weights(model: nn.Module, outfit: Outfit) -> nn.Module:
    """The reference: PyTorch's own modules with the products of the factors written into their weights."""
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for matrix in find_matrices(reference):
            matrix.view(reference.get_parameter(matrix.parameter)).copy_(outfit.forms[matrix.name].decode())
    return reference.eval()


def thin_and_reference(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    outfit = thin_outfit(model.eval())
    assert all(isinstance(form, Factors) and form.runs_thin for form in outfit.forms.values())
    mark = digest(model)
    thin = PrivateModel(model, find_matrices(model)).wear(outfit)
    assert digest(model) == mark
    assert "Thin" in str(thin)
    return thin, with_full_weights(model, outfit)


LENGTHS = torch.tensor([6, 4, 1])
VALID = torch.arange(6)[None] < LENGTHS[:, None]  # (B, N)


def encoder_layer(**options: Any) -> nn.TransformerEncoderLayer:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 16, dropout=0.1, batch_first=True, **options)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("activation", "norm_first", "nested"),
    [("relu", False, True), ("gelu", False, True), ("gelu", False, False), ("relu", True, True), ("gelu", True, False)],
)
def test_stock_encoders_with_thin_layers_and_padding(activation: str, norm_first: bool, nested: bool) -> None:
    """At valid positions; what stands at padded ones differs between PyTorch's own paths."""
    layer = encoder_layer(activation=activation, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
    thin, reference = thin_and_reference(model)
    x = torch.randn(3, 6, WIDTH)
    for gradients in (False, True):  # only without them PyTorch takes its fused path
        with torch.set_grad_enabled(gradients):
            found, wanted = thin(x, src_key_padding_mask=~VALID), reference(x, src_key_padding_mask=~VALID)
            assert found.shape == x.shape
            torch.testing.assert_close(found[VALID], wanted[VALID], rtol=0, atol=1e-5)
            torch.testing.assert_close(thin(x), reference(x), rtol=0, atol=1e-5)


def test_a_single_encoder_layer_and_a_causal_mask() -> None:
    thin, reference = thin_and_reference(encoder_layer())
    x = torch.randn(3, 6, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    with torch.no_grad():
        for options in ({}, {"src_mask": mask}, {"src_mask": mask, "is_causal": True}):
            torch.testing.assert_close(thin(x, **options), reference(x, **options), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_stock_decoders_with_thin_layers_and_padding(norm_first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 16, batch_first=True, norm_first=norm_first)
    x, memory = torch.randn(3, 5, WIDTH), torch.randn(3, 6, WIDTH)
    options = {
        "tgt_mask": nn.Transformer.generate_square_subsequent_mask(5),
        "tgt_is_causal": True,
        "memory_key_padding_mask": ~VALID,
    }
    for model in (layer, nn.TransformerDecoder(layer, 2)):
        thin, reference = thin_and_reference(model)
        with torch.no_grad():
            torch.testing.assert_close(thin(x, memory, **options), reference(x, memory, **options), rtol=0, atol=1e-5)


def test_padded_positions_have_one_value_whatever_the_weights_are() -> None:
    """The dense clone runs on the same path as a variant, so that the two may be compared at every position."""
    model = nn.TransformerEncoder(encoder_layer(), 2).eval()
    matrices = find_matrices(model)
    same_weights: dict[str, Form] = {
        m.name: Dense(m.view(model.get_parameter(m.parameter).detach()).clone()) for m in matrices
    }
    x = torch.randn(3, 6, WIDTH)
    with torch.no_grad():
        dense = private_clone(model)(x, src_key_padding_mask=~VALID)
        variant = PrivateModel(model, matrices).wear(Outfit(same_weights, {}))(x, src_key_padding_mask=~VALID)
    assert torch.equal(dense, variant)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(["query", "key", "value", "out_proj"]), min_size=1), st.booleans(), st.booleans())
def test_any_choice_of_thin_projections(chosen: set[str], separate: bool, bias: bool) -> None:
    sizes = {"kdim": 7, "vdim": 6} if separate else {}
    model = nn.ModuleDict({"attn": pair(batch_first=True, bias=bias, **sizes)[0]})
    every = thin_outfit(model, rank=1)
    outfit = Outfit({name: form for name, form in every.forms.items() if name.split(".")[1] in chosen}, {})
    private = PrivateModel(model, find_matrices(model))
    attention = private.wear(outfit).get_submodule("attn")
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for matrix in find_matrices(model):
            if matrix.name in outfit.forms:
                matrix.view(reference.get_parameter(matrix.parameter)).copy_(outfit.forms[matrix.name].decode())
        stock = reference.get_submodule("attn")
        assert isinstance(stock, nn.MultiheadAttention)
        args = inputs(stock, True)
        torch.testing.assert_close(attention(*args)[0], stock(*args)[0], rtol=0, atol=1e-5)
        undressed = private.wear(Outfit({}, {})).get_submodule("attn")
        assert torch.equal(undressed(*args)[0], private_clone(model).get_submodule("attn")(*args)[0])
