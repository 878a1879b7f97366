"""Robustness: each way to make inputs worse does what it says, seeded, and nothing at strength 0."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from captum.robust import PGD
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.evaluation.robustness import TRIALS, Reach, attacked, perturbed, reach_of, trials_for
from explorer.subjects.examples import Examples
from explorer.subjects.subject import Subject
from tests.toys import perceptron

IMAGES = torch.rand(6, 2, 8, 10, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0]).view(2, 1, 1)
TEXTS = torch.tensor([[5, 6, 7, 8, 0, 0], [9, 0, 0, 0, 0, 0], [5, 6, 7, 8, 9, 5]])
ROWS = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 10.0, 0.1])


def subject(task: str = "classification", ways: ModuleType | None = None, model: Any = None) -> Subject:
    nothing = {"tune": lambda: Examples(torch.zeros(1, 1), torch.zeros(1))}
    return Subject("toy", "Toy", model or nn.Identity(), task, "tensor", nothing, ways=ways)


def words() -> ModuleType:
    ways = ModuleType("ways")
    ways.PAD, ways.UNKNOWN = 0, 1  # type: ignore[attr-defined]  # as a sample's data module has them
    return ways


def worse(name: str, inputs: Any, strength: float, ways: ModuleType | None = None, number: int = 0) -> Any:
    return perturbed(TRIALS[name], inputs, strength, number, reach_of(subject(ways=ways), inputs))


SIMPLE = [each for each in TRIALS.values() if not each.attack]


def inputs_for(what: str) -> Tensor:
    return {"image": IMAGES, "text": TEXTS, "table": ROWS}[what]


@pytest.mark.parametrize("each", SIMPLE, ids=lambda each: each.name)
def test_the_same_numbers_each_time_and_nothing_at_zero(each: Any) -> None:
    inputs = inputs_for(each.what)
    before = inputs.clone()
    strongest = each.strengths[-1]
    first = worse(each.name, inputs, strongest, words())
    assert torch.equal(first, worse(each.name, inputs, strongest, words()))
    assert not torch.equal(first, inputs) and first.shape == inputs.shape and first.dtype == inputs.dtype
    assert torch.equal(inputs, before)
    reach = reach_of(subject(ways=words()), inputs)
    assert each.change is not None
    assert torch.equal(each.change(inputs, 0.0, torch.Generator().manual_seed(0), reach), inputs)


@pytest.mark.parametrize("name", ["noise", "outliers", "dropout", "feature noise"])
def test_every_batch_has_its_own_random_numbers(name: str) -> None:
    inputs = inputs_for(TRIALS[name].what)
    assert not torch.equal(worse(name, inputs, 0.4, words(), 0), worse(name, inputs, 0.4, words(), 1))


def test_noise_is_by_the_range_of_each_channel() -> None:
    large = torch.full((40, 2, 8, 8), 0.5) * torch.tensor([1.0, 5.0]).view(2, 1, 1)
    reach = Reach(torch.zeros(2, 1, 1), torch.tensor([1.0, 5.0]).view(2, 1, 1), torch.ones(2, 1, 1))
    moved = perturbed(TRIALS["noise"], large, 0.1, 0, reach) - large
    assert moved[:, 0].std().item() == pytest.approx(0.1, rel=0.1)
    assert moved[:, 1].std().item() == pytest.approx(0.5, rel=0.1)
    strong = perturbed(TRIALS["noise"], large, 5.0, 0, reach)
    assert strong.min() == 0 and strong[:, 1].max() == 5 and strong[:, 0].max() == 1


def test_outliers_hit_their_share_of_pixels_through_all_channels() -> None:
    images = torch.full((50, 2, 16, 16), 0.5)
    reach = Reach(torch.zeros(2, 1, 1), torch.ones(2, 1, 1), torch.ones(2, 1, 1))
    moved = perturbed(TRIALS["outliers"], images, 0.2, 0, reach)
    hit = moved != 0.5
    assert torch.equal(hit[:, 0], hit[:, 1])
    assert hit.float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert set(moved.unique().tolist()) == {0.0, 0.5, 1.0}


def test_occlusion_covers_one_square_inside_the_image() -> None:
    moved = worse("occlusion", IMAGES, 0.5)
    for before, after in zip(IMAGES, moved, strict=True):
        rows, columns = (before != after).any(0).nonzero().unbind(1)
        assert len(rows) == 16 and int(rows.max() - rows.min()) == 3 and int(columns.max() - columns.min()) == 3


def test_a_bright_corner_is_in_a_corner() -> None:
    moved = worse("corner", IMAGES, 2)
    for before, after in zip(IMAGES, moved, strict=True):
        rows, columns = (before != after).any(0).nonzero().unbind(1)
        assert (int(rows.min()), int(rows.max())) in ((0, 1), (6, 7))
        assert (int(columns.min()), int(columns.max())) in ((0, 1), (8, 9))


def test_blur_keeps_flat_images_and_the_sum_of_a_point() -> None:
    flat = torch.full((1, 1, 9, 9), 0.3)
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    reach = Reach(*[torch.zeros(())] * 3)  # type: ignore[arg-type]
    torch.testing.assert_close(perturbed(TRIALS["blur"], flat, 1.0, 0, reach), flat)
    moved = perturbed(TRIALS["blur"], point, 1.0, 0, reach)
    assert moved.sum().item() == pytest.approx(1, abs=1e-5) and moved.max() < 0.2
    assert torch.equal(moved.transpose(2, 3), moved)


def test_contrast_falls_by_its_share() -> None:
    moved = worse("contrast", IMAGES, 0.7)
    torch.testing.assert_close(moved.mean((2, 3)), IMAGES.mean((2, 3)))
    torch.testing.assert_close(moved.std((2, 3)), 0.3 * IMAGES.std((2, 3)))


def test_shift_moves_by_whole_pixels() -> None:
    moved = worse("shift", IMAGES, 2)
    for before, after in zip(IMAGES, moved, strict=True):
        inner = before[:, 2:-2, 2:-2]
        places = [
            after[:, 2 + down : 6 + down, 2 + right : 8 + right] for down, right in ((2, 0), (-2, 0), (0, 2), (0, -2))
        ]
        assert sum(torch.equal(inner, place) for place in places) == 1


def test_words_left_out_keep_their_order_and_never_all_go() -> None:
    for strength in (0.3, 1.0):
        moved = worse("dropout", TEXTS, strength, words())
        for before, after in zip(TEXTS.tolist(), moved.tolist(), strict=True):
            left = [word for word in after if word]
            assert left and after == left + [0] * (6 - len(left))
            remaining = iter(before)
            assert all(word in remaining for word in left)
    assert worse("dropout", TEXTS, 1.0, words()).ne(0).sum(1).tolist() == [1, 1, 1]


def test_misspelt_words_are_unknown_and_padding_stays() -> None:
    moved = worse("typos", TEXTS, 1.0, words())
    assert torch.equal(moved, torch.where(TEXTS != 0, 1, 0))
    few = worse("typos", TEXTS.repeat(200, 1), 0.2, words())
    share = (few == 1).sum() / (TEXTS.repeat(200, 1) != 0).sum()
    assert share.item() == pytest.approx(0.2, abs=0.03)


def test_without_an_unknown_word_another_of_the_text_stands_in() -> None:
    ways = ModuleType("ways")
    ways.PAD = 0  # type: ignore[attr-defined]  # as a sample's data module has it
    moved = worse("typos", TEXTS, 0.9, ways)
    for before, after in zip(TEXTS.tolist(), moved.tolist(), strict=True):
        assert set(after) <= set(before) and [word == 0 for word in after] == [word == 0 for word in before]


def test_noise_on_features_is_by_their_spread() -> None:
    moved = (worse("feature noise", ROWS, 0.5) - ROWS).std(0)
    torch.testing.assert_close(moved, 0.5 * ROWS.std(0), rtol=0.2, atol=0)


def test_of_an_image_and_a_text_each_trial_changes_its_own() -> None:
    both = {"image": IMAGES[:3], "words": TEXTS}
    noisy, misspelt = worse("noise", both, 0.4, words()), worse("typos", both, 0.9, words())
    assert not torch.equal(noisy["image"], both["image"]) and torch.equal(noisy["words"], TEXTS)
    assert torch.equal(misspelt["image"], both["image"]) and not torch.equal(misspelt["words"], TEXTS)


@pytest.mark.parametrize(
    ("inputs", "task", "names"),
    [
        (
            IMAGES,
            "classification",
            {"noise", "outliers", "occlusion", "blur", "contrast", "shift", "corner", "fgsm", "pgd"},
        ),
        (TEXTS, "classification", {"dropout", "typos"}),
        (TEXTS, "language-modeling", {"typos"}),
        (ROWS, "regression", {"feature noise", "fgsm", "pgd"}),
        (ROWS, "score", {"feature noise"}),
    ],
)
def test_trials_fit_the_inputs(inputs: Tensor, task: str, names: set[str]) -> None:
    found, left_out = trials_for(subject(task, words()), inputs, None)
    assert {each.name for each in found} == names and not left_out


def test_asked_trials_that_do_not_fit_are_told_why() -> None:
    found, left_out = trials_for(subject(), ROWS, ["blur", "feature noise"])
    assert [each.name for each in found] == ["feature noise"] and "no image" in left_out["blur"]
    with pytest.raises(ExplorerError, match='no trial "rain"'):
        trials_for(subject(), ROWS, ["rain"])


def test_fgsm_is_one_signed_step() -> None:
    model = perceptron(3)
    one = subject(model=model)
    targets = torch.arange(200) % 3
    reach = reach_of(one, ROWS)
    moved = attacked(TRIALS["fgsm"], one, model, ROWS, targets, 0.01, reach)
    inputs = ROWS.clone().requires_grad_()
    torch.nn.functional.cross_entropy(model(inputs), targets, reduction="sum").backward()
    low, high = float(ROWS.min()), float(ROWS.max())
    assert inputs.grad is not None
    by_hand = (ROWS + 0.01 * (high - low) * inputs.grad.sign()).clamp(low, high)
    torch.testing.assert_close(moved, by_hand)


def test_pgd_is_captums() -> None:
    model = perceptron(3)
    one = subject(model=model)
    targets = torch.arange(200) % 3
    low, high = float(ROWS.min()), float(ROWS.max())
    size = 0.03 * (high - low)
    moved = attacked(TRIALS["pgd"], one, model, ROWS, targets, 0.03, reach_of(one, ROWS))
    loss = nn.CrossEntropyLoss(reduction="none")
    theirs = PGD(model, loss, low, high).perturb(ROWS.clone().requires_grad_(), size, size / 4, 10, targets)
    torch.testing.assert_close(moved, theirs.detach())
    assert (moved - ROWS).abs().max().item() <= size + 1e-4
