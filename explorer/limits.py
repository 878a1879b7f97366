"""Limits: what a compressed variant must keep, as people write it down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from math import inf
from numbers import Integral, Real
from typing import Any

from explorer.errors import ExplorerError

IN_POINTS = ("classification", "multi-task", "sequence", "language-modeling")
"""The tasks whose primary metric is a share: its changes are told in points."""

BY_ANSWER = {"max_class_loss": ("classification",), "min_agreement": ("classification", "multi-task")}
"""The limits on single answers, and the tasks that have such."""

UNITS = {"": 1, "b": 1, "byte": 1, "bytes": 1}
UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Limits:
    """What a variant must keep; what is None is not limited.

    max_loss: of the primary metric against dense, in its own unit (0.005 of an accuracy is half a point).
    max_class_loss: the same for the recall of every single class. min_agreement: the share of examples that get the
    dense model's answer. max_bytes: the length of the file that `save()` writes.
    Raises `ExplorerError` for a limit that can be none, and when nothing is limited.
    """

    max_loss: float | None = None
    max_class_loss: float | None = None
    min_agreement: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        given: dict[str, Any] = {name: value for name, value in vars(self).items() if value is not None}
        if not given:
            raise ExplorerError("no limit is given", where="gates", instead=f"give one of {', '.join(vars(self))}")
        for name, value in given.items():
            if name == "max_bytes":
                if not isinstance(value, Integral) or int(value) < 1:
                    raise ExplorerError(f"{value} is no number of bytes", where=name, instead="give 4000000, say")
            elif not isinstance(value, Real) or not 0 <= float(value) < inf:
                raise ExplorerError(f"{value} is no limit", where=name, instead="give a share such as 0.02")
            elif name != "max_loss" and float(value) > 1:  # a loss may be in any unit, which the task decides
                raise ExplorerError(f"{value} is outside 0 to 1", where=name, instead="give a share such as 0.02")

    @classmethod
    def of(
        cls,
        max_loss: float | None = None,
        max_class_loss: float | None = None,
        min_agreement: float | None = None,
        max_bytes: int | str | None = None,
    ) -> Limits:
        """Limits as people write them: a size may also be text such as "4MB", "500 kB" or "1.5 MiB"."""
        size = bytes_of(max_bytes) if isinstance(max_bytes, str) else max_bytes
        return cls(max_loss, max_class_loss, min_agreement, size)

    @property
    def needs_examples(self) -> bool:
        """Whether anything is limited that must be measured on examples."""
        return (self.max_loss, self.max_class_loss, self.min_agreement) != (None, None, None)

    def check_task(self, task: str) -> None:
        """Raise `ExplorerError` for limits that mean nothing for a task."""
        for name, tasks in BY_ANSWER.items():
            if getattr(self, name) is not None and task not in tasks:
                what = f"it compares predicted classes, and the task here is {task}"
                raise ExplorerError(what, where=name, instead="limit max_loss alone")
        if task in IN_POINTS and self.max_loss is not None and self.max_loss > 1:
            what = f"{self.max_loss} is outside 0 to 1"
            raise ExplorerError(what, where="max_loss", instead="give a share: 0.005 is half a point")


def bytes_of(text: str) -> int:
    """A size in bytes: "4MB" and "500 kB" are decimal, "1.5 MiB" is binary, "20000" is bytes."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)\s*", text, re.ASCII | re.IGNORECASE)
    if found is None or found[2].lower() not in UNITS:
        raise ExplorerError(
            f'"{text}" is no size', where="max_bytes", instead="write 4MB, 500 kB, 1.5 MiB or a number of bytes"
        )
    return int(Decimal(found[1]) * UNITS[found[2].lower()])
