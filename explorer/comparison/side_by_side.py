"""The comparison of two variants: what changed, for whom, since where, and whether for the same reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any

from explorer.comparison.answers import AnswersJob, class_groups_of, none_of, slice_groups
from explorer.comparison.damage import EXAMPLES as LAYER_EXAMPLES
from explorer.comparison.damage import LayerDamage, layer_damage
from explorer.comparison.reasons import EXAMPLES as REASON_EXAMPLES
from explorer.comparison.reasons import AttributionDrift, attribution_drift
from explorer.comparison.trials import finished, one_bench
from explorer.drift import AttentionDrift, attention_drift
from explorer.errors import ExplorerError
from explorer.evaluation.calibration import CalibrationChange, calibration_change
from explorer.evaluation.confusion import ConfusionChange, confusion_change
from explorer.evaluation.disagreements import Disagreements
from explorer.evaluation.quality import Change, Quality
from explorer.evaluation.slices import Slice, judged_together
from explorer.shown import Shown
from explorer.workbench import POOL

if TYPE_CHECKING:
    from explorer.variant import Variant


@dataclass(frozen=True)
class QualityChange(Shown):
    """The quality of two variants on the same examples, and the paired change from the first to the second."""

    before: Quality
    after: Quality
    change: Change

    def sentence(self) -> str:
        """Both values and the change with its interval."""
        change = self.change
        told = f"{self.before.primary} {self.before.value:.4f} before, {self.after.value:.4f} after"
        return f"{told} (change {change.delta:+.4f}, {change.low:+.4f} to {change.high:+.4f})"

    def __str__(self) -> str:
        return f"before: {self.before}\nafter:  {self.after}\n{self.sentence()}"


class Comparison(Shown):
    """Two variants of one workbench on the same examples. Each part is measured when it is first asked for, and kept.

    before, after: the variants. split: on which examples.
    """

    def __init__(self, before: Variant, after: Variant, split: str = "tune") -> None:
        one_bench(before, after, "compare")
        self.before, self.after, self.split = before, after, split
        self._reading = RLock()
        self._kept: dict[Any, Any] = {}

    @property
    def identical(self) -> bool:
        """Whether both are the same model: nothing can differ."""
        return self.before.outfit is self.after.outfit

    @cached_property
    def quality(self) -> QualityChange:
        """The quality of both with intervals, and the paired change."""
        before, after = self.before.evaluate(self.split), self.after.evaluate(self.split)
        return QualityChange(before, after, after.against(before))

    @cached_property
    def slices(self) -> list[Slice]:
        """Both values, the change and a verdict in every slice; intervals hold for all slices at once."""
        subject = self.before.workbench.subject
        groups = slice_groups(subject, subject.split(self.split))
        return judged_together(self.quality.before, self.quality.after, groups)

    @cached_property
    def classes(self) -> list[Slice]:
        """The same for the examples of each class; empty for tasks without classes."""
        subject = self.before.workbench.subject
        groups = class_groups_of(subject, subject.split(self.split))
        return judged_together(self.quality.before, self.quality.after, groups)

    @cached_property
    def calibration(self) -> CalibrationChange:
        """How truly both say how sure they are; raises `ExplorerError` for answers without a probability."""
        return calibration_change(self.quality.before, self.quality.after)

    @cached_property
    def confusion(self) -> ConfusionChange:
        """Which class is taken for which; raises `ExplorerError` for tasks other than classification."""
        return confusion_change(self.quality.before, self.quality.after, self.before.workbench.subject.classes)

    @property
    def disagreements(self) -> Disagreements:
        """Every example that they answer otherwise, those whose answers lie farthest apart first (blocking)."""
        return self.find_disagreements()

    def find_disagreements(self, progress: Callable[[int, int], None] | None = None) -> Disagreements:
        """The same, telling `progress(done, batches)` meanwhile."""
        return self._keep("disagreements", lambda: self._disagreements(progress))

    def _disagreements(self, progress: Callable[[int, int], None] | None) -> Disagreements:
        bench = self.before.workbench
        _ = self.quality  # the sealed split is refused there, before anything runs on it
        if self.identical:
            return none_of(bench.subject, self.split)
        job = AnswersJob(self.before, self.after, self.split)
        POOL.submit(job)
        found: Disagreements = finished(job, progress).disagreements()
        return found

    @property
    def broken(self) -> Disagreements:
        """Right answers that became wrong."""
        return self.disagreements.broken

    @property
    def repaired(self) -> Disagreements:
        """Wrong answers that became right."""
        return self.disagreements.repaired

    @property
    def layers(self) -> LayerDamage:
        """How far weights and hidden states lie apart, block by block: where the damage starts."""
        return self._keep("layers", lambda: layer_damage(self.before, self.after, LAYER_EXAMPLES))

    @property
    def attention_drift(self) -> AttentionDrift:
        """How far their attention lies apart; raises `ExplorerError` for a model without attention."""
        return self._keep("attention", lambda: attention_drift(self.before, self.after, split=self.split))

    def attribution_drift(self, method: str | None = None, examples: int = REASON_EXAMPLES) -> AttributionDrift:
        """Whether they answer for the same reasons, by one method of attribution, on so many examples (blocking)."""
        key = ("attribution", method, examples)
        return self._keep(key, lambda: attribution_drift(self.before, self.after, method, self.split, examples))

    def _keep(self, key: Any, find: Callable[[], Any]) -> Any:
        """A part, found once, whoever asks; others wait meanwhile."""
        with self._reading:
            if key not in self._kept:
                self._kept[key] = find()
            return self._kept[key]

    def sentence(self) -> str:
        """What changed, and for whom, in one line."""
        if self.identical:
            return "the two are the same model: nothing differs"
        told = [self.quality.sentence(), self.disagreements.sentence()]
        groups = [*self.classes, *self.slices]
        lost = sorted((each for each in groups if each.verdict == "loss"), key=lambda each: each.change.delta)
        if lost:
            told.append(f"most lost in {lost[0].name} ({lost[0].before:.3f} to {lost[0].after:.3f})")
        unknown = sum(each.verdict == "cannot tell" for each in groups)
        if unknown:
            told.append(f"cannot tell for {unknown} of {len(groups)} groups")
        return "; ".join(told)

    def __str__(self) -> str:
        names = [variant.recipe.sentence() if len(variant.recipe) else "dense" for variant in (self.before, self.after)]
        lines = [f"{self.before.workbench.name}: {names[0]} beside {names[1]}, on {self.split}"]
        for title, groups in (("classes", self.classes), ("slices", self.slices)):
            if groups:
                lines += ["", *_table(title, groups)]
        if not self.identical:
            lines += ["", str(self.disagreements)]
        return "\n".join([*lines, "", self.sentence()])


def _table(title: str, groups: list[Slice]) -> list[str]:
    width = max(len(title), *(len(each.name) for each in groups))
    lines = [f"{title:<{width}} {'examples':>8} {'before':>7} {'after':>7} {'change':>8} {'interval':>18}  verdict"]
    for each in groups:
        change = each.change
        interval = f"{change.low:+.3f} to {change.high:+.3f}"
        told = f"{each.before:>7.3f} {each.after:>7.3f} {change.delta:>+8.3f} {interval:>18}"
        lines.append(f"{each.name:<{width}} {each.examples:>8,} {told}  {each.verdict}")
    return lines


def compare(before: Variant, after: Variant, split: str = "tune") -> Comparison:
    """Two variants of one workbench side by side, the dense model included; measured part by part when asked for.

    Raises `ExplorerError` for variants of two workbenches and for the sealed test split.
    """
    if split == "test":
        raise ExplorerError("the test split is sealed", where="compare", instead="use tune")
    before.workbench.subject.split(split)
    return Comparison(before, after, split)
