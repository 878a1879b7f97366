"""What notebooks and pages show of gates."""

from __future__ import annotations

import pytest

import explorer as ex
from explorer.figures.gates import MARKS, gates_html, verdict_html
from explorer.figures.palette import DARK, EITHER, LIGHT
from explorer.gates import Checks, Gate, Verdict
from tests.figures.test_html import Seen
from tests.figures.test_views import html

VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "undecided")


def _checks(*verdicts: Verdict, text: str = "x") -> Checks:
    gates = [
        Gate("max_loss", text, 0.005, -0.001, -0.002, 0.003, verdict, f"because {text}", "points")
        for verdict in verdicts
    ]
    return Checks(text, text, "tune", 96, 540, tuple(gates))


def test_every_verdict_has_its_word_its_mark_and_its_colour() -> None:
    assert len(set(MARKS.values())) == 3
    for colours in (EITHER, LIGHT, DARK):
        tones = {"pass": colours.gain, "fail": colours.loss, "undecided": colours.warning}
        for verdict in VERDICTS:
            shown = verdict_html(verdict, colours)
            assert Seen(shown).words == f"{MARKS[verdict]} {verdict}"
            assert tones[verdict] in shown


def test_the_table_has_a_row_for_each_gate() -> None:
    shown = gates_html(_checks(*VERDICTS))
    seen = Seen(shown)
    assert seen.opened.count("tr") == 4
    for words in (
        "at most 0.5 points lost",
        "−0.1 points",
        "−0.2 to +0.3",
        "because x",
        "✓ pass",
        "✕ fail",
        "? undecided",
    ):
        assert words in seen.words
    assert LIGHT.loss in gates_html(_checks("fail"), LIGHT)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_view_says_the_verdict_first(verdict: Verdict) -> None:
    words = Seen(html(_checks("pass", verdict))).words
    assert words.startswith(f"x: x {MARKS[verdict]} {verdict}")
    assert "judged on 96 of 540 examples of the tune split" in words


def test_text_is_escaped() -> None:
    shown = html(_checks(*VERDICTS, text="<script>alert(1)</script>"))
    assert "<script" not in shown and "&lt;script&gt;" in shown


def test_checks_of_a_variant_show_themselves(bench: ex.Workbench) -> None:
    checks = bench.compress(ex.Prune(sparsity=0.9)).check(max_loss=0.01, max_class_loss=0.01, max_bytes="1 MB")
    shown = html(checks)
    assert "prune 90 %" in shown and "tiny" in shown
    for gate in checks.gates:
        assert gate.label in shown and gate.limit_text in shown and gate.measured_text in shown
