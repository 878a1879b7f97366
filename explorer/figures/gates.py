"""What notebooks and pages show of gates: a table with a mark, a word and a colour for each verdict."""

from __future__ import annotations

from explorer.figures.html import QUIET, Column, Markup, escaped, joined, table, toned, view
from explorer.figures.palette import EITHER, Palette
from explorer.gates import Checks, Gate, Verdict
from explorer.shown import html_of

MARKS: dict[Verdict, str] = {"pass": "✓", "fail": "✕", "undecided": "?"}
"""Each verdict has a mark of its own, so that none is told by its colour alone."""


@html_of(Checks)
def checks_view(checks: Checks) -> Markup:
    """The verdict over all gates, and the table."""
    return view(
        joined((f"{checks.model}: {checks.recipe} ", verdict_html(checks.verdict))),
        gates_html(checks),
        subtitle=f"judged {checks.on}, beside the dense model",
    )


def gates_html(checks: Checks, colours: Palette = EITHER) -> Markup:
    """The table alone: of each gate the limit, what was measured with its interval, the verdict and why."""
    columns = [
        Column("gate"),
        Column("limit"),
        Column("measured", right=True),
        Column("95 % interval", right=True, help="The limit must lie outside of it to be decided"),
        Column("verdict"),
    ]
    return table(columns, [_row(gate, colours) for gate in checks.gates])


def verdict_html(verdict: Verdict, colours: Palette = EITHER) -> Markup:
    """A verdict as its mark and its word, in its colour: teal, red or amber."""
    tone = {"pass": colours.gain, "fail": colours.loss, "undecided": colours.warning}[verdict]
    return _on_one_line(toned(f"{MARKS[verdict]} {verdict}", tone))


def _row(gate: Gate, colours: Palette) -> list[object]:
    why = Markup(f'<div style="{QUIET};font-size:12px;max-width:420px">{escaped(gate.why)}</div>')
    limit, verdict = _on_one_line(gate.limit_text), verdict_html(gate.verdict, colours)
    return [joined((gate.label, why)), limit, gate.measured_text, gate.interval_text, verdict]


def _on_one_line(text: object) -> Markup:
    return Markup(f'<span style="white-space:nowrap">{escaped(text)}</span>')
