"""Work: our counter against counts by hand, and the cost of variants against a recount of what really runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import explorer as ex
from explorer.evaluation.cost import record_work
from explorer.weights.clone import private_clone
from explorer.weights.install import PrivateModel
from tests.toys import Convolutional, Encoder, Recurrent, Tied, perceptron, seeded


def _total(model: nn.Module, *inputs: Tensor) -> int:
    return record_work(model.eval(), lambda module: module(*inputs)).total


class Attend(nn.Module):
    """Scaled dot products alone."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **self.options)  # type: ignore[arg-type]  # as the test says


def test_linear() -> None:
    assert _total(perceptron(6, 16, 3), torch.randn(1, 6)) == 6 * 16 + 16 * 3
    assert _total(nn.Linear(6, 4, bias=False), torch.randn(1, 5, 6)) == 5 * 6 * 4  # at each of five positions
    assert _total(nn.Linear(6, 4), torch.randn(2, 5, 6)) == 2 * 5 * 6 * 4
    assert _total(nn.Linear(6, 4), torch.randn(6)) == 6 * 4  # a vector without a batch


@pytest.mark.parametrize(
    ("layer", "inputs", "macs"),
    [
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (1, 3, 12, 12), 6 * 6 * 8 * 3 * 9),
        (nn.Conv2d(8, 12, 3, groups=4), (1, 8, 6, 6), 4 * 4 * 12 * 2 * 9),
        (nn.Conv2d(8, 8, 3, groups=8, padding=2, dilation=2), (1, 8, 6, 6), 6 * 6 * 8 * 9),
        (nn.Conv1d(4, 6, 5, stride=3), (2, 4, 20), 2 * 6 * 6 * 4 * 5),
        (nn.Conv2d(3, 5, 3, padding="same", padding_mode="reflect"), (1, 3, 7, 7), 7 * 7 * 5 * 3 * 9),
        (nn.ConvTranspose1d(4, 6, 5, stride=3), (1, 4, 20), 20 * 4 * 6 * 5),
        (nn.Conv3d(2, 4, 2), (1, 2, 3, 3, 3), 8 * 4 * 2 * 8),
    ],
)
def test_convolutions(layer: nn.Module, inputs: tuple[int, ...], macs: int) -> None:
    assert _total(layer, torch.randn(inputs)) == macs


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"attn_mask": torch.ones(5, 5, dtype=torch.bool)}, {"attn_mask": torch.zeros(5, 5)}],
)
def test_scaled_dot_products(options: dict[str, object]) -> None:
    """Two heads of width 8 over 5 positions: queries with keys, weights with values, whichever kernel runs."""
    q, k, v = (torch.randn(1, 2, 5, 8) for _ in range(3))
    record = record_work(Attend(**options), lambda module: module(q, k, v))
    assert record.without == record.total == 2 * (5 * 5 * 8 + 5 * 5 * 8)


def test_scaled_dot_products_across_and_with_shared_keys() -> None:
    q, k, v = torch.randn(1, 4, 5, 8), torch.randn(1, 4, 9, 8), torch.randn(1, 4, 9, 6)
    assert _total(Attend(), q, k, v) == 4 * (5 * 9 * 8 + 5 * 9 * 6)
    k, v = torch.randn(1, 2, 9, 8), torch.randn(1, 2, 9, 8)
    assert _total(Attend(enable_gqa=True), q, k, v) == 4 * (5 * 9 * 8) * 2


@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention(need_weights: bool) -> None:
    """Its projections, and both products; each part of the packed projection with its own length."""
    model = private_clone(nn.MultiheadAttention(8, 2, batch_first=True))
    x, other = torch.randn(1, 5, 8), torch.randn(1, 9, 8)
    record = record_work(model, lambda module: module(x, other, other, need_weights=need_weights))
    parts = {key[:2]: macs for key, macs in record.by_part.items()}
    assert parts[("in_proj_weight", 0)] == 5 * 8 * 8
    assert parts[("in_proj_weight", 64)] == parts[("in_proj_weight", 128)] == 9 * 8 * 8
    assert parts[("out_proj.weight", 0)] == 5 * 8 * 8
    assert record.without == 2 * (5 * 9 * 4) * 2


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)], ids=["lstm", "gru", "rnn"])
@pytest.mark.parametrize("both_ways", [False, True])
def test_recurrent(layer: Callable[..., nn.RNNBase], gates: int, both_ways: bool) -> None:
    model = layer(5, 7, num_layers=2, batch_first=True, bidirectional=both_ways)
    ways = 2 if both_ways else 1
    first, second = gates * 7 * (5 + 7), gates * 7 * (7 * ways + 7)
    record = record_work(model.eval(), lambda module: module(torch.randn(1, 6, 5)))
    assert record.total == 6 * ways * (first + second)
    assert sum(macs for part, macs in record.by_part.items() if part[0] == "weight_hh_l0") == 6 * gates * 49
    assert record.without == 0


def test_tied_weights_count_each_time() -> None:
    model = seeded(Tied)  # looking a word up multiplies nothing
    assert _total(model, torch.zeros(1, 4, dtype=torch.long)) == 4 * (64 + 8 * 11)
    assert sum(p.numel() for p in model.parameters()) == 11 * 8 + 64 + 8


def test_products_of_activations_belong_to_no_parameter() -> None:
    class Gram(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.transpose(-1, -2)

    record = record_work(Gram(), lambda module: module(torch.randn(3, 4, 5)))
    assert record.without == record.total == 3 * 4 * 4 * 5


class Cross(nn.Module):
    """Stock cross attention in which queries and keys have different lengths: 3 learned queries over T inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(3, 12))
        self.attend = nn.MultiheadAttention(12, 3, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        q = self.queries.expand(len(x), -1, -1)
        return self.head(self.attend(q, x, x)[0].mean(1))


class Shared(nn.Module):
    """One layer that is run twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.once = nn.Linear(12, 12)
        self.again = self.once
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(torch.relu(self.once(x))))


class Doubling(nn.Linear):
    """A linear layer with a forward of its own, which a thin layer would lose."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Own(nn.Module):
    """A layer with a forward of its own beside a stock one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Doubling(12, 12)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(x)))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], str]] = {
    "perceptron": (lambda: perceptron(12, 24, 2), lambda: torch.randn(6, 12), "classification"),
    "convolutions": (Convolutional, lambda: torch.randn(6, 3, 12, 12), "classification"),
    "lstm": (Recurrent, lambda: torch.randn(6, 4, 5), "classification"),
    "encoder": (Encoder, lambda: torch.randint(1, 20, (6, 7)), "classification"),
    "cross attention": (Cross, lambda: torch.randn(6, 8, 12), "classification"),
    "tied": (Tied, lambda: torch.randint(11, (6, 4)), "language-modeling"),
    "shared layer": (Shared, lambda: torch.randn(6, 12), "classification"),
    "own forward": (Own, lambda: torch.randn(6, 12), "classification"),
}
RECIPES = {
    "rank 2": [ex.LowRank(rank=2)],
    "one step of two": [ex.LowRank(energy=0.5), ex.Prune(sparsity=0.5)],
    "pruned": [ex.Prune(sparsity=0.7)],
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_cost_of_a_variant_is_a_recount_of_what_runs(name: str, recipe: str) -> None:
    make, draw, task = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, inputs = make(), draw()
    targets = (inputs + 1) % 11 if task == "language-modeling" else torch.arange(6) % 2
    wb = ex.load(model, data=(inputs, targets), task=task)
    v = wb.compress(RECIPES[recipe])
    dressed = PrivateModel(model, wb.matrices()).wear(v.outfit)
    recount = record_work(dressed, lambda module: module(inputs[:1]))
    assert v.cost.macs == recount.total
    assert v.cost.macs_attention == recount.without == wb.dense.cost.macs_attention
    assert wb.dense.cost.macs_attention <= v.cost.macs_effective <= v.cost.macs <= wb.dense.cost.macs
    if recipe == "pruned":
        assert v.cost.macs_effective < v.cost.macs == wb.dense.cost.macs  # zeros multiply, too


def test_effective_work_leaves_out_exactly_the_zeros() -> None:
    wb = ex.load(perceptron(6, 16, 3), data=(torch.randn(4, 6), torch.arange(4) % 3))
    v = wb.compress(ex.Prune(sparsity=0.25, layers=("0",)))
    assert v.cost.macs_effective == 6 * 16 - 24 + 16 * 3
    removed = wb.compress(ex.Prune(sparsity=0.5, pattern="row", layers=("0",)))
    assert removed.cost.macs_effective == 8 * 6 + 16 * 3
