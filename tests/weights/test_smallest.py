"""The smallest file: every kind of form comes back bit for bit, the same bytes each time, plain about damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from explorer import ExplorerError
from explorer.compression.patterns import n_of_m
from explorer.weights.coded import Codebook, Quantised
from explorer.weights.forms import Dense, Factors, Form, Masked, Zeros
from explorer.weights.install import Outfit
from explorer.weights.matrices import find_matrices
from explorer.weights.packing import WeightsFile, read_outfit
from explorer.weights.smallest import KEY, squeeze, unsqueeze

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
DENSITIES = st.sampled_from([0.0, 0.003, 0.05, 0.5, 0.95, 1.0])


@st.composite
def single_forms(draw: st.DrawFn, rows: int, columns: int, dtype: torch.dtype) -> Form:
    """Dense, masked, grouped, without rows, quantised or of a codebook; the last two with and without zeros."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    weight = torch.randn(rows, columns, generator=generator).to(dtype)
    weight = torch.where(weight == 0, torch.ones((), dtype=dtype), weight)
    density = draw(DENSITIES)
    zeros = Zeros(torch.rand(rows, columns, generator=generator) < density)
    pattern = draw(st.sampled_from(["none", "weights", "rows", "group"]))
    if pattern == "rows":
        kept = torch.rand(rows, generator=generator) < density
        zeros = Zeros(kept[:, None].expand(rows, columns).contiguous(), rows=~kept)
    elif pattern == "group":
        m = draw(st.integers(1, 20))
        n = draw(st.integers(0, m))
        zeros = Zeros(n_of_m(weight.float().abs(), n, m), (n, m))
    kind = draw(st.sampled_from(["dense", "quantised", "codebook"]))
    form: Form = Dense(weight)
    if kind == "quantised":
        bits, tall = draw(st.integers(2, 8)), draw(st.sampled_from([1, rows]))
        codes = torch.randint(0, 2**bits, (rows, columns), generator=generator, dtype=torch.uint8)
        points = torch.randint(0, 2**bits, (tall, 1), generator=generator, dtype=torch.uint8)
        scale = torch.rand(tall, 1, generator=generator).to(dtype) + 0.1
        form = Quantised(codes, scale=scale, bits=bits, points=points if draw(st.booleans()) else None)
    elif kind == "codebook":
        size = draw(st.integers(1, 256))
        codes = torch.randint(0, size, (rows, columns), generator=generator, dtype=torch.uint8)
        form = Codebook(codes, table=torch.randn(size, generator=generator).to(dtype))
    return form if pattern == "none" else form.masked(zeros)


@st.composite
def any_forms(draw: st.DrawFn) -> Form:
    rows, columns, dtype = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(DTYPES)
    if draw(st.integers(0, 3)):
        return draw(single_forms(rows, columns, dtype))
    rank = draw(st.integers(1, min(rows, columns)))
    return Factors(draw(single_forms(rows, rank, dtype)), draw(single_forms(rank, columns, dtype)))


def like(forms: dict[str, Form]) -> dict[str, tuple[tuple[int, int], torch.dtype]]:
    return {name: (form.shape, form.decode().dtype) for name, form in forms.items()}


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


def parts(form: Form) -> list[Form]:
    return [form.left, form.right] if isinstance(form, Factors) else [form]


@settings(max_examples=300, deadline=None)
@given(st.lists(any_forms(), max_size=4))
@example([])
@example([Masked(torch.zeros(3, 700), torch.zeros(3, 700, dtype=torch.bool))])
def test_any_forms_come_back_bit_for_bit(listed: list[Form]) -> None:
    forms = {f"layer.{number}": form for number, form in enumerate(listed)}
    data = squeeze(forms)
    assert squeeze(forms) == data
    found = unsqueeze(data, like(forms))
    assert list(found) == list(forms)
    for name, form in forms.items():
        assert type(found[name]) is type(form) or isinstance(form, Dense)
        for mine, theirs in zip(parts(found[name]), parts(form), strict=True):
            # minus zero is no number of its own in a file: all files say zero for it
            assert bits(mine.decode() + 0.0) == bits(theirs.decode() + 0.0)


def test_rows_that_are_gone_are_remembered() -> None:
    kept = torch.tensor([True, False, True, False])
    weight = torch.randn(4, 9) * kept[:, None]
    form = Masked(weight, kept[:, None].expand(4, 9).contiguous(), rows_removed=~kept)
    found = unsqueeze(squeeze({"a": form}), like({"a": form}))["a"]
    assert isinstance(found, Masked) and found.rows_removed is not None
    assert torch.equal(found.rows_removed, ~kept)


def test_codes_come_close_to_their_entropy() -> None:
    generator = np.random.default_rng(0)
    shares = np.array([0.6, 0.2, 0.1, 0.05, 0.03, 0.01, 0.005, 0.005])
    codes = torch.from_numpy(generator.choice(8, size=(200, 300), p=shares).astype(np.uint8))
    form = Codebook(codes, table=torch.arange(1.0, 9.0))
    entropy = float(-(shares * np.log2(shares)).sum()) * codes.numel() / 8
    assert entropy < len(squeeze({"a": form})) < 1.13 * entropy + 150
    assert len(squeeze({"a": form})) < 0.7 * codes.numel() * 3 / 8  # what three bits a code would take


# -- in the file ------------------------------------------------------------------------------------------------------


def model_and_outfit() -> tuple[nn.Module, Outfit]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20), nn.MultiheadAttention(20, 2))
    matrices = find_matrices(model)
    names = matrices.names
    first = matrices[names[0]].view(model.get_parameter(matrices[names[0]].parameter).detach())
    mask = torch.rand(first.shape) < 0.1
    query = next(name for name in names if "query" in name)  # its untouched neighbours stay raw beside it
    codes = torch.randint(0, 8, (20, 20), dtype=torch.uint8)
    forms: dict[str, Form] = {names[0]: Dense(first).masked(Zeros(mask)), query: Codebook(codes, table=torch.randn(8))}
    rest: dict[str, Form] = {
        "0.bias": Quantised(torch.arange(30, dtype=torch.uint8)[None], scale=torch.ones(1, 1)),
        "1.bias": Dense(torch.randn(1, 20)),
    }
    return model, Outfit(forms, rest)


def test_the_file_is_as_long_as_foretold_and_what_is_untouched_stays_raw(tmp_path: Path) -> None:
    model, outfit = model_and_outfit()
    matrices = find_matrices(model)
    file = WeightsFile(model, matrices, outfit, {"recipe": "x"}, smallest=True)
    plain = WeightsFile(model, matrices, outfit, {"recipe": "x"})
    file.write(tmp_path / "small")
    assert (tmp_path / "small").stat().st_size == file.storage.size_bytes
    inside = load_file(tmp_path / "small")
    assert inside[KEY].dtype == torch.uint8 and torch.equal(inside["1.weight"], model.get_parameter("1.weight"))
    assert {"1.bias", "2.out_proj.weight"} <= set(inside)
    assert not any(name.startswith("0.") for name in inside)
    found, raw = read_outfit(tmp_path / "small", model, matrices)
    plain.write(tmp_path / "plain")
    expected, expected_raw = read_outfit(tmp_path / "plain", model, matrices)
    assert set(raw) == set(expected_raw) and set(found.forms) == set(expected.forms)
    for mine, theirs in ((found.forms, expected.forms), (found.rest, expected.rest)):
        assert all(bits(mine[name].decode()) == bits(form.decode()) for name, form in theirs.items())


def test_what_changes_nothing_is_the_plain_file() -> None:
    model, _ = model_and_outfit()
    files = [WeightsFile(model, find_matrices(model), Outfit({}, {}), {}, smallest=flag) for flag in (False, True)]
    assert files[0].storage == files[1].storage


# -- damage -----------------------------------------------------------------------------------------------------------


def test_any_damage_is_told_or_harmless() -> None:
    _, outfit = model_and_outfit()
    forms = {**outfit.forms, **outfit.rest}
    data, known = squeeze(forms), like(forms)
    for at in range(0, len(data), 3):
        broken = bytearray(data)
        broken[at] ^= 0x55
        try:
            found = unsqueeze(bytes(broken), known)
        except ExplorerError:
            continue
        assert all(form.shape == known[name][0] for name, form in found.items())


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_cut_off_bytes_are_told(cut: int) -> None:
    _, outfit = model_and_outfit()
    data = squeeze(outfit.forms)
    with pytest.raises(ExplorerError, match=r"damaged|cannot be read"):
        unsqueeze(data[:cut], like(dict(outfit.forms)))


def test_another_architecture_is_told() -> None:
    form = Dense(torch.randn(3, 4)).masked(Zeros(torch.rand(3, 4) < 0.5))
    data = squeeze({"a": form})
    with pytest.raises(ExplorerError, match='holds "a", which this architecture has not'):
        unsqueeze(data, {"b": ((3, 4), torch.float32)})
    dense = squeeze({"a": Dense(torch.randn(3, 4))})
    with pytest.raises(ExplorerError, match='"a" cannot be read'):
        unsqueeze(dense, {"a": ((3, 5), torch.float32)})
