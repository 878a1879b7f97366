"""What is minimised: task losses and distances by hand, hooks that are gone again, and steps of exactly epsilon."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer import ExplorerError
from explorer.recovery.features import blocks_of, features
from explorer.recovery.objective import Objective, Teacher, distance, pull, task_loss
from explorer.steps import Recover
from explorer.subjects.examples import Examples
from explorer.subjects.subject import Subject
from explorer.weights.clone import take_open_path
from tests.toys import Encoder, numbers, perceptron, seeded


def subject(task: str = "classification", model: nn.Module | None = None, **fields: Any) -> Subject:
    return Subject("toy", "Toy", model or perceptron(), task, "tensor", {}, **fields)


def loss_of(task: str, outputs: Any, targets: Tensor, smoothing: float = 0.0, **fields: Any) -> float:
    return float(task_loss(subject(task, **fields), outputs, targets, smoothing))


# -- the task -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classes_by_cross_entropy(smoothing: float) -> None:
    outputs, targets = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    logs = outputs.log_softmax(1)
    wanted = torch.full((5, 3), smoothing / 3)
    wanted[torch.arange(5), targets] += 1 - smoothing
    assert loss_of("classification", outputs, targets, smoothing) == pytest.approx(
        float(-(wanted * logs).sum(1).mean())
    )


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_one_logit_says_yes_or_no(shape: tuple[int, ...]) -> None:
    outputs, targets = torch.randn(5).reshape(shape), torch.tensor([0, 1, 1, 0, 1])
    two = torch.stack([torch.zeros(5), outputs.reshape(-1)], 1)
    for smoothing in (0.0, 0.3):
        wanted = loss_of("classification", two, targets, smoothing)
        assert loss_of("classification", outputs, targets, smoothing) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("task", ["language-modeling", "sequence"])
def test_tokens_that_are_ignored_do_not_count(task: str) -> None:
    outputs, targets = torch.randn(2, 4, 6), torch.randint(0, 6, (2, 4))
    targets[0, 1:] = -100
    logs = outputs.log_softmax(-1)
    seen = targets != -100
    wanted = -logs[seen].gather(1, targets[seen][:, None]).mean()
    assert loss_of(task, outputs, targets) == pytest.approx(float(wanted), rel=1e-5)


def test_numbers_by_squares() -> None:
    outputs, targets = torch.randn(5, 1), torch.randn(5)
    assert loss_of("regression", outputs, targets) == pytest.approx(float((outputs[:, 0] - targets).square().mean()))


def test_a_score_is_turned_round_and_needs_a_gradient() -> None:
    outputs, targets = torch.randn(4, 2, requires_grad=True), torch.randn(4, 2)
    found = task_loss(subject("score", score=lambda o, t: -(o - t).abs().sum(1)), outputs, targets, 0.0)
    assert found.item() == pytest.approx((outputs - targets).abs().sum(1).mean().item())
    whole = subject("score", score=lambda o, t: (o.argmax(1) == t.argmax(1)).float())
    with pytest.raises(ExplorerError, match="no gradient"):
        task_loss(whole, outputs, targets, 0.0)
    with torch.no_grad():  # where it is only watched it may be anything
        assert float(task_loss(subject("score", score=lambda o, t: -(o - t).abs().sum(1)), outputs, targets, 0.0)) > 0


# -- teachers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_the_softened_divergence(temperature: float) -> None:
    outputs, told = torch.randn(6, 4), torch.randn(6, 4)
    p, q = (told / temperature).softmax(1), (outputs / temperature).softmax(1)
    wanted = temperature**2 * (p * (p / q).log()).sum(1).mean()
    found = distance("classification", outputs, told, torch.zeros(6), temperature)
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)
    assert float(distance("classification", told, told, torch.zeros(6), temperature)) == pytest.approx(0, abs=1e-6)


def test_a_teacher_of_one_logit_and_of_tokens_and_of_numbers() -> None:
    one, other, targets = torch.randn(6, 1), torch.randn(6, 1), torch.zeros(6)
    two = [torch.cat([torch.zeros(6, 1), logit], 1) for logit in (one, other)]
    found = distance("classification", one, other, targets, 2.0)
    assert float(found) == pytest.approx(float(distance("classification", two[0], two[1], targets, 2.0)))
    said, told, ids = torch.randn(1, 3, 5), torch.randn(1, 3, 5), torch.tensor([[1, -100, 2]])
    seen = ids[0] != -100
    wanted = distance("classification", said[0, seen], told[0, seen], targets, 2.0)
    assert float(distance("language-modeling", said, told, ids, 2.0)) == pytest.approx(float(wanted), rel=1e-5)
    assert float(distance("regression", one, other, targets, 2.0)) == pytest.approx(
        float((one - other).square().mean())
    )


def test_the_parts_add_up() -> None:
    step = Recover(task_weight=0.5, distill=1, temperature=3, label_smoothing=0.1)
    student, dense = perceptron(seed=1), perceptron()
    batch = Examples(*numbers(12))
    found = Objective(step, subject(), dense, [Teacher(dense, 1.0), Teacher(student, 2.0)]).loss(student, batch)
    outputs, told = student(batch.inputs), dense(batch.inputs)
    wanted = 0.5 * task_loss(subject(), outputs, batch.targets, 0.1)
    wanted = wanted + distance("classification", outputs, told, batch.targets, 3.0)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    found.backward()
    assert all(parameter.grad is None for parameter in dense.parameters())


def test_hidden_features_are_compared_layer_by_layer() -> None:
    student, dense, batch = perceptron(seed=1), perceptron(), Examples(*numbers(12))
    found = Objective(Recover(task_weight=0, hidden=2), subject(), dense, []).loss(student, batch)
    parts = []
    for layers in (1, 3):
        a, b = student[:layers](batch.inputs), dense[:layers](batch.inputs)
        parts.append((a - b).square().mean() / b.var(correction=0))
    assert found.item() == pytest.approx(torch.stack(parts).sum().item(), rel=1e-5)
    same = Objective(Recover(task_weight=0, hidden=2), subject(), dense, []).loss(dense, batch)
    assert same.item() == 0


def test_attention_maps_are_compared_where_there_are_some() -> None:
    student, dense = seeded(Encoder, 1), seeded(Encoder)
    batch = Examples(torch.randint(1, 20, (6, 5)), torch.arange(6) % 2)
    with pytest.raises(ExplorerError, match="no attention"):
        Objective(Recover(attention=1), subject(), perceptron(), []).loss(perceptron(), Examples(*numbers(6)))
    for model in (student, dense):
        take_open_path(model)
    step = Recover(task_weight=0, attention=1)
    found = Objective(step, subject(model=dense), dense, []).loss(student, batch)
    assert float(found) > 0 and found.requires_grad
    assert float(Objective(step, subject(model=dense), dense, []).loss(dense, batch)) == pytest.approx(0, abs=1e-6)


# -- insides ------------------------------------------------------------------------------------------------------


def test_repeated_blocks_are_looked_at_else_layers() -> None:
    assert blocks_of(seeded(lambda: Encoder(layers=3))) == [f"encoder.layers.{at}" for at in range(3)]
    assert blocks_of(perceptron()) == ["0", "2"]


def test_hooks_are_gone_also_after_an_exception() -> None:
    model, found = perceptron(), {}  # type: ignore[var-annotated]
    with features(model, ["0", "2"], found):
        model(numbers(4)[0])
    assert set(found) == {"0", "2"}
    with pytest.raises(RuntimeError), features(model, ["0"], found):
        raise RuntimeError("stopped")
    with pytest.raises(AttributeError), features(model, ["0", "nowhere"], found):
        pass
    assert not any(module._forward_hooks for module in model.modules())


# -- other pulls --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "moved"), [(0.0, 0), (0.5, 6), (1.0, 12)])
def test_examples_are_moved_against_the_model_by_exactly_epsilon(share: float, moved: int) -> None:
    model, batch = perceptron(), Examples(*numbers(12))
    objective = Objective(Recover(adversarial=share, epsilon=0.25), subject(), model, [])
    found = objective.moved_against(model, batch)
    way = found.inputs - batch.inputs
    assert torch.allclose(way[:moved].abs(), torch.full((moved, 6), 0.25), atol=1e-6) and not way[moved:].any()
    assert torch.equal(found.targets, batch.targets) and not batch.inputs.requires_grad
    before, after = (float(task_loss(subject(), model(b.inputs), b.targets, 0.0)) for b in (batch, found))
    assert after > before or not moved
    assert all(parameter.grad is None for parameter in model.parameters())


def test_whole_numbers_cannot_be_moved_and_unused_inputs_stay() -> None:
    step = Recover(adversarial=1, epsilon=0.5)
    ids = Examples(torch.randint(1, 20, (4, 5)), torch.arange(4) % 2)
    with pytest.raises(ExplorerError, match="whole numbers"):
        Objective(step, subject(), seeded(Encoder), []).moved_against(seeded(Encoder), ids)
    model, (inputs, targets) = perceptron(), numbers(4)
    two = subject(forward=lambda module, pair: module(pair[0]))
    found = Objective(step, two, model, []).moved_against(model, Examples((inputs, torch.ones(4, 2)), targets))
    assert torch.equal(found.inputs[1], torch.ones(4, 2)) and not torch.equal(found.inputs[0], inputs)


def test_pulls_to_sparsity_by_hand() -> None:
    weights = [torch.tensor([[3.0, -4.0], [0.0, 0.0]], requires_grad=True), torch.tensor([[1.0]])]
    assert float(pull(Recover(l1=0.1), weights)) == pytest.approx(0.8)
    found = pull(Recover(group_l1=0.1), weights)
    assert float(found) == pytest.approx(0.6)
    found.backward()
    grad = weights[0].grad
    assert grad is not None and grad.isfinite().all() and not grad[1].any()
