"""The smallest file: changed tensors as streams of like bytes, entropy-coded with `lzma`.

Each matrix is first written in one of its plain encodings; the bytes of all of them are then sorted by what they mean
(gaps of zeros, codes of a width, the i-th bytes of numbers), a byte for each code, and every kind is compressed as one
stream. Reading puts the plain bytes together again and decodes them as those of a plain file. The coder is LZMA with
no context (lc = lp = pb = 0): it comes close to the entropy of single symbols, in the place of the Huffman codes of
Han et al. 2016 ("Deep Compression"). The same liblzma gives the same bytes.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Mapping
from math import ceil, comb, log2
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from explorer.errors import ExplorerError
from explorer.weights.bits import pack, packed_length, unpack
from explorer.weights.encodings import decode, encode, encodings_of
from explorer.weights.forms import Factors, Form
from explorer.weights.layouts import gap_entries

KEY = "smallest:lzma"
"""The name of the one entry in the file."""

CODER = {"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 2**22, "nice_len": 273}
SEARCHES: tuple[dict[str, int], ...] = ({}, {"mf": lzma.MF_HC3, "depth": 1})
"""Ways to look for repeats: thoroughly, and hardly at all, which is better where symbols are few. Reading is the same.
"""

LARGEST_HEAD = 2**24

Bytes = NDArray[np.uint8]
Move = Callable[[str, int, int], Bytes]
"""`move(kind, count, size)` carries `count` symbols and returns their plain bytes; `size` is in bytes for numbers
("values", "table"), in bits for all others."""

Shape = tuple[int, int]


def squeeze(forms: Mapping[str, Form]) -> bytes:
    """The forms, by name, as one run of bytes; the same bytes for the same forms."""
    return b"".join(squeezed_blocks(forms).values())


def squeezed_blocks(forms: Mapping[str, Form]) -> dict[str, bytes]:
    """The compressed parts of that run by what they are: first "" (names and lengths), then each kind of symbols."""
    streams: dict[str, bytearray] = {}
    listed = []
    for name, form in forms.items():
        encoding, data = _written(form)
        listed.append([name, encoding])
        _split(encoding, data, form.shape, form.decode().element_size(), streams)
    kinds = sorted(streams)
    head = json.dumps([listed, [[kind, len(streams[kind])] for kind in kinds]], separators=(",", ":")).encode()
    return {"": _compressed(head), **{kind: _compressed(bytes(streams[kind])) for kind in kinds}}


def unsqueeze(data: bytes, like: Mapping[str, tuple[Shape, torch.dtype]]) -> dict[str, Form]:
    """The forms that `squeeze` wrote; `like` has the shape and the number type of every tensor they may be of.

    Raises `ExplorerError` for bytes that it did not write, and for names that are not in `like`.
    """
    try:
        head, data = _decompressed(data, LARGEST_HEAD)
        listed, lengths = json.loads(head)
        most = 16 * sum(shape[0] * shape[1] + 64 for shape, _ in like.values())
        streams: dict[str, Bytes] = {}
        for kind, length in lengths:
            if not 0 <= length <= most:
                raise ValueError("a stream longer than the model")
            block, data = _decompressed(data, length)
            if len(block) != length:
                raise ValueError("a stream of another length")
            streams[kind] = np.frombuffer(block, dtype=np.uint8)
    except (lzma.LZMAError, ValueError, TypeError, KeyError, EOFError) as problem:
        raise ExplorerError(
            "the compressed weights are damaged", where=KEY, instead="save the variant again"
        ) from problem
    forms: dict[str, Form] = {}
    for name, encoding in listed:
        if name not in like:
            raise ExplorerError(f'the file holds "{name}", which this architecture has not', where=KEY)
        shape, dtype = like[name]
        item = torch.empty((), dtype=dtype).element_size()
        try:
            plain = _joined(encoding, shape, item, streams)
            forms[name] = decode(plain, encoding, shape, dtype)
        except (ValueError, KeyError, IndexError, OverflowError) as problem:
            raise ExplorerError(
                f'"{name}" cannot be read as "{encoding}"', where=KEY, instead="check the architecture"
            ) from problem
        except ExplorerError as problem:
            raise problem.at(name) from problem
    return forms


# -- one tensor -----------------------------------------------------------------------------------------------------


def _written(form: Form) -> tuple[str, Bytes]:
    """(encoding, plain bytes): the one whose symbols, each kind for itself, have the least entropy."""
    if isinstance(form, Factors):
        (left, first), (right, second) = _written(form.left), _written(form.right)
        return f"factors,r={form.rank}|{left}|{right}", np.concatenate([first, second])
    best: tuple[float, str, Bytes] | None = None
    for encoding in _candidates(form):
        data = np.frombuffer(encode(form, encoding), dtype=np.uint8)
        streams: dict[str, bytearray] = {}
        _split(encoding, data, form.shape, form.decode().element_size(), streams)
        cost = sum(_entropy(np.frombuffer(bytes(stream), dtype=np.uint8)) for stream in streams.values())
        if best is None or cost < best[0]:
            best = (cost, encoding, data)
    assert best is not None
    return best[1], best[2]


def _candidates(form: Form) -> list[str]:
    """The encodings that are worth a look: gaps say all that a bitmask does, and dense says nothing of zeros."""
    names = [option.name for option in encodings_of(form)]
    whole = [name for name in names if name == "dense" or name.endswith("/packed")]
    kept = [name for name in names if name.partition(",")[0] in ("rows", "group") or name.endswith("/rows")]
    if len(names) > 1:
        entries = gap_entries(np.flatnonzero((form.decode() != 0).cpu().numpy()))
        head = whole[0].rpartition("/")[0]
        kept.append(f"{head}/gaps,k={entries}" if head else f"gaps,k={entries}")
        if not head:
            return kept  # of numbers, zeros are never worth their bytes
    return kept + whole


def _split(encoding: str, data: Bytes, shape: Shape, item: int, streams: dict[str, bytearray]) -> None:
    """Sort plain bytes into the streams."""
    at = 0

    def move(kind: str, count: int, size: int) -> Bytes:
        nonlocal at
        numbers = kind in NUMBERS
        part = data[at : at + (count * size if numbers else packed_length(count, size))]
        at += len(part)
        if numbers:
            for plane in range(size):
                streams.setdefault(f"{kind}{size}.{plane}", bytearray()).extend(part[plane::size].tobytes())
        else:
            symbols = unpack(part, count, size).astype(np.uint8)
            streams.setdefault(f"{kind}{size}", bytearray()).extend(symbols.tobytes())
        return part

    _walk(encoding, shape, item, move)
    assert at == len(data)


def _joined(encoding: str, shape: Shape, item: int, streams: dict[str, Bytes]) -> Bytes:
    """The plain bytes of one tensor, taken off the fronts of the streams."""
    parts: list[Bytes] = []

    def take(kind: str, count: int) -> Bytes:
        stream = streams.get(kind, np.zeros(0, dtype=np.uint8))
        if count > len(stream):
            raise ValueError("a stream that ends too early")
        streams[kind] = stream[count:]
        return stream[:count]

    def move(kind: str, count: int, size: int) -> Bytes:
        if kind in NUMBERS:
            planes = [take(f"{kind}{size}.{plane}", count) for plane in range(size)]
            part = np.stack(planes, axis=1).reshape(-1)
        else:
            part = np.frombuffer(pack(take(f"{kind}{size}", count), size), dtype=np.uint8)
        parts.append(part)
        return part

    _walk(encoding, shape, item, move)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint8)


NUMBERS = ("values", "table")


def _walk(encoding: str, shape: Shape, item: int, move: Move) -> None:
    """Carry the parts of one encoded matrix, in the order in which they stand in its plain bytes."""
    rows, columns = shape
    if encoding.startswith("factors"):
        head, left, right = encoding.split("|")
        rank = _fields(head)["r"]
        _walk(left, (rows, rank), item, move)
        _walk(right, (rank, columns), item, move)
        return
    head, _, layout = encoding.partition("/")
    asked, kind, width = _fields(head), "values", item
    if layout:
        move("table", asked["s"] if head.startswith("quantised") else asked["k"], item)
        if asked.get("z"):
            move("points", asked["z"], 8)
        asked, kind, width = {**asked, **_fields(layout)}, "codes", asked["b"]
    name = (layout or head).partition(",")[0]
    if name in ("dense", "packed"):
        move(kind, rows * columns, width)
    elif name == "gaps":
        move("gaps", asked["k"], 8)
        move(kind, asked["k"], width)
    elif name == "rows":
        stay = int(np.bitwise_count(move("flags", packed_length(rows, 1), 8)).sum())
        move(kind, stay * columns, width)
    elif name == "group":
        n, m = asked["n"], asked["m"]
        groups, ragged = divmod(columns, m)
        ways = ceil(log2(comb(m, n)))
        if ways > 8:  # beyond a byte a symbol
            move("packed", packed_length(rows * groups, ways), 8)
        else:
            move(f"group{m}.", rows * groups, ways)
        move(kind, rows * (groups * n + ragged), width)
    else:
        raise ValueError("an unknown encoding")


def _fields(encoding: str) -> dict[str, int]:
    """The numbers in "gaps,k=12"."""
    return {name: int(value) for name, value in (field.split("=") for field in encoding.split(",")[1:])}


def _entropy(symbols: Bytes) -> float:
    """Bytes that symbols take at the entropy of their frequencies."""
    counts = np.bincount(symbols)
    shares = counts[counts > 0] / max(1, len(symbols))
    return float(-(shares * np.log2(shares)).sum() * len(symbols) / 8)


def _compressed(data: bytes) -> bytes:
    tried = [lzma.compress(data, format=lzma.FORMAT_RAW, filters=[{**CODER, **search}]) for search in SEARCHES]
    return min(tried, key=len)


def _decompressed(data: bytes, most: int) -> tuple[bytes, bytes]:
    """(the first stream in `data`, of at most so many bytes; what comes after it)."""
    reader: Any = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=[CODER])
    found = reader.decompress(data, max_length=most + 1)
    if not reader.eof:
        raise EOFError("a stream without its end")
    return found, reader.unused_data
