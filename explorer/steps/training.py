"""Training as a step: what a recovery does, so that it is part of the recipe, of the link and of the saved file."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from explorer.names import CRITERIA
from explorer.steps.base import LARGEST_SEED, Fixed, Share, Step

RARE: dict[str, Any] = {"rare": True}
LEARNED = "learned"
"""The criterion that only training can answer: scores that are trained along with the weights."""


class Recover(Step):
    """Train a little, with the zeros, ranks and codes of the steps before kept."""

    kind: ClassVar[str] = "recover"
    label: ClassVar[str] = "Recover"
    help: ClassVar[str] = "Train a little, with the zeros, ranks and codes kept: usually most of the loss comes back."

    epochs: float = Field(
        default=10.0, gt=0.0, title="Epochs", description="How often the training data are gone through."
    )
    learning_rate: float = Field(
        default=3e-3,
        gt=0.0,
        title="Learning rate",
        description="The largest step size; it rises at the start and falls to zero at the end.",
    )
    distill: float = Field(
        default=0.0,
        ge=0.0,
        title="Dense as teacher",
        description="Weight of the dense model's softened answers beside the true labels; 0 leaves the teacher out.",
    )
    task_weight: float = Field(
        default=1.0,
        ge=0.0,
        title="Labels",
        description="Weight of the true labels; 0 learns from teachers alone.",
        json_schema_extra=RARE,
    )
    teachers: dict[str, float] = Field(
        default_factory=Fixed,
        title="More teachers",
        description="Other variants as teachers, each by its recipe as in a link, with its weight.",
        json_schema_extra=RARE,
    )
    temperature: float = Field(
        default=2.0,
        gt=0.0,
        title="Temperature",
        description="How much teachers' answers are softened: higher shows more of what they hold for likely.",
        json_schema_extra=RARE,
    )
    hidden: float = Field(
        default=0.0,
        ge=0.0,
        title="Hidden features",
        description="Weight of the squared distance to the dense model's outputs inside, layer by layer.",
        json_schema_extra=RARE,
    )
    attention: float = Field(
        default=0.0,
        ge=0.0,
        title="Attention maps",
        description="Weight of the distance (Kullback-Leibler) to the dense model's attention maps.",
        json_schema_extra=RARE,
    )
    label_smoothing: Share = Field(
        default=0.0,
        title="Label smoothing",
        description="The share of a true label that is spread over all classes.",
        json_schema_extra=RARE,
    )
    l1: float = Field(
        default=0.0,
        ge=0.0,
        title="Sparse training, L1",
        description="Weight of the sum of |w|: pulls single weights to zero while training.",
        json_schema_extra=RARE,
    )
    group_l1: float = Field(
        default=0.0,
        ge=0.0,
        title="Sparse training, rows",
        description="Weight of the sum of the rows' lengths (group lasso): pulls whole neurons to zero while training.",
        json_schema_extra=RARE,
    )
    adversarial: Share = Field(
        default=0.0,
        title="Adversarial share",
        description="The share of each batch that is moved against the model first (FGSM), for robustness.",
        json_schema_extra=RARE,
    )
    epsilon: float = Field(
        default=0.1,
        gt=0.0,
        title="Adversarial step",
        description="How far such an example is moved in each input, in the units of the inputs.",
        json_schema_extra=RARE,
    )
    update: Literal["weights", "batchnorm"] = Field(
        default="weights",
        title="What is learnt",
        description="Weights by gradients; or only the means and variances of BatchNorm, estimated anew without any.",
        json_schema_extra=RARE,
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0.0,
        title="Weight decay",
        description="Pulls all matrices to zero (AdamW).",
        json_schema_extra=RARE,
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        title="Batch size",
        description="Examples in one training step; empty takes 64, or all where there are fewer.",
        json_schema_extra=RARE,
    )
    hold_back: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        title="Held back",
        description="The share of the training data that is only looked at, to tell the best moment from the last.",
        json_schema_extra=RARE,
    )
    until: float | None = Field(
        default=None,
        ge=0.0,
        title="Stopped after",
        description="Epochs after which the training was stopped by hand; the best until then counts.",
        json_schema_extra=RARE,
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        title="Seed",
        description="Where the order of the examples starts from.",
        json_schema_extra=RARE,
    )

    @field_validator("teachers")
    @classmethod
    def _weights_of_teachers(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if not weight > 0:
                raise ValueError(f'the weight of the teacher "{name}" is {weight}: give a number above 0')
        return Fixed(value)

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.update == "weights" and not any((self.task_weight, self.taught, self.hidden, self.attention)):
            raise ValueError("nothing is learnt: give task_weight, distill, teachers, hidden or attention a weight")
        return self

    @property
    def taught(self) -> bool:
        """Whether there is a teacher's answer to follow."""
        return bool(self.distill or self.teachers)

    def sentence(self) -> str:
        """For example "recover 10 epochs, taught by dense"."""
        if self.update == "batchnorm":
            return f"estimate BatchNorm anew{self._where()}"
        return f"recover {_epochs(self)}{', taught by dense' if self.distill else ''}{self._where()}"


class GradualPrune(Recover):
    """Prune while training: the sparsity rises in rounds, with training between them."""

    kind: ClassVar[str] = "gradual-prune"
    label: ClassVar[str] = "Prune in training"
    help: ClassVar[str] = "Raise the sparsity in rounds while training goes on: what is left adapts before more goes."

    sparsity: Share = Field(
        default=0.8,
        title="Final sparsity",
        description="The share of the weights that is zero at the end.",
    )
    schedule: Literal["cubic", "linear"] = Field(
        default="cubic",
        title="Schedule",
        description="Cubic: much at first, little at the end (Zhu and Gupta 2017). Linear: the same in each round.",
    )
    rounds: int = Field(
        default=10,
        ge=1,
        title="Rounds",
        description="How often more is removed; with many, pruning never stops.",
    )
    criterion: str = Field(
        default="magnitude",
        title="Score by",
        description="What makes a weight important; learned: scores are trained along with the weights.",
    )
    pattern: Literal["unstructured", "row"] = Field(
        default="unstructured",
        title="Pattern",
        description="Which weights live and die together.",
        json_schema_extra=RARE,
    )
    scope: Literal["global", "matrix"] = Field(
        default="global",
        title="Compete",
        description="Scores compete across all chosen layers, or inside each matrix.",
        json_schema_extra=RARE,
    )
    zeros: Literal["stay", "may return"] = Field(
        default="stay",
        title="Zeros",
        description="Stay: what is removed is gone. May return: it goes on learning and can come back (soft pruning).",
        json_schema_extra=RARE,
    )
    ramp: Share = Field(
        default=0.6,
        title="Ramp",
        description="The share of the training after which the final sparsity is reached.",
        json_schema_extra=RARE,
    )

    @field_validator("criterion")
    @classmethod
    def _known_criterion(cls, value: str) -> str:
        if value != LEARNED:
            CRITERIA[value]
        return value

    def sparsity_at(self, round_number: int, start: float = 0.0) -> float:
        """The sparsity after so many of the `rounds` (from `start`, which is there already, to `sparsity`)."""
        way = min(1.0, round_number / self.rounds)
        left = (1 - way) ** 3 if self.schedule == "cubic" else 1 - way
        return self.sparsity + (start - self.sparsity) * left

    def sentence(self) -> str:
        """For example "prune to 80 % in 10 epochs, magnitude"."""
        rows = " of neurons" if self.pattern == "row" else ""
        amount = f"{100 * self.sparsity:.4g} %{rows}"
        return f"prune to {amount} in {_epochs(self)}, {self.criterion}{self._where()}"


def _epochs(step: Recover) -> str:
    done = step.epochs if step.until is None else step.until
    return f"{done:.3g} epoch{'' if done == 1 else 's'}"
