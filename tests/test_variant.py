"""Variants: what they say is what their recipe made, and their public model is a copy of its own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import explorer as ex
from tests.toys import Convolutional, Encoder, bench, numbers, perceptron, plain_outputs, seeded

HALF = ex.Prune(sparsity=0.5)
RECIPES: dict[str, Any] = {
    "pruned": HALF,
    "thin": ex.LowRank(rank=2),
    "both": [ex.LowRank(rank=2), HALF],
    "rows": ex.Prune(sparsity=0.4, pattern="row"),
}


def _convolutional() -> ex.Workbench:
    draw = torch.Generator().manual_seed(1)
    data = torch.randn(20, 3, 12, 12, generator=draw), torch.arange(20) % 4
    return ex.load(seeded(Convolutional), data=data)


def _encoder() -> ex.Workbench:
    draw = torch.Generator().manual_seed(1)
    return ex.load(seeded(Encoder), data=(torch.randint(0, 20, (20, 7), generator=draw), torch.arange(20) % 2))


@pytest.mark.parametrize("make", [bench, _convolutional, _encoder])
@pytest.mark.parametrize("recipe", RECIPES)
def test_outputs_are_those_of_the_public_model_and_of_the_decoded_weights(make: Any, recipe: str) -> None:
    wb = make()
    v = wb.compress(RECIPES[recipe])
    inputs = wb.subject.split("tune").inputs
    outputs = v.outputs(inputs)
    assert torch.equal(outputs, plain_outputs(v.model, inputs))
    by_hand = copy.deepcopy(wb.subject.model)
    with torch.no_grad():
        for matrix in wb.matrices():
            matrix.view(by_hand.get_parameter(matrix.parameter)).copy_(v.forms[matrix.name].decode())
        for name, form in v.outfit.rest.items():
            by_hand.get_parameter(name).copy_(form.decode().reshape(by_hand.get_parameter(name).shape))
    torch.testing.assert_close(outputs, plain_outputs(by_hand, inputs), atol=1e-5, rtol=1e-4)


def test_forms_name_every_matrix_also_the_untouched() -> None:
    wb = bench()
    v = wb.compress(ex.Prune(sparsity=0.5, layers=("0",)))
    assert set(v.forms) == {"0", "2"} and v.forms["2"] is wb.dense.forms["2"]
    assert v.forms["0"].kind == "masked" and v.forms["2"].kind == "dense"
    assert not v.is_dense and wb.dense.is_dense


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_public_model_can_be_trained_and_the_variant_stays(recipe: str) -> None:
    wb = _encoder()
    v = wb.compress(RECIPES[recipe])
    examples = wb.subject.split("tune")
    before = v.outputs(examples.inputs)
    model = v.model.train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        loss = F.cross_entropy(model.eval()(examples.inputs), examples.targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert v.model is model  # one copy, made once
    assert torch.equal(v.outputs(examples.inputs), before)
    assert v.evaluate().complete


def test_the_public_model_shares_no_memory_with_anything() -> None:
    wb = _encoder()
    taken = {parameter.data_ptr() for parameter in wb.subject.model.parameters()}
    for v in (wb.dense, wb.compress(HALF), wb.compress(ex.LowRank(rank=2))):
        own = {tensor.data_ptr() for tensor in [*v.model.parameters(), *v.model.buffers()]}
        forms = {form.decode().data_ptr() for form in v.forms.values()}
        assert not own & taken and not own & forms
        taken |= own


def test_the_public_model_can_be_kept_in_the_usual_ways() -> None:
    v = _encoder().compress([ex.LowRank(rank=2), HALF])
    ids = torch.randint(0, 20, (3, 7))
    expected = plain_outputs(v.model, ids)
    for again in (copy.deepcopy(v.model), pickle.loads(pickle.dumps(v.model))):
        assert torch.equal(plain_outputs(again, ids), expected)
    fresh = copy.deepcopy(v.model)
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    fresh.load_state_dict(v.model.state_dict())
    assert torch.equal(plain_outputs(fresh, ids), expected)


def test_raw_examples_are_prepared_where_the_subject_knows_how() -> None:
    wb = ex.load("cancer-tab")
    some = wb.subject.split("tune").take(slice(0, 4))
    rows = wb.subject.rows(some.inputs)
    torch.testing.assert_close(wb.dense.outputs(rows), wb.dense.outputs(some.inputs), atol=1e-3, rtol=1e-3)
    one = rows.iloc[0].to_dict()
    torch.testing.assert_close(wb.dense.outputs([one])[0], wb.dense.outputs(some.inputs)[0], atol=1e-3, rtol=1e-3)
    with pytest.raises(ex.ExplorerError, match="does not know how to prepare raw examples. Give tensors"):
        bench().dense.outputs("a sentence")


def test_answers_to_chosen_examples() -> None:
    wb = bench()
    answers = wb.dense.answers([5, 0])
    logits = plain_outputs(wb.subject.model, numbers()[0][[5, 0]])
    assert [answer.index for answer in answers] == [5, 0]
    assert [int(answer.label) for answer in answers] == logits.argmax(1).tolist()
    assert [answer.right for answer in answers] == (logits.argmax(1) == numbers()[1][[5, 0]]).tolist()
    assert wb.dense.answers([]) == []


@pytest.mark.parametrize("index", [60, -1])
def test_an_example_that_is_not_there_is_named(index: int) -> None:
    with pytest.raises(ex.ExplorerError, match=f"tune: there is no example {index}. Give 0 to 59"):
        bench().dense.answers([0, index])


def test_it_says_what_it_is() -> None:
    v = bench().compress(HALF)
    assert str(v).startswith("Sequential: prune 50 %, magnitude\n") and "sparsity 50.00%" in str(v)
    assert "nothing changed" in str(bench().dense)


def test_removed_neurons_take_their_bias_along() -> None:
    model = perceptron()
    wb = ex.load(model, data=numbers())
    v = wb.compress(ex.Prune(sparsity=0.5, pattern="row", layers=("0",)))
    gone = v.forms["0"].decode().abs().sum(1) == 0
    assert int(gone.sum()) == 8
    hidden = torch.relu(F.linear(numbers()[0], v.model.get_parameter("0.weight"), v.model.get_parameter("0.bias")))
    assert hidden[:, gone].abs().max() == 0
    smaller = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        smaller.get_parameter("0.weight").copy_(model.get_parameter("0.weight")[~gone])
        smaller.get_parameter("0.bias").copy_(model.get_parameter("0.bias")[~gone])
        smaller.get_parameter("2.weight").copy_(model.get_parameter("2.weight")[:, ~gone])
        smaller.get_parameter("2.bias").copy_(model.get_parameter("2.bias"))
    torch.testing.assert_close(v.outputs(numbers()[0]), plain_outputs(smaller, numbers()[0]))
