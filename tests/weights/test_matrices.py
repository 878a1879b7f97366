"""Weight matrices: which there are, that they are the maps which the layers apply, and what is left out and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from explorer import ExplorerError
from explorer.weights.matrices import Matrices, WeightMatrix, find_matrices

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # models of today still hold some


def parameter_of(model: nn.Module, matrix: WeightMatrix) -> Tensor:
    return model.get_parameter(matrix.parameter).detach()


def matrix_of(model: nn.Module, name: str) -> Tensor:
    matrix = find_matrices(model)[name]
    return matrix.view(parameter_of(model, matrix))


class Block(nn.Module):
    """A transformer block with a packed, fused projection, as vision transformers have it."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.num_heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc = nn.Linear(width, 3 * width)


# -- what there is ------------------------------------------------------------------------------------------------


def test_the_weights_of_linear_and_convolutional_layers_in_the_order_of_the_model() -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 3, groups=2), nn.Conv2d(6, 5, (3, 2)), nn.Flatten(), nn.Linear(7, 3))
    found = find_matrices(model)
    assert [(m.name, m.kind, m.rows, m.columns, m.groups) for m in found] == [
        ("0", "conv", 6, 2 * 3, 2),
        ("1", "conv", 5, 6 * 6, 1),
        ("3", "linear", 3, 7, 1),
    ]
    assert found.total == 36 + 180 + 21
    for matrix in found:
        assert matrix.count == matrix.rows * matrix.columns == model.get_parameter(matrix.parameter).numel()


def test_norms_biases_and_embeddings_are_ignored_unless_asked() -> None:
    model = nn.Sequential(nn.Embedding(11, 4), nn.LayerNorm(4), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.GroupNorm(1, 3))
    assert find_matrices(model).names == ["2"]
    asked = find_matrices(model, embeddings=True)
    assert [(m.name, m.kind, m.rows, m.columns) for m in asked] == [("0", "embedding", 11, 4), ("2", "linear", 3, 4)]


def test_the_root_itself_may_be_the_layer() -> None:
    found = find_matrices(nn.Linear(3, 2))
    assert [(m.name, m.module, m.parameter) for m in found] == [("weight", "", "weight")]
    assert found.select(["*"]) == found.select(["weight"]) == list(found)


def test_a_convolution_is_the_map_from_patches_to_channels() -> None:
    conv = nn.Conv2d(3, 5, 2, stride=2, bias=False)
    x = torch.randn(4, 3, 6, 6)
    patches = nn.functional.unfold(x, 2, stride=2)  # (B, in * kh * kw, places)
    torch.testing.assert_close(matrix_of(conv, "weight") @ patches, conv(x).flatten(2))


# -- packed projections -------------------------------------------------------------------------------------------


def test_q_k_and_v_of_native_attention_each_on_their_own() -> None:
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(8, 2)})
    found = find_matrices(model)
    assert found.names == ["attn.query", "attn.key", "attn.value", "attn.out_proj"]
    assert [m.heads for m in found] == [2, 2, 2, 2]
    packed = model.get_parameter("attn.in_proj_weight").detach()
    for name, part in zip(("query", "key", "value"), packed.chunk(3), strict=True):
        assert torch.equal(matrix_of(model, f"attn.{name}"), part)


def test_separate_projections_of_native_attention() -> None:
    model = nn.ModuleDict({"attn": nn.MultiheadAttention(8, 2, kdim=5, vdim=3)})
    found = find_matrices(model)
    assert [(m.name, m.rows, m.columns) for m in found] == [
        ("attn.query", 8, 8),
        ("attn.key", 8, 5),
        ("attn.value", 8, 3),
        ("attn.out_proj", 8, 8),
    ]
    assert [m.bias for m in found] == [
        ("attn.in_proj_bias", 0),
        ("attn.in_proj_bias", 8),
        ("attn.in_proj_bias", 16),
        ("attn.out_proj.bias", 0),
    ]


def test_a_fused_linear_is_three_matrices_only_where_it_is_one_projection() -> None:
    model = nn.ModuleDict({"attn": Block()})
    found = find_matrices(model)
    assert found.names == ["attn.qkv.query", "attn.qkv.key", "attn.qkv.value", "attn.proj", "attn.fc"]
    assert [m.heads for m in found] == [2, 2, 2, 2, None]
    assert [m.bias for m in found][:3] == [("attn.qkv.bias", 0), ("attn.qkv.bias", 8), ("attn.qkv.bias", 16)]
    x = torch.randn(5, 8)
    q, k, v = nn.functional.linear(x, model.get_parameter("attn.qkv.weight")).chunk(3, dim=-1)
    for name, wanted in (("query", q), ("key", k), ("value", v)):
        torch.testing.assert_close(x @ matrix_of(model, f"attn.qkv.{name}").t(), wanted)


def test_projections_that_mix_the_parts_head_by_head_stay_whole() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query_key_value = nn.Linear(8, 24)

    assert find_matrices(Mixed()).names == ["query_key_value"]


def test_separate_linear_projections_know_their_heads() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_attention_heads = 4
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(8, 8) for _ in range(3))
            self.out_proj, self.gate = nn.Linear(8, 8), nn.Linear(8, 8)

    found = find_matrices(Attention())
    assert [(m.kind, m.heads) for m in found] == [
        ("query", 4), ("key", 4), ("value", 4), ("linear", 4), ("linear", None),
    ]  # fmt: skip


def test_the_transposed_layers_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=13, n_positions=6)
    model = transformers.GPT2LMHeadModel(config)
    found = find_matrices(model)
    block = "transformer.h.0."
    assert found.names == [
        *(f"{block}attn.c_attn.{part}" for part in ("query", "key", "value")),
        f"{block}attn.c_proj", f"{block}mlp.c_fc", f"{block}mlp.c_proj", "lm_head",
    ]  # fmt: skip
    assert (found[f"{block}mlp.c_fc"].rows, found[f"{block}mlp.c_fc"].columns) == (32, 8)
    assert [m.heads for m in found] == [2, 2, 2, 2, None, None, None]
    layer = model.transformer.h[0].attn.c_attn
    x = torch.randn(3, 8)
    wanted = (layer(x) - layer.bias).chunk(3, dim=-1)[1]
    torch.testing.assert_close(x @ matrix_of(model, f"{block}attn.c_attn.key").t(), wanted)
    assert "transformer.wte.weight" in found["lm_head"].tied


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_gates_of_recurrent_layers(kind: Callable[..., nn.Module], gates: int) -> None:
    model = nn.ModuleDict({"rnn": kind(3, 5, 2, bidirectional=True)})
    found = find_matrices(model)
    assert len(found) == 2 * 2 * 2 * gates  # layers, directions, input and hidden weights
    assert {(m.rows, m.columns) for m in found} == {(5, 3), (5, 5), (5, 10)}
    assert found.total == sum(p.numel() for p in model.parameters() if p.dim() == 2)
    weight = model.get_parameter("rnn.weight_hh_l1_reverse").detach()
    parts = [m for m in found if m.parameter == "rnn.weight_hh_l1_reverse"]
    assert torch.equal(torch.cat([part.view(weight) for part in parts]), weight)


def test_the_names_of_lstm_gates_are_those_of_the_cell() -> None:
    lstm = nn.LSTM(3, 4, bias=False)
    gates = {name: matrix_of(lstm, f"weight_ih_l0.{name}") for name in ("input", "forget", "cell", "output")}
    x = torch.randn(1, 3)
    i, _, g, o = (x @ gates[name].t() for name in ("input", "forget", "cell", "output"))
    cell = i.sigmoid() * g.tanh()  # from a zero state, the forget gate has nothing to forget
    torch.testing.assert_close(lstm(x)[0], o.sigmoid() * cell.tanh())


def test_an_lstm_with_a_projection() -> None:
    found = find_matrices(nn.LSTM(3, 5, proj_size=2))
    projection = found["weight_hr_l0"]
    assert (projection.kind, projection.rows, projection.columns) == ("linear", 2, 5)


# -- views --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(4, 6),
        nn.Conv1d(4, 6, 3, groups=2),
        nn.Conv2d(4, 6, 3),
        nn.MultiheadAttention(8, 2),
        Block(),
        nn.LSTM(3, 5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_views_never_copy(model: nn.Module) -> None:
    for matrix in find_matrices(model):
        parameter = parameter_of(model, matrix)
        view = matrix.view(parameter)
        assert view.shape == (matrix.rows, matrix.columns)
        assert view.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr()
        before = parameter.clone()
        view.fill_(7.0)  # one matrix written: seen in the Parameter, and nowhere else in it
        assert int((parameter == 7.0).sum()) == matrix.count
        parameter.copy_(before)


def test_the_view_of_a_transposed_part_never_copies() -> None:
    parameter = torch.zeros(4, 12)  # [in, out]
    matrix = WeightMatrix("key", "c_attn", "c_attn.weight", "key", 4, 4, first=4, transposed=True)
    matrix.view(parameter)[1] = 1.0
    assert torch.equal(parameter.nonzero()[:, 1], torch.full((4,), 5))


# -- tied weights -------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.body = nn.Linear(4, 4)
        self.twin = self.body  # a shared module
        self.copy = nn.Linear(4, 4)
        self.copy.weight = self.body.weight  # a shared Parameter
        self.head = nn.Linear(4, 11)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("embeddings", [False, True])
def test_tied_weights_count_once(embeddings: bool) -> None:
    model = Tied()
    found = find_matrices(model, embeddings)
    assert found.names == (["embed", "body"] if embeddings else ["body", "head"])
    assert found.total == 4 * 4 + 11 * 4
    assert {"twin.weight", "copy.weight"} <= set(found["body"].tied)
    tied = found["embed" if embeddings else "head"]
    assert ("head" if embeddings else "embed.weight") in tied.tied
    # PyTorch knows the Parameter by the first of its names
    assert {m.parameter for m in found} <= set(dict(model.named_parameters()))


def test_a_tied_matrix_answers_to_all_its_names() -> None:
    found = find_matrices(Tied())
    assert [m.name for m in found.select(["copy*"])] == ["body"]
    assert [m.name for m in found.select(["embed.weight"])] == ["head"]


def test_a_weight_tied_to_a_packed_one_is_not_mixed_up_with_its_neighbours() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain = nn.Linear(4, 12)
            self.qkv = nn.Linear(4, 12)
            self.qkv.weight = self.plain.weight

    assert [(m.name, m.tied) for m in find_matrices(Odd())] == [("plain", ("qkv.weight",))]


# -- what is not compressible -------------------------------------------------------------------------------------


def old_weight_norm(module: nn.Module, name: str = "weight") -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(module, name)


def test_weight_norm_of_either_style_is_not_compressible() -> None:
    model = nn.ModuleDict(
        {
            "old": old_weight_norm(nn.Linear(4, 3)),
            "new": parametrizations.weight_norm(nn.Conv1d(4, 3, 2)),
            "spectral": parametrizations.spectral_norm(nn.Linear(4, 3)),
            "plain": nn.Linear(4, 3),
        }
    )
    found = find_matrices(model)
    assert found.names == ["plain"]
    reasons = dict(found.not_compressible)
    assert set(reasons) == {"old.weight", "new.weight", "spectral.weight"}
    assert all("parametrisation" in reason for reason in reasons.values())


@pytest.mark.parametrize("style", ["old", "new"])
def test_weight_norm_inside_an_lstm(style: str) -> None:
    lstm: nn.Module = nn.LSTM(3, 5)
    normed = old_weight_norm if style == "old" else parametrizations.weight_norm
    found = find_matrices(normed(lstm, "weight_hh_l0"))
    assert found.names == [f"weight_ih_l0.{gate}" for gate in ("input", "forget", "cell", "output")]
    assert [name for name, _ in found.not_compressible] == ["weight_hh_l0"]


def test_scripted_modules_are_not_compressible() -> None:
    model = nn.ModuleDict(
        {"script": torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU())), "own": nn.Linear(4, 3)}
    )
    found = find_matrices(model)
    assert found.names == ["own"]
    assert [name for name, _ in found.not_compressible] == ["script"]
    assert "scripted" in found.not_compressible[0][1] and "script" in str(found)
    whole = find_matrices(torch.jit.script(nn.Linear(4, 4)))
    assert not whole.names and whole.not_compressible[0][0] == "the model"


def test_layers_that_are_not_seen_as_matrices_are_listed() -> None:
    layers = [nn.Conv3d(2, 3, 1), nn.ConvTranspose1d(2, 3, 1), nn.Bilinear(2, 3, 4), nn.LSTMCell(2, 3), nn.Linear(2, 3)]
    found = find_matrices(nn.Sequential(*layers))
    assert found.names == ["4"]
    reasons = dict(found.not_compressible)
    assert list(reasons) == ["0", "1", "2", "3"] and "LSTMCell" in reasons["3"]


# -- choosing by name ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matrices() -> Matrices:
    blocks = nn.ModuleList(nn.ModuleDict({"attn": Block(), "a[0]": nn.Linear(8, 8)}) for _ in range(2))
    return find_matrices(nn.ModuleDict({"blocks": blocks, "head": nn.Linear(8, 3)}))


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (["head"], ["head"]),
        (["blocks.1.attn.qkv"], [f"blocks.1.attn.qkv.{part}" for part in ("query", "key", "value")]),
        (["*.key"], ["blocks.0.attn.qkv.key", "blocks.1.attn.qkv.key"]),
        (["blocks.?.attn.proj", "head"], ["blocks.0.attn.proj", "blocks.1.attn.proj", "head"]),
        (["blocks.[!0].attn.fc"], ["blocks.1.attn.fc"]),
        (["blocks.0.a[0]"], ["blocks.0.a[0]"]),  # an exact name is no glob, brackets or not
    ],
)
def test_globs_mean_names_and_modules(matrices: Matrices, globs: list[str], names: list[str]) -> None:
    assert [matrix.name for matrix in matrices.select(globs)] == names


def test_the_order_is_the_models_not_that_of_the_globs(matrices: Matrices) -> None:
    everything = matrices.select(["head", "*"])
    assert everything == list(matrices) == matrices.select(["*"])


def test_exclusions_win(matrices: Matrices) -> None:
    assert [m.name for m in matrices.select(["blocks.0.attn.*"], ["*.qkv", "*.fc"])] == ["blocks.0.attn.proj"]


@pytest.mark.parametrize(("layers", "exclude"), [(["haed"], []), (["*"], ["haed"]), (["head", "haed"], [])])
def test_a_glob_that_matches_nothing_lists_what_there_is(
    matrices: Matrices, layers: list[str], exclude: list[str]
) -> None:
    with pytest.raises(ExplorerError, match='no weight matrix matches "haed"') as told:
        matrices.select(layers, exclude)
    assert "blocks.0.attn.qkv.query" in str(told.value)


def test_a_glob_for_what_is_not_compressible_tells_the_reason() -> None:
    found = find_matrices(nn.ModuleDict({"a": parametrizations.weight_norm(nn.Linear(4, 3)), "b": nn.Linear(3, 2)}))
    with pytest.raises(ExplorerError, match='"a.weight" is not compressible: .*parametrisation'):
        found.select(["a.weight"])


def test_matrices_are_a_sequence_that_also_knows_names(matrices: Matrices) -> None:
    assert matrices[0] is matrices[matrices.names[0]]
    assert len(matrices) == len(list(matrices)) == len(matrices.names)
    assert "head" in matrices.names and "tail" not in matrices.names
    assert list(matrices[1:3]) == list(matrices)[1:3]
    with pytest.raises(ExplorerError, match='"tail"'):
        matrices["tail"]


def test_the_table_adds_up(matrices: Matrices) -> None:
    lines = str(matrices).splitlines()
    counts = [int(line.split()[-1].replace(",", "")) for line in lines[1:-1]]
    assert sum(counts) == matrices.total and f"{matrices.total:,} weights" in lines[-1]


# -- figures of the field -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns", "rank"), [(768, 768, 384), (768, 3072, 614.4), (1000, 2048, 671.9)])
def test_break_even_ranks(rows: int, columns: int, rank: float) -> None:
    assert WeightMatrix("w", "", "w", "linear", rows, columns).break_even == pytest.approx(rank, abs=0.05)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_two_thin_matrices_hold_less_just_below_break_even(rows: int, columns: int, rank: int) -> None:
    matrix = WeightMatrix("w", "", "w", "linear", rows, columns)
    assert (rank < matrix.break_even) == (rank * rows + rank * columns < matrix.count)
    assert matrix.max_rank == min(rows, columns)
