"""What is computed once per dense model and asked for again at every move of a knob."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any


class Memory:
    """Decompositions, score indexes, stands between steps. Bounded, thread-safe.

    limit_bytes: what the kept results may take; the least recently used goes first.
    """

    def __init__(self, limit_bytes: int = 512 * 2**20) -> None:
        self._limit = limit_bytes
        self._kept: dict[Any, Any] = {}
        self._lock = Lock()

    def recall(self, key: Any, compute: Callable[[], Any]) -> Any:
        """The kept result for `key`, computed when it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept[key] = self._kept.pop(key)
                return self._kept[key]
        result = compute()
        with self._lock:
            self._kept[key] = result
            while len(self._kept) > 1 and sum(item.resident_bytes for item in self._kept.values()) > self._limit:
                self._kept.pop(next(iter(self._kept)))
        return result
