"""Cards: what is known about a bundled sample, as a TOML file beside its weights."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explorer.errors import ExplorerError
from explorer.subjects.heads import Head, as_heads

REQUIRED = ("name", "title", "summary", "about", "teaches", "task", "input", "batch_size", "strip", "splits")


@dataclass(frozen=True)
class Card:
    """The facts about one sample (see the fields of any `card.toml`).

    heads: of a model that gives several answers. gates: globs of the modules whose output is an attention gate.
    twin: the sample that does the same by another architecture, to look at both side by side.
    """

    name: str
    title: str
    summary: str
    about: str
    teaches: str
    task: str
    input: str
    batch_size: int
    strip: tuple[int, ...]
    splits: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    metrics: Mapping[str, float] | None = None
    reference: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None
    heads: tuple[Head, ...] = ()
    gates: tuple[str, ...] = ()
    twin: str = ""


def read_card(path: Path) -> Card:
    """The card in the file `path`; raises `ExplorerError` when it is not a card."""
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as problem:
        raise ExplorerError(f"the card cannot be read ({problem})", where=str(path)) from problem
    missing = [name for name in REQUIRED if name not in facts]
    unknown = sorted(set(facts) - set(Card.__dataclass_fields__))
    if missing or unknown:
        raise ExplorerError(f"the card lacks {missing} and has unknown {unknown}", where=str(path))
    facts["strip"] = tuple(facts["strip"])
    facts["classes"], facts["gates"] = tuple(facts.get("classes", ())), tuple(facts.get("gates", ()))
    try:
        facts["heads"] = as_heads(facts.get("heads"))
    except ExplorerError as problem:
        raise problem.at(str(path)) from problem
    return Card(**facts)


def refresh_card(path: Path, **sections: Mapping[str, Any]) -> None:
    """Rewrite whole tables of a card (`metrics`, `reference`, `training`), leaving the written part above as it is.

    The tables that a training run measures stand at the end of the file, in this order; whatever a person wrote
    before the first of them is kept letter by letter.
    """
    measured = ("metrics", "reference", "training")
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    written: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() in {f"[{name}]" for name in measured}:
            break
        written.append(line)
    text = "\n".join(written).rstrip() + "\n"
    for name in measured:
        values = sections.get(name, facts.get(name))
        if values:
            text += f"\n[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
    path.write_text(text, encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, Sequence):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(round(value, 6))
    return str(value)
