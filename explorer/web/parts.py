"""Fragments that never show a trace: whatever goes wrong inside becomes one sentence in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import streamlit as st

from explorer.errors import ExplorerError
from explorer.web.markup import warning

log = logging.getLogger(__name__)
P = ParamSpec("P")
IDLE = 86_400.0
"""Seconds between the runs of a fragment that has nothing to wait for."""


def safely(draw: Callable[P, None]) -> Callable[P, None]:
    """Decorate a part of a page: an error in it is told where the part would stand, and the rest of the page stays.

    Streamlit's own way of stopping a run (to start another) is no `Exception` and passes through.
    """

    @wraps(draw)
    def drawn(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            draw(*arguments, **options)
        except ExplorerError as problem:
            tell(str(problem))
        except Exception:
            log.exception("a part of the page could not be drawn")
            tell("This part could not be drawn. The app's terminal says why; undo brings the last state back.")

    return drawn


def polled(draw: Callable[P, None], every: float | None, *arguments: P.args, **options: P.kwargs) -> None:
    """Draw a fragment that runs again by itself every so many seconds, or (None) practically never.

    It is the very same fragment in both cases: were it two, an event that the browser sends to the first while the
    page changes to the second would be dropped.
    """
    st.fragment(draw, run_every=every or IDLE)(*arguments, **options)


def tell(sentence: str) -> None:
    """A sentence in amber."""
    st.html(warning(sentence))
