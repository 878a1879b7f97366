"""Scenes: digits that do not overlap, one clear frame, a rationale that covers the framed digit and nothing else."""

from __future__ import annotations

import pytest
import torch

from explorer.subjects.digits import bundled_digits
from explorer.subjects.scenes import BOX, DIGIT, MARGIN, SIDE, Scenes, draw_scenes


def drawn(count: int, seed: int = 0) -> Scenes:
    images, labels = bundled_digits()
    return draw_scenes(images, labels, count, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return drawn(500)


def test_shapes_and_ranges(scenes: Scenes) -> None:
    assert scenes.images.shape == (500, 1, SIDE, SIDE)
    assert scenes.images.min() >= 0 and scenes.images.max() <= 1
    assert scenes.rationale.shape == (500, 64) and scenes.rationale.dtype == torch.bool
    assert scenes.answers.unique().tolist() == list(range(10))
    assert scenes.digits.unique().tolist() == [1, 2, 3, 4]


def test_same_seed_same_scenes_other_seed_other_scenes() -> None:
    first, again, other = drawn(40), drawn(40), drawn(40, seed=1)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.answers, again.answers)
    assert torch.equal(first.rationale, again.rationale)
    assert not torch.equal(first.images, other.images)


def test_the_framed_digit_is_a_bundled_digit_of_the_class_of_the_answer(scenes: Scenes) -> None:
    images, labels = bundled_digits()
    for scene, answer, (row, column) in zip(scenes.images, scenes.answers, scenes.corners.tolist(), strict=True):
        cut = scene[0, row : row + DIGIT, column : column + DIGIT]
        nearest = (images - cut).square().sum(dim=(1, 2)).argmin()
        assert labels[nearest] == answer


def test_the_frame_is_full_ink_on_clear_paper_and_whole(scenes: Scenes) -> None:
    for scene, (row, column) in zip(scenes.images, scenes.corners.tolist(), strict=True):
        top, left = row - MARGIN, column - MARGIN
        assert min(top, left) >= 0 and max(top, left) + BOX <= SIDE
        box = scene[0, top : top + BOX, left : left + BOX].clone()
        line = torch.ones(BOX, BOX, dtype=torch.bool)
        line[1:-1, 1:-1] = False
        gap = ~line
        gap[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
        assert box[line].min() > 0.8  # full ink but for the grain of the paper
        assert box[gap].max() < 0.2


def test_the_rationale_covers_the_ink_of_the_framed_digit_and_lies_within_its_pixels(scenes: Scenes) -> None:
    for scene, marks, (row, column) in zip(scenes.images, scenes.rationale, scenes.corners.tolist(), strict=True):
        pixels = marks.view(8, 8).repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)
        ink = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        ink[row : row + DIGIT, column : column + DIGIT] = scene[0, row : row + DIGIT, column : column + DIGIT] > 0.2
        assert pixels[ink].all()
        square = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        square[row : row + DIGIT, column : column + DIGIT] = True
        touched = square.view(8, 4, 8, 4).any(dim=3).any(dim=1).flatten()
        assert not (marks & ~touched).any()
        assert 2 <= marks.sum() <= 9


def test_every_digit_is_told_and_lies_where_it_is_said_to(scenes: Scenes) -> None:
    images, labels = bundled_digits()
    there = scenes.labels >= 0
    assert torch.equal(there.sum(dim=1), scenes.digits)
    assert torch.equal(there, scenes.inked.any(dim=2))
    assert (there.int().diff(dim=1) <= 0).all()  # those that are missing come last
    for scene, told, places in zip(scenes.images, scenes.labels.tolist(), scenes.places.tolist(), strict=True):
        for label, (row, column) in zip(told, places, strict=True):
            cut = scene[0, row : row + DIGIT, column : column + DIGIT]
            nearest = (images - cut).square().sum(dim=(1, 2)).argmin()
            assert label in (-1, labels[nearest])


def test_the_ink_of_two_digits_is_told_apart(scenes: Scenes) -> None:
    """The patches of each digit lie within its own pixels, rounded outwards to patches."""
    line = torch.arange(8)
    first, last = scenes.places // 4, (scenes.places + DIGIT - 1) // 4  # (B, 4, 2)
    inside = (line >= first[..., None]) & (line <= last[..., None])  # (B, 4, 2, 8)
    square = inside[:, :, 0, :, None] & inside[:, :, 1, None, :]
    assert not (scenes.inked.view(-1, 4, 8, 8) & ~square).any()


def test_exactly_one_digit_is_framed_and_there_are_as_many_as_told(scenes: Scenes) -> None:
    """A full frame is a ring of 44 dark pixels; the digits are counted by their dense ink."""
    dark = (scenes.images[:, 0] > 0.8).float()
    ring = torch.ones(BOX, BOX)
    ring[1:-1, 1:-1] = 0
    hits = torch.nn.functional.conv2d(dark[:, None], ring[None, None])
    assert ((hits > 43.5).flatten(1).sum(dim=1) == 1).all()
    ink = scenes.images.flatten(1).sum(dim=1)
    means = torch.stack([ink[scenes.digits == digits].mean() for digits in range(1, 5)])
    assert (means.diff() > 5).all()


def test_frames_stand_everywhere(scenes: Scenes) -> None:
    centres = scenes.corners.float() + DIGIT / 2
    assert (centres.mean(dim=0) - SIDE / 2).abs().max() < 1
    assert scenes.corners.unique(dim=0).shape[0] > 60


def test_variation_is_applied_to_the_digits_before_they_are_placed() -> None:
    images, labels = bundled_digits()
    seen: list[torch.Size] = []

    def blank(digits: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        seen.append(digits.shape)
        return torch.zeros_like(digits)

    scenes = draw_scenes(images, labels, 7, torch.Generator().manual_seed(0), vary=blank)
    assert seen == [(28, 8, 8)]
    assert not scenes.rationale.any()
