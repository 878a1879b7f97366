"""How sure an attention is."""

from __future__ import annotations

import pytest
import torch

import explorer as ex
from explorer.search.attention_weights import attention_weights, block_entropies, normalised_entropy


def test_the_entropy_is_normalised() -> None:
    assert normalised_entropy(torch.full((1, 2, 3, 4), 0.25)) == pytest.approx(1.0)
    assert normalised_entropy(torch.eye(4)[None, None]) == 0.0  # no row sees more than one key
    assert normalised_entropy(torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])) == pytest.approx(1.0)
    half = torch.tensor([[0.9, 0.1]])
    assert 0.4 < normalised_entropy(half) < 0.5


def test_every_block_with_attention_has_an_entropy_and_the_surest_counts_most() -> None:
    bench = ex.load("digits-vit")
    entropies = block_entropies(bench)
    assert list(entropies) == [f"blocks.{number}" for number in range(4)]
    weights = attention_weights(bench)
    assert set(weights) == set(bench.matrices().names)
    assert all(1 <= weight <= 2 for weight in weights.values())
    assert weights["head"] == weights["embed"] == 1.0
    surest = min(entropies, key=lambda name: entropies[name])
    assert max(weights, key=lambda name: weights[name]).startswith(surest)
    assert weights[f"{surest}.mlp.0"] == pytest.approx(2 - entropies[surest])
