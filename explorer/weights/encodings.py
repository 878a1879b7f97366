"""Fixed-width encodings of one matrix: what each would cost, writing it, reading it back.

An encoding turns a form into one run of bytes. Its cost is known from counts before anything is written, so that
the number on screen is the length of the file to come. References: bitmask and index gaps as in Han et al. 2016
("Deep Compression"); N:M groups as the number of their combination.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import ceil, comb, log2
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.weights.bits import pack, packed_length, unpack
from explorer.weights.coded import Codebook, Coded, Quantised
from explorer.weights.forms import Dense, Factors, Form, Masked, Zeros
from explorer.weights.layouts import (
    gap_bytes,
    gap_entries,
    layout_length,
    layouts_of,
    places_of,
    read_codes,
    write_codes,
)

LARGEST_GROUP = 64
LARGEST_TABLE = 4096
"""Groups of more inputs, or with more ways to keep n of m, are not worth a table of their own."""


@dataclass(frozen=True)
class Encoding:
    """One way to write a form: its name with its parameters ("group,n=2,m=4"), and the bytes that it takes."""

    name: str
    size_bytes: int


def encodings_of(form: Form) -> list[Encoding]:
    """All encodings that can hold the form, cheapest first (on a tie, the simpler one)."""
    if isinstance(form, Factors):
        left, right = encodings_of(form.left)[0], encodings_of(form.right)[0]
        names = f"factors,r={form.rank}|{left.name}|{right.name}"
        options = [Encoding(names, left.size_bytes + right.size_bytes)]
        product = form.shape[0] * form.shape[1] * form.left.decode().element_size()
        if product <= options[0].size_bytes:
            options.append(Encoding("dense", product))
    elif isinstance(form, Coded):
        options = _of_coded(form)
    elif isinstance(form, Masked):
        options = _of_masked(form)
    else:
        assert isinstance(form, Dense)
        options = [Encoding("dense", form.weight.numel() * form.weight.element_size())]
    return sorted(options, key=lambda option: option.size_bytes)


def _of_masked(form: Masked) -> list[Encoding]:
    rows, columns = form.shape
    item, kept = form.weight.element_size(), form.nonzero
    options = [
        Encoding("dense", rows * columns * item),
        Encoding("bitmask", packed_length(rows * columns, 1) + kept * item),
    ]
    n, m = form.group or (0, 0)
    if n > 0 and m <= LARGEST_GROUP and comb(m, n) <= LARGEST_TABLE:
        groups, ragged = divmod(columns, m)
        width = ceil(log2(comb(m, n)))
        size = packed_length(rows * groups, width) + rows * groups * n * item + rows * ragged * item
        options.append(Encoding(f"group,n={n},m={m}", size))
    if form.rows_removed is not None:
        left = rows - int(form.rows_removed.sum())
        options.append(Encoding("rows", packed_length(rows, 1) + left * columns * item))
    if kept * (item + 1) < options[1].size_bytes:
        options.append(Encoding(f"gaps,k={(entries := gap_entries(_places(form.weight)))}", entries * (item + 1)))
    return options


def _of_coded(form: Coded) -> list[Encoding]:
    head = _table_name(form)
    removed = None if form.zeros is None or form.zeros.rows is None else form.zeros.rows.cpu().numpy()
    layouts = layouts_of((form.decode() != 0).cpu().numpy(), form.width, removed)
    return [Encoding(f"{head}/{layout}", _table_bytes(form) + size) for layout, size in layouts.items()]


def _table_name(form: Coded) -> str:
    """What of a coded form has to be known beside its codes: "quantised,b=4,s=64,z=0" or "codebook,b=4,k=16"."""
    if isinstance(form, Quantised):
        return f"quantised,b={form.bits},s={form.scale.numel()},z={0 if form.points is None else form.points.numel()}"
    assert isinstance(form, Codebook)
    return f"codebook,b={form.width},k={len(form.table)}"


def _table_bytes(form: Coded) -> int:
    """Bytes of the scales and zero points, or of the shared values."""
    if isinstance(form, Quantised):
        return form.scale.numel() * form.scale.element_size() + (0 if form.points is None else form.points.numel())
    assert isinstance(form, Codebook)
    return form.table.numel() * form.table.element_size()


def encode(form: Form, encoding: str) -> bytes:
    """The bytes of the form in the given encoding."""
    if encoding.startswith("factors") and isinstance(form, Factors):
        _, left, right = encoding.split("|")
        return encode(form.left, left) + encode(form.right, right)
    if isinstance(form, Coded):
        return _encode_coded(form, encoding.partition("/")[2])
    weight = form.decode().detach().cpu().contiguous()
    name, asked = _parsed(encoding)
    if name == "dense":
        return _raw(weight)
    flat = weight.reshape(-1)
    if name == "bitmask":
        kept = flat != 0
        return np.packbits(kept.numpy(), bitorder="little").tobytes() + _raw(flat[kept])
    if name == "rows" and isinstance(form, Masked) and form.rows_removed is not None:
        stay = ~form.rows_removed.cpu()
        return np.packbits(stay.numpy(), bitorder="little").tobytes() + _raw(weight[stay])
    if name == "gaps":
        return _encode_gaps(flat)
    if name == "group":
        return _encode_groups(weight, asked["n"], asked["m"])
    raise ExplorerError(f'a {form.kind} matrix cannot be written as "{encoding}"')


def decode(data: NDArray[np.uint8], encoding: str, shape: tuple[int, int], dtype: torch.dtype) -> Form:
    """The form that `encode` wrote; `shape` is (out, in), `dtype` that of the values.

    Raises `ExplorerError` for an unknown encoding and for bytes that do not fit it.
    """
    try:
        return _decode(data, encoding, shape, dtype)
    except (ValueError, KeyError, IndexError, RuntimeError, OverflowError) as problem:
        raise ExplorerError(
            f'{len(data)} bytes are no {shape[0]} by {shape[1]} matrix in the encoding "{encoding}"',
            instead="check the architecture; else the file is damaged, or of a later release: save it again",
        ) from problem


def _decode(data: NDArray[np.uint8], encoding: str, shape: tuple[int, int], dtype: torch.dtype) -> Form:
    rows, columns = shape
    item = torch.empty((), dtype=dtype).element_size()
    name, asked = _parsed(encoding)
    if name == "factors":
        _, left_name, right_name = encoding.split("|")
        rank = asked["r"]
        if not 1 <= rank <= min(shape):
            raise ValueError("a rank beyond the matrix")
        cut = stored_length(data, left_name, (rows, rank), item)
        left = _decode(data[:cut], left_name, (rows, rank), dtype)
        right = _decode(data[cut:], right_name, (rank, columns), dtype)
        return Factors(left, right)
    if stored_length(data, encoding, shape, item) != len(data):
        raise ValueError("another length")
    if name == "dense":
        return Dense(_values(data, dtype).reshape(shape))
    if name in ("quantised", "codebook"):
        return _decode_coded(data, encoding, shape, dtype)
    weight = torch.zeros(rows * columns, dtype=dtype)
    if name == "bitmask":
        cut = packed_length(rows * columns, 1)
        kept = torch.from_numpy(np.unpackbits(data[:cut], count=rows * columns, bitorder="little").astype(bool))
        weight[kept] = _values(data[cut:], dtype)
        return Masked(weight.reshape(shape), kept.reshape(shape))
    if name == "rows":
        cut = packed_length(rows, 1)
        left_rows = torch.from_numpy(np.unpackbits(data[:cut], count=rows, bitorder="little").astype(bool))
        full = weight.reshape(shape)
        full[left_rows] = _values(data[cut:], dtype).reshape(-1, columns)
        mask = left_rows[:, None].expand(shape).contiguous()
        return Masked(full, mask, rows_removed=~left_rows)
    if name == "gaps":
        count = asked["k"]
        if count:
            weight[torch.from_numpy(places_of(data[:count]))] = _values(data[count:], dtype)
        return Masked(weight.reshape(shape), (weight != 0).reshape(shape))
    return _decode_groups(data, asked["n"], asked["m"], shape, dtype)


def stored_length(data: NDArray[np.uint8], encoding: str, shape: tuple[int, int], item: int) -> int:
    """How many bytes at the start of `data` belong to a matrix of that encoding and shape."""
    rows, columns = shape
    name, asked = _parsed(encoding)
    if name == "dense":
        return rows * columns * item
    if name == "bitmask":
        head = packed_length(rows * columns, 1)
        return head + int(np.bitwise_count(data[:head]).sum()) * item
    if name == "rows":
        head = packed_length(rows, 1)
        return head + int(np.bitwise_count(data[:head]).sum()) * columns * item
    if name == "gaps":
        return int(asked["k"]) * (item + 1)
    if name in ("quantised", "codebook"):
        table = asked["s"] * item + asked["z"] if name == "quantised" else asked["k"] * item
        layout, own = _parsed(encoding.partition("/")[2])
        return int(table + layout_length(data[table:], layout, {**own, "width": asked["b"]}, shape))
    if name != "group":
        raise ValueError("an unknown encoding")
    n, m = asked["n"], asked["m"]
    if not 1 <= n <= m <= LARGEST_GROUP:
        raise ValueError("no such group")
    groups, ragged = divmod(columns, m)
    return packed_length(rows * groups, ceil(log2(comb(m, n)))) + rows * (groups * n + ragged) * item


def _places(weight: Tensor) -> NDArray[np.int64]:
    """Where the weights that are not zero stand in the matrix, read row by row."""
    return weight.reshape(-1).nonzero().reshape(-1).cpu().numpy()


def _encode_gaps(flat: Tensor) -> bytes:
    """For each kept weight the number of zeros before it (0 to 254), and its value; 255 zeros are a zero entry."""
    gaps, _ = gap_bytes(_places(flat))
    return gaps.tobytes() + _raw(flat[torch.from_numpy(places_of(gaps))])


def _encode_coded(form: Coded, layout: str) -> bytes:
    """The table of a coded form, then its codes in the layout."""
    removed = None if form.zeros is None or form.zeros.rows is None else form.zeros.rows.cpu().numpy()
    zero = np.broadcast_to(form.zero_codes.cpu().numpy().astype(np.uint8), form.shape)
    codes = np.where((form.decode() == 0).cpu().numpy(), zero, form.codes.cpu().numpy())
    listed = write_codes(codes, zero, layout, form.width, removed)
    if isinstance(form, Quantised):
        points = b"" if form.points is None else form.points.cpu().numpy().astype(np.uint8).tobytes()
        return _raw(form.scale) + points + listed
    assert isinstance(form, Codebook)
    return _raw(form.table) + listed


def _decode_coded(data: NDArray[np.uint8], encoding: str, shape: tuple[int, int], dtype: torch.dtype) -> Coded:
    name, asked = _parsed(encoding)
    layout, own = _parsed(encoding.partition("/")[2])
    item, width = torch.empty((), dtype=dtype).element_size(), asked["b"]
    empty = torch.zeros(shape, dtype=torch.uint8)
    form: Coded
    if name == "quantised":
        cut, points = asked["s"] * item, asked["z"]
        if asked["s"] not in (1, shape[0]) or points not in (0, 1, shape[0]) or not 1 <= width <= 8:
            raise ValueError("no such grid")
        centre = torch.from_numpy(data[cut : cut + points].copy()).reshape(-1, 1) if points else None
        scale = _values(data[:cut], dtype).reshape(-1, 1)
        form = Quantised(empty, scale=scale, bits=width, points=centre)
        cut += points
    else:
        cut = asked["k"] * item
        form = Codebook(empty, table=_values(data[:cut], dtype))
    zero = np.broadcast_to(form.zero_codes.numpy().astype(np.uint8), shape)
    codes, kept, rows = read_codes(data[cut:], layout, {**own, "width": width}, zero)
    gone = None if rows is None else torch.from_numpy(rows)
    zeros = None if kept is None else Zeros(torch.from_numpy(kept), rows=gone)
    return form.with_codes(torch.from_numpy(codes), zeros)


@lru_cache
def _combinations(n: int, m: int) -> NDArray[np.int64]:
    """All ways to keep n of m in dictionary order, `[ways, n]` positions."""
    return np.array(list(combinations(range(m), n)), dtype=np.int64)


@lru_cache
def _later(n: int, m: int) -> NDArray[np.int64]:
    """`[n, m]`: how many ways come later for having their i-th kept position beyond p (and the same ones before)."""
    return np.array([[comb(m - 1 - p, n - i) if p >= i else 0 for p in range(m)] for i in range(n)], dtype=np.int64)


def _encode_groups(weight: Tensor, n: int, m: int) -> bytes:
    rows, columns = weight.shape
    full = columns // m * m
    groups = weight[:, :full].reshape(-1, m)
    places = (groups != 0).to(torch.uint8).topk(n, dim=1).indices.sort(dim=1).values  # zeros fill up short groups
    codes = comb(m, n) - 1 - _later(n, m)[np.arange(n), places.numpy()].sum(axis=1)
    return pack(codes, ceil(log2(comb(m, n)))) + _raw(groups.gather(1, places)) + _raw(weight[:, full:].contiguous())


def _decode_groups(data: NDArray[np.uint8], n: int, m: int, shape: tuple[int, int], dtype: torch.dtype) -> Masked:
    rows, columns = shape
    groups = rows * (columns // m)
    width = ceil(log2(comb(m, n)))
    cut = packed_length(groups, width)
    places = torch.from_numpy(_combinations(n, m)[unpack(data[:cut], groups, width)])
    values = _values(data[cut:], dtype)
    weight = torch.zeros(groups, m, dtype=dtype).scatter_(1, places, values[: groups * n].reshape(groups, n))
    weight = torch.cat([weight.reshape(rows, -1), values[groups * n :].reshape(rows, -1)], dim=1)
    return Masked(weight, weight != 0, group=(n, m))


def _parsed(encoding: str) -> tuple[str, dict[str, Any]]:
    name, *fields = encoding.partition("|")[0].partition("/")[0].split(",")
    return name, {key: int(value) for key, value in (field.split("=") for field in fields)}


def _raw(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _values(data: NDArray[np.uint8], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(data.copy()).view(dtype) if len(data) else torch.zeros(0, dtype=dtype)
