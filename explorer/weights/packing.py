"""The one weights file of a variant: its exact length before it is written, writing it, reading it.

The container is safetensors. Untouched tensors stand in it raw; a changed matrix is one run of bytes under the name
`matrix:encoding`. In the smallest file all that is coded is one entropy-coded run of bytes (`weights/smallest.py`).
Nothing in it depends on dates or measurements.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.shown import Shown
from explorer.weights.encodings import decode, encode, encodings_of
from explorer.weights.forms import Dense, Form
from explorer.weights.install import Outfit
from explorer.weights.matrices import Matrices
from explorer.weights.smallest import KEY, squeeze, unsqueeze

FORMAT = "compression-explorer 1"
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64",
    torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """One entry of the file: what it is called, how it is written, and what other ways would have cost (bytes)."""

    name: str
    encoding: str
    size_bytes: int
    dense_bytes: int
    alternatives: Mapping[str, int]


@dataclass(frozen=True)
class Storage(Shown):
    """Where the bytes of the file are: its entries and its header."""

    entries: tuple[StoredTensor, ...]
    header_bytes: int

    @property
    def size_bytes(self) -> int:
        """The length of the file."""
        return self.header_bytes + sum(entry.size_bytes for entry in self.entries)

    def __str__(self) -> str:
        width = max([len(entry.name) for entry in self.entries] + [6])
        lines = [f"{'tensor':<{width}}  {'bytes':>11} {'dense':>11}  encoding"]
        lines += [f"{e.name:<{width}}  {e.size_bytes:>11,} {e.dense_bytes:>11,}  {e.encoding}" for e in self.entries]
        return "\n".join(
            [*lines, f"{'header':<{width}}  {self.header_bytes:>11,}", f"{'file':<{width}}  {self.size_bytes:>11,}"]
        )


@dataclass(frozen=True)
class _Entry:
    key: str
    dtype: str
    shape: tuple[int, ...]
    stored: StoredTensor


class WeightsFile:
    """What the file of a variant of `model` holds.

    Parameters
    ----------
    outfit: the changed matrices and tensors.
    metadata: text by name, kept in the header (recipe, digests).
    smallest: entropy-code what is changed; what is untouched stays raw all the same.
    """

    def __init__(
        self,
        model: nn.Module,
        matrices: Matrices,
        outfit: Outfit,
        metadata: Mapping[str, str],
        smallest: bool = False,
    ) -> None:
        self._outfit, self._matrices = outfit, matrices
        self._tensors = {**_own_tensors(model), **_rest_tensors(model, outfit)}
        changed = {matrices[name].parameter for name in outfit.forms}
        coded = {name for name, form in outfit.rest.items() if not _is_raw(form)}
        entries = [self._raw_entry(name) for name in self._tensors if name not in changed and name not in coded]
        plain = [matrix.name for matrix in matrices if matrix.parameter in changed] + sorted(coded)
        squeezed = [name for name in plain if smallest and (name in outfit.forms or name in coded)]
        self._squeezed = squeeze({name: self._form(name) for name in squeezed}) if squeezed else b""
        entries += [self._coded_entry(name) for name in plain if name not in set(squeezed)]
        entries += [self._squeezed_entry(squeezed)] if squeezed else []
        self._entries = sorted(entries, key=lambda entry: (entry.dtype == "U8", -_alignment(entry.dtype), entry.key))
        self._header = _header(self._entries, {"format": FORMAT, **metadata})

    @property
    def storage(self) -> Storage:
        """Where the bytes are; `storage.size_bytes` is the length of the file, exactly."""
        return Storage(tuple(entry.stored for entry in self._entries), len(self._header))

    def write(self, path: Path) -> None:
        """Write the file; an interrupted write leaves no half file behind."""
        draft = path.with_suffix(".part")
        try:
            with draft.open("wb") as file:
                file.write(self._header)
                for entry in self._entries:
                    file.write(self._bytes_of(entry))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def _raw_entry(self, name: str) -> _Entry:
        tensor = self._tensors[name]
        if tensor.dtype not in DTYPES:
            raise ExplorerError(f"tensors of {tensor.dtype} cannot be stored", where=name, instead="convert it first")
        size = tensor.numel() * tensor.element_size()
        stored = StoredTensor(name, "raw", size, size, {"raw": size})
        return _Entry(name, DTYPES[tensor.dtype], tuple(tensor.shape), stored)

    def _form(self, name: str) -> Form:
        if name in self._outfit.rest:
            return self._outfit.rest[name]
        matrix = self._matrices[name]
        return self._outfit.forms.get(name) or Dense(matrix.view(self._tensors[matrix.parameter].detach()))

    def _coded_entry(self, name: str) -> _Entry:
        form = self._form(name)
        parameter = name if name in self._outfit.rest else self._matrices[name].parameter
        options = encodings_of(form)
        best = options[0]
        dense = form.shape[0] * form.shape[1] * self._tensors[parameter].element_size()
        stored = StoredTensor(name, best.name, best.size_bytes, dense, {o.name: o.size_bytes for o in options})
        return _Entry(f"{name}:{best.name}", "U8", (best.size_bytes,), stored)

    def _squeezed_entry(self, names: list[str]) -> _Entry:
        size, dense = len(self._squeezed), sum(self._coded_entry(name).stored.dense_bytes for name in names)
        name, _, encoding = KEY.partition(":")
        return _Entry(KEY, "U8", (size,), StoredTensor(name, encoding, size, dense, {encoding: size}))

    def _bytes_of(self, entry: _Entry) -> bytes:
        if entry.key == KEY and entry.dtype == "U8" and self._squeezed:
            return self._squeezed
        if entry.stored.encoding == "raw":
            return encode(Dense(self._tensors[entry.key].detach().reshape(1, -1)), "dense")
        return encode(self._form(entry.stored.name), entry.stored.encoding)


def read_metadata(path: Path) -> dict[str, str]:
    """The text that `write` put into the header; raises `ExplorerError` for another kind of file."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as problem:
        raise ExplorerError(
            f"{path} is not a whole weights file ({problem})", instead="save the variant again"
        ) from problem
    if metadata.get("format") != FORMAT:
        raise ExplorerError(
            f"{path} was not written by Variant.save()", instead="load it as a state dict into your module"
        )
    return metadata


def read_outfit(path: Path, model: nn.Module, matrices: Matrices) -> tuple[Outfit, dict[str, Tensor]]:
    """(what the variant changes, the untouched tensors) from a file; decodes, never recomputes.

    Raises `ExplorerError` when the file does not fit the architecture of `model`.
    """
    read_metadata(path)
    forms: dict[str, Form] = {}
    rest: dict[str, Form] = {}
    raw: dict[str, Tensor] = {}
    own = _own_tensors(model)
    with safe_open(str(path), framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  (safe_open has no iterator)
            name, _, encoding = key.rpartition(":")
            if key in own:
                raw[key] = file.get_tensor(key)
            elif key == KEY:
                squeezed = _unsqueezed(file.get_tensor(key), matrices, own, path)
                forms |= {found: form for found, form in squeezed.items() if found in matrices.names}
                rest |= {found: form for found, form in squeezed.items() if found not in matrices.names}
            elif name in matrices or name in own:
                data = file.get_tensor(key).reshape(-1).view(torch.uint8).numpy()
                try:
                    if name in matrices:
                        matrix = matrices[name]
                        shape = (matrix.rows, matrix.columns)
                        forms[name] = decode(data, encoding, shape, own[matrix.parameter].dtype)
                    else:
                        rest[name] = decode(data, encoding, (1, own[name].numel()), own[name].dtype)
                except ExplorerError as problem:
                    raise problem.at(f"{path}, {name}") from problem
            else:
                raise ExplorerError(f'the file holds "{name or key}", which this architecture has not', where=str(path))
    covered = {matrices[name].parameter for name in forms}
    covered -= {matrix.parameter for matrix in matrices if matrix.name not in forms}  # a part of it is missing
    for name, tensor in own.items():
        if name not in raw and name not in covered and name not in rest:
            raise ExplorerError(
                f'the file lacks "{name}"', where=str(path), instead="give the architecture it was saved from"
            )
        if name in raw and raw[name].shape != tensor.shape:
            shapes = f"{tuple(raw[name].shape)} in the file, {tuple(tensor.shape)} in the architecture"
            raise ExplorerError(f'"{name}" has another shape: {shapes}', where=str(path))
    return Outfit(forms, rest), raw


def _unsqueezed(data: Tensor, matrices: Matrices, own: Mapping[str, Tensor], path: Path) -> dict[str, Form]:
    """The forms in the entropy-coded entry, of matrices and of other tensors."""
    like = {name: ((1, tensor.numel()), tensor.dtype) for name, tensor in own.items()}
    like |= {matrix.name: ((matrix.rows, matrix.columns), own[matrix.parameter].dtype) for matrix in matrices}
    try:
        return unsqueeze(data.reshape(-1).view(torch.uint8).numpy().tobytes(), like)
    except ExplorerError as problem:
        raise problem.at(str(path)) from problem


def _is_raw(form: Form) -> bool:
    return type(form) is Dense


def _rest_tensors(model: nn.Module, outfit: Outfit) -> dict[str, Tensor]:
    """The changed tensors that are no matrices, in the shapes that the model has."""
    own = _own_tensors(model)
    return {name: form.decode().reshape(own[name].shape) for name, form in outfit.rest.items()}


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers, a tied one once, under its first name."""
    kept = set(model.state_dict(keep_vars=True))
    buffers = {name: tensor for name, tensor in model.named_buffers() if name in kept}
    return {**dict(model.named_parameters()), **buffers}


def _alignment(dtype: str) -> int:
    bits = dtype[1:] if dtype != "BF16" else "16"
    return int(bits) // 8 if bits.isdigit() else 1


def _header(entries: list[_Entry], metadata: Mapping[str, str]) -> bytes:
    """The safetensors header: its length (8 bytes), then JSON, padded with spaces to a multiple of eight."""
    listed: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    at = 0
    for entry in entries:
        end = at + entry.stored.size_bytes
        listed[entry.key] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(listed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
