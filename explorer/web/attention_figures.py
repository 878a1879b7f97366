from __future__ import annotations

from typing import Any


def map_card(session: Any, found: Any) -> None:
    pass
