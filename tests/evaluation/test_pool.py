"""The worker pool: order, cancelling between units, errors that become sentences, workers that live on."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from explorer.errors import ExplorerError
from explorer.evaluation.pool import CANCELLED, DONE, FAILED, RUNNING, WAITING, Locker, Pool, Work, as_error

ROOT = Path(__file__).resolve().parents[2]


class Task(Work):
    """Units that call a function and note what came back."""

    def __init__(self, units: int, unit: Callable[[int], Any], urgent: bool = True) -> None:
        super().__init__(units)
        self.urgent = urgent
        self.unit = unit
        self.results: dict[int, Any] = {}

    def run_unit(self, number: int, locker: Locker) -> Any:
        return self.unit(number)

    def collect(self, number: int, result: Any) -> None:
        self.results[number] = result


class Gate:
    """A unit that says when it has begun and waits until it is let go."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, number: int) -> int:
        self.begun.set()
        assert self.open.wait(20)
        return number


def _done(work: Work) -> None:
    assert work.wait(20), "the pool stands still"


def test_every_unit_is_done_once_and_collected() -> None:
    counts = [0] * 50
    task = Task(50, lambda number: counts.__setitem__(number, counts[number] + 1) or number)
    assert task.state == WAITING
    Pool(3).submit(task)
    _done(task)
    assert task.state == DONE and task.finished and task.error is None
    assert counts == [1] * 50
    assert task.results == {number: number for number in range(50)}


def test_nothing_to_do_is_done() -> None:
    task = Task(0, lambda number: None)
    Pool(1).submit(task)
    assert task.finished and task.state == DONE


def test_workers_use_one_thread_each_and_leave_the_caller_its_own() -> None:
    before = torch.get_num_threads()
    task = Task(4, lambda number: torch.get_num_threads())
    Pool(2).submit(task)
    _done(task)
    assert set(task.results.values()) == {1}
    assert torch.get_num_threads() == before


def test_cancelling_stops_between_units_and_keeps_what_was_collected() -> None:
    gates = [Gate(), Gate(), Gate()]
    gates[0].open.set()
    task = Task(3, lambda number: gates[number](number))
    Pool(1).submit(task)
    assert gates[1].begun.wait(20)
    assert task.state == RUNNING
    task.cancel()
    assert task.finished and task.cancelled and task.state == CANCELLED
    gates[1].open.set()
    time.sleep(0.05)
    assert task.results == {0: 0}, "a result that came after the end was taken"
    assert not gates[2].begun.is_set()
    assert task.state == CANCELLED


def test_cancelling_while_a_worker_takes_a_unit_stays_cancelled() -> None:
    """A worker that was about to take a unit must not say "running" over it: the work would be joined for ever."""

    class Hurried(Task):
        canceller: threading.Thread | None = None

        @property
        def finished(self) -> bool:
            known = super().finished
            if self.canceller is None:
                self.canceller = threading.Thread(target=self.cancel)
                self.canceller.start()
                self.canceller.join(0.05)
            return known

    task = Hurried(10, lambda number: None)
    task.take()
    assert task.canceller is not None
    task.canceller.join()
    assert task.state == CANCELLED
    assert not task.join()


def test_urgent_work_goes_first_although_the_curve_was_there_before() -> None:
    gate, order = Gate(), []
    curve = Task(6, lambda number: gate(number) if number == 0 else order.append(f"curve {number}"), urgent=False)
    pool = Pool(1)
    pool.submit(curve)
    assert gate.begun.wait(20)
    knob = Task(3, lambda number: order.append(f"knob {number}"))
    pool.submit(knob)
    gate.open.set()
    _done(knob)
    _done(curve)
    assert order[:3] == ["knob 0", "knob 1", "knob 2"]
    assert len(order) == 8


def test_two_of_the_same_urgency_take_turns() -> None:
    gate, order = Gate(), []
    pool = Pool(1)
    blocker = Task(1, gate)
    pool.submit(blocker)
    assert gate.begun.wait(20)
    tasks = [Task(5, lambda number, name=name: order.append(name)) for name in "ab"]  # type: ignore[misc]  # a default
    for task in tasks:
        pool.submit(task)
    gate.open.set()
    for task in tasks:
        _done(task)
    assert "".join(order) == "ab" * 5


@pytest.mark.parametrize(
    "problem", [ValueError("sizes do not fit\nsecond line"), SystemExit(3), KeyboardInterrupt(), RecursionError()]
)
def test_errors_become_explorer_errors_and_workers_live_on(problem: BaseException) -> None:
    def fail(number: int) -> None:
        raise problem

    pool = Pool(1)
    broken = Task(4, fail)
    pool.submit(broken)
    _done(broken)
    assert broken.state == FAILED
    assert isinstance(broken.error, ExplorerError) and broken.error.__cause__ is problem
    assert type(problem).__name__ in str(broken.error) and "second line" not in str(broken.error)
    after = Task(2, lambda number: number)
    pool.submit(after)
    _done(after)
    assert after.state == DONE


def test_an_explorer_error_keeps_its_words() -> None:
    error = ExplorerError("label 12 does not fit", instead="labels go from 0 to 9")
    assert as_error(error) is error


def test_an_error_while_collecting_fails_the_work_alone() -> None:
    class Bad(Task):
        def collect(self, number: int, result: Any) -> None:
            raise RuntimeError("cannot add up")

    pool = Pool(1)
    bad, good = Bad(2, lambda number: number), Task(2, lambda number: number)
    pool.submit(bad)
    pool.submit(good)
    _done(bad)
    _done(good)
    assert bad.state == FAILED and "cannot add up" in str(bad.error)
    assert good.state == DONE


def test_stops_only_when_all_who_wait_have_cancelled() -> None:
    gate = Gate()
    task = Task(2, lambda number: gate(number))
    Pool(1).submit(task)
    assert gate.begun.wait(20)
    assert task.join() and task.join()  # three wait now
    task.cancel()
    task.cancel()
    assert not task.finished
    task.cancel()
    assert task.cancelled
    assert not task.join()
    gate.open.set()


def test_done_work_stays_done() -> None:
    task = Task(1, lambda number: number)
    Pool(1).submit(task)
    _done(task)
    task.cancel()
    assert task.state == DONE and not task.cancelled
    assert task.join()


def test_failed_work_is_not_joined() -> None:
    task = Task(1, lambda number: 1 / 0)
    Pool(1).submit(task)
    _done(task)
    assert not task.join()


def test_wait_gives_up_after_its_time() -> None:
    gate = Gate()
    task = Task(1, gate)
    Pool(1).submit(task)
    assert not task.wait(0.02)
    gate.open.set()
    assert task.wait(20)


def test_a_locker_keeps_a_thing_as_long_as_its_key_lives() -> None:
    class Key:
        pass

    class Keeping(Work):
        def __init__(self, key: Key) -> None:
            super().__init__(3)
            self.key = key
            self.kept: list[Any] = []

        def run_unit(self, number: int, locker: Locker) -> Any:
            return locker.setdefault(self.key, threading.Event())

        def collect(self, number: int, result: Any) -> None:
            self.kept.append(result)

    key = Key()
    task = Keeping(key)
    pool = Pool(1)
    pool.submit(task)
    _done(task)
    assert len({id(thing) for thing in task.kept}) == 1
    watched = weakref.ref(task.kept[0])
    del key, task
    other = Task(1, lambda number: None)  # the worker looks up from its last work
    pool.submit(other)
    _done(other)
    deadline = time.monotonic() + 5
    while watched() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert watched() is None


def test_a_script_may_end_while_work_is_running() -> None:
    """A worker thread inside torch at the end of the process would abort it."""
    script = (
        "import torch\n"
        "from tests.evaluation.test_pool import Task\n"
        "from explorer.evaluation.pool import Pool\n"
        "a = torch.randn(300, 300)\n"
        "task = Task(100_000, lambda number: float((a @ a).sum()))\n"
        "Pool(2).submit(task)\n"
        "task.wait(0.2)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
