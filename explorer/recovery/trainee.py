"""The trainee: a full copy of the model whose weights are assembled, step by step, from what is held and trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from explorer.recovery.holds import FactorsHold, Frozen, Hold, PlainHold, QuantisedHold, hold
from explorer.weights.clone import full_copy, take_open_path
from explorer.weights.forms import Dense, Form, Zeros, rows_gone
from explorer.weights.install import Edit, put_on
from explorer.weights.matrices import Matrices, WeightMatrix


class Trainee:
    """A model in training, of which every zero, rank and code is kept.

    Parameters
    ----------
    model: the dense model; a full copy is trained, so it is never written to.
    forms: of every matrix. rest: of every other parameter and of changed buffers, as rows.
    chosen: the matrices that are trained; None trains everything, also norms and positions. With a choice, the biases
        of the chosen matrices are trained along.
    edits: what runs otherwise while it trains (edited attention).
    """

    def __init__(
        self,
        model: nn.Module,
        matrices: Matrices,
        forms: Mapping[str, Form],
        rest: Mapping[str, Form],
        chosen: set[str] | None = None,
        edits: Sequence[Edit] = (),
    ) -> None:
        self.module = full_copy(model)
        take_open_path(self.module)
        put_on(self.module, edits)
        own: dict[str, Tensor] = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        saved = set(model.state_dict())
        buffers = self.module.named_buffers()
        self._untrained = {name: buffer.detach().clone() for name, buffer in buffers if name in saved}
        biases = {matrices[name].bias[0] for name in chosen or ()}
        self.holds: dict[str, Hold] = {
            name: hold(forms[name]) if chosen is None or name in chosen else Frozen(forms[name])
            for name in matrices.names
        }
        parameters = dict(self.module.named_parameters())
        self.rest: dict[str, Hold] = {}
        self._carried = set(rest) - set(parameters)  # buffers that an earlier training changed
        for name, form in rest.items():
            if name in self._carried:
                own[name].copy_(form.decode().reshape(own[name].shape))
                continue
            free = form.decode().is_floating_point() and (chosen is None or name in biases)
            self.rest[name] = hold(form) if free else Frozen(form)
        self.keep_biases_gone(matrices)
        self._parts: dict[str, list[tuple[WeightMatrix, Hold]]] = {}
        for matrix in matrices:
            self._parts.setdefault(matrix.parameter, []).append((matrix, self.holds[matrix.name]))
        self._shapes = {name: parameter.shape for name, parameter in parameters.items()}
        self._slots: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in parameters}
        names = {id(parameter): name for name, parameter in parameters.items()}
        for owner in list(self.module.modules()):
            for attribute, parameter in list(owner._parameters.items()):
                if parameter is not None:
                    self._slots[names[id(parameter)]].append((owner, attribute))
                    del owner._parameters[attribute]  # from now on it is a plain tensor, set anew at every step
        self.dress()

    @property
    def leaves(self) -> list[nn.Parameter]:
        """All that the optimiser moves."""
        return [leaf for held in (*self.holds.values(), *self.rest.values()) for leaf in held.leaves]

    @property
    def decaying(self) -> list[nn.Parameter]:
        """Those of them that weight decay may pull to zero: the numbers that matrices are held by."""
        return [part.value for held in self.holds.values() for part in held.plain()]

    def dress(self) -> nn.Module:
        """The module with its weights as the leaves stand now; call it before every forward pass."""
        for name, parts in self._parts.items():
            self._set(name, self._assembled(name, parts))
        for name, held in self.rest.items():
            self._set(name, held.weight())
        return self.module

    def forms(self) -> tuple[dict[str, Form], dict[str, Form]]:
        """(forms of matrices, forms of the rest) as trained so far; without what is frozen."""
        rest = {name: held.form() for name, held in self.rest.items() if not isinstance(held, Frozen)}
        for name, buffer in self.module.named_buffers():
            if name in self._carried or (name in self._untrained and not torch.equal(buffer, self._untrained[name])):
                rest[name] = Dense(buffer.detach().clone().reshape(1, -1))
        return {name: held.form() for name, held in self.holds.items() if not isinstance(held, Frozen)}, rest

    def plain(self) -> dict[str, list[PlainHold]]:
        """What a pruning during training may act on, by matrix."""
        return {name: list(held.plain()) for name, held in self.holds.items()}

    def _set(self, name: str, tensor: Tensor) -> None:
        shaped = tensor.reshape(self._shapes[name])
        for owner, attribute in self._slots[name]:
            setattr(owner, attribute, shaped)

    def _assembled(self, name: str, parts: list[tuple[WeightMatrix, Hold]]) -> Tensor:
        """The Parameter from its matrices, in the order in which they are packed."""
        listed = [held.weight() for _, held in sorted(parts, key=lambda pair: pair[0].first)]
        whole = listed[0] if len(listed) == 1 else torch.cat(listed)
        return whole.t() if parts[0][0].transposed else whole

    def keep_biases_gone(self, matrices: Matrices) -> None:
        """The bias of a row that is gone is zero, for as long as the row is."""
        masks: dict[str, Tensor] = {}
        for matrix in matrices:
            removed = _rows_gone(self.holds[matrix.name])
            bias, first = matrix.bias
            held = self.rest.get(bias)
            if not isinstance(held, (PlainHold, QuantisedHold)) or matrix.kind in ("gate", "embedding"):
                continue
            mask = masks.setdefault(bias, torch.ones(held.value.shape, dtype=torch.bool, device=held.value.device))
            if removed is not None:
                mask[0, first : first + matrix.rows] = ~removed
        for bias, mask in masks.items():
            self.rest[bias].zeros = None if bool(mask.all()) else Zeros(mask)


def _rows_gone(held: Hold) -> Tensor | None:
    """`[out]` booleans of rows that are gone, where some are."""
    if isinstance(held, Frozen):
        rows = rows_gone(held.kept)
    else:
        zeros = held.left.zeros if isinstance(held, FactorsHold) else held.zeros
        rows = None if zeros is None else zeros.rows
    return rows if rows is not None and bool(rows.any()) else None
