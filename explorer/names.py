"""The registries: what criteria, patterns and methods there are, by the field's names.

The ground floor only knows *that* there are such things; the engines fill the registries by decorating a
function, and recipe, notebook, app, command line and docs read the very same entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from explorer.errors import ExplorerError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Named(Generic[F]):
    """One entry: the function, and the words that the faces show for it."""

    name: str
    function: F
    label: str
    help: str
    reference: str = ""


class Registry(Generic[F]):
    """Functions by name. `kind` is the word that errors use ("criterion")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Named[F]] = {}

    def register(self, name: str, *, label: str, help: str, reference: str = "") -> Callable[[F], F]:
        """Decorate a function to make it known under `name`."""

        def note(function: F) -> F:
            self._entries[name] = Named(name, function, label, help, reference)
            return function

        return note

    def __getitem__(self, name: str) -> Named[F]:
        if name not in self._entries:
            raise ExplorerError(
                f'there is no {self.kind} called "{name}"', instead=f"choose one of: {', '.join(self._entries)}"
            )
        return self._entries[name]

    def __iter__(self) -> Iterator[Named[F]]:
        return iter(self._entries.values())

    def names(self) -> list[str]:
        """The known names, in the order in which they were registered."""
        return list(self._entries)


CRITERIA: Registry[Callable[..., Any]] = Registry("criterion")
"""Scores of single weights, higher = keep. Filled by `compression/criteria.py`."""

PATTERNS: Registry[Callable[..., Any]] = Registry("pattern")
"""Which weights live and die together. Filled by `compression/patterns.py`."""

EDITS: Registry[Callable[..., Any]] = Registry("edit")
"""What may be done to the rows of an attention map. Filled by `attention/edits.py`."""

FACTORISATIONS: Registry[Callable[..., Any]] = Registry("low-rank method")
"""Ways to write a matrix as a product of two thin ones. Filled by `compression/lowrank.py`."""

METHODS: Registry[Callable[..., Any]] = Registry("attribution method")
"""Ways to say what an answer rests on. Filled by `attribution/methods.py` and its neighbours."""
