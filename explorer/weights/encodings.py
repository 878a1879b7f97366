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
from explorer.weights.forms import Dense, Factors, Form, Masked

GAP_LIMIT = 255
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
        product = form.shape[0] * form.shape[1] * form.left.weight.element_size()
        if product <= options[0].size_bytes:
            options.append(Encoding("dense", product))
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
        options.append(Encoding(f"gaps,k={(entries := _gap_entries(form.weight))}", entries * (item + 1)))
    return options


def _gap_entries(weight: Tensor) -> int:
    """How many entries gap coding needs: one for each nonzero weight, one more for each 255 zeros in a gap."""
    places = weight.reshape(-1).nonzero().reshape(-1).cpu().numpy()
    gaps = np.diff(places, prepend=-1) - 1
    return int(len(gaps) + (gaps // GAP_LIMIT).sum())


def encode(form: Form, encoding: str) -> bytes:
    """The bytes of the form in the given encoding."""
    if encoding.startswith("factors") and isinstance(form, Factors):
        _, left, right = encoding.split("|")
        return encode(form.left, left) + encode(form.right, right)
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
        assert isinstance(left, Dense) and isinstance(right, Dense)
        return Factors(left, right)
    if stored_length(data, encoding, shape, item) != len(data):
        raise ValueError("another length")
    if name == "dense":
        return Dense(_values(data, dtype).reshape(shape))
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
        places = np.cumsum(data[:count].astype(np.int64) + 1) - 1
        if count:
            weight[torch.from_numpy(places)] = _values(data[count:], dtype)
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
    if name != "group":
        raise ValueError("an unknown encoding")
    n, m = asked["n"], asked["m"]
    if not 1 <= n <= m <= LARGEST_GROUP:
        raise ValueError("no such group")
    groups, ragged = divmod(columns, m)
    return packed_length(rows * groups, ceil(log2(comb(m, n)))) + rows * (groups * n + ragged) * item


def _encode_gaps(flat: Tensor) -> bytes:
    """For each kept weight the number of zeros before it (0 to 254), and its value; 255 zeros are a zero entry."""
    places = flat.nonzero().reshape(-1).numpy()
    gaps = np.diff(places, prepend=-1) - 1
    fillers = gaps // GAP_LIMIT
    ends = np.cumsum(fillers + 1) - 1
    entries = np.full(int(len(gaps) + fillers.sum()), GAP_LIMIT - 1, dtype=np.uint8)
    entries[ends] = gaps % GAP_LIMIT
    values = torch.zeros(len(entries), dtype=flat.dtype)
    values[torch.from_numpy(ends)] = flat[torch.from_numpy(places)]
    return entries.tobytes() + _raw(values)


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
    name, *fields = encoding.partition("|")[0].split(",")
    return name, {key: int(value) for key, value in (field.split("=") for field in fields)}


def _raw(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _values(data: NDArray[np.uint8], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(data.copy()).view(dtype) if len(data) else torch.zeros(0, dtype=dtype)
