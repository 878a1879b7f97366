"""Registries: functions by name, in order, and a sentence for a name that is not there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from explorer import ExplorerError
from explorer.names import CRITERIA, FACTORISATIONS, PATTERNS, Registry


def test_a_decorated_function_is_found_by_its_name_and_stays_itself() -> None:
    registry: Registry[Callable[..., object]] = Registry("criterion")

    @registry.register("second", label="Second", help="Comes later.", reference="Nobody 2020")
    def second() -> int:
        return 2

    @registry.register("first", label="First", help="Comes first in the alphabet only.")
    def first() -> int:
        return 1

    assert second() == 2 and registry["second"].function is second
    assert registry.names() == ["second", "first"] == [entry.name for entry in registry]
    assert (registry["second"].label, registry["second"].reference) == ("Second", "Nobody 2020")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ExplorerError, match=r'no criterion called "luck".*magnitude, random'):
        CRITERIA["luck"]


@pytest.mark.parametrize("registry", [CRITERIA, PATTERNS, FACTORISATIONS], ids=["criteria", "patterns", "methods"])
def test_every_entry_has_words_for_the_screen(registry: Registry[Callable[..., object]]) -> None:
    assert registry.names()
    for entry in registry:
        assert entry.label and entry.help.endswith(".") and entry.reference
