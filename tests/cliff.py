"""The cliff and the way back: `python -m tests.cliff`, also run by `make ledger`.

`digits-vit` is pruned in one shot at several sparsities, then recovered for a few epochs, with the labels alone and
with the dense model as a teacher; the means over seeds go to the terminal and between the markers in the README.
"""

from __future__ import annotations

import time
from statistics import mean

import explorer as ex
from tests.ledger import README

START, END = "<!-- cliff -->", "<!-- /cliff -->"
STEPS = {
    "60 %": ex.Prune(sparsity=0.6),
    "80 %": ex.Prune(sparsity=0.8),
    "80 % of each matrix": ex.Prune(sparsity=0.8, scope="matrix"),
    "85 %": ex.Prune(sparsity=0.85),
    "90 %": ex.Prune(sparsity=0.9),
    "95 %": ex.Prune(sparsity=0.95),
}
"""Over the whole model, unless said."""
SEEDS = (0, 1)
EPOCHS = 10


def line(bench: ex.Workbench, name: str, step: ex.Prune) -> str:
    """One step as a row of the table."""
    broken = bench.compress(step)
    cells = [name, f"{100 * broken.evaluate().value:.1f}"]
    seconds = []
    for teacher in (None, "dense"):
        found = []
        for seed in SEEDS:
            began = time.perf_counter()
            recovered = broken.recover(epochs=EPOCHS, teacher=teacher, seed=seed, progress=False)
            seconds.append(time.perf_counter() - began)
            found.append(100 * recovered.evaluate().value)
        cells.append(f"{mean(found):.1f} ({min(found):.1f} to {max(found):.1f})")
    return f"| {' | '.join([*cells, f'{mean(seconds):.1f}'])} |"


def main() -> None:
    """Measure, print, and write the table."""
    bench = ex.load("digits-vit")
    head = ("sparsity", "one shot", "recovered, labels alone", "recovered, dense as teacher", "seconds")
    rows = [line(bench, name, step) for name, step in STEPS.items()]
    text = "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *rows])
    print(text)
    whole = README.read_text(encoding="utf-8")
    before, _, rest = whole.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{README} lacks {START} ... {END}")
    README.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
