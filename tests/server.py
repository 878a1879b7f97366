"""A running app for the tests: the real command, on a free port of this machine, stopped when the test is done."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 90
"""How long a start may take on a busy machine before it counts as failed."""


@dataclass(frozen=True)
class RunningApp:
    """Where the app is, what it has printed so far, and how long it took to answer."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]
    start_seconds: float


@contextmanager
def running_app(
    folder: Path, command: Sequence[str | Path] = (sys.executable, "-m", "explorer.cli"), cwd: Path | None = None
) -> Iterator[RunningApp]:
    """Start the app by `command`, wait until it says where it is, and stop it at the end.

    folder: an empty place for the log.
    cwd: the folder that it is started in; None is the present one.
    """
    log = folder / "app.log"
    began = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "--port", "0", "--no-browser"], cwd=cwd, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        yield RunningApp(_announced(process, log), log, process, time.monotonic() - began)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _announced(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        said = log.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        if found:
            return found.group()
        if process.poll() is not None:
            raise AssertionError(f"the app stopped with code {process.returncode}:\n{said}")
        time.sleep(0.05)
    raise AssertionError(f"the app said nothing for {SECONDS} s:\n{log.read_text(encoding='utf-8', errors='replace')}")
