"""Several heads in a recovery: losses by hand, weights, missing labels, teachers, and a training that helps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import explorer as ex
from explorer.recovery.objective import Objective, Teacher, distance, task_loss, taught
from explorer.steps import Recover
from explorer.subjects.examples import Examples
from explorer.subjects.heads import Head
from explorer.subjects.subject import Subject
from tests.toys import COLOURS_AND_SIZES, TwoHeads, seeded, two_answers

HEADS = (Head("colour", ("red", "green", "blue")), Head("size", ("small", "large"), 0.25))


def subject(*heads: Head) -> Subject:
    return Subject("toy", "Toy", TwoHeads(), "multi-task", "tensor", {}, heads=heads or HEADS)


def outputs(examples: int, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"colour": torch.randn(examples, 3, generator=draw), "size": torch.randn(examples, 2, generator=draw)}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_weighted_sum_of_the_heads(smoothing: float) -> None:
    found, targets = outputs(5), torch.tensor([[0, 1], [2, 0], [1, 1], [1, 0], [0, 0]])
    each = [
        F.cross_entropy(logits, own, label_smoothing=smoothing)
        for logits, own in zip(found.values(), targets.T, strict=True)
    ]
    assert float(task_loss(subject(), found, targets, smoothing)) == pytest.approx(float(each[0] + 0.25 * each[1]))


def test_examples_without_a_label_for_a_head_leave_it_out() -> None:
    found, targets = outputs(4), torch.tensor([[0, -100], [2, 0], [-100, 1], [1, -100]])
    by_hand = F.cross_entropy(found["colour"][[0, 1, 3]], torch.tensor([0, 2, 1]))
    by_hand = by_hand + 0.25 * F.cross_entropy(found["size"][[1, 2]], torch.tensor([0, 1]))
    assert float(task_loss(subject(), found, targets, 0.0)) == pytest.approx(float(by_hand))
    no_sizes = torch.stack([targets[:, 0], torch.full((4,), -100)], dim=1)
    alone = F.cross_entropy(found["colour"][[0, 1, 3]], torch.tensor([0, 2, 1]))
    assert float(task_loss(subject(), found, no_sizes, 0.0)) == pytest.approx(float(alone))


def test_a_head_of_one_logit_says_yes_or_no() -> None:
    logit, targets = torch.randn(6, 1), torch.tensor([[0], [1], [1], [0], [1], [0]])
    yes = Head("size", ("small", "large"))
    two = {"size": torch.cat([torch.zeros(6, 1), logit], dim=1)}
    one = task_loss(subject(yes), {"size": logit}, targets, 0.1)
    assert float(one) == pytest.approx(float(task_loss(subject(yes), two, targets, 0.1)), rel=1e-5)


def test_a_teacher_teaches_each_head() -> None:
    mine, told, targets = outputs(6), outputs(6, seed=1), torch.zeros(6, 2)
    parts = [distance("classification", mine[name], told[name], targets, 3.0) for name in mine]
    assert float(taught(subject(), mine, told, targets, 3.0)) == pytest.approx(float(parts[0] + 0.25 * parts[1]))
    assert float(taught(subject(), mine, mine, targets, 3.0)) == pytest.approx(0, abs=1e-6)


def test_the_parts_add_up_and_have_gradients() -> None:
    step = Recover(task_weight=0.5, distill=1, temperature=3, hidden=1)
    student, dense, batch = seeded(TwoHeads, 1), seeded(TwoHeads), Examples(*two_answers(12))
    found = Objective(step, subject(), dense, [Teacher(dense, 1.0)]).loss(student, batch)
    mine, told = student(batch.inputs), dense(batch.inputs)
    wanted = 0.5 * task_loss(subject(), mine, batch.targets, 0.0) + taught(subject(), mine, told, batch.targets, 3.0)
    assert found.item() > wanted.item()  # and the hidden features
    found.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    moved = Objective(Recover(adversarial=1, epsilon=0.1), subject(), dense, []).moved_against(student, batch)
    assert torch.allclose((moved.inputs - batch.inputs).abs(), torch.full((12, 6), 0.1), atol=1e-6)


def test_a_recovery_learns_both_answers_and_keeps_the_zeros() -> None:
    inputs, targets = two_answers(90)
    targets = torch.stack([(inputs[:, 1:3].sum(1) > 0).long(), targets[:, 1]], dim=1)
    data = (inputs, targets)
    wb = ex.load(seeded(TwoHeads), data=data, training=data, heads=COLOURS_AND_SIZES)
    v = wb.compress(ex.Prune(sparsity=0.3))
    back = v.recover(epochs=60, learning_rate=0.02, progress=False)
    before, after = v.evaluate(), back.evaluate()
    assert min(after.by_head.values()) > 0.8 and after.value > before.value + 0.2
    assert back.size.sparsity >= v.size.sparsity
    taught_back = v.recover(epochs=1, teacher="dense", progress=False)
    assert taught_back.evaluate().complete
