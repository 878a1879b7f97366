"""Subjects: what is explored. A model, its task, its data, and how an input is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.subjects.axes import Axis, guessed_axis, words_axis
from explorer.subjects.cards import Card
from explorer.subjects.examples import Examples, Inputs
from explorer.subjects.heads import Head, outputs_by_head

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("training", "calibration", "tune", "test")
PRIMARY = {
    "classification": "accuracy",
    "multi-task": "accuracy",
    "regression": "r2",
    "sequence": "exact_match",
    "language-modeling": "token_accuracy",
    "score": "score",
}
"""Each task, and the metric that its headline shows."""

Forward = Callable[[nn.Module, Inputs], Any]
Score = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with its task and data.

    Parameters
    ----------
    name: short, for links and tables. title: for people.
    model: the dense model; never written to.
    task: one of `PRIMARY`.
    input: how an input is shown: image, text, image+text, sequence, table, story or tensor.
    splits: what gives each split, loaded when first asked for.
    forward: `forward(model, inputs)` -> outputs, where calling the model with the inputs is not enough.
    score: `score(outputs, targets)` -> one value an example, higher is better (task "score").
    heads: the answers that the model gives at once, in the order of the targets' columns (task "multi-task").
    strip: which tune examples stand under the numbers.
    gates: names or globs of modules whose output is an attention gate (squeeze and excitation, CBAM).
    ways: the sample's data module: how to prepare raw examples, to show prepared ones, and how training varies them.
    """

    name: str
    title: str
    model: nn.Module
    task: str
    input: str
    splits: Mapping[str, Callable[[], Examples]]
    classes: tuple[str, ...] = ()
    forward: Forward | None = None
    score: Score | None = None
    batch_size: int = 128
    strip: tuple[int, ...] = ()
    card: Card | None = None
    gates: tuple[str, ...] = ()
    ways: ModuleType | None = None
    heads: tuple[Head, ...] = ()
    _loaded: dict[str, Examples] = field(default_factory=dict, repr=False)

    @property
    def primary(self) -> str:
        """The metric of the headline, by its scikit-learn name."""
        return PRIMARY[self.task]

    def has(self, split: str) -> bool:
        """Whether there is such a split."""
        return split in self.splits

    def split(self, name: str) -> Examples:
        """The examples of a split; raises `ExplorerError` for one that is not there."""
        if name not in self.splits:
            have = ", ".join(self.splits)
            raise ExplorerError(
                f"{self.name} has no {name} split", instead=f"use one of {have}, or give {name}= to ex.load"
            )
        if name not in self._loaded:
            self._loaded[name] = self.splits[name]()
        return self._loaded[name]

    def length(self, split: str) -> int | None:
        """How many examples a split has, or None where there is none; from the card where that says it."""
        if split not in self.splits:
            return None
        if split not in self._loaded and self.card is not None and split in self.card.splits:
            return int(self.card.splits[split])
        return len(self.split(split))

    def training_batch(self, size: int, draw: torch.Generator) -> Examples | None:
        """`size` training examples drawn with `draw`, varied as the sample's own training varies them.

        The same generator state gives the same batch. None where the subject does not say how training meets its
        data: take examples of a split then.
        """
        if self.ways is None or not hasattr(self.ways, "training_batch"):
            return None
        return self.ways.training_batch(size, draw)

    # -- running ---------------------------------------------------------------------------------------------------

    def outputs(self, model: nn.Module, inputs: Inputs) -> Any:
        """What the model gives for a batch: a tensor, or whatever `forward` returns; of several heads, a dict by name.

        Raises `ExplorerError` where a head is missing.
        """
        if self.forward is not None:
            outputs = self.forward(model, inputs)
        elif isinstance(inputs, Mapping):
            outputs = model(**inputs)
        elif isinstance(inputs, tuple):
            outputs = model(*inputs)
        else:
            outputs = model(inputs)
        if self.task == "multi-task":
            return outputs_by_head(outputs, self.heads)
        logits = getattr(outputs, "logits", None)
        if isinstance(logits, Tensor):
            return logits
        if isinstance(outputs, (tuple, list)) and outputs and isinstance(outputs[0], Tensor) and self.task != "score":
            return outputs[0]
        return outputs

    # -- showing ---------------------------------------------------------------------------------------------------

    def prepare(self, raw: Any) -> Inputs:
        """Raw examples (a sentence, a table row, or a list of them) as inputs of the model."""
        if self.ways is None or not hasattr(self.ways, "prepare"):
            raise ExplorerError(f"{self.name} does not know how to prepare raw examples", instead="give tensors")
        return self.ways.prepare(raw)

    def picture(self, inputs: Inputs) -> Tensor:
        """Images of the inputs, `[B, H, W]` or `[B, H, W, 3]`, 0 (black) to 1 (white)."""
        if self.ways is not None and hasattr(self.ways, "picture"):
            return self.ways.picture(inputs)
        if not isinstance(inputs, Tensor) or inputs.dim() not in (3, 4):
            raise ExplorerError(f"the inputs of {self.name} are no images")
        image = inputs.detach().to(torch.float32)
        image = image.movedim(1, -1).squeeze(-1) if image.dim() == 4 and image.shape[1] in (1, 3) else image
        low, high = image.flatten(1).amin(1), image.flatten(1).amax(1)
        shape = (-1, *[1] * (image.dim() - 1))
        return (image - low.view(shape)) / (high - low).clamp_min(1e-8).view(shape)

    def words(self, inputs: Inputs) -> list[list[str]]:
        """The words of each text, without padding."""
        if self.ways is None or not hasattr(self.ways, "words"):
            raise ExplorerError(f"the inputs of {self.name} are no texts")
        return self.ways.words(inputs)

    def rows(self, inputs: Inputs) -> pd.DataFrame:
        """The inputs as a table in original units."""
        if self.ways is None or not hasattr(self.ways, "rows"):
            raise ExplorerError(f"the inputs of {self.name} are no table rows")
        return self.ways.rows(inputs)

    def axis(self, inputs: Inputs, length: int, beside: Axis | None = None) -> Axis:
        """What `length` positions along a side of an attention map stand for.

        beside: the axis of the other side, where that is known: of two axes of one length, it is not this one.
        """
        known = list(self.ways.axes(inputs)) if self.ways is not None and hasattr(self.ways, "axes") else []
        if not known and self.ways is not None and hasattr(self.ways, "words") and isinstance(inputs, Tensor):
            known = [words_axis(self.words(inputs), inputs.shape[1])]
        fitting = [axis for axis in known if axis.length == length]
        others = [axis for axis in fitting if beside is None or axis.name != beside.name]
        return (others or fitting or [guessed_axis(inputs, length)])[0]

    def prompt(self, inputs: Inputs) -> Inputs:
        """The openings of stories, from which a model writes on."""
        if self.ways is None or not hasattr(self.ways, "prompt"):
            raise ExplorerError(f"the inputs of {self.name} are no stories")
        return self.ways.prompt(inputs)

    def written(self, ids: Tensor) -> list[str]:
        """Ids `[B, T]` of answers or targets as text; of a sequence that nothing can write, the ids themselves."""
        if self.writes:
            assert self.ways is not None
            return self.ways.written(ids)
        return [" ".join(str(place) for place in row) for row in ids.tolist()]

    @property
    def writes(self) -> bool:
        """Whether the sample knows how to write an answer that is a sequence."""
        return self.task == "sequence" and self.ways is not None and hasattr(self.ways, "written")

    def target_label(self, target: Any) -> str:
        """A target as people read it: the class name (of each head), the text, or the number."""
        if self.task == "sequence":
            return self.written(torch.as_tensor(target).unsqueeze(0))[0]
        if self.task == "multi-task":
            return " · ".join(head.label(int(number)) for head, number in zip(self.heads, target, strict=True))
        value = target.item() if isinstance(target, Tensor) else target
        if self.task == "classification":
            return self.classes[int(value)] if 0 <= int(value) < len(self.classes) else str(int(value))
        return f"{value:.3g}"
