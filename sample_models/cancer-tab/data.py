"""Scikit-learn's breast-cancer table: 569 tumours, 30 measurements of the cell nuclei of each.

The model takes standardised numbers (mean 0, deviation 1 over the training rows); people see the original units.
`prepare` goes one way, `rows` goes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.axes import Axis
from explorer.subjects.examples import Examples

SHARES = {"training": 290, "tune": 149, "test": 130}
CALIBRATION = 128
LARGE = "mean area over 700"


class _Table(NamedTuple):
    features: list[str]
    values: np.ndarray  # [569, 30], original units
    targets: np.ndarray  # [569], 0 = malignant, 1 = benign
    places: dict[str, np.ndarray]  # split -> rows of it
    centre: np.ndarray  # [30], mean over the training rows
    scale: np.ndarray  # [30], standard deviation over the training rows


@lru_cache
def _table() -> _Table:
    bunch = load_breast_cancer()
    places = _split(bunch.target)
    training = bunch.data[places["training"]]
    features = [str(name) for name in bunch.feature_names]
    return _Table(features, bunch.data, bunch.target, places, training.mean(axis=0), training.std(axis=0))


def _split(targets: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of each split; every split has the same share of both classes."""
    training, held_out = train_test_split(
        np.arange(len(targets)), train_size=SHARES["training"], stratify=targets, random_state=0
    )
    tune, test = train_test_split(
        held_out, train_size=SHARES["tune"], test_size=SHARES["test"], stratify=targets[held_out], random_state=0
    )
    return {"training": training, "tune": tune, "test": test}


FEATURES: list[str] = list(_table().features)


@lru_cache
def load(split: str) -> Examples:
    """One split: inputs [rows, 30] standardised, targets [rows] (0 malignant, 1 benign).

    Slices: "mean area over 700" (square micrometres), about a third of the rows and nearly all of them malignant.
    """
    table = _table()
    if split == "calibration":
        return load("training").take(slice(0, CALIBRATION))
    if split not in table.places:
        raise ExplorerError(f'there is no split "{split}"', where="cancer-tab", instead=f"choose one of {list(SHARES)}")
    chosen = table.places[split]
    values = table.values[chosen]
    large = torch.from_numpy(values[:, FEATURES.index("mean area")] > 700)
    return Examples(_standardised(values), torch.from_numpy(table.targets[chosen]).long(), slices={LARGE: large})


def prepare(rows: Mapping[str, float] | Sequence[Mapping[str, float]] | pd.DataFrame | np.ndarray | Tensor) -> Tensor:
    """Rows in original units -> model inputs [rows, 30].

    `rows` is one row as a dict, a list of such dicts, a data frame, or an array [rows, 30] (or [30]) in the order of
    `FEATURES`. Raises `ExplorerError` when a measurement is missing, is not a number or is not known.
    """
    if isinstance(rows, Mapping):
        rows = [rows]
    if not isinstance(rows, (pd.DataFrame, np.ndarray, Tensor)):
        rows = pd.DataFrame(list(rows))
    if isinstance(rows, pd.DataFrame):
        values = _numbers(_columns(rows))
    else:
        values = _numbers(rows)
        values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(FEATURES) or not len(values):
        raise ExplorerError(
            f"rows have the shape {list(values.shape)}",
            where="cancer-tab",
            instead=f"give at least one row of {len(FEATURES)} numbers in the order of FEATURES",
        )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ExplorerError(
            f'"{FEATURES[column]}" of row {row} is {values[row, column]}',
            where="cancer-tab",
            instead="give a finite number",
        )
    return _standardised(values)


def rows(inputs: Tensor) -> pd.DataFrame:
    """Model inputs [rows, 30] -> a data frame in original units, one column a feature.

    Rounded to about a hundred-thousandth of each feature's deviation, where the noise of float32 begins.
    """
    table = _table()
    frame = pd.DataFrame(
        inputs.detach().cpu().double().numpy() * table.scale + table.centre, columns=pd.Index(FEATURES)
    )
    decimals = 5 - np.floor(np.log10(table.scale)).astype(int)
    return frame.round(dict(zip(FEATURES, decimals.tolist(), strict=True)))


def _columns(frame: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in FEATURES if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in FEATURES]
    if missing or unknown:
        what = [f"{kind} {names}" for kind, names in (("lacks", missing), ("has the unknown", unknown)) if names]
        raise ExplorerError(
            f"the table {' and '.join(what)}", where="cancer-tab", instead="give one column for each name in FEATURES"
        )
    return frame[FEATURES]


def _numbers(values: Any) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise ExplorerError(
            f"the rows are not all numbers ({problem})", where="cancer-tab", instead="give numbers"
        ) from problem


def _standardised(values: np.ndarray) -> Tensor:
    table = _table()
    return torch.from_numpy((values - table.centre) / table.scale).float()


def axes(inputs: Tensor) -> tuple[Axis, ...]:
    """What the model's positions are: the class token, then the features."""
    return (Axis("features", (("class token", *FEATURES),) * len(inputs), first=1),)
