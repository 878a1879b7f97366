"""The floors of the house, held by reading imports: a module imports from its own floor or from below."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "explorer"

FLOORS = {
    6: ["__init__"],
    5: ["notebook", "web", "cli"],
    4: ["figures"],
    3: [
        "workbench",
        "variant",
        "report",
        "attending",
        "attributing",
        "believing",
        "drift",
        "drift_bounds",
        "jobs",
        "first_look",
        "curves",
        "opening",
        "saving",
        "waiting",
        "limits",
        "gates",
        "evidence",
        "comparison",
        "recovery",
        "search",
    ],
    2: ["compression", "attention", "attribution", "evaluation"],
    1: ["subjects", "weights", "recipe", "steps", "knobs", "names", "shown", "errors", "version"],
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
ENGINES = FLOORS[2]

DRAWING = {"streamlit", "ipywidgets", "plotly"}
IN_ONE_FILE = ["transformers", "onnx", "optuna", "torch_pruning"]
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc"}
LONGEST_MODULE = 400
LONGEST_PAGE = 90

MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = sorted((ROOT / "pages").glob("*.py"))
ROOMS = {Path(path.relative_to(PACKAGE).parts[0]).stem for path in MODULES} - {"__init__"}
SAMPLES = sorted((ROOT / "sample_models").glob("*/*.py"))


def short(path: Path) -> str:
    """The name of a file in a test's name."""
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """The first name under `explorer/`: "recipe" for recipe.py, "weights" for weights/forms.py."""
    return Path(path.relative_to(PACKAGE).parts[0]).stem


def floor_of(path: Path) -> int:
    """The floor that a file stands on (0: none); samples are what is explored, so they stand on the ground."""
    if path in PAGES:
        return 5
    if path in SAMPLES:
        return 1
    return FLOOR_OF.get(room_of(path), 0)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, full module name) of every import of a file, also those inside functions and those for types only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, [_package(path, node.level), node.module]))
            yield from ((node.lineno, f"{origin}.{name.name}") for name in node.names)


def _package(path: Path, level: int) -> str:
    if not level:
        return ""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[: len(parts) - level])


def own(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, names after "explorer") of the imports from our own package; the door itself is ["__init__"]."""
    for line, module in imports(path):
        first, *rest = module.split(".")
        if first == "explorer":
            yield line, rest if rest and rest[0] in FLOOR_OF.keys() | ROOMS else ["__init__"]


def foreign(path: Path) -> set[str]:
    """The top-level names of the libraries that a file imports."""
    return {module.split(".")[0] for _, module in imports(path)} - {"explorer"}


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_every_module_stands_on_a_floor(path: Path) -> None:
    assert room_of(path) in FLOOR_OF, "a new room: name its floor here and in the description of the house"


@pytest.mark.parametrize("path", [*MODULES, *PAGES, *SAMPLES], ids=short)
def test_imports_run_sideways_or_down(path: Path) -> None:
    upward = [
        f"line {line}: {'.'.join(names)}" for line, names in own(path) if FLOOR_OF.get(names[0], 0) > floor_of(path)
    ]
    assert not upward, f"{short(path)} is on floor {floor_of(path)} and imports from above: {upward}"


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(path) in ENGINES], ids=short)
def test_no_engine_knows_the_private_names_of_another(path: Path) -> None:
    inside = [
        f"line {line}: {'.'.join(names)}"
        for line, names in own(path)
        if names[0] in ENGINES and names[0] != room_of(path) and any(name.startswith("_") for name in names[1:])
    ]
    assert not inside


@pytest.mark.parametrize("path", [*MODULES, *SAMPLES], ids=short)
def test_only_the_upper_floors_draw(path: Path) -> None:
    if floor_of(path) < 4:
        assert not foreign(path) & DRAWING


@pytest.mark.parametrize("path", [path for path in MODULES if floor_of(path) == 4], ids=short)
def test_figures_do_no_torch_work(path: Path) -> None:
    assert "torch" not in foreign(path)


@pytest.mark.parametrize("library", IN_ONE_FILE)
def test_optional_libraries_are_imported_in_one_file(library: str) -> None:
    files = [short(path) for path in [*MODULES, *PAGES] if library in foreign(path)]
    assert len(files) <= 1, files


@pytest.mark.parametrize("path", [*MODULES, *PAGES], ids=short)
def test_every_room_has_a_subject(path: Path) -> None:
    assert not {Path(part).stem for part in path.relative_to(ROOT).parts} & NAMELESS


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_modules_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("path", PAGES, ids=short)
def test_pages_are_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_PAGE


@pytest.mark.parametrize("path", sorted((PACKAGE / "web").glob("*.py")), ids=short)
def test_no_part_of_the_app_hides_a_library(path: Path) -> None:
    """Streamlit puts the folder of app.py first on the import path, so `web/queue.py` would hide the library's."""
    name = path.stem
    if name != "__init__":
        assert name not in sys.stdlib_module_names
        assert importlib.util.find_spec(name) is None


@pytest.mark.parametrize("path", [*MODULES, *PAGES, *SAMPLES], ids=short)
def test_suppressed_rules_say_why(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = re.search(r"#\s*(type: ignore\[[\w, -]+\]|noqa: [A-Z0-9, ]+)(.*)", line)
        assert not found or len(found.group(2).strip(" #:,-")) > 5, f"line {number} suppresses a rule without a reason"


def test_the_reader_of_imports_sees_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "explorer" / "weights" / "forms.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import os.path\n"
        "from . import bits\n"
        "from ..recipe import Prune\n"
        "def f():\n    from explorer import web\n    import streamlit as st\n"
    )
    assert {module for _, module in imports(path)} == {
        "os.path",
        "explorer.weights.bits",
        "explorer.recipe.Prune",
        "explorer.web",
        "streamlit",
    }
    assert [names[0] for _, names in own(path)] == ["weights", "recipe", "web"]
