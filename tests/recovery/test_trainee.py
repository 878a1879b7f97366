"""The trainee: it answers as the variant does, whatever holds its weights, and the dense model stays untouched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import explorer as ex
from explorer.compression.apply import Stand
from explorer.recovery.asking import stand_of
from explorer.recovery.trainee import Trainee
from explorer.steps import Codebook, Quantize, Step
from explorer.variant import Variant
from explorer.weights.clone import digest
from explorer.weights.forms import rows_gone
from tests.toys import Convolutional, Encoder, Recurrent, Tied, numbers, perceptron, seeded


class Conv1D(nn.Module):
    """A linear layer that holds its weight as [in, out], as transformers' GPT-2 does."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight = nn.Parameter(torch.randn(nx, nf) * 0.3)
        self.bias = nn.Parameter(torch.randn(nf) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Packed(nn.Module):
    """Attention whose q, k and v are packed in a transposed layer: `[B, T, 6]` -> `[B, 3]`."""

    def __init__(self) -> None:
        super().__init__()
        self.c_attn, self.head = Conv1D(18, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.c_attn(x).chunk(3, -1)
        return self.head(((q @ k.transpose(-2, -1)).softmax(-1) @ v).mean(1))


def words(high: int) -> Tensor:
    return torch.randint(1, high, (12, 5), generator=torch.Generator().manual_seed(1))


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor, Tensor, str]]] = {
    "linear": lambda: (perceptron(), *numbers(12), "classification"),
    "tied": lambda: (seeded(Tied), words(11), words(11).roll(-1, 1), "language-modeling"),
    "packed and transposed": lambda: (seeded(Packed), torch.randn(12, 4, 6), torch.arange(12) % 3, "classification"),
    "lstm": lambda: (seeded(Recurrent), torch.randn(12, 4, 5), torch.arange(12) % 3, "classification"),
    "attention": lambda: (seeded(Encoder), words(20), torch.arange(12) % 2, "classification"),
    "conv": lambda: (seeded(Convolutional), torch.randn(12, 3, 12, 12), torch.arange(12) % 4, "classification"),
}
RECIPES: dict[str, list[Step]] = {
    "dense": [],
    "pruned": [ex.Prune(sparsity=0.5)],
    "rows": [ex.Prune(sparsity=0.3, pattern="row", scope="matrix")],
    "low rank": [ex.LowRank(energy=0.7), ex.Prune(sparsity=0.2)],
    "quantised": [ex.Prune(sparsity=0.3), Quantize(bits=4, rest=6)],
    "codebook": [ex.Prune(sparsity=0.3), Codebook(bits=3)],
}


def bench_of(name: str) -> tuple[ex.Workbench, Tensor]:
    torch.manual_seed(0)
    model, inputs, targets, task = MODELS[name]()
    return ex.load(model, data=(inputs, targets), calibration=(inputs, targets), task=task, batch_size=12), inputs


def trainee_of(variant: Variant, chosen: set[str] | None = None) -> Trainee:
    bench, before = variant.workbench, stand_of(variant)
    with torch.no_grad():
        return Trainee(
            bench.subject.model,
            bench.matrices(),
            {**bench.dense_forms, **before.forms},
            {**bench.dense_rest, **before.rest},
            chosen,
        )


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", MODELS)
def test_it_answers_as_the_variant_and_learns(model: str, recipe: str) -> None:
    bench, inputs = bench_of(model)
    before = digest(bench.subject.model)
    variant = bench.compress(RECIPES[recipe])
    trainee = trainee_of(variant)
    trainee.module.eval()
    outputs = bench.subject.outputs(trainee.dress(), inputs)
    assert torch.allclose(outputs, variant.outputs(inputs), atol=1e-5)
    trainee.module.train()
    optimiser = torch.optim.SGD(trainee.leaves, lr=0.1)
    bench.subject.outputs(trainee.dress(), inputs).square().sum().backward()
    assert sum(leaf.grad is not None and bool(leaf.grad.any()) for leaf in trainee.leaves) > len(trainee.leaves) / 2
    optimiser.step()
    forms, rest = trainee.forms()
    assert {name: form.kind for name, form in forms.items()} == {n: f.kind for n, f in variant.forms.items()}
    trainee.module.eval()
    made = Variant(bench, variant.recipe, variant.plan, bench.worn(Stand(forms, rest)))
    assert torch.allclose(bench.subject.outputs(trainee.dress(), inputs), made.outputs(inputs), rtol=1e-4, atol=1e-4)
    assert digest(bench.subject.model) == before
    bench.check_dense()


@pytest.mark.parametrize("after", [[], [Quantize(bits=4)], [Quantize(bits=4, rest=8)], [Codebook(bits=3)]], ids=str)
def test_the_bias_of_a_row_that_is_gone_stays_zero(after: list[Step]) -> None:
    bench, inputs = bench_of("linear")
    variant = bench.compress([ex.Prune(sparsity=0.5, pattern="row", layers="0"), *after])
    gone = rows_gone(variant.forms["0"])
    assert gone is not None and int(gone.sum()) == 8
    trainee = trainee_of(variant)
    optimiser = torch.optim.SGD(trainee.leaves, lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        bench.subject.outputs(trainee.dress(), inputs).square().sum().backward()
        optimiser.step()
    bias = trainee.forms()[1]["0.bias"].decode()[0]
    assert bias[gone].eq(0).all() and bias[~gone].ne(0).any()
    trainee.dress()
    assert trainee.module.get_submodule("0").bias[gone].eq(0).all()  # type: ignore[index]


def test_a_choice_trains_these_matrices_and_their_biases_alone() -> None:
    bench, _ = bench_of("linear")
    trainee = trainee_of(bench.compress([ex.LowRank(rank=2)]), {"2"})
    forms, rest = trainee.forms()
    assert (list(forms), list(rest)) == (["2"], ["2.bias"])
    assert {id(leaf) for leaf in trainee.leaves} == {
        id(leaf) for held in (trainee.holds["2"], trainee.rest["2.bias"]) for leaf in held.leaves
    }
    assert len(trainee.decaying) == 2 and list(trainee.plain()["0"]) == []


def test_a_frozen_low_rank_key_keeps_its_removed_rows_biases_gone() -> None:
    bench, _ = bench_of("attention")
    key, query = "encoder.layers.0.self_attn.key", "encoder.layers.0.self_attn.query"
    steps = [ex.Prune(sparsity=0.5, pattern="row", layers=key), ex.LowRank(rank=3, layers=key)]
    variant = bench.compress(steps)
    gone = rows_gone(variant.forms[key])
    assert gone is not None and gone.any()
    trainee = trainee_of(variant, {query})
    with torch.no_grad():
        trainee.rest["encoder.layers.0.self_attn.in_proj_bias"].leaves[0].fill_(1.0)
    bias = trainee.forms()[1]["encoder.layers.0.self_attn.in_proj_bias"].decode()[0]
    assert bias[12:24][gone].eq(0).all() and bias[:12].eq(1).all()


def test_buffers_that_changed_are_part_of_the_outcome() -> None:
    bench, inputs = bench_of("conv")
    trainee = trainee_of(bench.dense)
    assert not any(name.startswith("norm.running") for name in trainee.forms()[1])
    trainee.module.train()
    bench.subject.outputs(trainee.module, inputs)
    changed = trainee.forms()[1]
    assert {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"} <= set(changed)
    again = Trainee(bench.subject.model, bench.matrices(), bench.dense_forms, {**bench.dense_rest, **changed}, set())
    mean = again.module.get_buffer("norm.running_mean")
    assert torch.equal(mean, trainee.module.get_buffer("norm.running_mean"))
    again.module.get_buffer("norm.running_mean").copy_(bench.subject.model.get_buffer("norm.running_mean"))
    assert "norm.running_mean" in again.forms()[1]  # also where training led back to the dense model
