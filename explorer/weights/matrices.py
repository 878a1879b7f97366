"""Weight matrices: every weight of a model seen as the 2-D map that it applies, `[out, in]`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import overload

import torch
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.shown import Shown

PACKED_NAMES = re.compile(r"(^|\.)(qkv|qkv_proj|in_proj|wqkv|c_attn)$", re.IGNORECASE)
"""Layers that hold q, k and v one after the other. (A `query_key_value`, as in GPT-NeoX, mixes them head by head.)"""
HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
GATES: dict[type[nn.RNNBase], tuple[str, ...]] = {
    nn.LSTM: ("input", "forget", "cell", "output"),
    nn.GRU: ("reset", "update", "new"),
    nn.RNN: ("hidden",),
}
ATTENTION_PARTS = ("query", "key", "value")
OTHER_LAYERS = (nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Bilinear, nn.RNNCellBase)


@dataclass(frozen=True)
class WeightMatrix:
    """A view of (a part of) one Parameter as a matrix `[rows, columns]`; it never copies.

    name: what globs and reports use, always that of the original model.
    module, parameter: the owning module and the Parameter, by their (first) names in the model.
    kind: linear, conv, transposed, query, key, value, gate or embedding.
    first: the first index of the part along the packed dimension of the Parameter.
    transposed: the Parameter holds `[in, out]` (transformers' Conv1D).
    heads: how many attention heads its rows (q, k, v) or columns (output projection) form.
    groups: of a convolution.
    tied: other names under which the same Parameter stands in the model; it is counted once.
    """

    name: str
    module: str
    parameter: str
    kind: str
    rows: int
    columns: int
    first: int = 0
    transposed: bool = False
    heads: int | None = None
    groups: int = 1
    tied: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many weights there are."""
        return self.rows * self.columns

    @property
    def max_rank(self) -> int:
        """The largest rank that the matrix can have."""
        return min(self.rows, self.columns)

    @property
    def break_even(self) -> float:
        """The rank below which two thin matrices hold fewer numbers than the matrix: mn / (m + n)."""
        return self.rows * self.columns / (self.rows + self.columns)

    def kept_in_groups(self, n: int, m: int) -> int:
        """How many weights N:M keeps: N of each M neighbouring inputs, of a ragged end at most N."""
        groups, ragged = divmod(self.columns, m)
        return self.rows * (groups * n + min(n, ragged))

    def view(self, parameter: Tensor) -> Tensor:
        """The matrix `[rows, columns]` inside a tensor of the Parameter's shape; shares its storage."""
        if self.transposed:
            return parameter[:, self.first : self.first + self.rows].t()
        part = parameter[self.first : self.first + self.rows]
        return part if part.dim() == 2 else part.reshape(self.rows, self.columns)

    @property
    def bias(self) -> tuple[str, int]:
        """The name that the bias of its rows has (if there is one), and where in it they start."""
        own = self.parameter.rpartition(".")[2]
        if own.endswith("_proj_weight") and self.kind in ATTENTION_PARTS and own != "in_proj_weight":
            return _join(self.module, "in_proj_bias"), ATTENTION_PARTS.index(self.kind) * self.rows
        return _join(self.module, own.replace("weight", "bias")), self.first

    def matches(self, globs: Sequence[str]) -> bool:
        """Whether one of the globs (or exact names) means this matrix, its module or a tied name."""
        names = (self.name, self.module, *self.tied)
        return any(name == glob or fnmatchcase(name, glob) for glob in globs for name in names)

    def __str__(self) -> str:
        return f"{self.name} [{self.rows}, {self.columns}]"


class Matrices(Shown, Sequence[WeightMatrix]):
    """All weight matrices of a model, in the order of its modules, and what is not compressible."""

    def __init__(self, matrices: Sequence[WeightMatrix], not_compressible: Sequence[tuple[str, str]] = ()) -> None:
        self._matrices = tuple(matrices)
        self._by_name = {matrix.name: matrix for matrix in self._matrices}
        self.not_compressible = tuple(not_compressible)

    @overload
    def __getitem__(self, key: int | str) -> WeightMatrix: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[WeightMatrix]: ...
    def __getitem__(self, key: int | str | slice) -> WeightMatrix | Sequence[WeightMatrix]:
        if isinstance(key, str):
            if key not in self._by_name:
                raise ExplorerError(f'there is no weight matrix called "{key}"', instead=self._what_there_is())
            return self._by_name[key]
        return self._matrices[key]

    def __len__(self) -> int:
        return len(self._matrices)

    def __iter__(self) -> Iterator[WeightMatrix]:
        return iter(self._matrices)

    def __contains__(self, item: object) -> bool:
        return item in self._by_name or item in self._matrices

    @property
    def names(self) -> list[str]:
        """The names, in the model's order."""
        return list(self._by_name)

    @property
    def total(self) -> int:
        """How many compressible weights there are."""
        return sum(matrix.count for matrix in self._matrices)

    def select(self, layers: Sequence[str], exclude: Sequence[str] = ()) -> list[WeightMatrix]:
        """The matrices that the globs mean; raises `ExplorerError` for a glob that means none."""
        for glob in (*layers, *exclude):
            if not any(matrix.matches((glob,)) for matrix in self._matrices):
                for name, reason in self.not_compressible:
                    if fnmatchcase(name, glob):
                        raise ExplorerError(f'"{glob}" is not compressible: {reason}', instead=self._what_there_is())
                raise ExplorerError(f'no weight matrix matches "{glob}"', instead=self._what_there_is())
        return [matrix for matrix in self._matrices if matrix.matches(layers) and not matrix.matches(exclude)]

    def _what_there_is(self) -> str:
        names = self.names
        listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        return f"there is {listed}" if names else "this model has no compressible matrix"

    def __str__(self) -> str:
        width = max([len(matrix.name) for matrix in self._matrices] + [6])
        lines = [f"{'matrix':<{width}}  {'kind':<10} {'out':>6} {'in':>6} {'heads':>5} {'weights':>11}"]
        for matrix in self._matrices:
            heads = "" if matrix.heads is None else str(matrix.heads)
            sizes = f"{matrix.rows:>6} {matrix.columns:>6} {heads:>5} {matrix.count:>11,}"
            lines.append(f"{matrix.name:<{width}}  {matrix.kind:<10} {sizes}")
        lines.append(f"{len(self)} matrices, {self.total:,} weights")
        lines += [f"not compressible: {name} ({reason})" for name, reason in self.not_compressible]
        return "\n".join(lines)


def find_matrices(model: nn.Module, embeddings: bool = False) -> Matrices:
    """All weight matrices of `model`: linear, convolutional, packed q/k/v, transposed, recurrent gates.

    Norms and biases are left out; embeddings come in with `embeddings=True`. A Parameter that stands in several
    places is one matrix, with the other names in `tied`. Weights that are no Parameter of their own (weight norm,
    scripted modules) are listed as not compressible, with the reason.
    """
    found: list[WeightMatrix] = []
    refused: list[tuple[str, str]] = []
    places: dict[int, range] = {}
    inside_script = ""
    modules = dict(model.named_modules())
    first_names = {id(parameter): name for name, parameter in model.named_parameters()}
    for path, module in modules.items():
        if inside_script and path.startswith(inside_script):
            continue
        if isinstance(module, torch.jit.ScriptModule):
            inside_script = path + "."
            if any(parameter.dim() >= 2 for parameter in module.parameters()):
                refused.append((path or "the model", "it is a scripted module, whose weights cannot be exchanged"))
            continue
        if isinstance(module, OTHER_LAYERS):
            refused.append(
                (path or "the model", f"layers of the kind {type(module).__name__} are not seen as matrices")
            )
        for parameter_name, parts in _matrices_of(path, module, modules, embeddings):
            full = _join(path, parameter_name)
            parameter = module._parameters.get(parameter_name)
            if parameter is None:
                refused.append((full, "it is computed from other parameters (a parametrisation such as weight norm)"))
                continue
            if id(parameter) in places:
                known = places[id(parameter)]
                if len(known) == len(parts):
                    for at, part in zip(known, parts, strict=True):
                        found[at] = _with_tied(found[at], part.name)
                continue
            places[id(parameter)] = range(len(found), len(found) + len(parts))
            others = _other_slots(model, parameter, full)
            first = first_names[id(parameter)]  # a tied Parameter goes by the first of its names, as in PyTorch
            found.extend(_with_tied(replace(part, parameter=first), *others) for part in parts)
    return Matrices(found, refused)


def _matrices_of(
    path: str, module: nn.Module, modules: dict[str, nn.Module], embeddings: bool
) -> list[tuple[str, list[WeightMatrix]]]:
    """The matrices that one module holds itself: [(parameter name, its parts)]."""
    if isinstance(module, nn.MultiheadAttention):
        return _attention_matrices(path, module)
    if isinstance(module, nn.Linear):
        return [("weight", _linear_parts(path, module.out_features, module.in_features, modules, False))]
    if (
        type(module).__name__ == "Conv1D"
        and hasattr(module, "nf")
        and isinstance(getattr(module, "weight", None), nn.Parameter)
    ):
        columns, rows = (
            int(size) for size in module.get_parameter("weight").shape
        )  # transformers keep this one as [in, out]
        return [("weight", _linear_parts(path, rows, columns, modules, True))]
    if isinstance(module, (nn.Conv1d, nn.Conv2d)) and not module.transposed:
        kernel = 1
        for size in module.kernel_size:
            kernel *= size
        columns = module.in_channels // module.groups * kernel
        name = _join(path, "weight")
        return [
            (
                "weight",
                [WeightMatrix(path or name, path, name, "conv", module.out_channels, columns, groups=module.groups)],
            )
        ]
    for recurrent, gates in GATES.items():
        if isinstance(module, recurrent):
            return _recurrent_matrices(path, module, gates)
    if embeddings and isinstance(module, nn.Embedding):
        name = _join(path, "weight")
        return [
            (
                "weight",
                [WeightMatrix(path or name, path, name, "embedding", module.num_embeddings, module.embedding_dim)],
            )
        ]
    return []


def _linear_parts(
    path: str, rows: int, columns: int, modules: dict[str, nn.Module], transposed: bool
) -> list[WeightMatrix]:
    """One matrix, or q, k and v of a packed projection each on its own."""
    parameter = _join(path, "weight")
    parent, _, own = path.rpartition(".")
    heads = _heads_of(modules.get(parent))
    if PACKED_NAMES.search(path) and rows == 3 * columns:
        return [
            WeightMatrix(
                f"{path}.{part}", path, parameter, part, columns, columns, position * columns, transposed, heads
            )
            for position, part in enumerate(ATTENTION_PARTS)
        ]
    kind = "transposed" if transposed else "linear"
    for part in ATTENTION_PARTS:
        if heads and own.lower() in (
            part,
            part[0],
            f"{part[0]}_proj",
            f"{part[0]}_lin",
            f"w{part[0]}",
            f"to_{part[0]}",
        ):
            kind = part
    in_attention = kind in ATTENTION_PARTS or own.lower() in (
        "proj",
        "out_proj",
        "o_proj",
        "c_proj",
        "out_lin",
        "wo",
        "to_out",
    )
    return [
        WeightMatrix(
            path or parameter, path, parameter, kind, rows, columns, 0, transposed, heads if in_attention else None
        )
    ]


def _attention_matrices(path: str, module: nn.MultiheadAttention) -> list[tuple[str, list[WeightMatrix]]]:
    """q, k, v of `nn.MultiheadAttention`; its output projection is a Linear of its own."""
    width, heads = module.embed_dim, module.num_heads
    if module._qkv_same_embed_dim:
        name = _join(path, "in_proj_weight")
        return [
            (
                "in_proj_weight",
                [
                    WeightMatrix(_join(path, part), path, name, part, width, width, position * width, heads=heads)
                    for position, part in enumerate(ATTENTION_PARTS)
                ],
            )
        ]
    sizes = {"query": module.embed_dim, "key": module.kdim, "value": module.vdim}
    return [
        (
            f"{part[0]}_proj_weight",
            [
                WeightMatrix(
                    _join(path, part), path, _join(path, f"{part[0]}_proj_weight"), part, width, size, heads=heads
                )
            ],
        )
        for part, size in sizes.items()
    ]


def _recurrent_matrices(path: str, module: nn.RNNBase, gates: Sequence[str]) -> list[tuple[str, list[WeightMatrix]]]:
    """Each gate of each layer and direction of an LSTM, GRU or RNN."""
    listed = []
    for name in module._flat_weights_names:
        parameter = getattr(module, name, None)
        if not isinstance(parameter, Tensor) or not name.startswith("weight_"):
            continue
        full = _join(path, name)
        if name.startswith("weight_hr"):  # the projection of an LSTM with proj_size
            listed.append((name, [WeightMatrix(full, path, full, "linear", *parameter.shape)]))
            continue
        rows, columns = parameter.shape[0] // len(gates), parameter.shape[1]
        listed.append(
            (
                name,
                [
                    WeightMatrix(f"{full}.{gate}", path, full, "gate", rows, columns, at * rows)
                    for at, gate in enumerate(gates)
                ],
            )
        )
    return listed


def _heads_of(parent: nn.Module | None) -> int | None:
    for name in HEAD_COUNTS:
        value = getattr(parent, name, None)
        if isinstance(value, int):
            return value
    return None


def _other_slots(model: nn.Module, parameter: Tensor, first: str) -> list[str]:
    """Other names under which the very same Parameter stands in the model."""
    named = model.named_parameters(remove_duplicate=False)
    return [name for name, other in named if other is parameter and name != first]


def _with_tied(matrix: WeightMatrix, *names: str) -> WeightMatrix:
    fresh = [name for name in names if name not in matrix.tied and name != matrix.name]
    return replace(matrix, tied=(*matrix.tied, *fresh)) if fresh else matrix


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
