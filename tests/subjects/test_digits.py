"""The bundled digits: pools that share nothing, variations that stay digits."""

from __future__ import annotations

import pytest
import torch

from explorer.subjects.digits import bundled_digits, digit_pools, varied_digits


def test_bundled_digits_have_ink_from_0_to_1() -> None:
    images, labels = bundled_digits()
    assert images.shape == (1797, 8, 8) and labels.shape == (1797,)
    assert images.min() == 0 and images.max() == 1
    assert labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize("pattern", ["a", "ab", "urturutrrr", "aab"])
def test_pools_deal_every_digit_once(pattern: str) -> None:
    pools = digit_pools(pattern)
    assert set(pools) == set(pattern)
    assert sorted(torch.cat(list(pools.values())).tolist()) == list(range(1797))


def test_pools_take_their_share_of_each_class() -> None:
    _, labels = bundled_digits()
    for letter, share in (("u", 0.3), ("t", 0.2), ("r", 0.5)):
        counts = labels[digit_pools("urturutrrr")[letter]].bincount()
        assert (counts / labels.bincount() - share).abs().max() < 0.02


def test_variation_is_small_seeded_and_keeps_the_range() -> None:
    images = bundled_digits()[0][:200]
    varied = varied_digits(images, torch.Generator().manual_seed(0))
    assert varied.shape == images.shape
    assert varied.min() >= 0 and varied.max() <= 1
    assert 0.02 < (varied - images).abs().mean() < 0.2
    assert torch.equal(varied, varied_digits(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(varied, varied_digits(images, torch.Generator().manual_seed(1)))


def test_no_variation_leaves_the_digits_as_they_are() -> None:
    images = bundled_digits()[0][:20]
    same = varied_digits(images, torch.Generator(), turn=0, zoom=0, shift=0, pressure=0)
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
