"""Starting the app's server: where it listens, how it looks, and the line that says where it is."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

from explorer.errors import ExplorerError

ADDRESS = "127.0.0.1"
"""The only address that the app binds to: nobody else on the network sees it."""

PORT = 8501
"""Where the app is when nobody says otherwise."""

TRIES = 20
"""How many ports after `PORT` are tried when it is taken."""

APP = Path(__file__).with_name("app.py")


def start(port: int | None = None, *, browser: bool = True) -> None:
    """Serve the app until it is interrupted.

    Parameters
    ----------
    port: the port to listen on; 0 takes any free one, None the first free one from `PORT` on.
    browser: whether to open the app in the person's browser, where there is a screen.

    Raises
    ------
    ExplorerError: the port is taken, or it is not a port.
    """
    from streamlit.web import bootstrap

    from explorer.web.theme import theme_options

    chosen = free_port(port)
    options = {name.replace(".", "_"): value for name, value in (server_options(chosen) | theme_options()).items()}
    bootstrap.load_config_options(options)
    logging.getLogger("uvicorn.error").addFilter(_no_goodbyes)
    threading.Thread(target=_announce, args=(chosen, browser), daemon=True).start()
    bootstrap.run(str(APP), False, [], options)


def server_options(port: int) -> dict[str, Any]:
    """Streamlit's options for one person on one machine: local, quiet, and without watching files."""
    return {
        "server.address": ADDRESS,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "browser.serverAddress": ADDRESS,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorLinks": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
    }


def free_port(port: int | None = None) -> int:
    """The port to listen on: `port` itself if it is free, any free one for 0, the first free from `PORT` for None."""
    if port is None:
        for candidate in range(PORT, PORT + TRIES):
            if _is_free(candidate):
                return candidate
        raise ExplorerError(f"the ports {PORT} to {PORT + TRIES - 1} are all taken", instead="choose one with --port")
    if port == 0:
        with socket.socket() as listener:
            listener.bind((ADDRESS, 0))
            return int(listener.getsockname()[1])
    if not 1 <= port <= 65535:
        raise ExplorerError(f"{port} is not a port", instead="choose one from 1 to 65535")
    if not _is_free(port):
        raise ExplorerError(f"port {port} is taken or not allowed", instead="choose another with --port")
    return port


def url(port: int) -> str:
    """The app's address, as a person types it."""
    return f"http://{ADDRESS}:{port}"


def answers(port: int) -> bool:
    """Whether the app's server answers on `port`."""
    try:
        with urllib.request.urlopen(f"{url(port)}/_stcore/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        if os.name != "nt":  # Windows would let two servers share the port with this option
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def _no_goodbyes(record: logging.LogRecord) -> bool:
    """Leave out of the log that a browser went away in the middle of a word: the server prints a trace for each."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or not kind.__name__.startswith("WebSocketDisconnect")


def _announce(port: int, browser: bool) -> None:
    """Say where the app is once it answers, open it, and load what the first visitor will see meanwhile."""
    until = time.monotonic() + 60
    while not answers(port):
        if time.monotonic() > until:
            return
        time.sleep(0.1)
    print(f"Compression Explorer is on {url(port)} (stop it with Ctrl+C)", flush=True)
    if browser and _has_screen():
        webbrowser.open(url(port))
    from explorer.web.workbenches import FIRST, dense_job

    dense_job(FIRST)


def _has_screen() -> bool:
    """Whether a browser window can appear here; a text browser would take over the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
