"""Run in a new process: `python -m tests.loaded_again FOLDER` loads every saved variant in it and notes what it says.

Each `FOLDER/<case>/` was written by `Variant.save()`; the case's name starts with that of its model (see `MODELS`).
What the loaded variant says goes to `FOLDER/<case>.npz`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import explorer as ex
from tests.toys import Convolutional, Encoder, Recurrent, Tied, perceptron, seeded


@dataclass(frozen=True)
class Own:
    """A model of one's own with its data, made alike in both processes."""

    model: Callable[[int], nn.Module]
    inputs: Callable[[torch.Generator], Tensor]
    targets: Callable[[Tensor], Tensor]
    options: dict[str, Any] = field(default_factory=dict)

    def data(self) -> tuple[Tensor, Tensor]:
        """Sixty examples."""
        inputs = self.inputs(torch.Generator().manual_seed(7))
        return inputs, self.targets(inputs)


def _normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda draw: torch.randn(60, *shape, generator=draw)


def _classes(count: int) -> Callable[[Tensor], Tensor]:
    return lambda inputs: torch.arange(60) % count


def _encoder() -> Encoder:
    return Encoder(layers=2, width=24)


MODELS: dict[str, Own] = {
    "perceptron": Own(lambda seed: perceptron(seed=seed), _normal(6), _classes(3)),
    "double": Own(lambda seed: perceptron(seed=seed), _normal(6), _classes(3), {"dtype": torch.float64}),
    "half": Own(lambda seed: perceptron(seed=seed), _normal(6), _classes(3), {"dtype": torch.bfloat16}),
    "convolutions": Own(lambda seed: seeded(Convolutional, seed), _normal(3, 12, 12), _classes(4)),
    "recurrent": Own(lambda seed: seeded(Recurrent, seed), _normal(4, 5), _classes(3)),
    "encoder": Own(
        lambda seed: seeded(_encoder, seed), lambda draw: torch.randint(0, 20, (60, 7), generator=draw), _classes(2)
    ),
    "tied": Own(
        lambda seed: seeded(Tied, seed),
        lambda draw: torch.randint(11, (60, 5), generator=draw),
        lambda ids: ids.roll(-1, dims=1),
        {"task": "language-modeling", "embeddings": True},
    ),
    "regression": Own(
        lambda seed: perceptron(outputs=2, seed=seed),
        _normal(6),
        lambda inputs: inputs[:, :2] * 3,
        {"task": "regression"},
    ),
}


def facts(wb: ex.Workbench) -> dict[str, Any]:
    """What the current variant says: outputs on all tune examples, metrics, and the numbers of the report."""
    quality = wb.variant.evaluate()
    with torch.no_grad():
        outputs = wb.variant.outputs(wb.subject.split("tune").inputs).to(torch.float64).numpy()
    report = wb.variant.report().to_dict()
    parts = {f"part {name}": values for name, values in quality.judged.parts.items()}
    predictions = {} if quality.predictions is None else {"predictions": quality.predictions}
    return {"outputs": outputs, "report": np.array(str(sorted(report.items()))), **predictions, **parts}


def load_again(folder: Path) -> ex.Workbench:
    """The saved variant, as a person would load it: an own model by an architecture with other weights."""
    name, _, how = folder.name.partition(", ")
    if name not in MODELS:
        return ex.load(folder)
    own = MODELS[name]
    options = {key: value for key, value in own.options.items() if key not in ("task", "embeddings", "dtype")}
    if how.endswith("dense"):
        options |= {"dense": own.model(0), "dtype": own.options.get("dtype")}
    else:
        options["architecture"] = lambda: own.model(99)
    return ex.load(folder, data=own.data(), batch_size=16, **options)


if __name__ == "__main__":
    for saved in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
        loaded = load_again(saved)
        loaded.variant.save(saved.with_suffix(".again"))
        np.savez(saved.with_suffix(".npz"), **facts(loaded))
