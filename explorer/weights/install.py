"""Putting a variant's forms on a private clone, and taking them off again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from explorer.weights.clone import private_clone
from explorer.weights.forms import Factors, Form
from explorer.weights.matrices import Matrices, WeightMatrix
from explorer.weights.open_attention import OpenAttention
from explorer.weights.thin import ThinConv, ThinLinear, still


class Edit(Protocol):
    """What changes a module while it runs, and no weight (see `attention/editing.py`)."""

    @property
    def module(self) -> str:
        """The module that runs otherwise, by its path."""
        ...

    def forward(self, owner: nn.Module, others: Sequence[Any]) -> Callable[..., Any]:
        """What the module runs instead, with the `others` of its edits after this one."""
        ...


@dataclass(frozen=True)
class Outfit:
    """What a variant changes.

    forms: of matrices, by name. rest: of all other tensors (biases, norms, positions, buffers), each held as one row
    `[1, n]`, by its name in the model. edits: what runs otherwise, in the order of the steps.
    """

    forms: Mapping[str, Form]
    rest: Mapping[str, Form]
    edits: tuple[Edit, ...] = ()


class PrivateModel:
    """One private clone of a model, which puts outfits on and off. Belongs to one thread at a time."""

    def __init__(self, model: nn.Module, matrices: Matrices) -> None:
        self._holder = nn.ModuleDict({"model": private_clone(model)})  # so that the root, too, has a parent
        self._matrices = matrices
        self._dense: dict[str, Tensor] = dict(self.module.named_parameters())
        self._dense |= dict(self.module.named_buffers())
        self._slots: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in self._dense}
        first_name = {id(tensor): name for name, tensor in self._dense.items()}
        for owner in self._holder.modules():
            for attribute, tensor in [*owner._parameters.items(), *owner._buffers.items()]:
                if tensor is not None and id(tensor) in first_name:
                    self._slots[first_name[id(tensor)]].append((owner, attribute))
        self._parts: dict[str, list[WeightMatrix]] = {}
        for matrix in matrices:
            self._parts.setdefault(matrix.parameter, []).append(matrix)
        self._worn: Outfit | None = None
        self._swapped: list[tuple[nn.Module, str, nn.Module]] = []
        self._replaced: list[str] = []
        self._edited: list[nn.Module] = []

    @property
    def module(self) -> nn.Module:
        """The clone, as it is dressed now."""
        return self._holder["model"]

    def wear(self, outfit: Outfit) -> nn.Module:
        """The clone with the outfit on (the empty outfit is the dense model)."""
        if outfit is not self._worn:
            self._undress()
            changed = {self._matrices[name].parameter for name in outfit.forms}
            thin = {name for name in changed if self._wear_thin(name, outfit)}
            for name in changed - thin:
                self._put(name, self.decoded(name, outfit))
            for name, form in outfit.rest.items():
                self._put(name, form.decode().reshape(self._dense[name].shape))
            self._edited = put_on(self.module, outfit.edits)
            self._worn = outfit
        return self.module

    def _undress(self) -> None:
        self._worn = None
        for owner in self._edited:
            del owner.__dict__["forward"]
        self._edited = []
        for owner, attribute, original in reversed(self._swapped):
            setattr(owner, attribute, original)
        for module in self._holder.modules():
            if isinstance(module, OpenAttention):
                module.thin.clear()
        for name in self._replaced:
            for owner, attribute in self._slots[name]:
                setattr(owner, attribute, self._dense[name])
        self._swapped, self._replaced = [], []

    def _put(self, name: str, tensor: Tensor) -> None:
        """A changed tensor, as one new Parameter (or buffer) in every slot that held the old one (tied weights)."""
        fresh = still(tensor) if isinstance(self._dense[name], nn.Parameter) else tensor
        for owner, attribute in self._slots[name]:
            setattr(owner, attribute, fresh)
        self._replaced.append(name)

    def decoded(self, name: str, outfit: Outfit) -> Tensor:
        """The full Parameter of that name with its changed matrices written in."""
        dense, parts = self._dense[name], self._parts[name]
        if len(parts) == 1 and not parts[0].transposed:
            return outfit.forms[parts[0].name].decode().reshape(dense.shape)
        full = dense.detach().clone()
        for part in parts:
            if part.name in outfit.forms:
                part.view(full).copy_(outfit.forms[part.name].decode())
        return full

    def can_run_thin(self, name: str) -> bool:
        """Whether factors of the Parameter can run as thin layers: it stands once, in a module that these replace."""
        if len(self._slots[name]) != 1:
            return False
        owner, _ = self._slots[name][0]
        return isinstance(owner, OpenAttention) or (_is_plain(owner) and getattr(owner, "groups", 1) == 1)

    def _wear_thin(self, name: str, outfit: Outfit) -> bool:
        """Run factors as thin layers where that is less work and the module can; says whether it did."""
        parts, slots = self._parts[name], self._slots[name]
        forms = [outfit.forms.get(part.name) for part in parts]
        if not any(isinstance(form, Factors) and form.runs_thin for form in forms) or not self.can_run_thin(name):
            return False
        owner, _ = slots[0]
        if isinstance(owner, OpenAttention):
            if owner.in_proj_weight is not None:
                self._put(name, self.decoded(name, outfit))
            for part, form in zip(parts, forms, strict=True):
                if isinstance(form, Factors) and form.runs_thin:
                    owner.thin[part.kind] = ThinLinear([(form.left.decode(), form.right.decode())], None)
            return True
        bias_name = f"{parts[0].module}.bias" if parts[0].module else "bias"
        bias = getattr(owner, "bias", None)
        if bias is not None and bias_name in outfit.rest:
            bias = outfit.rest[bias_name].decode().reshape(bias.shape)
        thin: nn.Module
        if isinstance(owner, (nn.Conv1d, nn.Conv2d)):
            form = forms[0]
            assert isinstance(form, Factors)
            thin = ThinConv(owner, form.left.decode(), form.right.decode(), bias)
        else:
            thin = ThinLinear([self._part(part, form) for part, form in zip(parts, forms, strict=True)], bias)
        self._swap(owner, thin)
        return True

    def _part(self, part: WeightMatrix, form: Form | None) -> tuple[Tensor, ...]:
        if isinstance(form, Factors) and form.runs_thin:
            return (form.left.decode(), form.right.decode())
        return (part.view(self._dense[part.parameter]) if form is None else form.decode(),)

    def _swap(self, owner: nn.Module, thin: nn.Module) -> None:
        """Put the thin module wherever the owner stands (a shared module stands in several places).

        It takes over the owner's plain attributes (`in_features`, `stride`), which a model's code may look at.
        """
        thin.eval()
        for name, value in vars(owner).items():
            if not name.startswith("_") and name not in vars(thin):
                setattr(thin, name, value)
        for parent in list(self._holder.modules()):
            for attribute, child in list(parent._modules.items()):
                if child is owner:
                    self._swapped.append((parent, attribute, owner))
                    setattr(parent, attribute, thin)


def put_on(model: nn.Module, edits: Sequence[Edit]) -> list[nn.Module]:
    """Have the modules of a model run as the edits say; returns these modules."""
    by_module: dict[str, list[Edit]] = {}
    for edit in edits:
        by_module.setdefault(edit.module, []).append(edit)
    owners = []
    for name, listed in by_module.items():
        owner = model.get_submodule(name)
        owner.__dict__["forward"] = listed[0].forward(owner, listed[1:])
        owners.append(owner)
    return owners


def _is_plain(owner: nn.Module) -> bool:
    """Whether a thin layer does all that the module does: a `forward` of its own, or hooks, would be lost."""
    known = type(owner).__name__ == "Conv1D" or type(owner).forward in (
        nn.Linear.forward,
        nn.Conv1d.forward,
        nn.Conv2d.forward,
    )
    return known and not (owner._forward_hooks or owner._forward_pre_hooks or "forward" in vars(owner))
