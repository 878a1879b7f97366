"""Opening: `ex.load`, from a sample's name, a module with data, or a saved folder to a workbench."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from explorer.attention.sites import gate_names
from explorer.errors import ExplorerError
from explorer.saving import Saved, is_saved, read_saved
from explorer.subjects.checkpoints import from_checkpoint, is_checkpoint
from explorer.subjects.data import as_examples, to_floats
from explorer.subjects.examples import Examples, Inputs, tensors_in
from explorer.subjects.heads import Head, as_heads
from explorer.subjects.samples import sample_cards, sample_folder, sample_module
from explorer.subjects.subject import PRIMARY, SPLITS, Forward, Score, Subject
from explorer.variant import Variant
from explorer.weights.clone import full_copy
from explorer.weights.forms import Dense
from explorer.weights.install import Outfit, PrivateModel
from explorer.weights.matrices import find_matrices
from explorer.weights.packing import read_metadata, read_outfit
from explorer.workbench import Workbench

STRIP = 12
CHECKPOINTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")


def samples() -> dict[str, str]:
    """The bundled samples: {name: one-line description}."""
    return {name: card.summary for name, card in sample_cards().items()}


def load(
    model: str | Path | nn.Module,
    data: Any = None,
    task: str | None = None,
    classes: Sequence[str] = (),
    *,
    calibration: Any = None,
    test: Any = None,
    training: Any = None,
    forward: Forward | None = None,
    score: Score | None = None,
    heads: Any = None,
    gates: Sequence[str] = (),
    architecture: nn.Module | Callable[[], nn.Module] | None = None,
    dense: nn.Module | None = None,
    name: str | None = None,
    batch_size: int = 128,
    embeddings: bool = False,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Workbench:
    """Open a bundled sample, a model of your own, or a saved variant.

    Parameters
    ----------
    model: a sample's name (`ex.samples()`), a `torch.nn.Module`, or a folder that `Variant.save()`
        or transformers' `save_pretrained` wrote.
    data: held-out examples that live numbers are measured on: (inputs, targets), a dict, a DataLoader, a path.
    task: classification (default), multi-task (with `heads=`), regression, sequence, language-modeling; or give
        `score=`.
    calibration, test, training: optional splits, like `data`.
    heads: of a model that gives several answers, `{name: class names}` (or a list of `ex.Head`, with weights), in the
        order of the targets' columns `[examples, heads]`. It returns a dict by these names, or a tuple in this order.
    gates: names or globs of modules whose output is an attention gate (squeeze and excitation, CBAM): they are shown
        and edited beside attention layers.
    forward: `forward(model, inputs)` -> outputs. score: `score(outputs, targets)` -> one value an example.
    architecture: for a saved variant of your own model: the module (or a function that makes it). dense: its original.
    embeddings: count embeddings among the weight matrices. device, dtype: default is where the model is.

    Raises `ExplorerError` for unknown names, unfit data, NaN, and models that cannot be run on the data.
    """
    splits = {"tune": data, "calibration": calibration, "test": test, "training": training}
    if isinstance(classes, str):
        raise ExplorerError(f"classes is the text {classes!r}", instead="give a list of names")
    gates = (gates,) if isinstance(gates, str) else tuple(gates)
    wishes = Wishes(task, tuple(classes), forward, score, as_heads(heads), name, batch_size, device, dtype, gates=gates)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ExplorerError(f"batch_size is {batch_size!r}", instead="give a whole number, 1 or more")
    originals = {"architecture": architecture, "dense": dense}
    if isinstance(model, nn.Module):
        _refuse(originals, "it belongs to a saved variant")
        return Workbench(wishes.subject(model, splits), embeddings)
    if not isinstance(model, (str, Path)):
        raise ExplorerError(
            f"{type(model).__name__} cannot be loaded", instead="give a sample's name, a torch.nn.Module or a folder"
        )
    folder, known = Path(model).expanduser(), str(model) in sample_cards()
    if folder.is_dir() and (not known or is_saved(folder)):
        if is_checkpoint(folder):
            named = wishes if name is not None else replace(wishes, name=folder.resolve().name)
            return Workbench(named.subject(from_checkpoint(folder), splits), embeddings)
        return _saved(folder, splits, architecture, dense, wishes, embeddings)
    if not known and folder.suffix in CHECKPOINTS:
        what = f"{model} holds weights only"
        raise ExplorerError(what, instead="build the module, load_state_dict them, and give the module to ex.load")
    if not known and (isinstance(model, Path) or re.search(r"[/\\]", model)):
        raise ExplorerError(f"there is no folder {model}", instead="check the path (names on a hub are not opened)")
    _refuse(splits, f"{model} brings its own data")
    ways = {"task": task, "classes": classes or None, "forward": forward, "score": score, "heads": heads}
    others = {"gates": gates or None, **originals, "device": device, "dtype": dtype}
    _refuse({**ways, **others}, f"{model} is opened as it is bundled")
    return Workbench(_sample(str(model)), embeddings)


# -- samples ------------------------------------------------------------------------------------------------------


def _sample(name: str) -> Subject:
    folder = sample_folder(name)
    card = sample_cards()[name]
    model = sample_module(name, "model").build()
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ExplorerError("the trained weights are missing", where=name, instead=f"run python {folder / 'train.py'}")
    model.load_state_dict(load_file(weights))
    ways: ModuleType = sample_module(name, "data")
    splits = {split: partial(ways.load, split) for split in SPLITS if split in card.splits}
    return Subject(
        name=name,
        title=card.title,
        model=model.eval(),
        task=card.task,
        input=card.input,
        splits=splits,
        classes=card.classes,
        batch_size=card.batch_size,
        strip=card.strip,
        card=card,
        gates=card.gates,
        ways=ways,
        heads=card.heads,
    )


# -- a model of one's own -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wishes:
    """What was asked of a model of one's own, beside its data (see `load`)."""

    task: str | None
    classes: tuple[str, ...]
    forward: Forward | None
    score: Score | None
    heads: tuple[Head, ...]
    name: str | None
    batch_size: int
    device: str | torch.device | None
    dtype: torch.dtype | None
    input: str | None = None
    title: str | None = None
    gates: tuple[str, ...] = ()

    def _placed(self, model: nn.Module) -> nn.Module:
        """The model, or a copy of it on the device and in the number type that were asked for."""
        if self.device is None and self.dtype is None:
            return model
        try:
            return full_copy(model).to(device=self.device, dtype=self.dtype)
        except (RuntimeError, TypeError, AssertionError) as problem:
            where = f"device={self.device}, dtype={self.dtype}"
            said = str(problem).splitlines()[0]
            raise ExplorerError(
                f"the model cannot go there ({said})", where=where, instead="leave both out"
            ) from problem

    def subject(self, model: nn.Module, splits: Mapping[str, Any]) -> Subject:
        """The subject that model and data make; raises `ExplorerError` where they cannot."""
        task = self.task or ("score" if self.score is not None else "multi-task" if self.heads else "classification")
        if task not in PRIMARY:
            raise ExplorerError(f'there is no task "{task}"', instead=f"choose one of: {', '.join(PRIMARY)}")
        if (task == "score") != (self.score is not None):
            raise ExplorerError(
                'the task "score" and score= belong together', instead="give score=, and leave task out"
            )
        if (task == "multi-task") != bool(self.heads):
            what = 'the task "multi-task" and heads= belong together'
            raise ExplorerError(what, instead="give heads={name: class names}, and leave task out")
        if splits["tune"] is None:
            raise ExplorerError(
                "there is no data to measure on", where="data=", instead="give (inputs, targets) of held-out examples"
            )
        model = self._placed(getattr(model, "_orig_mod", model))  # a compiled module wraps the one that is meant
        gate_names(model, self.gates)
        kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        tune = _examples(splits["tune"], "data", kind, self.classes)
        if task == "language-modeling" and any(_same_ids(ids, tune.targets) for ids in tensors_in(tune.inputs)):
            raise ExplorerError(
                "the targets equal the inputs: copying would be scored, not writing on",
                where="data",
                instead="move them by one: targets[:, :-1] = ids[:, 1:], and -100 at the last position",
            )
        named = tune.classes or tuple(str(label) for label in self.classes)
        others = {split: value for split, value in splits.items() if value is not None and split != "tune"}
        given = {"tune": tune} | {split: _examples(value, split, kind, named) for split, value in others.items()}
        return Subject(
            name=self.name or type(model).__name__,
            title=self.title or self.name or type(model).__name__,
            model=model,
            task=task,
            input=self.input or _input_kind(tune.inputs),
            splits={split: partial(_same, examples) for split, examples in given.items()},
            classes=named,
            forward=self.forward,
            score=self.score,
            heads=self.heads,
            gates=self.gates,
            batch_size=self.batch_size,
            strip=tuple(range(0, len(tune), max(1, len(tune) // STRIP)))[:STRIP],
        )


def _same_ids(ids: Tensor, targets: Tensor) -> bool:
    return ids.shape == targets.shape and ids.shape[-1] > 1 and torch.equal(ids, targets.to(ids.dtype))


def _examples(value: Any, where: str, dtype: torch.dtype, classes: Sequence[str]) -> Examples:
    """The examples with their numbers in the model's type (targets in single precision at least)."""
    examples = as_examples(value, where, [str(label) for label in classes])
    targets = to_floats(examples.targets, torch.promote_types(dtype, torch.float32))
    return replace(examples, inputs=to_floats(examples.inputs, dtype), targets=targets)


def _same(examples: Examples) -> Examples:
    return examples


def _input_kind(inputs: Inputs) -> str:
    """How to show inputs of one's own: as images where their shape says so, else as numbers."""
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        picture = inputs.dim() == 4 and inputs.shape[1] in (1, 3) and min(inputs.shape[2:]) >= 4
        return "image" if picture else "tensor"
    return "tensor"


# -- a saved variant ------------------------------------------------------------------------------------------------


def _saved(
    folder: Path,
    splits: dict[str, Any],
    architecture: nn.Module | Callable[[], nn.Module] | None,
    dense: nn.Module | None,
    wishes: Wishes,
    embeddings: bool,
) -> Workbench:
    saved = read_saved(folder)
    embeddings = embeddings or saved.embeddings
    original = True
    if saved.sample is not None and architecture is None and dense is None:
        _refuse(splits, f"{saved.sample} brings its own data")
        bench = Workbench(_sample(saved.sample), embeddings)
    else:
        facts = replace(
            wishes,
            task=wishes.task or saved.facts["task"],
            classes=wishes.classes or tuple(saved.facts["classes"]),
            heads=wishes.heads or saved.facts["heads"],
            name=wishes.name or saved.facts["name"],
            input=saved.facts["input"],
            gates=wishes.gates or tuple(saved.facts["gates"]),
        )
        original = dense is not None
        if not original:
            facts = replace(facts, title=f"{facts.name} as it was saved (its dense original is not here)")
        model = dense if dense is not None else _in_its_place(saved, architecture, embeddings)
        bench = Workbench(facts.subject(model, splits), embeddings)
    if original and read_metadata(saved.weights).get("model") != bench.digest:
        raise ExplorerError(
            f"{folder} was made from another model than {bench.name} as it is here",
            instead="give the original as dense=, or only architecture=",
        )
    outfit, raw = read_outfit(saved.weights, bench.subject.model, bench.matrices())
    own = {**dict(bench.subject.model.named_parameters()), **dict(bench.subject.model.named_buffers())}
    changed = {name: Dense(tensor.reshape(1, -1)) for name, tensor in raw.items() if not torch.equal(tensor, own[name])}
    plan = bench.plan(saved.recipe)
    worn = Outfit(outfit.forms, {**changed, **outfit.rest}, bench.edits(saved.recipe))
    bench.adopt(Variant(bench, saved.recipe, plan, worn))
    return bench


def _in_its_place(
    saved: Saved, architecture: nn.Module | Callable[[], nn.Module] | None, embeddings: bool
) -> nn.Module:
    """The architecture with the variant's decoded weights: it stands in the dense model's place."""
    model = architecture if isinstance(architecture, nn.Module) or architecture is None else architecture()
    if not isinstance(model, nn.Module):
        raise ExplorerError(
            f"{saved.weights.parent} holds a variant of your own model, {saved.facts['name']}",
            where="architecture=",
            instead="give a module of that architecture (its weights do not matter), or the original as dense=",
        )
    model = full_copy(model).to(dtype=saved.dtype)
    matrices = find_matrices(model, embeddings)
    outfit, raw = read_outfit(saved.weights, model, matrices)
    decoded = PrivateModel(model, matrices)
    full = {name: decoded.decoded(name, outfit) for name in {matrices[matrix].parameter for matrix in outfit.forms}}
    own = model.state_dict()
    rest = {name: form.decode().reshape(own[name].shape) for name, form in outfit.rest.items()}
    model.load_state_dict({**raw, **rest, **full}, strict=False)
    return model


def _refuse(splits: Mapping[str, Any], why: str) -> None:
    given = [name if name != "tune" else "data" for name, value in splits.items() if value is not None]
    if given:
        raise ExplorerError(why, where=f"{given[0]}=", instead="leave it out, or load a module of your own with it")
