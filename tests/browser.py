"""Finding a Chrome or Chromium for the tests: `python -m tests.browser [--install]` prints where it is.

With `--install`, a root user on Debian gets from apt what is missing: Chromium, and a library of Playwright's driver.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
)
MISSING = (
    "No Chrome or Chromium was found: install one (Debian: apt-get install chromium; anywhere: "
    "python -m playwright install --with-deps chromium), or name it in the environment variable CHROMIUM."
)
NO_DRIVER = "Playwright does not start here: install the library libatomic1 (Debian: apt-get install libatomic1)."


def find_chromium() -> str | None:
    """The path of a Chrome or Chromium that runs: what CHROMIUM names, an installed one, or Playwright's own."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if _runs(named) else None
    return next((path for path in _candidates() if _runs(path)), None)


def install_chromium() -> None:
    """Install Chromium, and what Playwright needs, with apt where that is possible (root on Debian); else do nothing.

    Ubuntu's package of that name is only a pointer to a snap, which does not run everywhere.
    """
    system = Path("/etc/os-release")
    debian = system.is_file() and "ID=debian" in system.read_text(encoding="utf-8").splitlines()
    if not debian or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print("Installing Chromium with apt-get (once).", file=sys.stderr)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    packages = ["chromium", "fonts-liberation", "libatomic1"]
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "-qq", *command], check=True, stdout=subprocess.DEVNULL, env=environment)


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, NAMES))
    yield from (place for place in PLACES if Path(place).is_file())
    if driver_starts():
        own = _playwrights_own()
        if Path(own).is_file():
            yield own


def _runs(path: str) -> bool:
    """Whether the program starts at all (Ubuntu's stand-in without a snap does not).

    On Windows Chrome opens a window when asked for its version, so there its being there has to do.
    """
    if os.name == "nt":
        return Path(path).is_file()
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def driver_starts() -> bool:
    """Whether Playwright's own driver starts: it is a node program, and a bare Debian lacks a library for it."""
    return subprocess.run([sys.executable, "-m", "playwright", "--version"], capture_output=True).returncode == 0


def _playwrights_own() -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def main() -> int:
    """Print the path of a browser, installing first what is missing where asked and possible."""
    named = bool(os.environ.get("CHROMIUM"))
    if "--install" in sys.argv and not (driver_starts() and (named or find_chromium())):
        install_chromium()
    path = find_chromium()
    problem = None if driver_starts() else NO_DRIVER
    if path is None:
        problem = MISSING
    print(problem or path, file=sys.stderr if problem else sys.stdout)
    return 2 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
