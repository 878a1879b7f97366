"""Knobs: what a face needs to turn a step's fields into controls, and what changes along when one is turned.

Labels, help and limits stand on the step itself (`steps.py`); here is only what is read off them, the same for the
notebook and the browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from explorer.errors import ExplorerError
from explorer.steps import Codebook, EditAttention, GradualPrune, LowRank, Prune, Quantize, Recover, Step
from explorer.steps.attention import AMOUNTS, USUAL
from explorer.weights.matrices import WeightMatrix

RIVALS = {"sparsity": "threshold", "threshold": "sparsity", "rank": "energy", "energy": "rank"}
"""Fields that say the same in other words: turning one lets go of the other."""

NEW_STEPS: dict[str, Step] = {
    "prune": Prune(sparsity=0.0),
    "low-rank": LowRank(energy=0.95),
    "quantize": Quantize(bits=8),
    "codebook": Codebook(bits=5),
    "edit-attention": EditAttention(edit="temperature", temperature=1.0),
    "recover": Recover(epochs=10, distill=1.0),
    "gradual-prune": GradualPrune(sparsity=0.8, epochs=20),
}
"""What a step starts with when it is added: little enough to start from."""


def is_rare(step: type[Step], field: str) -> bool:
    """Whether the field waits behind "more"."""
    extra = step.model_fields[field].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("rare"))


def limits(step: type[Step], field: str) -> tuple[float | None, float | None]:
    """The lowest and the highest value of a numeric field; None where there is no limit."""
    schema = step.model_json_schema()["properties"][field]
    options = [schema, *schema.get("anyOf", ())]
    low = next((option[word] for option in options for word in ("minimum", "exclusiveMinimum") if word in option), None)
    high = next((option["maximum"] for option in options if "maximum" in option), None)
    return low, high


def turned(step: Step, **fields: Any) -> Step:
    """The step with some fields turned, and with what has to change along with them.

    A rival is let go; another pattern takes the amount that it needs (N:M sets its own; the others keep the sparsity
    that was there, or the `sparsity` given here). Raises `ExplorerError` like the step itself.
    """
    if isinstance(step, Prune) and fields.get("pattern", step.pattern) != step.pattern:
        fields = {**_for_pattern(step, fields["pattern"]), **fields}
        if fields["pattern"] == "n:m":
            fields["sparsity"] = None
    if isinstance(step, EditAttention) and fields.get("edit", step.edit) != step.edit:
        fields = {**dict.fromkeys(USUAL), "gains": {}, **fields}
    for field in list(fields):
        rival = RIVALS.get(field)
        if rival in type(step).model_fields and rival not in fields and fields[field] is not None:
            fields[rival] = None
    return step.change(**fields)


def is_shown(step: Step, field: str) -> bool:
    """Whether the field stands in sight: it is not rare, or it decides what this step does."""
    return not is_rare(type(step), field) or (field in ("own_heads", "gains") and bool(getattr(step, field)))


def idle_fields(step: Step) -> tuple[str, ...]:
    """The fields that mean nothing for the step as it stands."""
    if isinstance(step, Prune) and step.pattern == "n:m":  # each group competes for itself, N and M set the amount
        return ("scope", "overrides")
    if isinstance(step, EditAttention):
        wanted = AMOUNTS.get(step.edit, ())
        idle = tuple(name for name in USUAL if name not in wanted)
        idle += () if step.edit == "dropout" else ("seed",)
        idle += ("heads", "layers") if step.own_heads or step.gains else ()
        return (*idle, *(() if step.edit == "gain" else ("gains",)))
    return ()


def _for_pattern(step: Prune, pattern: str) -> dict[str, Any]:
    if pattern == "n:m":
        return {"n": 2, "m": 4, "sparsity": None, "threshold": None, "overrides": {}}
    amount = 1 - (step.n or 0) / (step.m or 1) if step.pattern == "n:m" else step.sparsity or 0.0
    return {"n": None, "m": None, "sparsity": amount, "threshold": None}


def removed_by_groups(matrices: Sequence[WeightMatrix], n: int, m: int) -> float:
    """The share of the weights of some matrices that N:M removes, ragged ends included."""
    total = max(1, sum(matrix.count for matrix in matrices))
    return 1 - sum(matrix.kept_in_groups(n, m) for matrix in matrices) / total


def overrides_text(overrides: Mapping[str, float | None]) -> str:
    """Own amounts on one line: "blocks.0.*=0.3, head=off"."""
    return ", ".join(
        f"{glob}={'off' if amount is None else format(amount, '.10g')}" for glob, amount in overrides.items()
    )


def overrides_from(text: str, whole: bool) -> dict[str, float | None]:
    """Own amounts from such a line; `whole` wants whole numbers (ranks). Raises `ExplorerError` for another text."""
    found: dict[str, float | None] = {}
    for part in filter(None, (piece.strip() for piece in text.replace("\n", ",").split(","))):
        glob, _, amount = (piece.strip() for piece in part.partition("="))
        try:
            found[glob] = None if amount in ("off", "null") else int(amount) if whole else float(amount)
        except ValueError:
            glob = ""
        if not glob:
            example = "blocks.0.*=16, head=off" if whole else "blocks.0.*=0.3, head=off"
            raise ExplorerError(f'"{part}" is not name=amount', where="own amounts", instead=f"write {example}")
    return found


def lists_text(lists: Mapping[str, Sequence[float]]) -> str:
    """Numbers for some layers on one line: "blocks.0.attn=0 2, blocks.1.attn=1"."""
    return ", ".join(f"{glob}={' '.join(format(item, 'g') for item in items)}" for glob, items in lists.items())


def lists_from(text: str, whole: bool) -> dict[str, tuple[float, ...]]:
    """Numbers for some layers from such a line. Raises `ExplorerError` for another text."""
    found: dict[str, tuple[float, ...]] = {}
    for part in filter(None, (piece.strip() for piece in text.replace("\n", ",").split(","))):
        glob, _, items = (piece.strip() for piece in part.partition("="))
        try:
            found[glob] = tuple(int(item) if whole else float(item) for item in items.split())
        except ValueError:
            glob = ""
        if not glob or not items:
            example = "blocks.0.attn=0 2" if whole else "blocks.0.attn=1 0.5 1 0"
            raise ExplorerError(f'"{part}" is not name=numbers', where="own numbers", instead=f"write {example}")
    return found


def globs_from(text: str) -> tuple[str, ...]:
    """Names and globs from a line with commas: "*.mlp.*, head"."""
    return tuple(filter(None, (piece.strip() for piece in text.replace("\n", ",").split(","))))


def globs_worth_offering(names: Sequence[str]) -> list[str]:
    """Globs that mean several of the matrices, though not all: shared beginnings and endings of their names."""
    found: dict[str, int] = {}
    for name in names:
        pieces = name.split(".")
        for cut in range(1, len(pieces)):
            for glob in (f"*.{'.'.join(pieces[cut:])}", f"{'.'.join(pieces[:cut])}.*"):
                found[glob] = found.get(glob, 0) + 1
    return [glob for glob, count in found.items() if 2 <= count < len(names)]
