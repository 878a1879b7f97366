"""Criteria: higher means keep; random ones repeat and depend on nothing but seed and name."""

from __future__ import annotations

import pytest
import torch

import explorer as ex
from explorer.compression.criteria import Asked, magnitude, random
from explorer.names import CRITERIA

W = torch.tensor([[1.0, -3.0, 0.0], [0.5, -0.25, 2.0]])


@pytest.mark.parametrize("name", CRITERIA.names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_weight_gets_a_score_that_is_not_negative(name: str, dtype: torch.dtype) -> None:
    scores = CRITERIA[name].function(W.to(dtype), Asked("layer", 0))
    assert isinstance(scores, torch.Tensor)
    assert scores.shape == W.shape and bool((scores >= 0).all()) and not scores.isnan().any()


@pytest.mark.parametrize("name", CRITERIA.names())
def test_scoring_leaves_the_weight_alone(name: str) -> None:
    weight = W.clone()
    CRITERIA[name].function(weight, Asked("layer", 0)).add_(1)
    assert torch.equal(weight, W)


def test_magnitude() -> None:
    assert torch.equal(magnitude(W, Asked("any", 7)), W.abs())


def test_random_scores_repeat_and_differ_by_seed_and_name() -> None:
    weight = torch.zeros(20, 30)
    scores = random(weight, Asked("a", 0))
    assert torch.equal(scores, random(weight + 1, Asked("a", 0)))
    for other in (Asked("a", 1), Asked("b", 0), Asked("a", 2**32 - 1)):
        assert not torch.equal(scores, random(weight, other))
    assert float(scores.min()) >= 0 and float(scores.max()) < 1 and 0.45 < float(scores.mean()) < 0.55


def test_random_scores_do_not_touch_a_persons_own_random_numbers() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    random(W, Asked("a", 0))
    assert torch.equal(torch.rand(3), wanted)


def test_a_new_criterion_is_one_decorated_function() -> None:
    """It is known to steps at once, and gone again for the other tests."""

    @CRITERIA.register("inverse", label="inverse", help="Large weights go first.")
    def inverse(weight: torch.Tensor, asked: Asked) -> torch.Tensor:
        return 1 / (1 + weight.abs())

    try:
        assert ex.Prune(sparsity=0.5, criterion="inverse").criterion == "inverse"
    finally:
        del CRITERIA._entries["inverse"]
