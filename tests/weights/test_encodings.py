"""Encodings: what is written comes back bit for bit, at the length that was foretold, and the cheapest is chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from explorer import ExplorerError
from explorer.compression.coding import quantise, share_values
from explorer.compression.patterns import n_of_m
from explorer.weights.coded import Coded
from explorer.weights.encodings import Encoding, decode, encode, encodings_of, stored_length
from explorer.weights.forms import Dense, Factors, Form, Masked, Zeros

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
SIZES = st.integers(1, 40)
DENSITIES = st.sampled_from([0.0, 0.003, 0.02, 0.1, 0.5, 0.9, 1.0])


def numbers(rows: int, columns: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Weights none of which is zero."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64).to(dtype)
    return torch.where(weight == 0, torch.ones((), dtype=dtype), weight)


def masked(weight: Tensor, mask: Tensor, group: tuple[int, int] | None = None, rows: Tensor | None = None) -> Masked:
    return Masked(torch.where(mask, weight, torch.zeros((), dtype=weight.dtype)), mask, group, rows)


@st.composite
def dense_forms(draw: st.DrawFn, rows: int, columns: int, dtype: torch.dtype) -> Dense:
    """Dense, masked anywhere, by groups or by rows."""
    weight = numbers(rows, columns, dtype, draw(st.integers(0, 9999)))
    kind = draw(st.sampled_from(["dense", "mask", "group", "rows"]))
    if kind == "dense":
        return Dense(weight)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    density = draw(DENSITIES)
    if kind == "mask":
        return masked(weight, torch.rand(rows, columns, generator=generator) < density)
    if kind == "rows":
        kept = torch.rand(rows, generator=generator) < density
        return masked(weight, kept[:, None].expand(rows, columns).contiguous(), rows=~kept)
    m = draw(st.integers(1, 70))
    n = draw(st.integers(0, m))
    mask = n_of_m(weight.float().abs(), n, m)
    if draw(st.booleans()):  # a second step removed more: groups with fewer than n
        mask &= torch.rand(rows, columns, generator=generator) < density
    return masked(weight, mask, (n, m))


@st.composite
def any_forms(draw: st.DrawFn) -> Form:
    rows, columns, dtype = draw(SIZES), draw(SIZES), draw(DTYPES)
    if not draw(st.booleans()):
        return draw(dense_forms(rows, columns, dtype))
    rank = draw(st.integers(1, min(rows, columns)))
    return Factors(draw(dense_forms(rows, rank, dtype)), draw(dense_forms(rank, columns, dtype)))


def read_back(form: Form, encoding: str) -> Form:
    written = np.frombuffer(encode(form, encoding), dtype=np.uint8)
    return decode(written, encoding, form.shape, form.decode().dtype)


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@settings(max_examples=300, deadline=None)
@given(any_forms())
@example(masked(torch.ones(3, 7), torch.zeros(3, 7, dtype=torch.bool)))
@example(masked(torch.ones(3, 7), torch.ones(3, 7, dtype=torch.bool)))
@example(masked(torch.ones(3, 8), torch.zeros(3, 8, dtype=torch.bool), (0, 4)))
@example(masked(torch.ones(2, 64), torch.arange(64)[None].expand(2, 64) == 63, (1, 64)))
def test_every_encoding_brings_the_form_back_at_the_foretold_length(form: Form) -> None:
    options = encodings_of(form)
    sizes = [option.size_bytes for option in options]
    assert sizes == sorted(sizes) and min(sizes) >= 0
    for option in options:
        written = np.frombuffer(encode(form, option.name), dtype=np.uint8)
        assert len(written) == option.size_bytes
        found = decode(written, option.name, form.shape, form.decode().dtype)
        assert found.shape == form.shape and found.decode().dtype == form.decode().dtype
        assert bits(found.decode()) == bits(form.decode()), option.name
        assert found.nonzero <= found.entries
        if isinstance(found, Masked):  # what stays zero while a variant is trained
            assert not found.weight[~found.mask].any()


@settings(max_examples=100, deadline=None)
@given(any_forms())
def test_what_is_read_back_is_written_again_to_the_same_bytes(form: Form) -> None:
    best = encodings_of(form)[0].name
    assert encode(read_back(form, best), best) == encode(form, best)


@settings(max_examples=100, deadline=None)
@given(any_forms())
def test_nothing_costs_more_than_the_full_matrix(form: Form) -> None:
    full = form.shape[0] * form.shape[1] * form.decode().element_size()
    assert encodings_of(form)[0].size_bytes <= full


@settings(max_examples=60, deadline=None)
@given(any_forms(), any_forms())
def test_a_reader_knows_where_the_first_of_two_ends(first: Form, second: Form) -> None:
    best = encodings_of(first)[0].name
    if best.startswith("factors"):
        return
    data = np.frombuffer(encode(first, best) + encode(second, encodings_of(second)[0].name), dtype=np.uint8)
    assert stored_length(data, best, first.shape, first.decode().element_size()) == len(encode(first, best))


# -- codes --------------------------------------------------------------------------------------------------------


@st.composite
def coded_forms(draw: st.DrawFn) -> Form:
    """Quantised or with shared values, pruned before or after, by rows or anywhere; or two such factors."""
    rows, columns, dtype, seed = draw(SIZES), draw(SIZES), draw(DTYPES), draw(st.integers(0, 999))
    first = draw(_coded(rows, columns, dtype, seed))
    return Factors(first, draw(_coded(columns, rows, dtype, seed + 1))) if draw(st.booleans()) else first


@st.composite
def _coded(draw: st.DrawFn, rows: int, columns: int, dtype: torch.dtype, seed: int) -> Form:
    weight, draws = numbers(rows, columns, dtype, seed), torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, columns, generator=draws) < draw(DENSITIES)
    gone = None
    if draw(st.booleans()):
        gone = torch.rand(rows, generator=draws) < 0.5
        mask &= ~gone[:, None]
    zeros, before = Zeros(mask, rows=gone), draw(st.booleans())
    pruned, known = (torch.where(mask, weight, weight.new_zeros(())), zeros) if before else (weight, None)
    form: Coded
    if draw(st.booleans()):
        form = share_values(pruned, draw(st.integers(1, 4)), known)
    else:
        options = {"affine": draw(st.booleans()), "by_row": draw(st.booleans())}
        form = quantise(pruned, draw(st.integers(2, 8)), known, **options)
    return form if before or draw(st.booleans()) else form.masked(zeros)


@settings(max_examples=200, deadline=None)
@given(coded_forms())
def test_codes_come_back_at_the_foretold_length(form: Form) -> None:
    if isinstance(form, Factors) and form.rank > min(form.shape):
        return
    for option in encodings_of(form):
        written = np.frombuffer(encode(form, option.name), dtype=np.uint8)
        assert len(written) == option.size_bytes, option.name
        found = decode(written, option.name, form.shape, form.decode().dtype)
        if not isinstance(form, Factors):
            assert type(found) is type(form) and stored_length(
                np.append(written, np.uint8(9)), option.name, form.shape, form.decode().element_size()
            ) == len(written)
        assert torch.equal(found.decode(), form.decode()) and encode(found, option.name) == written.tobytes()


def test_codes_are_stored_as_the_field_counts_them() -> None:
    weight = numbers(64, 32, torch.float32, 0)
    assert encodings_of(quantise(weight, 8))[0] == Encoding("quantised,b=8,s=64,z=0/packed", 64 * 4 + 2048)
    affine = quantise(weight, 4, affine=True, by_row=False)
    assert Encoding("quantised,b=4,s=1,z=1/packed", 5 + 1024) in encodings_of(affine)
    assert encodings_of(share_values(weight, 4))[0] == Encoding("codebook,b=4,k=16/packed", 64 + 1024)
    mask = torch.rand(64, 32, generator=torch.Generator().manual_seed(1)) < 0.05
    sparse = share_values(weight * mask, 4, Zeros(mask))
    assert encodings_of(sparse)[0].name.partition("/")[2].startswith("gaps,k=")
    assert encodings_of(sparse)[0].size_bytes < 64 + 2048 // 8 + int(mask.sum())


@settings(max_examples=150, deadline=None)
@given(coded_forms(), st.data())
def test_damaged_codes_give_a_form_or_a_sentence_but_no_crash(form: Form, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([option.name for option in encodings_of(form)]))
    written = np.frombuffer(encode(form, name), dtype=np.uint8).copy()
    if len(written) and data.draw(st.booleans()):
        written[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        written = written[: data.draw(st.integers(0, len(written)))]
    try:
        assert decode(written, name, form.shape, form.decode().dtype).decode().shape == form.shape
    except ExplorerError as told:
        assert "matrix in the encoding" in str(told)


@pytest.mark.parametrize(
    "name",
    [
        "quantised", "quantised,b=4,s=1,z=0", "quantised,b=9,s=1,z=0/packed", "quantised,b=0,s=1,z=0/packed",
        "quantised,b=4,s=2,z=0/packed", "quantised,b=4,s=1,z=2/packed", "quantised,b=4,s=1,z=0/spiral",
        "codebook,b=4/packed", "codebook,b=4,k=300/packed", "codebook,b=4,k=4/gaps", "codebook,b=4,k=-1/packed",
        "codebook,b=2,k=3/packed",
    ],
)  # fmt: skip
def test_a_name_of_codes_that_does_not_fit_the_bytes_is_told(name: str) -> None:
    size = 4 * 3 + 3 if name == "codebook,b=2,k=3/packed" else 23  # that one fits, but for an index beyond its table
    with pytest.raises(ExplorerError, match="bytes are no 3 by 4 matrix"):
        decode(np.full(size, 255, dtype=np.uint8), name, (3, 4), torch.float32)


# -- the cheapest is chosen ---------------------------------------------------------------------------------------


def best_of(form: Form) -> str:
    return encodings_of(form)[0].name.split(",")[0]


@pytest.mark.parametrize(
    ("kept", "wanted"),
    [(1.0, "dense"), (0.99, "dense"), (0.5, "bitmask"), (0.2, "bitmask"), (0.05, "gaps"), (0, "gaps")],
)
def test_what_is_cheapest_follows_from_the_density(kept: float, wanted: str) -> None:
    weight = numbers(64, 64, torch.float32, 0)
    mask = torch.zeros(64 * 64, dtype=torch.bool)
    mask[torch.randperm(64 * 64, generator=torch.Generator().manual_seed(0))[: round(kept * 64 * 64)]] = True
    assert best_of(masked(weight, mask.reshape(64, 64))) == wanted


@settings(max_examples=80, deadline=None)
@given(SIZES, SIZES, DENSITIES, DTYPES, st.integers(0, 99))
def test_no_known_way_to_write_a_mask_is_cheaper_than_the_chosen_one(
    rows: int, columns: int, density: float, dtype: torch.dtype, seed: int
) -> None:
    """Counted by hand from the field's formulas, whatever the engine bothered to list."""
    mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < density
    form = masked(numbers(rows, columns, dtype, seed), mask)
    item, kept = form.weight.element_size(), int(mask.sum())
    by_hand = {
        "dense": rows * columns * item,
        "bitmask": math.ceil(rows * columns / 8) + kept * item,
        "gaps": _gap_entries(mask.reshape(-1).tolist()) * (item + 1),
    }
    assert encodings_of(form)[0].size_bytes == min(by_hand.values())


def _gap_entries(kept: list[bool]) -> int:
    """Each entry tells a gap of up to 254 zeros and a value; 255 zeros take one of their own, the last ones none."""
    entries = zeros = told = 0
    for keep in kept:
        zeros = 0 if keep else zeros + 1
        if keep or zeros == 255:
            entries, zeros = entries + 1, 0
        if keep:
            told = entries
    return told


def test_two_of_four_in_half_precision_is_nine_sixteenths_of_dense() -> None:
    weight = numbers(32, 64, torch.float16, 0)
    form = masked(weight, n_of_m(weight.abs(), 2, 4), (2, 4))
    groups = 32 * 16
    # 6 ways to keep two of four fit 3 bits; the hardware's layout has 4 (hence 9/16)
    assert encodings_of(form)[0].size_bytes == groups * (2 * 2) + groups * 3 // 8
    assert encodings_of(form)[0].size_bytes < 9 / 16 * 32 * 64 * 2


def test_whole_rows_cost_a_bit_a_row() -> None:
    weight, kept = numbers(16, 50, torch.float32, 0), torch.arange(16) % 4 == 0
    form = masked(weight, kept[:, None].expand(16, 50).contiguous(), rows=~kept)
    assert encodings_of(form)[0].name == "rows" and encodings_of(form)[0].size_bytes == 2 + 4 * 50 * 4
    found = read_back(form, "rows")
    assert isinstance(found, Masked) and found.rows_removed is not None
    assert torch.equal(found.rows_removed, ~kept)


def test_long_gaps() -> None:
    """Around the longest gap that one byte tells."""
    for gap in (253, 254, 255, 256, 509, 510, 511, 1000):
        mask = torch.zeros(1, 2 * gap + 2, dtype=torch.bool)
        mask[0, gap] = mask[0, -1] = True
        form = masked(torch.ones(1, 2 * gap + 2), mask)
        name = next(option.name for option in encodings_of(form) if option.name.startswith("gaps"))
        assert torch.equal(read_back(form, name).decode(), form.weight)


def test_factors_are_stored_as_factors_while_that_is_smaller() -> None:
    thin = Factors(Dense(torch.randn(20, 3)), Dense(torch.randn(3, 30)))
    assert encodings_of(thin)[0].name == "factors,r=3|dense|dense"
    assert encodings_of(thin)[0].size_bytes == 4 * 3 * 50
    full = Factors(Dense(torch.randn(20, 20)), Dense(torch.randn(20, 30)))
    assert encodings_of(full)[0].name == "dense"
    assert torch.equal(read_back(full, "dense").decode(), full.decode())


def test_factors_may_be_encoded_each_in_its_own_way() -> None:
    left = numbers(40, 8, torch.float32, 1)
    form = Factors(masked(left, torch.rand(40, 8, generator=torch.Generator().manual_seed(0)) < 0.5), Dense(left.t()))
    name = encodings_of(form)[0].name
    assert name == "factors,r=8|bitmask|dense"
    found = read_back(form, name)
    assert isinstance(found, Factors) and torch.equal(found.left.decode(), form.left.decode())


# -- damage -------------------------------------------------------------------------------------------------------


def test_an_encoding_that_does_not_suit_the_form_is_refused() -> None:
    with pytest.raises(ExplorerError, match='cannot be written as "rows"'):
        encode(Dense(torch.ones(2, 2)), "rows")


@pytest.mark.parametrize(
    "name",
    [
        "", "morse", "gaps", "gaps,k=", "gaps,k=x", "gaps,k=-3", "gaps,k=4", "group", "group,n=2", "group,n=5,m=4",
        "group,n=1,m=0", "group,n=2,m=99999", "factors", "factors,r=2", "factors,r=0|dense|dense", "bitmask,", "rows",
        "factors,r=99999999999|dense|dense", "factors,r=2|factors,r=1|dense|dense|dense", "factors,r=2|dense|morse",
    ],
)  # fmt: skip
def test_a_name_that_does_not_fit_the_bytes_is_told(name: str) -> None:
    with pytest.raises(ExplorerError, match="bytes are no 3 by 4 matrix"):
        decode(np.full(23, 255, dtype=np.uint8), name, (3, 4), torch.float32)


@settings(max_examples=200, deadline=None)
@given(any_forms(), st.data())
def test_damaged_bytes_give_a_form_or_a_sentence_but_no_crash(form: Form, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([option.name for option in encodings_of(form)]))
    written = np.frombuffer(encode(form, name), dtype=np.uint8).copy()
    if len(written) and data.draw(st.booleans()):
        written[data.draw(st.integers(0, len(written) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        cut = data.draw(st.integers(0, len(written)))
        written = written[:cut] if cut < len(written) else np.append(written, np.uint8(7))
    try:
        assert decode(written, name, form.shape, form.decode().dtype).shape == form.shape
    except ExplorerError as told:
        assert "matrix in the encoding" in str(told)
