"""Outfits on private clones: the right weights run, thin where that is less work, and everything comes off again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.weights.clone import digest, full_copy, private_clone
from explorer.weights.forms import Dense, Factors, Form, Masked
from explorer.weights.install import Outfit, PrivateModel
from explorer.weights.matrices import find_matrices
from explorer.weights.thin import ThinConv, ThinLinear

EMPTY = Outfit({}, {})


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {m.name: m.view(model.get_parameter(m.parameter).detach()) for m in find_matrices(model)}


def masked(weight: Tensor) -> Masked:
    mask = weight.abs() > weight.abs().median()
    return Masked(weight * mask, mask)


def factors(weight: Tensor, rank: int = 1) -> Factors:
    u, s, v = torch.linalg.svd(weight.float(), full_matrices=False)
    left, right = (u[:, :rank] * s[:rank]).to(weight.dtype), v[:rank].to(weight.dtype)
    return Factors(Dense(left.contiguous()), Dense(right.contiguous()))


def reference(model: nn.Module, outfit: Outfit) -> nn.Module:
    """A full copy with the decoded matrices and the tensors written into its Parameters."""
    copy = full_copy(model).eval()
    with torch.no_grad():
        for matrix in find_matrices(copy):
            if matrix.name in outfit.forms:
                matrix.view(copy.get_parameter(matrix.parameter)).copy_(outfit.forms[matrix.name].decode())
        for name, form in outfit.rest.items():
            copy.get_parameter(name).copy_(form.decode().reshape(copy.get_parameter(name).shape))
    return copy


class Fused(nn.Module):
    """A fused projection, a convolution and a convolution in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped = nn.Conv1d(6, 8, 3, padding=1), nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(24, 9)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.grouped(self.conv(x).relu()).transpose(1, 2)
        return torch.as_tensor(self.head(self.qkv(y).relu()))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x.transpose(1, 2)[..., :5])[0]
        return y


class Repeated(nn.Module):
    """One module at two paths, one Parameter in two modules with biases of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(7, 7)
        self.blocks = nn.ModuleList([self.first, nn.Linear(7, 7), nn.Linear(7, 7)])
        self.blocks[2].weight = self.blocks[1].weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for block in self.blocks:
            y = block(y.relu())
        return y


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "root": (lambda: nn.Linear(7, 9), torch.randn(3, 7)),
    "fused": (Fused, torch.randn(2, 6, 7)),
    "recurrent": (Recurrent, torch.randn(2, 6, 7)),
    "repeated": (Repeated, torch.randn(3, 7)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 5, 8)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), torch.randn(2, 3, 6, 6)),
}
WAYS: dict[str, Callable[[int, Tensor], Form | None]] = {
    "masked": lambda at, weight: masked(weight),
    "thin": lambda at, weight: factors(weight),
    "full rank": lambda at, weight: factors(weight, min(weight.shape)),
    "mixed": lambda at, weight: (factors(weight), masked(weight), None, Dense(weight * 2))[at % 4],
}


def build(kind: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, inputs = MODELS[kind]
    return make().eval(), inputs


def outfit_of(model: nn.Module, way: str) -> Outfit:
    forms = {name: WAYS[way](at, weight) for at, (name, weight) in enumerate(weights_of(model).items())}
    return Outfit({name: form for name, form in forms.items() if form is not None}, {})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MODELS)
def test_what_runs_is_the_decoded_weight(kind: str, way: str) -> None:
    model, x = build(kind)
    outfit = outfit_of(model, way)
    private, mark = PrivateModel(model, find_matrices(model)), digest(model)
    with torch.no_grad():
        wanted, dense = reference(model, outfit)(x), private_clone(model)(x)
        torch.testing.assert_close(private.wear(outfit)(x), wanted, rtol=0, atol=1e-5)
        assert torch.equal(private.wear(EMPTY)(x), dense)
    assert digest(model) == mark


@pytest.mark.parametrize("kind", MODELS)
def test_outfits_follow_each_other_without_a_trace(kind: str) -> None:
    model, x = build(kind)
    outfits = [outfit_of(model, way) for way in WAYS] + [EMPTY]
    matrices = find_matrices(model)
    with torch.no_grad():
        alone = [PrivateModel(model, matrices).wear(outfit)(x) for outfit in outfits]
        private = PrivateModel(model, matrices)
        for at in (4, 0, 1, 2, 3, 1, 0, 4, 3, 4, 4, 1, 1):
            assert torch.equal(private.wear(outfits[at])(x), alone[at])


def test_two_clones_of_one_model_do_not_meet() -> None:
    model, x = build("fused")
    matrices = find_matrices(model)
    a, b = PrivateModel(model, matrices), PrivateModel(model, matrices)
    with torch.no_grad():
        dense = b.module(x)
        a.wear(outfit_of(model, "mixed"))
        assert torch.equal(b.module(x), dense)


def test_the_same_outfit_is_not_put_on_twice() -> None:
    model, _ = build("fused")
    private, outfit = PrivateModel(model, find_matrices(model)), outfit_of(model, "thin")
    first = private.wear(outfit).get_submodule("qkv")
    assert private.wear(outfit).get_submodule("qkv") is first


# -- thin or not --------------------------------------------------------------------------------------------------


def thin_names(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, (ThinLinear, ThinConv))}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("root", {""}),
        ("fused", {"conv", "qkv", "head"}),  # a convolution in groups cannot, an LSTM or GRU neither
        ("recurrent", set()),
        ("repeated", {"first", "blocks.0"}),  # the very module at two paths can, two modules with one Parameter cannot
        ("attention", {"self_attn.thin.query", "self_attn.thin.key", "self_attn.thin.value", "self_attn.out_proj",
                       "linear1", "linear2"}),
        ("convolution", {"0"}),
    ],
)  # fmt: skip
def test_factors_run_as_thin_layers_where_the_module_can(kind: str, wanted: set[str]) -> None:
    model, _ = build(kind)
    dressed = PrivateModel(model, find_matrices(model)).wear(outfit_of(model, "thin"))
    names = {name for name, module in dressed.named_modules(remove_duplicate=False) if "Thin" in type(module).__name__}
    assert names == wanted


@pytest.mark.parametrize("kind", MODELS)
def test_factors_at_full_rank_run_as_one_matrix(kind: str) -> None:
    model, _ = build(kind)
    private = PrivateModel(model, find_matrices(model))
    assert not thin_names(private.wear(outfit_of(model, "full rank")))


def test_parts_of_a_fused_projection_are_thin_each_on_its_own() -> None:
    model, x = build("fused")
    weights = weights_of(model)
    forms: dict[str, Form] = {"qkv.key": factors(weights["qkv.key"]), "qkv.value": masked(weights["qkv.value"])}
    outfit = Outfit(forms, {"qkv.bias": Dense(torch.randn(1, 24))})
    with torch.no_grad():
        dressed = PrivateModel(model, find_matrices(model)).wear(outfit)
        thin = dressed.get_submodule("qkv")
        assert isinstance(thin, ThinLinear) and sum(p.numel() for p in thin.parameters()) == 64 + 16 + 64 + 24
        torch.testing.assert_close(dressed(x), reference(model, outfit)(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["root", "fused", "convolution"])
def test_changed_biases_go_with_thin_layers(kind: str) -> None:
    model, x = build(kind)
    rows = {name: p for name, p in model.named_parameters() if name.endswith("bias")}
    biases: dict[str, Form] = {name: Dense(torch.randn(1, len(p))) for name, p in rows.items()}
    outfit = Outfit(outfit_of(model, "thin").forms, biases)
    private = PrivateModel(model, find_matrices(model))
    with torch.no_grad():
        torch.testing.assert_close(private.wear(outfit)(x), reference(model, outfit)(x), rtol=0, atol=1e-5)
        assert torch.equal(private.wear(EMPTY)(x), private_clone(model)(x))


@pytest.mark.parametrize("way", ["thin", "masked", "mixed"])
def test_the_transposed_layers_of_transformers(way: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=13, n_positions=6)
    model = transformers.GPT2Model(config).eval()
    outfit = outfit_of(model, way)
    tokens = torch.tensor([[1, 2, 3]])
    private = PrivateModel(model, find_matrices(model))
    with torch.no_grad():
        wanted = reference(model, outfit)(tokens).last_hidden_state
        torch.testing.assert_close(private.wear(outfit)(tokens).last_hidden_state, wanted, rtol=0, atol=1e-5)
        if way == "thin":
            assert "h.0.attn.c_attn" in thin_names(private.module) and "h.0.mlp.c_fc" in thin_names(private.module)


class Cosine(nn.Linear):
    """A layer that uses its weight in its own way, which a product of two thin ones would miss."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.normalize(x, dim=-1), nn.functional.normalize(self.weight, dim=-1))


class OwnConstructor(nn.Conv1d):
    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels, 3)


def doubled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return 2 * output


def test_a_layer_with_a_forward_of_its_own_keeps_it() -> None:
    model, x = nn.Sequential(Cosine(7, 9)).eval(), torch.randn(3, 7)
    outfit = outfit_of(model, "thin")
    with torch.no_grad():
        dressed = PrivateModel(model, find_matrices(model)).wear(outfit)
        torch.testing.assert_close(dressed(x), reference(model, outfit)(x))


def test_a_layer_with_hooks_keeps_them() -> None:
    model, x = nn.Sequential(nn.Linear(7, 9)).eval(), torch.randn(3, 7)
    model[0].register_forward_hook(doubled)
    outfit = outfit_of(model, "thin")
    with torch.no_grad():
        dressed = PrivateModel(model, find_matrices(model)).wear(outfit)
        torch.testing.assert_close(dressed(x), reference(model, outfit)(x))


def test_a_convolution_with_a_constructor_of_its_own_can_be_thin() -> None:
    model, x = nn.Sequential(OwnConstructor(4)).eval(), torch.randn(2, 4, 6)
    outfit = outfit_of(model, "thin")
    with torch.no_grad():
        dressed = PrivateModel(model, find_matrices(model)).wear(outfit)
        assert thin_names(dressed) == {"0"}
        torch.testing.assert_close(dressed(x), reference(model, outfit)(x), rtol=0, atol=1e-5)


def test_code_that_looks_at_a_thin_layer_finds_what_it_knows() -> None:
    class Looking(nn.Module):
        """As vision models ask their patch embedding for its type and sizes."""

        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 2, stride=2)
            self.fc = nn.Linear(8, 9)

        def forward(self, x: Tensor) -> Tensor:
            assert (
                self.patches.stride == (2, 2) and self.patches.out_channels == 8 and self.patches.kernel_size == (2, 2)
            )
            y = self.patches(x.to(self.patches.weight.dtype)).flatten(2).transpose(1, 2)  # (B, N, 8)
            assert self.fc.in_features == y.shape[-1]
            return nn.functional.linear(y, self.fc.weight, self.fc.bias)

    model, x = Looking().eval(), torch.randn(2, 3, 6, 6)
    outfit = outfit_of(model, "thin")
    with torch.no_grad():
        dressed = PrivateModel(model, find_matrices(model)).wear(outfit)
        assert thin_names(dressed) == {"patches", "fc"}
        torch.testing.assert_close(dressed(x), reference(model, outfit)(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("way", ["thin", "masked"])
def test_other_types_stay_what_they_are(dtype: torch.dtype, way: str) -> None:
    model, x = build("fused")
    model = model.to(dtype)
    with torch.no_grad():
        dressed = PrivateModel(model, find_matrices(model)).wear(outfit_of(model, way))
        assert {p.dtype for p in dressed.parameters()} == {dtype}
        assert dressed(x.to(dtype)).dtype is dtype


def test_channels_last_convolutions() -> None:
    model = nn.Conv2d(3, 8, 3).eval()
    model.weight = nn.Parameter(model.weight.detach().contiguous(memory_format=torch.channels_last))
    x = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
    for way in ("masked", "thin"):
        outfit = outfit_of(model, way)
        with torch.no_grad():
            dressed = PrivateModel(model, find_matrices(model)).wear(outfit)
            weight = outfit.forms["weight"].decode().reshape(8, 3, 3, 3)
            wanted = nn.functional.conv2d(x, weight, model.bias)
            torch.testing.assert_close(dressed(x), wanted, rtol=0, atol=1e-5)


def test_a_full_copy_of_a_dressed_clone_is_a_model_of_its_own() -> None:
    """What `Variant.model` hands out: thin layers and all, to be trained without a trace."""
    model, x = build("attention")
    private = PrivateModel(model, find_matrices(model))
    outfit = outfit_of(model, "mixed")
    own = full_copy(private.wear(outfit))
    with torch.no_grad():
        wanted = private.module(x)
        assert torch.equal(own.eval()(x), wanted)
        for parameter in own.parameters():
            parameter.add_(1)
        assert torch.equal(private.wear(outfit)(x), wanted)
