"""How small the bundled samples get: `python -m tests.ledger`, or `make ledger`.

Each recipe in `explorer/recipes` is trained anew and measured on the tune split beside the dense model; the table goes
to the terminal and between the markers in the README. The bytes are lengths of files that were written.
"""

from __future__ import annotations

import tempfile
import time
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


def table(lines: list[Line]) -> str:
    """The lines as a Markdown table."""
    head = ("sample", "dense", "compressed (95 %)", "change, paired", "dense bytes", "coded", "smallest", "seconds")
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *map(str, lines)])


def write(text: str) -> None:
    """Put the table between the markers in the README."""
    whole = README.read_text(encoding="utf-8")
    before, _, rest = whole.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{README} lacks {START} ... {END}")
    README.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Measure every recipe and write the table."""
    text = table([measure(recipe) for recipe in recipes()])
    print(text)
    write(text)


if __name__ == "__main__":
    main()
