"""Thin layers give what the full layer would, and let code look at the weights it expects."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.weights.thin import ThinConv, ThinLinear, still


def factors(rows: int, columns: int, rank: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, rank), torch.randn(rank, columns)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6)])
def test_a_thin_linear_layer(bias: bool, shape: tuple[int, ...]) -> None:
    left, right = factors(5, 6, 2)
    b = torch.randn(5) if bias else None
    layer, x = ThinLinear([(left, right)], b), torch.randn(shape)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, left @ right, b))
    torch.testing.assert_close(layer.weight, left @ right)


def test_parts_stand_side_by_side_some_of_them_thin() -> None:
    whole = torch.randn(4, 6)
    thin, other = factors(5, 6, 2), factors(3, 6, 1)
    bias, x = torch.randn(12), torch.randn(7, 6)
    layer = ThinLinear([thin, (whole,), other], bias)
    full = torch.cat([thin[0] @ thin[1], whole, other[0] @ other[1]])
    torch.testing.assert_close(layer(x), nn.functional.linear(x, full, bias))
    torch.testing.assert_close(layer.weight, full)


def test_a_single_whole_part_is_a_linear_layer() -> None:
    whole, x = torch.randn(4, 6), torch.randn(7, 6)
    torch.testing.assert_close(ThinLinear([(whole,)], None)(x), x @ whole.t())


CONVOLUTIONS: list[tuple[type[nn.Conv1d] | type[nn.Conv2d], dict[str, Any]]] = [
    (nn.Conv1d, {"kernel_size": 3}),
    (nn.Conv1d, {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "bias": False}),
    (nn.Conv2d, {"kernel_size": 3, "padding": "same"}),
    (nn.Conv2d, {"kernel_size": (3, 1), "stride": (1, 2), "padding": (1, 0)}),
    (nn.Conv2d, {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}),
    (nn.Conv2d, {"kernel_size": 2, "padding": 1, "padding_mode": "reflect", "bias": False}),
]


@pytest.mark.parametrize(("kind", "options"), CONVOLUTIONS, ids=str)
def test_a_thin_convolution(kind: type[nn.Conv1d] | type[nn.Conv2d], options: dict[str, Any]) -> None:
    conv = kind(4, 6, **options).double()
    left, right = (factor.double() for factor in factors(6, conv.weight[0].numel(), 2))
    thin = ThinConv(conv, left, right, conv.bias)
    x = torch.randn(2, 4, *[8] * len(conv.kernel_size), dtype=torch.float64)
    full = (left @ right).reshape(conv.weight.shape)
    with torch.no_grad():
        conv.weight.copy_(full)
        torch.testing.assert_close(thin(x), conv(x))
        torch.testing.assert_close(thin(x[0]), conv(x[0]))  # without a batch axis
    torch.testing.assert_close(thin.weight, full)
    assert (thin.bias is None) == (conv.bias is None)


def test_a_thin_convolution_holds_its_factors_and_nothing_else() -> None:
    conv = nn.Conv2d(4, 6, 3)
    thin = ThinConv(conv, *factors(6, 36, 2), conv.bias)
    assert sum(p.numel() for p in thin.parameters()) == 2 * (6 + 36) + 6
    assert not any(p.requires_grad for p in thin.parameters())


def test_making_thin_layers_draws_no_random_numbers() -> None:
    """A person's own seed must not depend on how often a knob was moved."""
    conv = nn.Conv2d(4, 6, 3)
    parts = factors(6, 36, 2)
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    ThinConv(conv, *parts, conv.bias)
    ThinLinear([parts], None)
    assert torch.equal(torch.rand(3), wanted)


def test_a_still_parameter_shares_memory_and_is_not_trained() -> None:
    tensor = torch.randn(3, requires_grad=True)
    parameter = still(tensor)
    assert isinstance(parameter, nn.Parameter) and not parameter.requires_grad
    assert parameter.data_ptr() == tensor.data_ptr()
