"""One watched forward pass: a weight counts as compressible only when exchanging it is noticed everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from explorer.weights.clone import digest
from explorer.weights.matrices import Matrices, find_matrices
from explorer.weights.watch import compressible

X = torch.randn(3, 4)
NEVER, TWICE = "never uses", "second place"


def watched(model: nn.Module, inputs: Tensor = X) -> Matrices:
    mark = digest(model)
    found = compressible(model, find_matrices(model), lambda module: module(inputs))
    assert digest(model) == mark
    return found


def reasons(found: Matrices) -> dict[str, str]:
    return dict(found.not_compressible)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.used(x)
        return y


def test_an_ordinary_model_stays_as_it_was_found() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 2))
    assert list(watched(model)) == list(find_matrices(model))


def test_a_weight_that_is_never_used() -> None:
    found = watched(Two())
    assert found.names == ["used"]
    assert NEVER in reasons(found)["other"]


def test_looking_at_a_weight_is_no_use_of_it() -> None:
    class Looking(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = x.to(self.other.weight.dtype).to(self.other.weight.device)
            assert self.other.weight.shape[1] == x.shape[-1] == self.other.weight.size(1)
            return super().forward(x)

    assert NEVER in reasons(watched(Looking()))["other"]


def test_a_weight_that_is_kept_in_a_second_place() -> None:
    class Hoarding(Two):
        def __init__(self) -> None:
            super().__init__()
            self.hoard = {"w": [self.used.weight]}

        def forward(self, x: Tensor) -> Tensor:
            return self.other(self.used(x)) @ self.hoard["w"][0]

    found = watched(Hoarding())
    assert found.names == ["other"]
    assert TWICE in reasons(found)["used"]


def test_a_weight_that_a_function_still_takes_from_the_dense_model() -> None:
    """A closure is not copied with the module: it would go on with the dense weight."""

    class Closed(Two):
        def __init__(self) -> None:
            super().__init__()
            weight = self.used.weight
            self.again = lambda x: x @ weight

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.again(self.other(self.used(x)))
            return y

    found = watched(Closed())
    assert found.names == ["other"]
    assert TWICE in reasons(found)["used"]


def test_a_computed_weight_is_listed_before_any_pass() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    found = watched(model)
    assert found.names == ["1"] and "parametrisation" in reasons(found)["0.weight"]


def test_packed_projections_are_seen_as_a_whole() -> None:
    x = torch.randn(2, 5, 4)
    encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    assert len(watched(encoder, x)) == 6
    assert len(watched(nn.LSTM(4, 3, 2, bidirectional=True), x)) == 4 * 8
    assert watched(nn.Conv1d(5, 6, 3), x).names == ["weight"]


def test_tied_weights_are_used_through_any_slot() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            y: Tensor = self.embed(tokens)  # the head itself is not called in this pass
            return y

    assert watched(Tied(), torch.tensor([1, 2])).names == ["head"]


def test_an_error_in_the_pass_is_told_as_it_is() -> None:
    model = Two()
    mark = digest(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        compressible(model, find_matrices(model), lambda module: module(torch.randn(3, 5)))
    assert digest(model) == mark
