"""Small models and data that many tests share: made in a moment, seeded, nothing trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import explorer as ex
from explorer.subjects.examples import Inputs


def perceptron(inputs: int = 6, hidden: int = 16, outputs: int = 3, seed: int = 0) -> nn.Sequential:
    """Two linear layers, `[B, inputs]` -> `[B, outputs]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def numbers(examples: int = 60, inputs: int = 6, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(inputs `[examples, inputs]`, class numbers `[examples]`), every class present."""
    draw = torch.Generator().manual_seed(seed)
    targets = torch.arange(examples) % classes
    return torch.randn(examples, inputs, generator=draw), targets[torch.randperm(examples, generator=draw)]


def bench(examples: int = 60, batch_size: int = 8, seed: int = 0) -> ex.Workbench:
    """A workbench on `perceptron` and `numbers`, with a test split."""
    return ex.load(perceptron(seed=seed), data=numbers(examples), test=numbers(30, seed=9), batch_size=batch_size)


class Convolutional(nn.Module):
    """A strided and a grouped convolution, batch norm, and a linear layer: `[B, 3, 12, 12]` -> `[B, 4]`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)  # -> 6 x 6
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4)  # -> 4 x 4
        self.head = nn.Linear(12 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.grouped(torch.relu(self.norm(self.first(x))))).flatten(1))


class TwoHeads(nn.Module):
    """Two answers on one trunk: `[B, 6]` -> `{"colour": [B, 3], "size": [B, 2]}`, or a tuple of them."""

    def __init__(self, kind: type = dict) -> None:
        super().__init__()
        self.kind = kind
        self.trunk = nn.Linear(6, 16)
        self.colour = nn.Linear(16, 3)
        self.size = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> object:
        features = torch.relu(self.trunk(x))
        both = {"colour": self.colour(features), "size": self.size(features)}
        return both if self.kind is dict else tuple(both.values())


COLOURS_AND_SIZES = {"colour": ["red", "green", "blue"], "size": ["small", "large"]}
"""The heads of `TwoHeads`."""


def two_answers(examples: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(inputs `[examples, 6]`, class numbers `[examples, 2]`): a colour and a size."""
    inputs, colours = numbers(examples, seed=seed)
    return inputs, torch.stack([colours, (inputs[:, 0] > 0).long()], dim=1)


class Recurrent(nn.Module):
    """An LSTM over numbers: `[B, T, 5]` -> `[B, 3]`."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 7, num_layers=2, batch_first=True)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Encoder(nn.Module):
    """Stock encoder layers over word ids with padding (id 0): `[B, T]` -> `[B, 2]`."""

    def __init__(self, layers: int = 1, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.words = nn.Embedding(20, width)
        layer = nn.TransformerEncoderLayer(width, heads, 24, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == 0
        x = self.encoder(self.words(ids), src_key_padding_mask=padding)
        return self.head((x * ~padding[:, :, None]).sum(1))


class Tied(nn.Module):
    """A language model whose embedding is its output, too: `[B, T]` -> `[B, T, 11]`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.middle = nn.Linear(8, 8)
        self.output = nn.Linear(8, 11, bias=False)
        self.output.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.output(torch.tanh(self.middle(self.words(ids))))


class TwoInputs(nn.Module):
    """Two inputs by name or by position: `a [B, 4]`, `b [B, 2]` -> `[B, 3]`."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) + self.right(b)


def seeded(model: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A model with weights from a seed, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model().eval()


def plain_outputs(model: nn.Module, inputs: Inputs) -> Tensor:
    """What the model itself gives, in eval mode, left in the mode in which it was."""
    mode = model.training
    with torch.no_grad():
        outputs = model.eval()(inputs)
    model.train(mode)
    return outputs
