"""The weights file: as long as foretold, a safetensors file, exact when read back, plain about damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from explorer import ExplorerError
from explorer.compression.patterns import n_of_m
from explorer.weights.clone import digest
from explorer.weights.forms import Dense, Factors, Form, Masked
from explorer.weights.install import Outfit
from explorer.weights.matrices import Matrices, find_matrices
from explorer.weights.packing import WeightsFile, read_metadata, read_outfit

EMPTY = Outfit({}, {})


class Mixed(nn.Module):
    """Every kind of Parameter and buffer that a file may have to hold."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.attn = nn.MultiheadAttention(8, 2)
        self.conv = nn.Conv1d(8, 6, 3)
        self.norm = nn.BatchNorm1d(6)
        self.rnn = nn.LSTM(6, 8)
        self.head = nn.Linear(8, 9)
        self.head.weight = self.embed.weight  # tied
        self.names = nn.ModuleDict({"a:b": nn.Linear(3, 2), "层": nn.Linear(2, 3)})
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("bytes", torch.arange(5, dtype=torch.uint8))
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("waves", torch.randn(3, dtype=torch.complex64))
        self.register_buffer("brief", torch.randn(3).to(torch.bfloat16))
        self.register_buffer("nothing", torch.zeros(0, 4))
        self.register_buffer("passing", torch.zeros(5), persistent=False)


def build(seed: int = 0) -> tuple[nn.Module, Matrices]:
    torch.manual_seed(seed)
    model = Mixed()
    return model, find_matrices(model)


def weight_of(model: nn.Module, matrices: Matrices, name: str) -> Tensor:
    return matrices[name].view(model.get_parameter(matrices[name].parameter).detach())


def masked(weight: Tensor, density: float = 0.5, seed: int = 0) -> Masked:
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < density
    return Masked(weight * mask, mask)


def grouped(weight: Tensor) -> Masked:
    mask = n_of_m(weight.abs(), 2, 4)
    return Masked(weight * mask, mask, (2, 4))


def factors(weight: Tensor) -> Factors:
    return Factors(masked(torch.randn(weight.shape[0], 2), 0.3), Dense(torch.randn(2, weight.shape[1])))


MAKERS: list[Callable[[Tensor], Form]] = [
    masked,
    grouped,
    factors,
    lambda weight: masked(weight, 0.0),
    lambda weight: masked(weight, 1.0),
    lambda weight: Dense(weight.contiguous() * 2),
]


def write(path: Path, model: nn.Module, matrices: Matrices, outfit: Outfit, /, **metadata: str) -> WeightsFile:
    file = WeightsFile(model, matrices, outfit, metadata)
    file.write(path)
    return file


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_outfit_comes_back_bit_for_bit_from_a_file_of_the_foretold_length(
    tmp_path: Path, data: st.DataObject
) -> None:
    model, matrices = build()
    chosen = data.draw(st.dictionaries(st.sampled_from(matrices.names), st.sampled_from(MAKERS)))
    forms = {name: make(weight_of(model, matrices, name)) for name, make in chosen.items()}
    biases: dict[str, Form] = {name: Dense(torch.randn(1, 9)) for name in ["head.bias"] if data.draw(st.booleans())}
    before = digest(model)
    path = tmp_path / "weights.safetensors"
    storage = write(path, model, matrices, Outfit(forms, biases), recipe="prune").storage

    assert path.stat().st_size == storage.size_bytes
    assert storage.header_bytes + sum(entry.size_bytes for entry in storage.entries) == storage.size_bytes
    assert all(0 <= entry.size_bytes <= entry.dense_bytes for entry in storage.entries)
    assert all(entry.size_bytes == min(entry.alternatives.values()) for entry in storage.entries)
    assert digest(model) == before

    other, _ = build(seed=1)  # the architecture alone: its own weights must not show
    found, raw = read_outfit(path, other, matrices)
    for name, form in forms.items():
        assert torch.equal(found.forms[name].decode(), form.decode()), name
        assert type(found.forms[name]).__name__ in (type(form).__name__, "Dense", "Masked")
    changed = {matrices[name].parameter for name in forms}
    for name in set(found.forms) - set(forms):  # the untouched neighbours in a packed Parameter
        assert matrices[name].parameter in changed
        assert torch.equal(found.forms[name].decode(), weight_of(model, matrices, name))
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    own |= {name: form.decode().reshape(-1) for name, form in biases.items()}
    assert set(raw) == set(own) - changed - {"passing"}
    for name, tensor in raw.items():
        assert tensor.dtype == own[name].dtype and torch.equal(tensor, own[name])


def test_the_empty_recipe_holds_every_tensor_raw_and_tied_ones_once(tmp_path: Path) -> None:
    model, matrices = build()
    storage = write(tmp_path / "w", model, matrices, EMPTY).storage
    assert {entry.encoding for entry in storage.entries} == {"raw"}
    names = [entry.name for entry in storage.entries]
    assert len(names) == len(set(names)) and "embed.weight" in names and "head.weight" not in names
    tensors = [*model.parameters(), *(b for name, b in model.named_buffers() if name != "passing")]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert storage.size_bytes - storage.header_bytes == size


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(tmp_path: Path, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)).to(dtype)
    matrices = find_matrices(model)
    forms = {name: masked(weight_of(model, matrices, name)) for name in matrices.names}
    file = write(tmp_path / "w", model, matrices, Outfit(forms, {}))
    assert (tmp_path / "w").stat().st_size == file.storage.size_bytes
    found, raw = read_outfit(tmp_path / "w", model, matrices)
    for name, form in forms.items():
        assert found.forms[name].decode().dtype is dtype
        assert torch.equal(found.forms[name].decode(), form.weight)
    assert {tensor.dtype for tensor in raw.values()} == {dtype}


def test_the_safetensors_library_opens_the_file(tmp_path: Path) -> None:
    model, matrices = build()
    outfit = Outfit({"conv": masked(weight_of(model, matrices, "conv"))}, {})
    write(tmp_path / "w.safetensors", model, matrices, outfit, recipe="prune,sparsity=0.5", model="00ff")
    with safe_open(str(tmp_path / "w.safetensors"), framework="pt") as file:
        assert file.metadata() == {"format": "compression-explorer 1", "recipe": "prune,sparsity=0.5", "model": "00ff"}
        keys = set(file.keys())
        assert "conv:bitmask" in keys and "conv.weight" not in keys
        assert torch.equal(file.get_tensor("embed.weight"), model.get_parameter("embed.weight"))
    assert read_metadata(tmp_path / "w.safetensors")["recipe"] == "prune,sparsity=0.5"


def test_tensors_lie_aligned(tmp_path: Path) -> None:
    model, matrices = build()
    path = tmp_path / "w"
    write(path, model, matrices, Outfit({"head": masked(weight_of(model, matrices, "head"), 0.1)}, {}))
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    sizes = {"F32": 4, "BF16": 2, "I64": 8, "C64": 8, "BOOL": 1, "U8": 1}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % sizes[entry["dtype"]] == 0, name


def test_the_same_variant_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        model, matrices = build()
        outfit = Outfit({"conv": masked(weight_of(model, matrices, "conv"))}, {})
        write(tmp_path / name, model, matrices, outfit, recipe="x")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_table_adds_up(tmp_path: Path) -> None:
    model, matrices = build()
    storage = WeightsFile(model, matrices, EMPTY, {}).storage
    lines = [line.split() for line in str(storage).splitlines()[1:]]
    counts = [int(line[1].replace(",", "")) for line in lines]
    assert sum(counts[:-1]) == counts[-1] == storage.size_bytes


def test_an_interrupted_write_leaves_the_former_file_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, matrices = build()
    path = tmp_path / "w.safetensors"
    write(path, model, matrices, EMPTY)
    former = path.read_bytes()
    file = WeightsFile(model, matrices, Outfit({"conv": masked(weight_of(model, matrices, "conv"))}, {}), {})

    def fail(entry: object) -> bytes:
        raise OSError("no space left on device")

    monkeypatch.setattr(file, "_bytes_of", fail)
    with pytest.raises(OSError, match="no space"):
        file.write(path)
    assert [found.name for found in tmp_path.iterdir()] == ["w.safetensors"]
    assert path.read_bytes() == former


def test_a_type_that_the_format_does_not_know_is_told() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("wide", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(ExplorerError, match=r"wide: tensors of torch.complex128"):
        WeightsFile(model, find_matrices(model), EMPTY, {})


# -- files that do not fit ----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, matrices = build()
    path = tmp_path / "w.safetensors"
    write(path, model, matrices, Outfit({"conv": masked(weight_of(model, matrices, "conv"))}, {}))
    return path


def refuse(path: Path, model: nn.Module, words: str) -> None:
    with pytest.raises(ExplorerError, match=words):
        read_outfit(path, model, find_matrices(model))


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_cut_short_is_told(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    refuse(saved, build()[0], "not a whole weights file")


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refuse(path, build()[0], "not a whole weights file")
    refuse(tmp_path / "missing", build()[0], "not a whole weights file")
    save_file({"weight": torch.zeros(3)}, path)
    refuse(path, build()[0], "not written by Variant.save")


def edited(saved: Path, edit: Callable[[dict[str, Tensor]], object]) -> Path:
    """The file with its entries changed, in a proper container."""
    with safe_open(str(saved), framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in set(file.keys())}
    edit(tensors)
    save_file(tensors, saved, metadata)
    return saved


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.pop("norm.bias"), 'lacks "norm.bias"'),
        (lambda t: t.update(surplus=torch.zeros(2)), 'holds "surplus"'),
        (lambda t: t.update({"tail:bitmask": torch.zeros(2, dtype=torch.uint8)}), 'holds "tail"'),
        (lambda t: t.update({"norm.bias": torch.zeros(7)}), '"norm.bias" has another shape'),
        (lambda t: t.update({"conv:bitmask": t["conv:bitmask"][:-1].clone()}), "conv: .* bytes are no 6 by 24 matrix"),
        (lambda t: t.update({"conv:bitmask": t["conv:bitmask"].bitwise_not()}), "conv: .* bytes are no 6 by 24 matrix"),
        (lambda t: t.update({"conv:morse": t.pop("conv:bitmask")}), 'conv: .* the encoding "morse"'),
        (lambda t: t.update({"conv:bitmask": torch.zeros(4, dtype=torch.bfloat16)}), "conv: 8 bytes are no"),
        (lambda t: t.pop("conv:bitmask"), 'lacks "conv.weight"'),
    ],
)  # fmt: skip
def test_a_damaged_file_is_told(saved: Path, edit: Callable[[dict[str, Tensor]], object], words: str) -> None:
    refuse(edited(saved, edit), build()[0], words)


def test_a_missing_part_of_a_packed_weight_is_told(tmp_path: Path) -> None:
    model, matrices = build()
    path = tmp_path / "w.safetensors"
    write(path, model, matrices, Outfit({"attn.key": masked(weight_of(model, matrices, "attn.key"))}, {}))
    refuse(edited(path, lambda tensors: tensors.pop("attn.value:dense")), model, 'lacks "attn.in_proj_weight"')


def test_a_file_of_another_model_is_told(saved: Path) -> None:
    refuse(saved, nn.Linear(3, 2), "which this architecture has not|lacks")
