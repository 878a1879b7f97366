"""Data as people have them (arrays, frames, loaders, files) made into `Examples`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.examples import Examples, Inputs, batch_length, concatenate, map_tensors, tensors_in

TARGET_NAMES = ("targets", "target", "labels", "label", "y")
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


def as_examples(data: Any, where: str = "data", classes: Sequence[str] = ()) -> Examples:
    """`Examples` from any promised kind of data. Tensors come to the CPU and keep their precision.

    data: `Examples`; (inputs, targets) as tensors, arrays, lists or data frames; a dict of inputs that has a
        "targets" or "labels" entry; an iterable of such batches (a DataLoader); a CSV, Parquet or NPZ path; a folder
        of images with one sub-folder a class.
    classes: the classes in the order of their numbers, for labels that are words; else these count alphabetically.
    Raises `ExplorerError` for empty data, unequal lengths, and NaN.
    """
    try:
        examples = _read(data, tuple(classes))
    except ExplorerError as problem:
        raise problem.at(where) from problem
    _check(examples, where)
    return examples


def _read(data: Any, classes: tuple[str, ...]) -> Examples:
    if isinstance(data, Examples):
        return data
    if isinstance(data, (str, Path)):
        return _from_path(Path(data).expanduser(), classes)
    if isinstance(data, Mapping):
        return _from_dict(data)
    if isinstance(data, pd.DataFrame):
        return _from_frame(data, classes)
    if isinstance(data, tuple) and len(data) == 2:
        words = _words(data[1])
        if words is not None:
            numbers, names = _numbered(words, classes)
            return Examples(_inputs(data[0]), numbers, classes=names)
        return Examples(_inputs(data[0]), _targets(data[1]))
    if isinstance(data, (tuple, list)) and data and all(isinstance(part, (Tensor, np.ndarray)) for part in data):
        raise ExplorerError(
            f"it is {len(data)} tensors", instead="give (inputs, targets), and several inputs as ((a, b), targets)"
        )
    if isinstance(data, Iterable) and not isinstance(data, (Tensor, np.ndarray)):
        return _joined([_read(tuple(batch) if isinstance(batch, list) else batch, classes) for batch in data])
    raise ExplorerError(
        f"{type(data).__name__} is not data with targets",
        instead="give (inputs, targets), a dict with targets, a DataLoader, or a path",
    )


def _joined(batches: list[Examples]) -> Examples:
    if not batches:
        raise ExplorerError("there is no batch in it", instead="give at least one")
    names = batches[0].classes
    if any(batch.classes != names for batch in batches):
        raise ExplorerError("the batches name different classes", instead="give all of them as classes=")
    try:
        inputs, targets = concatenate([b.inputs for b in batches]), torch.cat([b.targets for b in batches])
        return Examples(inputs, targets, classes=names)
    except (RuntimeError, KeyError, TypeError) as problem:
        raise ExplorerError(
            "the batches do not fit together",
            instead="give all the same entries and shapes (pad texts to one length)",
        ) from problem


def _inputs(value: Any) -> Inputs:
    if isinstance(value, Mapping):
        return {str(name): _inputs(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_inputs(item) for item in value)
    if isinstance(value, pd.DataFrame):
        value = _numbers(value)
    return _tensor(value, "inputs")


def _words(value: Any) -> list[str] | None:
    """Labels that are words, as a list of strings; None where they are numbers."""
    if isinstance(value, pd.DataFrame) and value.shape[1] == 1:
        value = value.iloc[:, 0]
    if isinstance(value, pd.Series):
        return None if pd.api.types.is_numeric_dtype(value) or value.hasnans else [str(label) for label in value]
    if isinstance(value, (list, np.ndarray)) and len(value) and all(isinstance(label, str) for label in value):
        return [str(label) for label in value]
    return None


def _targets(value: Any) -> Tensor:
    if isinstance(value, pd.Series) and pd.api.types.is_numeric_dtype(value):
        value = value.to_numpy(dtype=np.float64, na_value=np.nan) if value.hasnans else value.to_numpy()
    elif isinstance(value, (pd.Series, pd.DataFrame)):
        value = value.to_numpy()
    return _tensor(value, "targets")


def _tensor(value: Any, what: str) -> Tensor:
    """A detached tensor on the CPU."""
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except ValueError as problem:
            raise ExplorerError(f"the {what} have different lengths", instead="bring them to one length") from problem
        if array.dtype.kind not in "biuf":
            raise ExplorerError(f"the {what} are {array.dtype}, not numbers", instead="encode them as numbers first")
        native = array.dtype.newbyteorder("=")  # files of other machines may have the other order of bytes
        value = torch.from_numpy(np.require(array, native, ["C", "W"]))
    return value.detach().cpu()


def _from_dict(data: Mapping[str, Any]) -> Examples:
    found = next((name for name in TARGET_NAMES if name in data), None)
    if found is None:
        raise ExplorerError("the dict has no targets", instead='add an entry "targets" or "labels"')
    rest = {name: value for name, value in data.items() if name != found}
    if set(rest) == {"inputs"}:
        return Examples(_inputs(rest["inputs"]), _targets(data[found]))
    return Examples(_inputs(rest), _targets(data[found]))


def _from_frame(frame: pd.DataFrame, classes: tuple[str, ...]) -> Examples:
    """A column called target or label, else the last one, is the target; words in it become class numbers."""
    if frame.shape[1] < 2:
        raise ExplorerError("the table has fewer than two columns", instead="it needs inputs and one target column")
    if frame.empty:
        raise ExplorerError("there is no row in it", instead="give at least one example with its target")
    column = next((name for name in TARGET_NAMES if name in frame.columns), frame.columns[-1])
    inputs, target = _tensor(_numbers(frame.drop(columns=[column])), "inputs"), frame[column]
    if pd.api.types.is_numeric_dtype(target):
        return Examples(inputs, _targets(target))
    if target.hasnans:
        missing = int(target.isna().to_numpy().argmax())
        raise ExplorerError(f"the label of example {missing} is missing", instead="clean the data first")
    numbers, names = _numbered([str(label) for label in target], classes)
    return Examples(inputs, numbers, classes=names)


def _numbered(labels: list[str], classes: tuple[str, ...]) -> tuple[Tensor, tuple[str, ...]]:
    """(class numbers `[N]`, class names) of labels that are words."""
    names = classes or tuple(sorted(set(labels)))
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise ExplorerError(
            f'the label "{unknown[0]}" is none of the classes {", ".join(names)}',
            instead="name all classes as the data do, in all splits",
        )
    number = {name: at for at, name in enumerate(names)}
    return torch.tensor([number[label] for label in labels]), names


def _numbers(frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    words = [str(name) for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    if words and not frame.empty:
        raise ExplorerError(f"the columns {', '.join(words)} are not numbers", instead="encode or drop them")
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def _from_path(path: Path, classes: tuple[str, ...]) -> Examples:
    if path.is_dir():
        return _from_folder(path, classes)
    if not path.is_file():
        raise ExplorerError(f"there is no file {path}", instead="check the path")
    ending = path.suffix.lower()
    try:
        if ending == ".csv":
            return _from_frame(pd.read_csv(path), classes)
        if ending in (".parquet", ".pq"):
            return _from_frame(pd.read_parquet(path), classes)
        if ending == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return _from_dict(dict(arrays))
    except ExplorerError:
        raise
    except Exception as problem:  # whatever a broken file makes its reader say
        raise ExplorerError(f"{path.name} cannot be read ({problem})") from problem
    raise ExplorerError(f"{path.name} is not a kind of file that is read here", instead="give .csv, .parquet or .npz")


def _from_folder(path: Path, classes: tuple[str, ...]) -> Examples:
    """Grey or colour images, one sub-folder a class in alphabetical order: inputs `[N, C, H, W]` in 0..1."""
    images, labels = [], []
    for file in sorted(path.glob("*/*")):
        if file.suffix.lower() in PICTURES and not file.parent.name.startswith("."):
            images.append(_image(file))
            labels.append(file.parent.name)
    if not images:
        raise ExplorerError(f"{path} holds no images in sub-folders", instead="make one sub-folder a class")
    if len({tuple(image.shape) for image in images}) > 1:
        raise ExplorerError("the images have different sizes or colours", instead="bring them to one size first")
    numbers, names = _numbered(labels, classes)
    return Examples(torch.stack(images), numbers, classes=names)


def _image(file: Path) -> Tensor:
    """`[C, H, W]` in 0..1, one channel for grey pictures, three for others."""
    try:
        with Image.open(file) as picture:
            mode = "L" if picture.mode in ("1", "L") else "RGB"
            if picture.mode.startswith(("I", "F")):
                raise ExplorerError(
                    f"{file.name} has more than 8 bits a colour", instead="save it with 8 bits, or give an array"
                )
            pixels = np.atleast_3d(np.asarray(picture.convert(mode), dtype=np.float32) / 255)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise ExplorerError(f"{file.name} cannot be read as an image", instead="remove or replace it") from problem
    return torch.from_numpy(pixels).movedim(-1, 0)


def _check(examples: Examples, where: str) -> None:
    if len(examples.targets.shape) == 0 or len(examples) == 0 or batch_length(examples.inputs) == 0:
        raise ExplorerError(
            "there is no example in it", where=where, instead="give at least one example with its target"
        )
    for tensor in tensors_in(examples.inputs):
        if tensor.shape[:1] != examples.targets.shape[:1]:
            lengths = f"{tensor.shape[0] if tensor.dim() else 0} inputs, {len(examples)} targets"
            raise ExplorerError(
                f"inputs and targets have different lengths ({lengths})",
                where=where,
                instead="give one target an example",
            )
    for what, tensors in (("inputs", tensors_in(examples.inputs)), ("targets", [examples.targets])):
        for tensor in tensors:
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                bad = (
                    int((~tensor.isfinite()).flatten(1).any(1).nonzero()[0])
                    if tensor.dim() > 1
                    else int((~tensor.isfinite()).nonzero()[0])
                )
                raise ExplorerError(
                    f"the {what} hold NaN or infinity (first in example {bad})",
                    where=where,
                    instead="clean the data first",
                )


def to_floats(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Floating-point tensors in the model's type; whole numbers stay."""
    return map_tensors(inputs, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
