"""Plain stand-ins for results, with the attributes that figures read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Point:
    """A measured point of a curve."""

    x: float
    value: float
    low: float
    high: float
    examples: int = 540


@dataclass(frozen=True)
class Scores:
    """A histogram of scores."""

    edges: np.ndarray
    counts: np.ndarray
    beyond: int = 0


@dataclass(frozen=True)
class Kept:
    """What is left of a matrix."""

    name: str
    total: int = 100
    nonzero: int = 50
    rank: int | None = None
    size_bytes: int | None = 200
    rows_removed: int = 0

    @property
    def share(self) -> float:
        return self.nonzero / self.total


@dataclass(frozen=True)
class Stored:
    """A tensor in the file."""

    name: str
    encoding: str
    size_bytes: int
    dense_bytes: int
    alternatives: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a model says."""

    label: str
    probability: float | None = None
    right: bool | None = None
    index: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Form:
    """A dense or masked matrix."""

    weight: Any
    mask: Any = None


@dataclass(frozen=True)
class Factored:
    """Two thin matrices."""

    left: Form
    right: Form
