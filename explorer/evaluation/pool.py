"""The worker pool: as many workers as cores, one torch thread each; the batches of one evaluation share it."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

import torch

from explorer.errors import ExplorerError

Locker = WeakKeyDictionary[Any, Any]
WAITING, RUNNING, DONE, CANCELLED, FAILED = "waiting", "running", "done", "cancelled", "failed"

CLOSING_SECONDS = 10.0
"""How long the end of the process waits for the units that are running."""


class Work:
    """Something that is done in units (batches), each by any worker, until it is done or cancelled.

    Several may wait for one piece of work: each after the first joins it, and it stops when all of them have cancelled.

    Subclasses say how many `units` there are, do one in `run_unit(number, locker)` on a worker, and take its result in
    `collect(number, result)`, which is called by one thread at a time. `locker` belongs to the worker: what it keeps
    from one unit to the next, for as long as the key lives.
    """

    urgent = True

    def __init__(self, units: int) -> None:
        self.units = units
        self.state = WAITING
        self.error: ExplorerError | None = None
        self._finished = threading.Event()
        self._collecting = threading.Lock()
        self._settling = threading.Lock()
        self._next = 0
        self._open = units
        self._wanted = 1

    def run_unit(self, number: int, locker: Locker) -> Any:
        """Do unit `number` (from 0)."""
        raise NotImplementedError

    def collect(self, number: int, result: Any) -> None:
        """Take the result of unit `number`."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Whether nothing more will come: done, cancelled or failed."""
        return self._finished.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped before its end."""
        return self.state == CANCELLED

    def join(self) -> bool:
        """One more waits for it; false where it was stopped or failed, so that a new one must be made."""
        with self._settling:
            if self.state in (CANCELLED, FAILED):
                return False
            self._wanted += 1
            return True

    def cancel(self) -> None:
        """One fewer waits for it; the last one stops it after the units that run now. What was collected stays."""
        with self._settling:
            self._wanted -= 1
            if self._wanted <= 0 and not self.finished:
                self.state = CANCELLED
                self._finished.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is finished (or `timeout` seconds); says whether it is."""
        return self._finished.wait(timeout)

    # -- used by the pool -----------------------------------------------------------------------------------------

    def take(self) -> int | None:
        """The next unit to do, or None when all are given out."""
        with self._settling:
            if self.finished or self._next >= self.units:
                return None
            self._next += 1
            self.state = RUNNING
            return self._next - 1

    def hand_in(self, number: int, result: Any, error: ExplorerError | None) -> None:
        """Take a unit's result or error from a worker."""
        with self._collecting:
            if self.finished:
                return
            if error is None:
                try:
                    self.collect(number, result)
                except Exception as problem:
                    error = as_error(problem)
            with self._settling:
                self._open -= 1
                if self.finished or (error is None and self._open):
                    return
                self.error, self.state = error, FAILED if error is not None else DONE
                self._finished.set()


class Pool:
    """Workers that take units from all work in turn; urgent work (a moved knob) before the rest (curves, scans)."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or available_cores()
        self._queues: tuple[deque[Work], deque[Work]] = (deque(), deque())
        self._change = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, work: Work) -> None:
        """Queue the work; workers start with the first one."""
        with self._change:
            if not self._threads:
                atexit.register(self.close)
                for number in range(self.workers):
                    thread = threading.Thread(target=self._work, name=f"explorer-{number}", daemon=True)
                    self._threads.append(thread)
                    thread.start()
            if work.units == 0:
                work.state = DONE
                work._finished.set()
                return
            self._queues[0 if work.urgent else 1].append(work)
            self._change.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the process is ending: long units should end, too."""
        return self._closed

    def close(self) -> None:
        """Stop after the units that are running: a worker inside torch must not outlive the interpreter."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join(timeout=CLOSING_SECONDS)

    def _work(self) -> None:
        torch.set_num_threads(1)  # of this thread; the others keep theirs
        locker: Locker = WeakKeyDictionary()
        while (taken := self._take()) is not None:
            work, number = taken
            result, error = None, None
            try:
                result = work.run_unit(number, locker)
            except BaseException as problem:  # a model that calls sys.exit must not take the worker with it
                error = as_error(problem)
            work.hand_in(number, result, error)
            del taken, work, result, error

    def _take(self) -> tuple[Work, int] | None:
        """The next unit, in turn over all work of the more urgent queue; None when the pool is closed."""
        with self._change:
            while not self._closed:
                for queue in self._queues:
                    for _ in range(len(queue)):
                        work = queue.popleft()
                        number = work.take()
                        if number is not None:
                            queue.append(work)
                            return work, number
                self._change.wait()
            return None


def as_error(problem: BaseException) -> ExplorerError:
    """Any exception as the one that faces show; the original stays its cause."""
    if isinstance(problem, ExplorerError):
        return problem
    said = str(problem).strip().splitlines()
    error = ExplorerError(
        f"the model cannot be run on the data ({type(problem).__name__}: {said[0] if said else 'no message'})"
    )
    error.__cause__ = problem
    return error


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
