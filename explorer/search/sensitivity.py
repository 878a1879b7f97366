"""Sensitivity: what each weight matrix bears, one at a time, measured in the shared worker pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from explorer.errors import ExplorerError
from explorer.evaluation.pool import Locker, Work
from explorer.evaluation.quality import Change, Quality
from explorer.evaluation.tasks import Judged
from explorer.jobs import Stage
from explorer.limits import IN_POINTS
from explorer.recipe import Recipe
from explorer.search.scan import LEFT_OUT, Scan, Target
from explorer.shown import Shown
from explorer.waiting import watch_batches

if TYPE_CHECKING:
    import pandas as pd

    from explorer.variant import Variant

BORNE = 0.01
"""A level is borne while the primary metric falls by no more: one point of an accuracy."""
NAMED = 3


@dataclass(frozen=True)
class Cell:
    """One target at one level (None: left out): quality, its paired change against the base, and exact bytes."""

    target: Target
    level: float | None
    quality: Quality
    change: Change
    size_bytes: int
    saved_bytes: int

    @property
    def borne(self) -> bool:
        """Whether it loses no more than a point (0.01 of the primary metric), as measured."""
        return self.change.delta >= -BORNE - 1e-9


@dataclass(frozen=True)
class Sensitivity(Shown):
    """Per target and level: quality on tune, change against the base with its 95 % interval, bytes.

    base: the quality of the scan's base recipe (dense, where none was given) on the same examples; base_bytes: its
    size. cells: by target and level, as far as measured. One at a time, a layer can look harmless because the residual
    path carries what it no longer says: `leave_out=True` asks the other way round.
    """

    model: str
    scan: Scan
    base: Quality
    base_bytes: int
    cells: tuple[Cell, ...]

    @property
    def complete(self) -> bool:
        """Whether every cell was measured."""
        return len(self.cells) == len(self.scan.targets) * len(self.scan.levels)

    @cached_property
    def by_target(self) -> dict[str, list[Cell]]:
        """The cells of each target, from mild to harsh, in the order of the model."""
        order = {level: at for at, level in enumerate(self.scan.levels)}
        found = {target.name: [cell for cell in self.cells if cell.target == target] for target in self.scan.targets}
        return {name: sorted(cells, key=lambda c: order[c.level]) for name, cells in found.items() if cells}

    @cached_property
    def bears(self) -> dict[str, float | None]:
        """The harshest level that each target bears within one point, it and all milder ones; None where none is."""
        found: dict[str, float | None] = {}
        for name, cells in self.by_target.items():
            found[name] = None
            for cell in cells:
                if not cell.borne:
                    break
                found[name] = cell.level
        return found

    @property
    def ranked(self) -> list[str]:
        """The targets' names, most fragile first: what bears least, then what loses most on average."""
        losses = {name: float(np.mean([cell.change.delta for cell in cells])) for name, cells in self.by_target.items()}
        if self.scan.leave_out:  # what recovers most when it is spared breaks most
            return sorted(losses, key=lambda name: -losses[name])
        return sorted(losses, key=lambda name: (self._steps_borne(name), losses[name]))

    def _steps_borne(self, name: str) -> int:
        level = self.bears[name]
        return -1 if level is None else self.scan.levels.index(level)

    @property
    def fragile(self) -> str:
        """One sentence that names the targets that break first."""
        if not self.cells:
            return "nothing is measured yet"
        if self.scan.leave_out:
            return self._spared()
        fewest = min(map(self._steps_borne, self.by_target))
        first = [name for name in self.ranked if self._steps_borne(name) == fewest]
        if fewest == len(self.scan.levels) - 1:
            return f"nothing breaks: each {self.scan.by} alone bears {self.level_words(self.scan.levels[-1])}"
        level = self.level_words(self.scan.levels[fewest + 1])
        verb = "breaks" if len(first) == 1 else "break"
        point = "1 point" if self.in_points else "0.01"
        return f"{_listed(first)} {verb} first: more than {point} of {self.base.primary} is lost at {level}"

    def _spared(self) -> str:
        name = self.ranked[0]
        change = self.by_target[name][0].change
        if change.low <= 0:
            return f"no {self.scan.by} stands out: sparing one changes no more than chance allows"
        return f"{name} breaks most: sparing it gives {self.amount(change.delta)} back"

    @property
    def in_points(self) -> bool:
        """Whether the primary metric is a share, whose changes are told in points."""
        return self.base.task in IN_POINTS

    def amount(self, delta: float) -> str:
        """A change with its sign, in points where the metric is a share."""
        return f"{100 * delta:+.1f} points" if self.in_points else f"{delta:+.3f}"

    def level_words(self, level: float | None) -> str:
        """A level as people read it: "sparsity 90 %", "4 bits", "left out"."""
        if level is None:
            return LEFT_OUT
        return f"{level:g} bits" if self.scan.field == "bits" else f"{self.scan.field} {100 * level:.4g} %"

    @property
    def on(self) -> str:
        """How many examples were seen: "all 540 tune examples", "512 of 9,000 tune examples"."""
        seen, total = self.base.examples, self.base.total
        return f"all {total:,} tune examples" if seen == total else f"{seen:,} of {total:,} tune examples"

    @property
    def title(self) -> str:
        """What was done, in a few words."""
        if self.scan.leave_out:
            return f"{self.scan.step.label}: one {self.scan.by} left out at a time"
        return f"{self.scan.step.label}: one {self.scan.by} at a time"

    def to_frame(self) -> pd.DataFrame:
        """A row for each cell: metric with its interval, change with its interval, bytes."""
        import pandas as pd

        primary = self.base.primary
        return pd.DataFrame(
            [
                {
                    "target": cell.target.name,
                    "level": LEFT_OUT if cell.level is None else cell.level,
                    primary: cell.quality.value,
                    f"{primary}_low": cell.quality.low,
                    f"{primary}_high": cell.quality.high,
                    "change": cell.change.delta,
                    "change_low": cell.change.low,
                    "change_high": cell.change.high,
                    "broken": cell.change.broken,
                    "repaired": cell.change.repaired,
                    "examples": cell.quality.examples,
                    "bytes": cell.size_bytes,
                    "bytes_saved": cell.saved_bytes,
                }
                for cells in self.by_target.values()
                for cell in cells
            ]
        )

    def __str__(self) -> str:
        known = {(cell.target.name, cell.level): cell for cell in self.cells}
        width = max([len(name) for name in self.by_target] + [6])
        heads = [_short_level(level) for level in self.scan.levels]
        bears = "" if self.scan.leave_out else f"{'bears':>8}"
        unit = "points" if self.in_points else self.base.primary
        after = f" after {self.scan.base.sentence()}" if len(self.scan.base) else ""
        so_far = "" if self.complete else f"; {len(self.cells)} of {len(self.scan.targets) * len(heads)} cells so far"
        lines = [
            f"{self.model}, {self.title}{after}; change of {self.base.primary} in {unit}, on {self.on}{so_far}",
            f"{self.scan.by:<{width}}{bears}" + "".join(f"{head:>9}" for head in heads),
        ]
        for name in self.ranked:
            line = f"{name:<{width}}"
            if not self.scan.leave_out:
                level = self.bears[name]
                line += f"{'none' if level is None else _short_level(level):>8}"
            for level in self.scan.levels:
                cell = known.get((name, level))
                line += f"{'' if cell is None else self.amount(cell.change.delta).removesuffix(' points'):>9}"
            lines.append(line)
        return "\n".join([*lines, self.fragile])


class SensitivityJob(Work):
    """One scan, cell by cell and batch by batch, behind urgent work; the harshest level comes first.

    cells: measured so far. sensitivity: these as a result (None until the base is measured).
    """

    urgent = False

    def __init__(self, model: str, stage: Stage, scan: Scan, make: Callable[[Recipe], Variant], quick: bool) -> None:
        self.scan = scan
        self._model, self._stage, self._make = model, stage, make
        self._plan: list[tuple[Target, float | None] | None] = [None]  # the base
        self._plan += [(target, level) for level in reversed(scan.levels) for target in scan.targets]
        self._each = stage.quick_batches if quick else len(stage.batches("tune"))
        super().__init__(len(self._plan) * self._each)
        self._variants: dict[int, Variant] = {}
        self._bytes: dict[int, int] = {}
        self._making = [Lock() for _ in self._plan]
        self._judged: dict[int, dict[int, Judged]] = {}
        self._qualities: dict[int, Quality] = {}
        self.done_units = 0

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Measured so far, each beside the base."""
        base = self._qualities.get(0)
        if base is None:
            return ()
        found = []
        for at, quality in sorted(self._qualities.copy().items()):
            asked = self._plan[at]
            if asked is not None:
                size = self._bytes[at]
                found.append(Cell(*asked, quality, quality.against(base), size, self._bytes[0] - size))
        return tuple(found)

    @property
    def sensitivity(self) -> Sensitivity | None:
        """What is known so far."""
        base = self._qualities.get(0)
        return None if base is None else Sensitivity(self._model, self.scan, base, self._bytes[0], self.cells)

    def stop(self) -> None:
        """Stop (unless others wait for it, too); what was measured stays."""
        self.cancel()

    def run_unit(self, number: int, locker: Locker) -> Judged:
        at, batch = divmod(number, self._each)
        return self._stage.judge(self._stage.dressed(self._variant(at), locker), "tune", batch)

    def _variant(self, at: int) -> Variant:
        with self._making[at]:  # whoever needs it meanwhile waits, rather than make it again
            if at not in self._variants:
                asked = self._plan[at]
                variant = self._make(self.scan.base if asked is None else self.scan.recipe(*asked))
                self._bytes[at] = variant.storage.size_bytes
                self._variants[at] = variant
            return self._variants[at]

    def collect(self, number: int, result: Judged) -> None:
        at, batch = divmod(number, self._each)
        known = self._judged.setdefault(at, {})
        known[batch] = result
        self.done_units += 1
        if len(known) == self._each:
            numbers = sorted(known)
            self._qualities[at] = self._stage.quality("tune", numbers, [known[number] for number in numbers])
            del self._judged[at]
            self._variants.pop(at, None)


def watched(job: SensitivityJob, progress: bool = True) -> Sensitivity:
    """Wait for a scan with a progress bar; Ctrl+C (or the notebook's stop) keeps what is there.

    Raises `ExplorerError` where it failed, or was stopped before anything was known.
    """
    watch_batches(job, f"sensitivity to {job.scan.step.label.lower()}", progress)
    found = job.sensitivity
    if found is None:
        raise ExplorerError("the scan was stopped before anything was measured", instead="start it again")
    return found


def _short_level(level: float | None) -> str:
    return LEFT_OUT if level is None else f"{level:g}"


def _listed(names: list[str]) -> str:
    if len(names) > NAMED + 1:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
