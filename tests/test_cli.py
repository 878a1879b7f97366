"""The command line: what it prints, and one sentence for whatever goes wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from explorer.cli import TRACEBACK, main
from explorer.errors import ExplorerError
from explorer.figures.palette import DARK, LIGHT
from explorer.subjects.samples import sample_cards
from explorer.version import __version__
from explorer.web.server import PORT, TRIES, free_port, server_options, url
from explorer.web.theme import theme_options
from tests.server import running_app

RECIPE = "steps:\n- step: prune\n  sparsity: 0.5\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe in a file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one sentence that a failing command says on stderr."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("explorer: ")
    assert len(err.splitlines()) == 1, err
    assert "Traceback" not in err
    return err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"compression-explorer {__version__}\n"


def test_samples_are_listed_with_their_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples"]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed == {name: card.summary for name, card in sample_cards().items()}


def test_a_report_is_one_page_that_needs_no_network(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.html"
    assert main(["report", "cancer-tab", "--recipe", str(recipe), "-o", str(output)]) == 0
    assert capsys.readouterr().out.startswith(f"{output}: ")
    page = output.read_text(encoding="utf-8")
    assert "prune 50 %" in page
    assert "<script src=" not in page
    assert "<link" not in page


def test_a_saved_variant_can_be_reported_again(recipe: Path, tmp_path: Path) -> None:
    from explorer.opening import load

    load("cancer-tab").compress(recipe).save(tmp_path / "small")
    output = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "small"), "--recipe", str(recipe), "-o", str(output)]) == 0
    assert output.is_file()


def test_an_unknown_sample_is_named(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(capsys, "report", "digit-vit", "--recipe", recipe, "-o", tmp_path / "r.html")
    assert "digit-vit" in said
    assert "digits-vit" in said
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps:\n- step: prune\n  sparsity: 1.4\n", ["1.4", "Prune"]),
        ("steps:\n- step: prune\n  sparsety: 0.5\n", ["sparsety", "sparsity"]),
        ("steps:\n- step: squeeze\n", ["squeeze", "prune"]),
        ("stages: []\n", ["stages"]),
        ("steps: [\n", ["YAML"]),
        ("steps:\n- step: prune\n  sparsity: 0.5\n  layers: 'nowhere.*'\n", ["nowhere.*"]),
        ("steps:\n- step: low-rank\n  rank: 100000\n", ["100000"]),
        ("steps:\n- step: prune\n  sparsity: 0.5\n  pattern: 'n:m'\n  n: 5\n  m: 4\n", ["5", "4"]),
    ],
    ids=["range", "field", "step", "key", "yaml", "glob", "rank", "n-of-m"],
)
def test_a_wrong_recipe_is_one_sentence(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    said = complaint(capsys, "report", "cancer-tab", "--recipe", path, "-o", tmp_path / "r.html")
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("sparsity", "limits", "code", "verdict"),
    [
        (0.5, ["--max-loss", "0.2", "--max-bytes", "1 MB"], 0, "pass"),
        (0.95, ["--max-loss", "0.05"], 1, "fail"),
        (0.5, ["--max-loss", "0.2", "--max-bytes", "1.5kB"], 1, "fail"),
        (0.5, ["--max-loss", "0.2", "--max-class-loss", "0.001"], 3, "undecided"),
        (0.0, ["--max-loss", "0", "--max-class-loss", "0", "--min-agreement", "1", "--test"], 0, "pass"),
    ],
)
def test_limits_are_answered_by_a_table_and_the_exit_code(
    sparsity: float, limits: list[str], code: int, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"steps:\n- step: prune\n  sparsity: {sparsity}\n", encoding="utf-8")
    assert main(["check", "cancer-tab", "--recipe", str(path), *limits]) == code
    out, err = capsys.readouterr()
    assert err == ""
    first, second, *table = out.splitlines()
    assert first.startswith("cancer-tab: prune ")
    assert second.startswith(f"{verdict} on ") and ("test split" in second) == ("--test" in limits)
    asked = len(limits) // 2
    assert len(table) == 2 + 2 * asked and table[1].startswith("gate ")


@pytest.mark.parametrize(
    ("model", "limits", "words"),
    [
        ("cancer-tab", [], ["no limit is given", "max_loss", "max_class_loss", "min_agreement", "max_bytes"]),
        ("cancer-tab", ["--max-bytes", "4 apples"], ["4 apples", "is no size", "4MB"]),
        ("cancer-tab", ["--max-loss", "little"], ["--max-loss", "little"]),
        ("cancer-tab", ["--max-loss", "-0.1"], ["max_loss", "-0.1"]),
        ("cancer-tab", ["--max-loss", "5"], ["max_loss", "outside 0 to 1"]),
        ("cancer-tab", ["--min-agreement", "98"], ["min_agreement", "outside 0 to 1"]),
        ("cancer-tab", ["--max-bytes", "4MB", "--test"], ["bytes alone", "tune"]),
        ("story-lm", ["--max-class-loss", "0.1"], ["max_class_loss", "language-modeling"]),
    ],
)
def test_limits_that_are_none_are_one_sentence(
    model: str, limits: list[str], words: list[str], recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "check", model, "--recipe", recipe, *limits)
    assert all(word in said for word in words), said


def test_help_says_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "Exit code 0: all pass; 1: one fails; 3: none fails, but one is undecided; 2: an error." in told
    for option in ("--max-loss", "--max-class-loss", "--min-agreement", "--max-bytes", "--test"):
        assert option in told


def test_missing_files_and_folders_are_named(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.yaml" in complaint(capsys, "report", "cancer-tab", "--recipe", tmp_path / "none.yaml")
    missing = complaint(capsys, "check", "cancer-tab", "--recipe", tmp_path / "none.yaml", "--max-loss", "0.1")
    assert "none.yaml" in missing
    said = complaint(capsys, "report", "cancer-tab", "--recipe", recipe, "-o", tmp_path / "none" / "r.html")
    assert "none" in said
    assert "folder" in said
    assert str(tmp_path) in complaint(capsys, "report", "cancer-tab", "--recipe", recipe, "-o", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["report"], "MODEL"),
        (["report", "cancer-tab"], "--recipe"),
        (["check", "cancer-tab", "--max-loss", "0.1"], "--recipe"),
        (["compress"], "compress"),
        (["--port", "many"], "many"),
        (["--port", "70000"], "70000"),
        (["--prot"], "--prot"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert word in complaint(capsys, *arguments)


def test_a_fault_of_ours_is_one_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.delenv(TRACEBACK, raising=False)
    monkeypatch.setattr("explorer.cli._samples", broken)
    assert TRACEBACK in complaint(capsys, "samples")
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(ZeroDivisionError):
        main(["samples"])


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently on Windows")
def test_a_reader_may_leave_early() -> None:
    command = f"'{sys.executable}' -m explorer.cli samples | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_a_taken_port_is_told_and_the_next_is_taken_when_none_is_asked() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(ExplorerError, match=f"port {number} is taken"):
            free_port(number)
    assert PORT <= free_port() < PORT + TRIES
    assert free_port(0) > 0


def test_the_server_is_local_and_sends_nothing_home() -> None:
    options = server_options(8501)
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
    assert url(8501) == "http://127.0.0.1:8501"


def test_the_theme_is_the_palette_and_streamlit_knows_every_option() -> None:
    from streamlit import config

    options = theme_options() | server_options(8501)
    known = set(config.get_config_options())
    assert set(options) <= known
    assert options["theme.light.primaryColor"] == LIGHT.variant
    assert options["theme.dark.primaryColor"] == DARK.variant


@pytest.mark.timing
def test_the_app_answers_within_seconds_and_stops_when_asked(tmp_path: Path) -> None:
    with running_app(tmp_path) as app:
        assert app.start_seconds < 15
        app.process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGINT)
        app.process.wait(timeout=15)
        assert "Traceback" not in app.log.read_text(encoding="utf-8")
