"""Saving a variant into a folder, and reading what such a folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from explorer.errors import ExplorerError
from explorer.recipe import Recipe
from explorer.subjects.heads import as_heads

if TYPE_CHECKING:
    from explorer.variant import Variant

WEIGHTS = "weights.safetensors"
NOTES = "variant.yaml"


@dataclass(frozen=True)
class Saved:
    """What a folder says about the variant in it.

    sample: the bundled sample it was made from, or None for a model of one's own. facts: name, task, input, classes and
    heads.
    dtype: the number type of the weights, where they share one. embeddings: whether these are among the matrices.
    """

    weights: Path
    recipe: Recipe
    sample: str | None
    facts: dict[str, Any]
    dtype: torch.dtype | None = None
    embeddings: bool = False


def save(variant: Variant, folder: Path, smallest: bool = False) -> Path:
    """Write weights (entropy-coded if `smallest`) and notes; returns the folder.

    Raises `ExplorerError` where it cannot be written.
    """
    variant.workbench.check_dense()
    subject, folder = variant.workbench.subject, folder.expanduser()
    types = {parameter.dtype for parameter in subject.model.parameters() if parameter.is_floating_point()}
    notes = {
        "sample": subject.card.name if subject.card is not None else None,
        "name": subject.name,
        "task": subject.task,
        "input": subject.input,
        "classes": list(subject.classes),
        "heads": [head.to_dict() for head in subject.heads],
        "gates": list(subject.gates),
        "dtype": str(types.pop()).removeprefix("torch.") if len(types) == 1 else None,
        "embeddings": any(matrix.kind == "embedding" for matrix in variant.workbench.matrices()),
        "recipe": variant.recipe.to_dict(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (variant.smallest_file if smallest else variant.weights_file).write(folder / WEIGHTS)
        (folder / NOTES).write_text(yaml.safe_dump(notes, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as problem:
        raise ExplorerError(f"{folder} cannot be written ({problem})", instead="choose another folder") from problem
    return folder


def is_saved(folder: Path) -> bool:
    """Whether the folder is one that `save()` wrote."""
    return (folder / WEIGHTS).is_file() and (folder / NOTES).is_file()


def read_saved(folder: Path) -> Saved:
    """What `save()` wrote into the folder; raises `ExplorerError` for another kind of folder."""
    if not is_saved(folder):
        raise ExplorerError(
            f"{folder} holds no saved variant", instead=f"it needs {WEIGHTS} and {NOTES}, as Variant.save() writes"
        )
    try:
        notes = yaml.safe_load((folder / NOTES).read_text(encoding="utf-8"))
        facts = {name: notes[name] for name in ("name", "task", "input", "classes")}
        facts["heads"] = as_heads(notes.get("heads"))  # folders of earlier versions do not name them
        facts["gates"] = list(notes.get("gates") or ())
        recipe = Recipe.from_dict(notes["recipe"])
        dtype = None if notes["dtype"] is None else getattr(torch, notes["dtype"])
        if not isinstance(dtype, torch.dtype | None):
            raise TypeError(f"{dtype} is no number type")
        return Saved(folder / WEIGHTS, recipe, notes["sample"], facts, dtype, bool(notes["embeddings"]))
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as problem:
        raise ExplorerError(f"{folder / NOTES} is damaged", instead="save the variant again") from problem
