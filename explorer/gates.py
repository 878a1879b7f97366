"""Gates: limits that a compressed variant must keep, each answered *pass*, *fail* or *undecided*.

A limit on the quality is judged by the interval of what was measured on held-out examples, beside the dense model on
the same ones (paired non-inferiority): *pass* when all of the interval keeps the limit, *fail* when none of it does,
*undecided* when the examples are too few to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from explorer.errors import ExplorerError
from explorer.evaluation import intervals
from explorer.evaluation.quality import Quality
from explorer.evaluation.tasks import Judged
from explorer.limits import IN_POINTS, Limits
from explorer.shown import Shown

if TYPE_CHECKING:
    from explorer.variant import Variant

Verdict = Literal["pass", "fail", "undecided"]

SAME = "the answers are the dense model's own"
SURE = "with 95 % confidence"


@dataclass(frozen=True)
class Gate:
    """One limit and its answer.

    name: of the limit; label: for people. measured: a change against dense (negative is a loss), a share, or bytes, as
    `unit` says ("points", "share", "bytes", or "" for a metric's own). low, high: its interval, None for what is exact.
    Of classes it is the one that decides, named in `why`; `measured` is None where no example of it was seen.
    """

    name: str
    label: str
    limit: float
    measured: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    why: str
    unit: str

    @property
    def limit_text(self) -> str:
        """The limit in words: "at most 0.5 points lost"."""
        if self.unit == "share":
            return f"at least {_amount(self.limit, self.unit)}"
        return f"at most {_amount(self.limit, self.unit)}{'' if self.unit == 'bytes' else ' lost'}"

    @property
    def measured_text(self) -> str:
        """What was measured, with its unit: "−0.19 points"."""
        if self.measured is None:
            return "not measured"
        if self.unit in ("share", "bytes"):
            return _amount(self.measured, self.unit)
        return f"{_sign(self.measured)}{_amount(abs(self.measured), self.unit)}"

    @property
    def interval_text(self) -> str:
        """Its interval, in the same unit: "−0.91 to +0.54"; "exact" for what needs none."""
        if self.low is None or self.high is None:
            return "exact"
        if self.unit == "share":
            return f"{_digits(self.low, self.unit)} to {_amount(self.high, self.unit)}"
        return " to ".join(f"{_sign(end)}{_digits(abs(end), self.unit)}" for end in (self.low, self.high))


@dataclass(frozen=True)
class Checks(Shown):
    """All gates of a variant, and on how many examples of which split they were judged."""

    model: str
    recipe: str
    split: str
    examples: int
    total: int
    gates: tuple[Gate, ...]

    @property
    def verdict(self) -> Verdict:
        """Fail if any gate fails, else undecided if any is, else pass."""
        return _worst([gate.verdict for gate in self.gates])

    @property
    def on(self) -> str:
        """On what they were judged: "on 540 examples of the tune split"."""
        whole = "" if self.examples == self.total else f" of {self.total:,}"
        return f"on {self.examples:,}{whole} examples of the {self.split} split"

    def to_dict(self) -> dict[str, Any]:
        """Flat: the verdict, and of each gate its limit, what was measured, the interval, the verdict and why."""
        flat: dict[str, Any] = {"verdict": self.verdict, "model": self.model, "recipe": self.recipe}
        flat |= {"split": self.split, "examples": self.examples}
        for gate in self.gates:
            flat[gate.name] = gate.limit
            for part in ("measured", "low", "high", "verdict", "why"):
                flat[f"{gate.name}_{part}"] = getattr(gate, part)
        return flat

    def __str__(self) -> str:
        rows = [("gate", "limit", "measured", "95 % interval", "verdict")]
        rows += [(g.label, g.limit_text, g.measured_text, g.interval_text, g.verdict) for g in self.gates]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        below = [f"{line}\n    {gate.why}" for line, gate in zip(lines[1:], self.gates, strict=True)]
        return "\n".join([f"{self.model}: {self.recipe}", f"{self.verdict} {self.on}", "", lines[0], *below])


def check(variant: Variant, limits: Limits, split: str = "tune") -> Checks:
    """Measure a variant and the dense model, and judge the limits (blocking).

    split: "tune"; or "test", which opens the sealed one: counted as one opening for both models together.
    """
    bench = variant.workbench
    limits.check_task(bench.subject.task)
    asked = bench.dense if variant.is_dense else variant  # so that equal answers are known to be equal
    if split == "tune":
        dense, quality = bench.dense.evaluate(), asked.evaluate()
    elif split != "test":
        raise ExplorerError(f"gates are not checked on {split}", where="check", instead="use tune, or once test")
    elif not limits.needs_examples:
        what = "bytes alone are no reason to open the sealed test split"
        raise ExplorerError(what, where="check", instead="check them on the tune split")
    else:
        dense, quality = bench.test_beside_dense(asked)
    names = bench.subject.classes
    return judge(dense, quality, variant.size.bytes, limits, bench.name, variant.recipe.sentence(), names)


def judge(
    dense: Quality,
    variant: Quality,
    size_bytes: int,
    limits: Limits,
    model: str = "",
    recipe: str = "",
    classes: Sequence[str] = (),
) -> Checks:
    """Judge the limits by what is known of both models, on the examples that both have seen.

    classes: their names, in the order of the outputs. Raises `ExplorerError` where the two do not belong together.
    """
    limits.check_task(variant.task)
    examples = variant.against(dense).examples
    if not examples:
        raise ExplorerError("the two have no example in common", where="gates", instead="evaluate both on one split")
    gates = []
    if limits.max_loss is not None:
        gates.append(_loss(dense, variant, limits.max_loss))
    if limits.max_class_loss is not None:
        gates.append(_class_loss(dense, variant, limits.max_class_loss, classes))
    if limits.min_agreement is not None:
        gates.append(_agreement(dense, variant, limits.min_agreement))
    if limits.max_bytes is not None:
        gates.append(_bytes(size_bytes, limits.max_bytes))
    return Checks(model, recipe, variant.split, examples, variant.total, tuple(gates))


@dataclass(frozen=True)
class _Change:
    """A paired change beside its limit. of: whose (" of class 8"); delta: None where no example of it was seen."""

    of: str
    examples: int
    delta: float | None
    low: float
    high: float
    limit: float
    unit: str

    @property
    def verdict(self) -> Verdict:
        return _verdict(self.delta or 0.0, self.low, self.high, -self.limit)

    def gate(self, name: str, label: str, more: str = "") -> Gate:
        why = f"{self._why()}{more}"
        return Gate(name, label, self.limit, self.delta, self.low, self.high, self.verdict, why, self.unit)

    def _why(self) -> str:
        if self.delta is None:
            return f"cannot tell: no example{self.of} was measured"
        if not (isfinite(self.low) and isfinite(self.high)):
            return f"cannot tell: {_seen(self.examples, self.of)} any change at all"
        if self.low >= 0:
            return f"no loss{self.of} {SURE}"
        most, least = (_amount(abs(end), self.unit) for end in (self.low, self.high))
        if self.verdict == "pass":
            why = f"the loss{self.of} is at most {most} {SURE}"
        elif self.verdict == "fail":
            why = f"the loss{self.of} is at least {least} {SURE}"
        elif self.high < 0:
            why = f"cannot tell: {_seen(self.examples, self.of)} a loss between {least} and {most}"
        else:
            why = f"cannot tell: {_seen(self.examples, self.of)} anything from a loss of {most} to a gain of {least}"
        return f"{why}; the limit is {_amount(self.limit, self.unit)}"


def _loss(dense: Quality, variant: Quality, limit: float) -> Gate:
    """The paired change of the primary metric."""
    name, label = "max_loss", f"Change of {variant.primary.replace('_', ' ')}"
    unit = "points" if variant.task in IN_POINTS else ""
    if variant.judged is dense.judged:
        return Gate(name, label, limit, 0.0, 0.0, 0.0, "pass", SAME, unit)
    if not isfinite(variant.value):
        why = f"the variant's {variant.primary.replace('_', ' ')} is not a finite number"
        return Gate(name, label, limit, -inf, -inf, -inf, "fail", why, unit)
    change = variant.against(dense)
    low, high = change.low, change.high
    if variant.task == "language-modeling" and low == high:  # no word has changed, which does not prove that none will
        before, after = _paired(dense, variant)
        _, low, high = intervals.of_paired_change(before.score, after.score)
    if unit == "points":
        low, high = max(low, -1.0), min(high, 1.0)
    return _Change("", change.examples, change.delta, low, high, limit, unit).gate(name, label)


def _class_loss(dense: Quality, variant: Quality, limit: float, names: Sequence[str]) -> Gate:
    """The paired change of each class' recall, all of them together at 95 % (Bonferroni).

    The worst class decides: of those that fail, else of those that are undecided, else of all.
    """
    name, label = "max_class_loss", "Worst change of a class"
    if variant.judged is dense.judged:
        return Gate(name, label, limit, 0.0, 0.0, 0.0, "pass", SAME, "points")
    before, after = _paired(dense, variant)
    target = before.parts["target"]
    confidence = 1 - (1 - intervals.CONFIDENCE) / len(np.unique(target))
    changes = []
    for number in range(int(before.parts["classes"][0])):
        difference = (after.score - before.score)[target == number]
        seen, lost, won = len(difference), int((difference < 0).sum()), int((difference > 0).sum())
        low, high = intervals.of_paired_shares(lost, won, seen, confidence)
        of = f" of class {names[number] if number < len(names) else number}"
        changes.append(_Change(of, seen, (won - lost) / seen if seen else None, low, high, limit, "points"))
    verdict = _worst([change.verdict for change in changes])
    alike = [change for change in changes if change.verdict == verdict]
    told = 0.0 if verdict == "pass" else 1.0  # where all pass, the one told of is the one that may lose most
    worst = min(alike, key=lambda change: (change.delta is None, told * (change.delta or 0.0), change.low))
    others = len(alike) - 1
    return worst.gate(name, label, f" ({others} more of {len(changes)} classes: {verdict})" if others else "")


def _agreement(dense: Quality, variant: Quality, limit: float) -> Gate:
    """On how many examples both predict the same class."""
    name, label = "min_agreement", "Same answers as dense"
    if variant.judged is dense.judged:
        return Gate(name, label, limit, 1.0, 1.0, 1.0, "pass", SAME, "share")
    before, after = _paired(dense, variant)
    assert before.prediction is not None and after.prediction is not None
    total = len(before.score)
    same = int((before.prediction == after.prediction).reshape(total, -1).all(axis=1).sum())  # of heads, all of them
    low, high = intervals.wilson(same, total)
    verdict = _verdict(same / total, low, high, limit)
    if verdict == "undecided":
        why = f"cannot tell: {_seen(total)} anything from {_digits(low, 'share')} to {_amount(high, 'share')}"
    else:
        end = f"least {_amount(low, 'share')}" if verdict == "pass" else f"most {_amount(high, 'share')}"
        why = f"at {end} of the answers are the same {SURE}"
    why += f"; the limit is {_amount(limit, 'share')}"
    return Gate(name, label, limit, same / total, low, high, verdict, why, "share")


def _bytes(size_bytes: int, limit: int) -> Gate:
    """The length of the file, which is known exactly."""
    fits = size_bytes <= limit
    why = f"the file is {_amount(abs(limit - size_bytes), 'bytes')} {'below' if fits else 'above'} the limit"
    verdict: Verdict = "pass" if fits else "fail"
    return Gate("max_bytes", "Size of the file", limit, size_bytes, None, None, verdict, why, "bytes")


def _paired(dense: Quality, variant: Quality) -> tuple[Judged, Judged]:
    """(dense, variant) on the examples that both have seen, in one order."""
    _, theirs, mine = np.intersect1d(dense.indices, variant.indices, assume_unique=True, return_indices=True)
    return dense.judged.take(theirs), variant.judged.take(mine)


def _verdict(measured: float, low: float, high: float, floor: float) -> Verdict:
    """Whether all of the interval, none of it or a part is at least `floor`; rounding never shuts `measured` out."""
    if min(low, measured) >= floor:
        return "pass"
    return "fail" if max(high, measured) < floor else "undecided"


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return "fail" if "fail" in verdicts else "undecided" if "undecided" in verdicts else "pass"


def _seen(examples: int, of: str = "") -> str:
    return f"1 example{of} allows" if examples == 1 else f"{examples:,} examples{of} allow"


def _amount(value: float, unit: str) -> str:
    """A number with its unit: "0.5 points", "98.7 %", "4,000,000 bytes", "0.12"."""
    digits = _digits(value, unit)
    word = "%" if unit == "share" else unit.removesuffix("s") if digits == "1" else unit
    return f"{digits} {word}".rstrip()


def _digits(value: float, unit: str) -> str:
    """Two digits behind the point, more only where nothing would be left: "0.31", "7.1", "12", "0.004"."""
    if unit == "bytes":
        return f"{value:,}"
    value = 100 * value if unit in ("points", "share") else value
    text = f"{value:,.2f}"
    return f"{value:.1g}" if value and float(text.replace(",", "")) == 0 else text.rstrip("0").rstrip(".")


def _sign(change: float) -> str:
    return "+" if change > 0 else "−" if change < 0 else ""
