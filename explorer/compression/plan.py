"""Plans: a recipe resolved against one model, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from explorer.errors import ExplorerError
from explorer.recipe import Recipe
from explorer.shown import Shown
from explorer.steps import STEPS, Codebook, EditAttention, GradualPrune, LowRank, Prune, Quantize, Recover, Step
from explorer.weights.matrices import Matrices, WeightMatrix


@dataclass(frozen=True)
class PlanEntry:
    """What a step (from 0) does to a matrix, or why it leaves it alone.

    amount: the sparsity (Prune) or rank (LowRank) that is set for this matrix on its own; None when it follows the
        step (a global sparsity, a threshold, an energy).
    """

    step: int
    matrix: str
    what: str
    skipped: str | None = None
    amount: float | None = None


@dataclass(frozen=True)
class PlanWarning:
    """Something that the person should know before looking at the result."""

    step: int
    text: str


@dataclass(frozen=True)
class Plan(Shown):
    """What will happen to which matrix, for each that is skipped why, and warnings."""

    recipe: Recipe
    entries: tuple[PlanEntry, ...]
    warnings: tuple[PlanWarning, ...]

    def acting(self, step: int) -> list[PlanEntry]:
        """The entries of a step (from 0) that change their matrix."""
        return [entry for entry in self.entries if entry.step == step and entry.skipped is None]

    def __str__(self) -> str:
        lines = []
        for position, step in enumerate(self.recipe):
            off = "" if step.enabled else " (off)"
            lines.append(f"{position + 1}. {step.sentence()}{off}")
            entries = [entry for entry in self.entries if entry.step == position]
            width = max([len(entry.matrix) for entry in entries] + [0])
            lines += [
                f"   {e.matrix:<{width}}  {'left as it is: ' + e.skipped if e.skipped else e.what}" for e in entries
            ]
        lines += [f"warning, step {warning.step + 1}: {warning.text}" for warning in self.warnings]
        return "\n".join(lines) or "an empty recipe: the dense model"


Attend = Callable[[int, EditAttention], list[PlanEntry]]
"""`attend(position, step)`: what an edit of attention does at each of the model's attention layers."""


def _no_attention(position: int, step: EditAttention) -> list[PlanEntry]:
    raise ExplorerError("attention is found by running the model", instead="use wb.plan")


def resolve(
    recipe: Recipe,
    matrices: Matrices,
    answers: int | tuple[int, ...] | None = None,
    attend: Attend = _no_attention,
) -> Plan:
    """The plan of a recipe for a model with these matrices.

    answers: how many rows the matrix has that gives the answers (the classes), where that is known; of several heads
        the rows of each.
    Raises `ExplorerError` for a glob that matches nothing and for a rank that no chosen matrix can have.
    """
    entries: list[PlanEntry] = []
    warnings: list[PlanWarning] = []
    for position, step in enumerate(recipe):
        chosen: list[WeightMatrix] = []
        try:
            if isinstance(step, EditAttention):
                planned = attend(position, step)
            else:
                chosen = matrices.select(step.layers, step.exclude)
                overrides = _overrides(step, matrices)
                resolver = _RESOLVERS[type(step)]
                planned = resolver(position, step, chosen, overrides, answers_matrices(matrices, answers))
        except ExplorerError as problem:
            raise problem.at(f"step {position + 1}, {step.label}") from problem
        if not step.enabled:
            continue
        entries += planned
        idle = [glob for glob in getattr(step, "overrides", {}) if not any(m.matches((glob,)) for m in chosen)]
        if idle:
            text = f"the override of {', '.join(idle)} has no effect: the step does not act there"
            warnings.append(PlanWarning(position, text))
        if not any(entry.skipped is None for entry in planned):
            noun = "attention layer" if isinstance(step, EditAttention) else "matrix"
            warnings.append(PlanWarning(position, f"it changes nothing: every chosen {noun} is left as it is"))
    return Plan(recipe, tuple(entries), (*warnings, *_about_order(recipe, entries, matrices)))


def _overrides(step: Step, matrices: Matrices) -> dict[str, float | None]:
    """Own amounts by matrix name; a later glob wins, an exact name wins over globs."""
    asked: dict[str, float | None] = dict(getattr(step, "overrides", {}))
    if asked:
        matrices.select(tuple(asked))  # a glob that means nothing is an error
    own: dict[str, float | None] = {}
    for glob in sorted(asked, key=lambda glob: glob in matrices.names):
        own |= {matrix.name: asked[glob] for matrix in matrices if matrix.matches((glob,))}
    return own


def answers_matrices(matrices: Matrices, answers: int | tuple[int, ...] | None) -> frozenset[str]:
    """The names of the matrices whose rows are the answers: the last one, when it has that many rows.

    Of several heads it is for each the last one with so many rows that no later head has.
    """
    if not isinstance(answers, tuple):
        last = matrices[len(matrices) - 1] if len(matrices) else None
        return frozenset({last.name} if last is not None and last.rows == answers else ())
    found: set[str] = set()
    names = [(matrix.name, matrix.rows) for matrix in reversed(list(matrices))]
    for rows in reversed(answers):
        found.update([name for name, own in names if own == rows and name not in found][:1])
    return frozenset(found)


def _resolve_prune(
    position: int, step: Step, chosen: list[WeightMatrix], own: dict[str, float | None], answers: frozenset[str]
) -> list[PlanEntry]:
    assert isinstance(step, Prune)
    noun = "rows" if step.pattern == "row" else "weights"
    entries = []
    for matrix in chosen:
        amount = own.get(matrix.name, step.sparsity)
        if matrix.name in own and amount is None:
            entries.append(PlanEntry(position, matrix.name, "", "an override says so"))
        elif step.pattern == "row" and matrix.name in answers and matrix.name not in (*step.layers, *step.overrides):
            entries.append(
                PlanEntry(position, matrix.name, "", "its rows are the answers; name it exactly to prune them")
            )
        elif step.pattern == "n:m":
            ragged = matrix.columns % (step.m or 1)
            end = f", at most {step.n} of the last {ragged}" if ragged else ""
            if matrix.columns < (step.m or 1):
                end = f", at most {step.n} of its {matrix.columns}: it has fewer than {step.m}"
            entries.append(PlanEntry(position, matrix.name, f"keep {step.n} of each {step.m} inputs{end}"))
        elif matrix.name in own:
            entries.append(
                PlanEntry(position, matrix.name, f"remove {_share(amount)} of its {noun} (its own)", amount=amount)
            )
        elif step.threshold is not None:
            entries.append(PlanEntry(position, matrix.name, f"remove {noun} that score below {step.threshold:.4g}"))
        elif step.scope == "matrix":
            entries.append(PlanEntry(position, matrix.name, f"remove {_share(amount)} of its {noun}", amount=amount))
        else:
            entries.append(PlanEntry(position, matrix.name, f"compete for {_share(amount)} of all chosen {noun}"))
    return entries


def _resolve_low_rank(
    position: int, step: Step, chosen: list[WeightMatrix], own: dict[str, float | None], answers: frozenset[str]
) -> list[PlanEntry]:
    assert isinstance(step, LowRank)
    asked = {matrix.name: own.get(matrix.name, step.rank) for matrix in chosen}
    beyond = [matrix for matrix in chosen if (asked[matrix.name] or 0) > matrix.max_rank]
    named = [matrix for matrix in beyond if matrix.name in (*step.layers, *step.overrides)]
    if named or (beyond and len(beyond) == len(chosen)):
        worst = max(named or beyond, key=lambda matrix: matrix.max_rank)  # so that the advice holds for one at least
        raise ExplorerError(
            f"rank {asked[worst.name]} is beyond {worst.name}, which is {worst.rows} by {worst.columns}",
            instead=f"give a rank from 1 to {worst.max_rank}",
        )
    entries = []
    for matrix in chosen:
        rank = asked[matrix.name]
        if matrix.name in own and rank is None:
            entries.append(PlanEntry(position, matrix.name, "", "an override says so"))
        elif matrix in beyond:
            entries.append(PlanEntry(position, matrix.name, "", f"rank {rank} is beyond its {matrix.max_rank}"))
        elif rank is None:
            what = f"the smallest rank that keeps {_share(step.energy)} of energy (saves below {matrix.break_even:.1f})"
            entries.append(PlanEntry(position, matrix.name, what))
        else:
            note = "" if rank < matrix.break_even else f", no smaller: break-even is {matrix.break_even:.1f}"
            entries.append(PlanEntry(position, matrix.name, f"rank {rank} of {matrix.max_rank}{note}", amount=rank))
    return entries


def _resolve_coding(
    position: int, step: Step, chosen: list[WeightMatrix], own: dict[str, float | None], answers: frozenset[str]
) -> list[PlanEntry]:
    assert isinstance(step, (Quantize, Codebook))
    by_row = isinstance(step, Quantize) and step.granularity == "channel"
    entries = []
    for matrix in chosen:
        bits = own.get(matrix.name, step.bits)
        if bits is None:
            entries.append(PlanEntry(position, matrix.name, "", "an override says so"))
            continue
        scales = f"{bits:g} bits a weight, {f'{matrix.rows} scales' if by_row else 'one scale'}"
        what = scales if isinstance(step, Quantize) else f"{2 ** int(bits)} shared values, {bits:g} bits an index"
        entries.append(PlanEntry(position, matrix.name, what, amount=bits))
    return entries


def _resolve_training(
    position: int, step: Step, chosen: list[WeightMatrix], own: dict[str, float | None], answers: frozenset[str]
) -> list[PlanEntry]:
    assert isinstance(step, Recover)
    what = "trained, with its zeros, rank or codes kept"
    if step.update == "batchnorm":
        what = "left as it is; only means and variances of BatchNorm are estimated anew"
    elif isinstance(step, GradualPrune):
        noun = "rows" if step.pattern == "row" else "weights"
        alone = step.scope == "matrix"
        what = f"trained, until {_share(step.sparsity)} of {'its' if alone else 'all chosen'} {noun} are gone"
    return [PlanEntry(position, matrix.name, what) for matrix in chosen]


_RESOLVERS: dict[type[Step], Callable[..., list[PlanEntry]]] = {
    Prune: _resolve_prune,
    LowRank: _resolve_low_rank,
    Quantize: _resolve_coding,
    Codebook: _resolve_coding,
    Recover: _resolve_training,
    GradualPrune: _resolve_training,
}


def _about_order(recipe: Recipe, entries: list[PlanEntry], matrices: Matrices) -> list[PlanWarning]:
    """What one step does to another's work, and ranks that save nothing."""
    touched: dict[str, dict[str, int]] = {kind: {} for kind in STEPS}
    warnings: dict[tuple[int, str], PlanWarning] = {}
    for entry in entries:
        if entry.skipped is not None:
            continue
        step = recipe[entry.step]
        for topic, text in _about(entry, step, touched, entries, matrices):
            warnings.setdefault((entry.step, topic), PlanWarning(entry.step, text))
        touched[step.kind].setdefault(entry.matrix, entry.step)
    return list(warnings.values())


def _about(
    entry: PlanEntry, step: Step, touched: dict[str, dict[str, int]], entries: list[PlanEntry], matrices: Matrices
) -> Iterator[tuple[str, str]]:
    """(topic, warning) for what a step does to a matrix; `touched`: kind of step -> matrix -> the first such step."""
    number = entry.step + 1

    def earlier(*kinds: str) -> int:
        return max((touched[kind][entry.matrix] + 1 for kind in kinds if entry.matrix in touched[kind]), default=0)

    pruned, coded, thin = earlier("prune", "gradual-prune"), earlier("quantize", "codebook"), earlier("low-rank")
    if isinstance(step, LowRank):
        if pruned:
            yield "zeros", f"step {number} factorises what step {pruned} pruned: the zeros are lost; put Low rank first"
        if coded:
            yield "codes", f"step {number} factorises what step {coded} coded: the codes are lost; put Low rank first"
        even = matrices[entry.matrix].break_even
        if entry.amount is not None and entry.amount >= even:
            amounts = [(e.amount, matrices[e.matrix].break_even) for e in entries if e.step == entry.step]
            others = sum(amount is not None and amount >= limit for amount, limit in amounts)
            yield (
                "even",
                f"rank {entry.amount:g} is above break-even in {others} chosen matrices (first: {entry.matrix}, "
                f"{even:.1f}): they lose accuracy and stay as large",
            )
    elif isinstance(step, Prune) and thin:
        yield "factors", f"step {number} prunes the two thin factors that step {thin} made, each on its own"
    elif isinstance(step, (Quantize, Codebook)) and coded:
        yield "codes", f"step {number} codes anew what step {coded} coded: both errors add up"
    elif isinstance(step, GradualPrune) and coded:
        yield "codes", f"what step {coded} coded is trained, but not pruned further; put {step.label} first"


def _share(amount: float | None) -> str:
    return f"{100 * (amount or 0):.4g} %"
