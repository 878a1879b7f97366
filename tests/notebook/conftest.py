"""A small workbench for panels, whose evaluation takes no time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import explorer as ex
from explorer.notebook.panel import LivePanel


@pytest.fixture(scope="session")
def bench() -> ex.Workbench:
    """Two layers on made-up data."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = torch.randn(300, 12)
    return ex.load(model, data=(inputs, model(inputs).argmax(1)), classes=["a", "b", "c"], name="tiny")


@pytest.fixture
def panel(bench: ex.Workbench) -> Iterator[LivePanel]:
    """An open panel on an empty recipe."""
    opened = LivePanel(bench)
    yield opened
    opened.close()
