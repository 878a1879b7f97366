"""The command line: `explorer` opens the app; `explorer samples`, `report` and `check` work without it.

Whatever goes wrong is told in one sentence on stderr, with exit code 2. `explorer check` answers with 0, 1 or 3.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from explorer.errors import ExplorerError
from explorer.version import __version__

FAILED = 2
"""The exit code of whatever could not be done."""

ANSWERS = {"pass": 0, "fail": 1, "undecided": 3}
"""The exit codes of `explorer check`."""

INTERRUPTED = 130
"""The exit code after Ctrl+C, as shells have it."""

TRACEBACK = "EXPLORER_TRACEBACK"
"""The environment variable with which a fault of the program itself shows its traceback."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an old Windows console has no "≈"
    try:
        given = _parser().parse_args(arguments)
        if given.command == "samples":
            _samples()
        elif given.command == "report":
            _report(given.model, given.recipe, given.output)
        elif given.command == "check":
            return _check(given)
        else:
            _app(given.port, given.browser)
    except ExplorerError as problem:
        return _told(str(problem))
    except BrokenPipeError:  # the reader of our output has gone (`explorer samples | head -1`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as problem:
        return _told(f"{problem.filename or 'the system'}: {problem.strerror or problem}.")
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as problem:
        if os.environ.get(TRACEBACK):
            raise
        return _told(f"a fault of ours ({type(problem).__name__}: {problem}). Set {TRACEBACK}=1 to see where.")
    return 0


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, like all others."""

    def error(self, message: str) -> NoReturn:
        raise ExplorerError(message[:1].lower() + message[1:], instead=f'see "{self.prog} --help"')


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="explorer", description="Compress a PyTorch model by hand and see what changes.")
    parser.add_argument("--version", action="version", version=f"compression-explorer {__version__}")
    parser.add_argument(
        "--port", type=int, help="where the app listens on 127.0.0.1 (default: 8501 or the next free one; 0: any)"
    )
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="do not open the app in a browser")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("samples", help="list the bundled models")
    report = commands.add_parser("report", help="compress a model and write what changed as one HTML file")
    _add_model_and_recipe(report)
    report.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    _add_check(
        commands.add_parser(
            "check",
            help="compress a model and say whether it keeps its limits",
            description="Compress a model and judge limits against the dense model: each pass, fail or undecided.",
            epilog="Exit code 0: all pass; 1: one fails; 3: none fails, but one is undecided; 2: an error.",
        )
    )
    return parser


def _add_model_and_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a bundled sample, or a folder that a variant was saved to")
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="the recipe, a YAML file")


def _add_check(parser: argparse.ArgumentParser) -> None:
    _add_model_and_recipe(parser)
    parser.add_argument(
        "--max-loss", type=float, metavar="X", help="how much of the headline metric may be lost (0.005: half a point)"
    )
    parser.add_argument("--max-class-loss", type=float, metavar="X", help="the same for the recall of each class")
    parser.add_argument(
        "--min-agreement", type=float, metavar="X", help="how many answers must be the dense model's (0.98 of all)"
    )
    parser.add_argument("--max-bytes", metavar="SIZE", help="how long the weights file may be (4MB, 500kB, 1.5MiB)")
    parser.add_argument(
        "--test", action="store_true", help="judge on the sealed test split instead of the tune split: open it once"
    )


def _app(port: int | None, browser: bool) -> None:
    from explorer.web.server import start

    start(port, browser=browser)


def _samples() -> None:
    from explorer.opening import samples

    listed = samples()
    width = max(map(len, listed))
    for name, summary in listed.items():
        print(f"{name:<{width}}  {summary}")


def _report(model: str, recipe: Path, output: Path) -> None:
    from explorer.figures.report import headline, report_page
    from explorer.opening import load

    _look_for(recipe)
    if not output.parent.is_dir():
        raise ExplorerError("there is no such folder", where=str(output.parent), instead="make it, or choose another")
    variant = load(model).compress(recipe)
    for warning in variant.plan.warnings:
        print(f"step {warning.step + 1}: {warning.text}", file=sys.stderr)
    report = variant.report()
    output.write_text(report_page(model, variant.plan, report, variant.storage), encoding="utf-8")
    print(f"{output}: {headline(report)}")


def _check(given: argparse.Namespace) -> int:
    from explorer.gates import check
    from explorer.limits import Limits
    from explorer.opening import load

    limits = Limits.of(given.max_loss, given.max_class_loss, given.min_agreement, given.max_bytes)
    _look_for(given.recipe)
    checks = check(load(given.model).compress(given.recipe), limits, "test" if given.test else "tune")
    print(checks)
    return ANSWERS[checks.verdict]


def _look_for(recipe: Path) -> None:
    if not recipe.is_file():
        raise ExplorerError("there is no such file", where=str(recipe), instead="give the path of a recipe in YAML")


def _told(sentence: str) -> int:
    print(f"explorer: {' '.join(sentence.split())}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
