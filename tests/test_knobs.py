"""What changes along when a knob is turned."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.errors import ExplorerError
from explorer.knobs import (
    NEW_STEPS,
    globs_from,
    globs_worth_offering,
    idle_fields,
    is_rare,
    is_shown,
    limits,
    lists_from,
    lists_text,
    overrides_from,
    overrides_text,
    turned,
)
from explorer.recipe import LowRank, Prune, Step
from explorer.steps import STEPS, EditAttention


@pytest.mark.parametrize(
    ("step", "fields", "expected"),
    [
        (Prune(sparsity=0.5), {"threshold": 0.1}, Prune(threshold=0.1)),
        (Prune(threshold=0.1), {"sparsity": 0.5}, Prune(sparsity=0.5)),
        (LowRank(energy=0.9), {"rank": 4}, LowRank(rank=4)),
        (LowRank(rank=4), {"energy": 0.9}, LowRank(energy=0.9)),
        (Prune(sparsity=0.5), {"pattern": "n:m"}, Prune(pattern="n:m", n=2, m=4)),
        (Prune(sparsity=0.5, overrides={"a": 0.1}), {"pattern": "n:m"}, Prune(pattern="n:m")),
        (Prune(threshold=0.1), {"pattern": "n:m", "sparsity": 0.3}, Prune(pattern="n:m")),
        (Prune(pattern="n:m", n=1, m=4), {"pattern": "row"}, Prune(sparsity=0.75, pattern="row")),
        (Prune(sparsity=0.5), {"pattern": "row"}, Prune(sparsity=0.5, pattern="row")),
        (Prune(threshold=0.1), {"pattern": "row", "sparsity": 0.3}, Prune(sparsity=0.3, pattern="row")),
        (Prune(sparsity=0.5), {"pattern": "unstructured"}, Prune(sparsity=0.5)),
        (Prune(pattern="n:m"), {"n": 1}, Prune(pattern="n:m", n=1, m=4)),
        (Prune(sparsity=0.5), {"layers": ("a",), "enabled": False}, Prune(sparsity=0.5, layers=("a",), enabled=False)),
    ],
)
def test_turning(step: Step, fields: dict[str, Any], expected: Step) -> None:
    assert turned(step, **fields) == expected


def test_what_cannot_be_is_the_error_of_the_step() -> None:
    with pytest.raises(ExplorerError, match="N is 5 and M is 4"):
        turned(Prune(pattern="n:m"), n=5)


def test_rare_fields_and_limits_come_from_the_step() -> None:
    assert is_rare(Prune, "seed") and not is_rare(Prune, "sparsity")
    assert limits(Prune, "sparsity") == (0, 1)
    assert limits(LowRank, "rank") == (1, None)


@pytest.mark.parametrize("kind", STEPS)
def test_every_kind_of_step_can_be_added(kind: str) -> None:
    assert NEW_STEPS[kind].kind == kind


@given(st.dictionaries(st.from_regex(r"[a-z.*0-9]+", fullmatch=True), st.one_of(st.none(), st.integers(1, 500))))
def test_own_amounts_come_back_from_their_line(overrides: dict[str, float | None]) -> None:
    assert overrides_from(overrides_text(overrides), whole=True) == overrides


@given(st.floats(0, 1))
def test_own_shares_lose_no_digit_that_counts(share: float) -> None:
    assert overrides_from(overrides_text({"a": share}), whole=False)["a"] == pytest.approx(share, rel=1e-9)


@pytest.mark.parametrize("text", ["x", "x=", "=1", "x=y", "a=0.5"])
def test_another_line_is_an_error(text: str) -> None:
    with pytest.raises(ExplorerError, match="not name=amount"):
        overrides_from(text, whole=True)


def test_globs() -> None:
    assert globs_from(" *.mlp.*,head , ") == ("*.mlp.*", "head")
    offered = globs_worth_offering(["a.0.q", "a.0.k", "a.1.q", "head"])
    assert set(globs_worth_offering(["a.0.q", "a.1.q", "head"])) == {"*.q", "a.*"}
    assert "a.0.*" in offered and "*.q" in offered and "a.*" in offered and "*.k" not in offered


def test_another_edit_brings_its_own_amount() -> None:
    step = turned(EditAttention(edit="top-k", k=1, heads=(0, 2)), edit="temperature")
    assert step == EditAttention(edit="temperature", temperature=2.0, heads=(0, 2))
    gains = EditAttention(edit="gain", gains={"a": (1.0, 0.5)})
    assert turned(gains, edit="off") == EditAttention(edit="off")


def test_only_the_fields_of_the_edit_mean_something() -> None:
    idle = idle_fields(EditAttention(edit="block-low-rank"))
    assert {"rank", "block"}.isdisjoint(idle) and {"temperature", "k", "window", "seed", "gains"} <= set(idle)
    assert "seed" not in idle_fields(EditAttention(edit="dropout"))
    own = EditAttention(edit="off", own_heads={"a": (1,)})
    assert {"heads", "layers"} <= set(idle_fields(own)) and is_shown(own, "own_heads")
    assert not is_shown(EditAttention(), "own_heads")


def test_numbers_for_layers_go_on_a_line_and_come_back() -> None:
    heads = {"blocks.0.attn": (0, 2), "blocks.1.attn": (1,)}
    assert lists_from(lists_text(heads), whole=True) == heads
    gains = {"a": (1.0, 0.25)}
    assert lists_from(lists_text(gains), whole=False) == gains
    for wrong in ("blocks.0", "blocks.0=", "=1", "a=x", "a=1.5"):
        with pytest.raises(ExplorerError, match="name=numbers"):
            lists_from(wrong, whole=True)
