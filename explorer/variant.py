"""Variants: runnable models that a recipe made, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from torch import nn

from explorer import saving
from explorer.attending import as_tensors
from explorer.attention.maps import AttentionMaps
from explorer.attention.reading import MOST_BYTES, Wanted, read_attention
from explorer.attributing import attribute
from explorer.attribution.faithfulness import Faithfulness
from explorer.attribution.reading import Asked, Progress
from explorer.attribution.result import Attributions
from explorer.believing import faithfulness
from explorer.compression.plan import Plan
from explorer.errors import ExplorerError
from explorer.evaluation.answers import Answer
from explorer.evaluation.cost import Cost, cost_of
from explorer.evaluation.latency import Latency, time_in_turn
from explorer.evaluation.pool import as_error
from explorer.evaluation.quality import Quality
from explorer.gates import Checks, check
from explorer.limits import Limits
from explorer.recipe import Recipe
from explorer.recovery.asking import recover
from explorer.report import Report, Size, measure_size
from explorer.shown import Shown
from explorer.subjects.examples import batch_length, map_tensors
from explorer.weights.clone import full_copy
from explorer.weights.foretold import SAMPLE, SmallestSize, foretold_bytes
from explorer.weights.forms import Form
from explorer.weights.install import Outfit, PrivateModel
from explorer.weights.packing import Storage, WeightsFile

if TYPE_CHECKING:
    from explorer.workbench import Workbench


class Variant(Shown):
    """A model that a recipe made. `workbench.dense` is the untouched one.

    outfit: what is changed: the forms of matrices, and other tensors. note: what is to be said about how it was made.
    """

    def __init__(self, workbench: Workbench, recipe: Recipe, plan: Plan, outfit: Outfit) -> None:
        self.workbench = workbench
        self.recipe = recipe
        self.plan = plan
        self.outfit = outfit
        self.note = ""
        self._private: PrivateModel | None = None
        self._running = RLock()

    @property
    def is_dense(self) -> bool:
        """Whether nothing is changed."""
        return not self.outfit.forms and not self.outfit.rest and not self.outfit.edits

    @cached_property
    def forms(self) -> Mapping[str, Form]:
        """The form of every matrix, by name."""
        return {**self.workbench.dense_forms, **self.outfit.forms}

    # -- running ---------------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> nn.Module:
        """A full copy as a `torch.nn.Module` of its own: yours to train or break; the variant stays what it is."""
        with self._running:
            copy = full_copy(self._dressed())
        for parameter in copy.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return copy.eval()

    def _dressed(self) -> nn.Module:
        """The variant's own private clone, for single calls outside the pool."""
        self.workbench.check_dense()
        if self._private is None:
            self._private = PrivateModel(self.workbench.subject.model, self.workbench.matrices())
        return self._private.wear(self.outfit)

    def outputs(self, inputs: Any) -> Any:
        """What the variant gives for a batch: tensors as the model takes them, or raw examples."""
        with self._running:
            module = self._dressed()
            try:
                ready = as_tensors(self.workbench, inputs)
                return self.workbench.stage.outputs(module, ready)
            except ExplorerError:
                raise
            except Exception as problem:
                raise as_error(problem) from problem

    def attention(
        self,
        inputs: Any,
        layers: str | Sequence[str] = "*",
        *,
        heads: Sequence[int] | None = None,
        target: Any = None,
        position: int = -1,
        most_bytes: int = MOST_BYTES,
    ) -> AttentionMaps:
        """What the variant attends to, on some examples: tensors as the model takes them, or raw ones.

        Parameters
        ----------
        layers: names or globs of attention layers (`wb.attention_sites.names`). heads: only these, to save memory.
        target: a class ("predicted", a number, one an example): the maps then bear the gradients of that output.
        position: of a text's outputs, the one whose gradients are meant. most_bytes: memory that maps may take.

        Raises `ExplorerError` for a model without attention, unknown layers and heads, and maps that would not fit.
        """
        bench = self.workbench
        globs = (layers,) if isinstance(layers, str) else tuple(layers)
        wanted = Wanted(globs, (), None if heads is None else tuple(heads), target, position, most_bytes)
        ready = as_tensors(bench, inputs)
        sites = bench.attention_sites
        with self._running:
            try:
                moved = map_tensors(ready, lambda tensor: tensor.to(bench.stage.device))
                caption = f"{bench.name} · {'dense' if self.is_dense else self.recipe.sentence()}"
                return read_attention(bench.subject, self._dressed(), moved, sites, wanted, caption)
            except ExplorerError:
                raise
            except Exception as problem:
                raise as_error(problem) from problem

    def attribute(
        self,
        inputs: Any,
        method: str | None = None,
        target: Any = None,
        baseline: Any = None,
        *,
        layer: str | None = None,
        samples: int | None = None,
        seed: int = 0,
        position: int = -1,
        head: str | None = None,
        progress: bool | Progress = True,
    ) -> Attributions:
        """What the answers to some examples rest on: logits explained place by place.

        Parameters
        ----------
        method: by name; left out, "integrated-gradients" (of sequences "feature-ablation"). target: an output's number,
            or one an example; None for the predicted class. baseline: a tensor, "zero", "mean", "blur" or "pad", or
            {part: one of these}; by default zero for pictures, the mean row for tables, padding for tokens.
        layer: of the methods that look at one ("rollout" for attention-x-gradient). samples: steps or samples.
        position: the step of an answer that is explained; of stories the next word, -1 after the last. head: of a
            model with several answers. progress: a bar, or a function that is told the share done (False stops).

        Raises `ExplorerError` for a method that cannot be right on this model; one that lacks gradients is replaced by
        feature ablation, and `.note` says so.
        """
        return attribute(self, inputs, Asked(method, target, baseline, layer, samples, seed, position, head), progress)

    def faithfulness(
        self,
        methods: Sequence[str] | None = None,
        examples: int = 64,
        split: str = "tune",
        *,
        baseline: Any = None,
        seed: int = 0,
        position: int = -1,
        head: str | None = None,
        progress: bool | Progress = True,
    ) -> Faithfulness:
        """Which attribution method to believe on this variant: each beside random numbers, with its spread (blocking).

        methods: by name; all that are right here but the two slowest where they are left out. examples: the first so
        many of the split in the order of evaluation. baseline, seed, position, head: as of `attribute`.
        """
        asked = Asked(None, None, baseline, None, None, seed, position, head)
        return faithfulness(self, methods, examples, split, asked, progress)

    def answers(self, indices: Sequence[int], split: str = "tune") -> list[Answer]:
        """What the variant says to single examples of a split (not of the sealed one)."""
        if split == "test":
            raise ExplorerError("the test split is sealed", instead="open it once, at the end, with wb.test(variant)")
        total = len(self.workbench.subject.split(split))
        beyond = [index for index in indices if not 0 <= index < total]
        if beyond:
            raise ExplorerError(f"there is no example {beyond[0]}", where=split, instead=f"give 0 to {total - 1}")
        with self._running:
            return self.workbench.stage.answers(self._dressed(), indices, split) if len(indices) else []

    def evaluate(self, split: str = "tune") -> Quality:
        """The quality on a split (blocking). The sealed test split is opened by `wb.test(v)` alone."""
        return self.workbench.evaluate(self, split)

    # -- measuring -------------------------------------------------------------------------------------------------

    @cached_property
    def weights_file(self) -> WeightsFile:
        """The file that `save()` writes, laid out but not written."""
        return self._file(smallest=False)

    @cached_property
    def smallest_file(self) -> WeightsFile:
        """The file that `save(smallest=True)` writes: what is changed is entropy-coded, where that is shorter."""
        squeezed = self._file(smallest=True)
        return squeezed if squeezed.storage.size_bytes < self.storage.size_bytes else self.weights_file

    def _file(self, smallest: bool) -> WeightsFile:
        bench = self.workbench
        recipe = "" if self.is_dense else self.recipe.to_url()  # what changes nothing writes the dense model's file
        metadata = {"recipe": recipe, "model": bench.digest, "data": bench.data_digest}
        return WeightsFile(bench.subject.model, bench.matrices(), self.outfit, metadata, smallest)

    @cached_property
    def storage(self) -> Storage:
        """Where the bytes of the file are, exactly."""
        return self.weights_file.storage

    def bytes_smallest(self) -> int:
        """The length of the file that `save(smallest=True)` writes, measured: it is made in memory (blocking)."""
        return self.smallest_file.storage.size_bytes

    def measure_smallest(self) -> SmallestSize:
        """Start measuring `bytes_smallest` in the background: `.bytes`, with an `.estimate` until it is there."""
        changed = {**self.outfit.forms, **self.outfit.rest}
        few = sum(form.entries for form in changed.values()) <= SAMPLE  # measured as fast as estimated
        return SmallestSize(None if few else lambda: foretold_bytes(self.storage, changed), self.bytes_smallest)

    @cached_property
    def size(self) -> Size:
        """Bytes, sparsity and what is kept of each matrix; exact, and known at once."""
        bench = self.workbench
        dense_bytes = self.storage.size_bytes if self is bench.dense else bench.dense.storage.size_bytes
        return measure_size(
            bench.subject.model,
            bench.matrices(),
            self.forms,
            self.outfit.rest,
            bench.can_run_thin,
            self.storage,
            dense_bytes,
        )

    @cached_property
    def cost(self) -> Cost:
        """Multiply-accumulates of one example's forward pass."""
        bench = self.workbench
        return cost_of(bench.work, bench.matrices(), self.outfit.forms, bench.dense_forms, bench.can_run_thin)

    def report(self) -> Report:
        """Quality, size and work beside the dense model's (blocking)."""
        dense = None if self.is_dense else self.workbench.dense.report()
        return Report(self.recipe.sentence(), self.evaluate(), self.size, self.cost, dense)

    def check(
        self,
        *,
        max_loss: float | None = None,
        max_class_loss: float | None = None,
        min_agreement: float | None = None,
        max_bytes: int | str | None = None,
        split: str = "tune",
    ) -> Checks:
        """Whether it keeps these limits: each pass, fail or undecided (blocking).

        Losses and agreement are shares beside the dense model: `v.check(max_loss=0.005, max_bytes="4MB")`. On
        split="test" the sealed split is opened, once for both models.
        """
        return check(self, Limits.of(max_loss, max_class_loss, min_agreement, max_bytes), split)

    def latency(self, batch: int = 1, seconds: float = 2.0) -> Latency:
        """Time beside the dense model's: both in turn for about `seconds`, on the first tune examples."""
        bench = self.workbench
        most = len(bench.subject.split("tune"))
        if not 1 <= batch <= most or seconds < 0:
            what = f"batch {batch} for {seconds} seconds cannot be timed"
            raise ExplorerError(what, where="latency", instead=f"give a batch of 1 to {most} and some seconds")
        inputs = bench.subject.split("tune").take(slice(0, batch)).inputs
        dense = PrivateModel(bench.subject.model, bench.matrices()).module
        run = lambda model: bench.stage.outputs(model, inputs)  # noqa: E731  (one expression, used once)
        with self._running:
            return time_in_turn(dense, self._dressed(), run, batch_length(inputs), seconds)

    # -- recovering ------------------------------------------------------------------------------------------------

    def recover(
        self,
        epochs: float | None = None,
        *,
        seconds: float | None = None,
        teacher: Any = None,
        progress: bool = True,
        **wishes: Any,
    ) -> Variant:
        """A new variant: this one trained a little, with its zeros, ranks and codes kept (blocking).

        Its recipe is this one's with the training as a last step. It learns from training data where the subject has
        them, else from the calibration split; never from tune or test. An interrupt (Ctrl+C, the notebook's stop)
        keeps the best so far.

        Parameters
        ----------
        epochs: how often to go through the training data (default 10); or seconds: about how long to train.
        teacher: "dense", a variant, a list of these, or {variant or "dense": weight}: whose answers to follow, too.
        wishes: fields of `ex.Recover` (learning_rate, temperature, layers, label_smoothing, ...); with `sparsity=`
            those of `ex.GradualPrune`.
        """
        return recover(self, epochs, seconds, teacher, progress, wishes)

    # -- keeping ---------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path, smallest: bool = False) -> Path:
        """Write the variant into a folder: `weights.safetensors`, as long as the report says, and `variant.yaml`.

        smallest: entropy-code what is changed; the file is then as long as `bytes_smallest()` says.
        """
        return saving.save(self, Path(folder), smallest)

    def __str__(self) -> str:
        return f"{self.workbench.name}: {self.recipe.sentence()}\n{self.size}"
