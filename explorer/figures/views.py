"""What notebooks show of what is loaded and planned: workbench, weight matrices, recipe, plan."""

from __future__ import annotations

from collections import defaultdict

from explorer.compression.plan import Plan, PlanEntry
from explorer.figures.html import (
    QUIET,
    Column,
    Markup,
    Tile,
    bar,
    code,
    escaped,
    folded,
    heading,
    joined,
    quiet,
    table,
    tiles,
    view,
    warning,
)
from explorer.figures.palette import EITHER
from explorer.figures.words import (
    count_text,
    counted,
    number_text,
    size_text,
)
from explorer.recipe import Recipe
from explorer.shown import html_of
from explorer.weights.matrices import Matrices
from explorer.workbench import Workbench


@html_of(Workbench)
def workbench_view(bench: Workbench) -> str:
    """What is loaded: task, splits, weights, size, and how often the sealed test was opened."""
    subject, matrices, size = bench.subject, bench.matrices(), bench.dense.size
    rows = [[name, count_text(subject.length(name)), _SPLITS.get(name, "")] for name in subject.splits]
    if subject.has("test"):
        rows[-1 if list(subject.splits)[-1] == "test" else list(subject.splits).index("test")][2] = (
            f"sealed; opened {counted(bench.tests_opened, 'time')} after {counted(bench.recipes_tried, 'recipe')} tried"
        )
    else:
        rows.append(["test", "none", "there is no sealed test split: give test= to ex.load"])
    classes = f" · {counted(len(subject.classes), 'class', 'classes')}" if subject.classes else ""
    heads = f" · {counted(len(subject.heads), 'head')}" if subject.heads else ""
    about = quiet(subject.card.summary) if subject.card is not None else ""
    return view(
        subject.title,
        about,
        tiles(
            [
                Tile(
                    "Weights that can go",
                    count_text(matrices.total),
                    [f"in {counted(len(matrices), 'matrix', 'matrices')}"],
                ),
                Tile("Parameters", count_text(size.parameters)),
                Tile("Size on disk", size_text(size.bytes)),
            ]
        ),
        table([Column("split"), Column("examples", right=True), Column("for")], rows),
        quiet("wb.matrices() lists the weights, wb.live() opens the knobs."),
        subtitle=f"{bench.name} · {subject.task}{classes}{heads}",
    )


_SPLITS = {
    "training": "what the model learned from",
    "calibration": "what data-aware methods may see",
    "tune": "held out: every live number is measured on it",
    "test": "sealed",
}


@html_of(Matrices)
def matrices_view(matrices: Matrices) -> str:
    """Every weight matrix with its shape, and what is not compressible, with the reason."""
    columns = [
        Column("matrix"),
        Column("kind"),
        Column("out", right=True, help="rows: neurons or filters"),
        Column("in", right=True, help="columns: inputs of a neuron"),
        Column("heads", right=True),
        Column("weights", right=True),
        Column("", help="beside the largest matrix"),
        Column("break-even", right=True, help="two thin matrices are smaller below this rank"),
    ]
    largest = max((matrix.count for matrix in matrices), default=1)
    rows = [
        [
            _named(matrix.name, matrix.tied),
            matrix.kind,
            count_text(matrix.rows),
            count_text(matrix.columns),
            "" if matrix.heads is None else str(matrix.heads),
            count_text(matrix.count),
            bar(matrix.count / largest, EITHER.dense, 70),
            number_text(matrix.break_even),
        ]
        for matrix in matrices
    ]
    left_out = [joined((name, ": ", reason)) for name, reason in matrices.not_compressible]
    return view(
        "Weight matrices",
        table(columns, rows) if rows else quiet("This model has no compressible matrix."),
        heading("Not compressible") if left_out else "",
        joined(quiet(line) for line in left_out),
        subtitle=f"{counted(len(matrices), 'matrix', 'matrices')}, {count_text(matrices.total)} weights",
    )


def _named(name: str, tied: tuple[str, ...]) -> Markup:
    beside = f' <span style="{QUIET}">= {escaped(", ".join(tied))}</span>' if tied else ""
    return Markup(f"{escaped(name)}{beside}")


@html_of(Recipe)
def recipe_view(recipe: Recipe) -> str:
    """The steps in words, and the Python that makes the recipe again."""
    if not len(recipe):
        return view("Recipe", subtitle="no steps: the dense model")
    steps = [
        Markup(
            f'<li style="{"" if step.enabled else QUIET}"><b>{escaped(step.label)}</b>: {escaped(step.sentence())}'
            f"{'' if step.enabled else ' (off)'}</li>"
        )
        for step in recipe.steps
    ]
    listed = Markup(f'<ol style="margin:6px 0;padding-left:22px">{joined(steps)}</ol>')
    return view(
        "Recipe", listed, folded("as Python", code(recipe.to_python())), folded("as YAML", code(recipe.to_yaml()))
    )


@html_of(Plan)
def plan_view(plan: Plan) -> str:
    """What happens to which matrix, for each that is left alone why, and the warnings."""
    body: list[Markup] = []
    for position, step in enumerate(plan.recipe):
        body.append(heading(f"{position + 1}. {step.label}: {step.sentence()}{'' if step.enabled else ' (off)'}"))
        body += [warning(item.text) for item in plan.warnings if item.step == position]
        body.append(_grouped([entry for entry in plan.entries if entry.step == position]))
    if not body:
        body.append(quiet("An empty recipe: the dense model."))
    acting = {entry.matrix for entry in plan.entries if entry.skipped is None}
    return view(
        "Plan", *body, subtitle=f"{counted(len(acting), 'matrix', 'matrices')} will change; nothing has been done yet"
    )


def _grouped(entries: list[PlanEntry]) -> Markup:
    """Matrices to which the same happens stand in one row, their names behind a fold."""
    groups: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for entry in entries:
        groups[entry.what, entry.skipped].append(entry.matrix)
    rows = []
    for (what, skipped), names in groups.items():
        words = (
            escaped(what)
            if skipped is None
            else Markup(f'<span style="{QUIET}">left as it is: {escaped(skipped)}</span>')
        )
        listed = Markup("<br>".join(escaped(name) for name in names))
        rows.append([listed if len(names) < 3 else folded(counted(len(names), "matrix", "matrices"), listed), words])
    return table([Column("matrix"), Column("what happens")], rows) if rows else Markup("")
