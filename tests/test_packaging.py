"""What is installed is whole: the wheel carries pages and samples, and its commands work outside the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest

from explorer.version import __version__
from tests.server import running_app

ROOT = Path(__file__).resolve().parents[1]
WINDOWS = os.name == "nt"

pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; fails the test with all of its output when the command fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with what is installed here (no network)."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a fresh environment that holds the wheel, and borrows the libraries from this one."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    commands = environment / ("Scripts" if WINDOWS else "bin")
    python = commands / ("python.exe" if WINDOWS else "python")
    paths = sysconfig.get_paths(vars={"base": str(environment), "platbase": str(environment)})
    borrowed = sysconfig.get_paths()["purelib"]
    Path(paths["purelib"], "borrowed.pth").write_text(borrowed, encoding="utf-8")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=environment)
    return commands


def test_the_wheel_carries_pages_and_samples(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("pages", "sample_models"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and not _is_cache(path)]
        assert files
        assert {f"explorer/{path.relative_to(ROOT).as_posix()}" for path in files} <= inside
    assert not any(_is_cache(ROOT / name) or name.startswith("tests/") for name in inside)
    assert f"compression_explorer-{__version__}.dist-info/licenses/LICENSE" in inside


def test_the_source_distribution_is_whole(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"
    name = run(sys.executable, "-c", build, tmp_path, cwd=ROOT).split()[-1]
    with tarfile.open(tmp_path / name) as archive:
        top = {"/".join(member.split("/")[1:2]) for member in archive.getnames()}
    needed = {"explorer", "pages", "sample_models", "tests", "pyproject.toml", "constraints.txt", "Makefile", "LICENSE"}
    assert needed <= top


def test_the_commands_work_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    explorer = installed / "explorer"
    assert run(explorer, "--version", cwd=tmp_path).strip() == f"compression-explorer {__version__}"
    listed = run(explorer, "samples", cwd=tmp_path)
    names = {path.parent.name for path in (ROOT / "sample_models").glob("*/card.toml")}
    assert {line.split()[0] for line in listed.splitlines()} == names


def test_the_report_works_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("steps:\n- step: prune\n  sparsity: 0.5\n", encoding="utf-8")
    run(installed / "explorer", "report", "cancer-tab", "--recipe", recipe, "-o", tmp_path / "r.html", cwd=tmp_path)
    assert "cancer-tab" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_app_works_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    with (
        running_app(tmp_path, [installed / "explorer"], cwd=tmp_path) as app,
        urllib.request.urlopen(f"{app.url}/_stcore/health", timeout=30) as answer,
    ):
        assert answer.status == 200
    script = (
        "from explorer.web.server import APP; from streamlit.testing.v1 import AppTest; "
        "app = AppTest.from_file(str(APP), default_timeout=120).run(); "
        "print([e.value for e in app.exception], APP, sep='\\n')"
    )
    exceptions, origin = run(installed / "python", "-c", script, cwd=tmp_path).strip().splitlines()[-2:]
    assert exceptions == "[]"
    assert installed.parent in Path(origin).parents


def test_every_needed_library_is_pinned() -> None:
    import tomllib

    facts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    named = [*facts["dependencies"], *facts["optional-dependencies"]["test"]]
    needed = {re.split(r"[<>=\[;]", requirement)[0] for requirement in named}
    assert {_canonical(name) for name in needed} <= {_canonical(name) for name in pins}
    assert pins["torch"] == "2.13.0"
    assert not [line for line in lines if line.startswith("-") or "://" in line], "pins name no place to load from"


def _is_cache(path: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(ROOT).parts)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
