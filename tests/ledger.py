"""How small the bundled samples get: `python -m tests.ledger`, or `make ledger`.

Each recipe in `explorer/recipes` is trained anew and measured on the tune split beside the dense model; the table goes
to the terminal and between the markers in the README. The bytes are lengths of files that were written. With
`--only NAME` (as often as wanted) the rows of the other samples stay as they stand in the README.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import explorer as ex
from explorer.saving import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "explorer" / "recipes"
README = ROOT / "README.md"
START, END = "<!-- ledger -->", "<!-- /ledger -->"


@dataclass(frozen=True)
class Line:
    """What was measured of one recipe: texts as the quality prints them, bytes of files, seconds of compressing."""

    name: str
    dense: str
    variant: str
    change: str
    dense_bytes: int
    plain_bytes: int
    smallest_bytes: int
    seconds: float

    def __str__(self) -> str:
        plain, smallest = (
            f"{size:,} (×{self.dense_bytes / size:.1f})" for size in (self.plain_bytes, self.smallest_bytes)
        )
        cells = [f"`{self.name}`", self.dense, self.variant, self.change, f"{self.dense_bytes:,}", plain, smallest]
        return f"| {' | '.join(cells)} | {self.seconds:.0f} |"


def recipes() -> list[Path]:
    """The recipe files, by the name of their sample."""
    return sorted(RECIPES.glob("*.yaml"))


def measure(recipe: Path) -> Line:
    """Train one recipe on its sample, write both files, and say what came out."""
    bench = ex.load(recipe.stem)
    began = time.perf_counter()
    variant = bench.compress(recipe)
    seconds = time.perf_counter() - began
    dense, quality = bench.dense.evaluate(), variant.evaluate()
    change = quality.against(dense)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        plain = (variant.save(where / "plain") / WEIGHTS).stat().st_size
        smallest = (variant.save(where / "smallest", smallest=True) / WEIGHTS).stat().st_size
        whole = (bench.dense.save(where / "dense") / WEIGHTS).stat().st_size
    told = f"{quality.value:.4f} ({quality.low:.4f} to {quality.high:.4f})"
    changed = f"{change.delta:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
    return Line(recipe.stem, f"{quality.primary} {dense.value:.4f}", told, changed, whole, plain, smallest, seconds)


def table(rows: Mapping[str, str]) -> str:
    """The rows by sample as a Markdown table, in the order of the recipe files."""
    head = ("sample", "dense", "compressed (95 %)", "change, paired", "dense bytes", "coded", "smallest", "seconds")
    listed = [rows[recipe.stem] for recipe in recipes() if recipe.stem in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *listed])


def rows_in(text: str) -> dict[str, str]:
    """The rows of a table that was written before, by sample."""
    return {row.split("`")[1]: row for row in text.splitlines() if row.startswith("| `")}


def split(readme: str) -> tuple[str, str, str]:
    """(what stands before the table, the table, what comes after it)."""
    before, _, rest = readme.partition(START)
    inside, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{README} lacks {START} ... {END}")
    return before, inside, after


def update(measured: Mapping[str, str]) -> str:
    """Put measured rows between the markers in the README, beside the others that stand there; returns the table."""
    before, inside, after = split(README.read_text(encoding="utf-8"))
    text = table({**rows_in(inside), **measured})
    README.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")
    return text


def main() -> None:
    """Measure every recipe, or those that are asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [recipe.stem for recipe in recipes()]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="measure this sample alone")
    only = parser.parse_args().only or names
    print(update({recipe.stem: str(measure(recipe)) for recipe in recipes() if recipe.stem in only}))


if __name__ == "__main__":
    main()
