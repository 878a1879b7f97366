"""The workbenches of this process: one per sample, shared by all sessions, never changed by a page."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import streamlit as st

from explorer.errors import ExplorerError
from explorer.jobs import Job
from explorer.opening import load
from explorer.recipe import Recipe
from explorer.subjects.samples import sample_cards
from explorer.variant import Variant
from explorer.workbench import Workbench

FIRST = "digits-vit"
"""The sample that opens when the link names none: small and fast."""


def known_samples() -> dict[str, str]:
    """The bundled samples: name to one line of what it is."""
    return {name: card.summary for name, card in sample_cards().items()}


def workbench(name: str) -> Workbench:
    """The workbench of a bundled sample; raises `ExplorerError` for a name that is not one."""
    if name not in known_samples():
        raise ExplorerError(
            f'there is no sample called "{name}"', instead=f"choose one of: {', '.join(known_samples())}"
        )
    return _loaded(name)


@st.cache_resource(show_spinner=False)
def _loaded(name: str) -> Workbench:
    bench = load(name)
    # Streamlit collects garbage after every run of the script, also of a fragment. With the objects of torch, pandas
    # and the loaded model in sight that takes a quarter of a second; frozen, they are not looked at again.
    gc.collect()
    gc.freeze()
    return bench


@st.cache_resource(show_spinner=False)
def dense_job(name: str) -> Job:
    """The evaluation of the dense model: every page shows its numbers beside the variant's. Never cancelled."""
    return workbench(name).submit(Recipe())


class Background:
    """A measurement in a thread of its own, so that no script thread of the app computes; one at a time.

    It runs once; its result is read from `.value` (or `.error`) when `.finished`.
    """

    def __init__(self, measure: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self._measure = measure
        self._thread = threading.Thread(target=self._run, name="measurement", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether a result or an error is there."""
        return not self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for the result, at most so long."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            with _one_at_a_time:
                self.value = self._measure()
        except Exception as problem:  # shown on the page: a thread has nobody above it
            self.error = problem


class LatencyJob(Background):
    """The latency of a variant beside the dense model's."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant.latency)

    @property
    def latency(self) -> Any:
        """What was measured, None until then."""
        return self.value


_one_at_a_time = threading.Lock()
