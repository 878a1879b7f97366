"""Recipes: what a person asks for, as plain frozen data that travels as YAML, URL text and Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml

from explorer.errors import ExplorerError
from explorer.shown import Shown
from explorer.steps import STEPS, LowRank, Prune, Step

__all__ = ["STEPS", "LowRank", "Prune", "Recipe", "Step", "as_recipe"]

VERSION = 1


class Recipe(Shown):
    """An ordered list of steps. Immutable; equal when all steps are equal."""

    steps: tuple[Step, ...]

    def __init__(self, steps: Iterable[Step] | Step = ()) -> None:
        listed = (steps,) if isinstance(steps, Step) else tuple(steps)
        for position, step in enumerate(listed, start=1):
            if not isinstance(step, Step):
                raise ExplorerError(
                    f"{type(step).__name__} is not a step",
                    where=f"step {position}",
                    instead="use ex.Prune(...) or ex.LowRank(...)",
                )
        object.__setattr__(self, "steps", listed)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Recipe is immutable: make a new one")

    # -- as a collection -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __getitem__(self, position: int) -> Step:
        return self.steps[position]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.to_url())

    def active(self) -> Recipe:
        """The recipe without the steps that are switched off: what decides the result."""
        return Recipe(step for step in self.steps if step.enabled)

    def replace(self, position: int, step: Step) -> Recipe:
        """The recipe with another step at `position` (from 0)."""
        return Recipe((*self.steps[:position], step, *self.steps[position + 1 :]))

    # -- as text ---------------------------------------------------------------------------------------------------

    def sentence(self) -> str:
        """The recipe in a line: "prune 50 %, magnitude, then rank 16"."""
        words = [step.sentence() for step in self.steps if step.enabled]
        return ", then ".join(words) or "nothing changed"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the fields that differ from their defaults."""
        return {"version": VERSION, "steps": [{"step": step.kind, **step.given()} for step in self.steps]}

    @classmethod
    def from_dict(cls, data: Any) -> Recipe:
        """From plain data; raises `ExplorerError` for an unknown key, step or version."""
        if isinstance(data, list):
            data = {"steps": data}
        if not isinstance(data, Mapping):
            raise ExplorerError(
                f"a recipe is a list of steps, not {type(data).__name__}", instead="start it with 'steps:'"
            )
        unknown = sorted(set(data) - {"version", "steps"}, key=str)
        if unknown:
            raise ExplorerError(
                f"unknown key {', '.join(map(repr, unknown))}", where="recipe", instead="use version and steps"
            )
        if data.get("version", VERSION) != VERSION:
            raise ExplorerError(
                f"recipe version {data['version']!r} is not known here", instead=f"this release reads version {VERSION}"
            )
        listed = [] if data.get("steps") is None else data["steps"]
        if not isinstance(listed, list):
            raise ExplorerError(
                "steps is not a list", where="recipe", instead="write each step as a list item: '- step: prune'"
            )
        return cls(_step_from(entry, position) for position, entry in enumerate(listed, start=1))

    def to_yaml(self) -> str:
        """YAML text, read back by `from_yaml`."""
        return yaml.safe_dump(
            self.to_dict(), sort_keys=False
        )  # escapes, since PyYAML loses an odd line break unescaped

    @classmethod
    def from_yaml(cls, text: str) -> Recipe:
        """From YAML text (safe loading: data only)."""
        if not isinstance(text, str):
            raise ExplorerError(f"{type(text).__name__} is not YAML text", where="recipe", instead="give a string")
        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as problem:
            mark = getattr(problem, "problem_mark", None)
            line = f"line {mark.line + 1}" if mark is not None else "the text"
            raise ExplorerError(
                f"{line} is not YAML", where="recipe", instead="check indentation and colons"
            ) from problem
        return cls.from_dict({} if data is None else data)

    def to_url(self) -> str:
        """Short text for a link: `prune,sparsity=0.5;low-rank,rank=16` (values as JSON or bare words)."""
        return ";".join(
            ",".join([step.kind, *(f"{name}={_url_value(value)}" for name, value in step.given().items())])
            for step in self.steps
        )

    @classmethod
    def from_url(cls, text: str) -> Recipe:
        """From the text of a link."""
        if not isinstance(text, str):
            raise ExplorerError(
                f"{type(text).__name__} is not the text of a link", where="recipe", instead="give a string"
            )
        entries = []
        for part in filter(None, text.split(";")):
            kind, *fields = part.split(",")
            entry: dict[str, Any] = {"step": unquote(kind)}
            for field in fields:
                name, found, value = field.partition("=")
                if not found:
                    raise ExplorerError(
                        f'"{field}" is not name=value', where="recipe in the link", instead="copy the link again"
                    )
                entry[unquote(name)] = _from_url_value(value)
            entries.append(entry)
        return cls.from_dict(entries)

    def to_python(self) -> str:
        """Python text that makes this recipe again."""
        if not self.steps:
            return "ex.Recipe([])"
        return "ex.Recipe([\n" + "".join(f"    {step.to_python()},\n" for step in self.steps) + "])"

    def __str__(self) -> str:
        return self.to_python().replace("ex.", "")

    __repr__ = __str__


def as_recipe(asked: Any) -> Recipe:
    """A recipe from whatever a person may hand over: a recipe, a step, a list, a dict, YAML text or a path."""
    if isinstance(asked, Recipe):
        return asked
    if isinstance(asked, Step):
        return Recipe([asked])
    if isinstance(asked, Path):
        return _from_file(asked)
    if isinstance(asked, str):
        single = "\n" not in asked.strip()
        if single and asked.endswith((".yaml", ".yml")):
            return _from_file(Path(asked))
        return Recipe.from_yaml(asked)
    if isinstance(asked, Mapping):
        return Recipe.from_dict(asked) if "steps" in asked else Recipe.from_dict([dict(asked)])
    if isinstance(asked, Iterable):
        listed = list(asked)
        if all(isinstance(item, Mapping) for item in listed):
            return Recipe.from_dict(listed)
        return Recipe(listed)
    raise ExplorerError(
        f"{type(asked).__name__} is not a recipe", instead="give a Recipe, a step, a list, a dict, YAML text or a path"
    )


def _from_file(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ExplorerError(f"{path} cannot be read", where="recipe", instead="check the path") from problem
    return Recipe.from_yaml(text)


def _step_from(entry: Any, position: int) -> Step:
    where = f"step {position}"
    if isinstance(entry, Step):
        return entry
    if not isinstance(entry, Mapping) or "step" not in entry:
        raise ExplorerError(
            "a step is written as 'step: prune' with its fields",
            where=where,
            instead=f"choose one of: {', '.join(STEPS)}",
        )
    fields = {str(name): value for name, value in entry.items() if name != "step"}
    kind = entry["step"]
    if not isinstance(kind, str) or kind not in STEPS:
        raise ExplorerError(
            f"there is no step called {kind!r}", where=where, instead=f"choose one of: {', '.join(STEPS)}"
        )
    try:
        return STEPS[kind](**fields)
    except ExplorerError as problem:
        raise problem.at(where) from problem


_SAFE = "*._-:[]/?!"


def _url_value(value: Any) -> str:
    if isinstance(value, str) and not _reads_as_json(value):
        return quote(value, safe=_SAFE)
    return quote(json.dumps(value, separators=(",", ":")), safe=_SAFE)


def _from_url_value(text: str) -> Any:
    plain = unquote(text)
    return json.loads(plain) if _reads_as_json(plain) else plain


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
