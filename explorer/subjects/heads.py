"""Heads: the answers of a model that gives several at once, each with classes of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from torch import Tensor

from explorer.errors import ExplorerError

ENDS = ("low", "high")
"""No head is called so: `accuracy_low` is the end of an interval."""


@dataclass(frozen=True)
class Head:
    """One of the answers of a model with several.

    name: by which the model gives it. classes: the names of its class numbers. weight: how much its loss counts when
    all are trained together. Raises `ExplorerError` for a head that can be none.
    """

    name: str
    classes: tuple[str, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or self.name in ENDS:
            raise ExplorerError(f"{self.name!r} is no name of a head", where="heads=", instead="give another name")
        if len(self.classes) < 2:
            what = f"the head {self.name} has {len(self.classes)} class names"
            raise ExplorerError(what, where="heads=", instead="name its classes, two or more")
        if not isinstance(self.weight, (int, float)) or not 0 <= float(self.weight) < inf:
            what = f"the weight of the head {self.name} is {self.weight!r}"
            raise ExplorerError(what, where="heads=", instead="give a number, 0 or more")

    def label(self, number: int) -> str:
        """The name of a class number; "–" where it says that nothing is known."""
        if number < 0:
            return "–"
        return self.classes[number] if number < len(self.classes) else str(number)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for files."""
        return {"name": self.name, "classes": list(self.classes), "weight": self.weight}


def as_heads(given: Any) -> tuple[Head, ...]:
    """Heads from what people give: `{name: class names}`, a list of `Head`, or of their dicts. None gives none.

    Raises `ExplorerError` for anything else, and for two heads of one name.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        given = [{"name": name, "classes": classes} for name, classes in given.items()]
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ExplorerError(f"{given!r} names no heads", where="heads=", instead="give {name: class names}")
    heads = tuple(_head(one) for one in given)
    names = [head.name for head in heads]
    for name in names:
        if names.count(name) > 1:
            raise ExplorerError(f"two heads are called {name}", where="heads=", instead="give each its own name")
    return heads


def _head(one: Any) -> Head:
    if isinstance(one, Head):
        return one
    if not isinstance(one, Mapping) or not {"name", "classes"} <= set(one) <= {"name", "classes", "weight"}:
        raise ExplorerError(f"{one!r} is no head", where="heads=", instead="give its name and its classes")
    classes = one["classes"]
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        what = f"the classes of the head {one['name']} are {classes!r}"
        raise ExplorerError(what, where="heads=", instead="give a list of names")
    return Head(one["name"], tuple(str(name) for name in classes), one.get("weight", 1.0))


def outputs_by_head(outputs: Any, heads: Sequence[Head]) -> dict[str, Tensor]:
    """What a model gives for a batch, as {head: logits `[B, classes]`} in the order of the heads.

    outputs: a mapping that has every head (others are left out), or a tuple or list in the order of the heads. Of two
        classes a head may give one logit, `[B]` or `[B, 1]`. Raises `ExplorerError` for anything else.
    """
    wanted = ", ".join(head.name for head in heads)
    if isinstance(outputs, Mapping):
        missing = [head.name for head in heads if head.name not in outputs]
        if missing:
            what = f"the model gives no output {missing[0]} (it gives {', '.join(map(str, outputs)) or 'none'})"
            raise ExplorerError(
                what,
                where="heads=",
                instead=f"name the heads as the model does, or give forward= that returns {wanted}",
            )
        found = {head.name: outputs[head.name] for head in heads}
    elif isinstance(outputs, (tuple, list)):
        if len(outputs) != len(heads):
            what = f"the model gives {len(outputs)} outputs for {len(heads)} heads"
            raise ExplorerError(what, where="heads=", instead=f"give forward= that returns {wanted}, in this order")
        found = {head.name: value for head, value in zip(heads, outputs, strict=True)}
    else:
        what = f"the model gives one {type(outputs).__name__} for {len(heads)} heads"
        raise ExplorerError(what, where="heads=", instead=f"give forward= that returns {wanted} as a dict or a tuple")
    for head in heads:
        _check_logits(head, found[head.name])
    return found


def _check_logits(head: Head, logits: Any) -> None:
    if not isinstance(logits, Tensor):
        what = f"the head {head.name} gives {type(logits).__name__}, not a tensor"
        raise ExplorerError(what, where="heads=", instead="give forward= that returns logits")
    width = 1 if logits.dim() == 1 else int(logits.shape[-1]) if logits.dim() == 2 else 0
    if width != len(head.classes) and not (width == 1 and len(head.classes) == 2):
        what = f"the head {head.name} gives shape {tuple(logits.shape)} for {len(head.classes)} classes"
        raise ExplorerError(what, where="heads=", instead="give logits [examples, classes], and name all classes")
