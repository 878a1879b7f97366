"""Waiting for background work with a progress bar, in a notebook or a terminal."""

from __future__ import annotations

from typing import Protocol, TypeVar

from tqdm.auto import tqdm

from explorer.errors import ExplorerError

POLL_SECONDS = 0.1
LOOK = "{desc} {percentage:3.0f} %|{bar}| {elapsed} of about {remaining} more {postfix}"


class _Waited(Protocol):
    """Work that somebody waits for."""

    error: ExplorerError | None

    def wait(self, timeout: float | None = None) -> bool: ...

    def stop(self) -> None: ...


class Stoppable(_Waited, Protocol):
    """Work that ends with its best so far where it is stopped; share: 0 to 1, words: what it does now."""

    @property
    def share(self) -> float: ...

    @property
    def words(self) -> str: ...


class Counted(_Waited, Protocol):
    """Work that is done in batches, and keeps what is measured where it is stopped."""

    units: int
    done_units: int


StoppableT = TypeVar("StoppableT", bound=Stoppable)


def watch(job: StoppableT, label: str, progress: bool = True) -> StoppableT:
    """Wait until a search or a training is done; Ctrl+C (or the notebook's stop) has it end with the best so far.

    Gives the job back; raises the job's error.
    """
    with tqdm(total=1.0, desc=label, disable=None if progress else True, leave=False, bar_format=LOOK) as bar:
        done = False
        while not done:
            try:
                done = job.wait(POLL_SECONDS)
                bar.n = round(job.share, 3)
                bar.set_postfix_str(job.words)
            except KeyboardInterrupt:
                job.stop()
    if job.error is not None:
        raise job.error
    return job


def watch_batches(job: Counted, label: str, progress: bool = True) -> None:
    """Wait until all batches are done; Ctrl+C (or the notebook's stop) ends the waiting, and what is measured stays.

    Raises the job's error.
    """
    with tqdm(total=job.units, desc=label, unit="batch", disable=None if progress else True, leave=False) as bar:
        try:
            while not job.wait(POLL_SECONDS):
                bar.n = job.done_units
                bar.refresh()
        except KeyboardInterrupt:
            job.stop()
    if job.error is not None:
        raise job.error
