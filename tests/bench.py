"""How fast knobs answer, as ratios measured in one run: `python -m tests.bench`, or `make bench`.

Each knob is timed in turn with plain forward passes over the tune split (`no_grad`, the subject's batch size), so that
a machine which is busy, warm or slow is so for all. A plain pass is timed with torch's own number of threads and with
one thread: on a busy machine several threads wait for each other, and a slow pass would flatter the knob. The ratio is
that to the faster of the two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from statistics import median, quantiles

import torch

import explorer as ex

SAMPLE = "digits-vit"
Run = Callable[[], object]


def fresh_shares() -> Iterator[float]:
    """Shares between 0.2 and 0.8 that never come twice: no result is known already."""
    golden = (5**0.5 - 1) / 2
    return (0.2 + 0.6 * (number * golden % 1) for number in count(1))


def plain_pass(bench: ex.Workbench, threads: int | None = None) -> Run:
    """One forward pass of the model itself over the tune split, batch by batch, and nothing else.

    threads: how many torch may use; by default as many as it wants.
    """
    model, size = bench.subject.model, bench.subject.batch_size
    batches = bench.subject.split("tune").inputs.split(size)

    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        with torch.no_grad():
            for batch in batches:
                model(batch)
        torch.set_num_threads(before)

    return run


def knob_move(bench: ex.Workbench, make: Callable[[float], ex.Recipe]) -> Run:
    """What a moved knob costs in the engine: compress, sizes, accuracy on the whole tune split."""
    shares = fresh_shares()

    def run() -> None:
        variant = bench.compress(make(next(shares)))
        assert variant.size.bytes and variant.evaluate().complete

    return run


def moves(bench: ex.Workbench) -> dict[str, Run]:
    """The knobs of the first page, each turned to a new place at every call."""
    rank = ex.LowRank(energy=0.9)
    recipes: dict[str, Callable[[float], ex.Recipe]] = {
        "sparsity": lambda share: ex.Recipe([ex.Prune(sparsity=share)]),
        "sparsity of neurons": lambda share: ex.Recipe([ex.Prune(sparsity=share, pattern="row")]),
        "sparsity after low rank": lambda share: ex.Recipe([rank, ex.Prune(sparsity=share)]),
        "energy": lambda share: ex.Recipe([ex.LowRank(energy=share)]),
    }
    return {name: knob_move(bench, make) for name, make in recipes.items()}


def in_turn(runs: Sequence[Run], repeats: int, seconds: float) -> list[list[float]]:
    """The milliseconds of each run, timed in turn `repeats` times (fewer after `seconds`), after one to warm up."""
    taken: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    for repeat in range(repeats + 1):
        for run, times in zip(runs, taken, strict=True):
            start = time.perf_counter()
            run()
            if repeat:
                times.append(1e3 * (time.perf_counter() - start))
        if repeat >= 5 and time.perf_counter() > end:
            break
    return taken


def ratio_of(move: Sequence[float], *plain: Sequence[float]) -> float:
    """How many plain passes fit into a move: the median over rounds, against the plain pass that is faster."""
    faster = min(plain, key=median)
    return median(mine / theirs for mine, theirs in zip(move, faster, strict=True))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25, help="how often each is timed")
    parser.add_argument("--seconds", type=float, default=30.0, help="after how long a row is cut short")
    asked = parser.parse_args()
    bench = ex.load(SAMPLE)
    plain = [plain_pass(bench), plain_pass(bench, threads=1)]
    print(f"{bench.subject.title}, {bench.subject.length('tune')} examples. Medians in ms.")
    columns = ("knob", "move", "middle half", f"plain, {torch.get_num_threads()} threads", "plain, 1 thread", "ratio")
    print("{:<26}{:>9}{:>18}{:>18}{:>17}{:>8}".format(*columns))
    for name, move in moves(bench).items():
        taken = in_turn([*plain, move], asked.repeats, asked.seconds)
        low, _, high = quantiles(taken[2], n=4)
        middles = [median(times) for times in taken]
        between = f"{low:.1f} to {high:.1f}"
        ratio = ratio_of(taken[2], *taken[:2])
        print(f"{name:<26}{middles[2]:>9.1f}{between:>18}{middles[0]:>18.1f}{middles[1]:>17.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
