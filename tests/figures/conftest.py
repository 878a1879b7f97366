"""A small workbench for figures and views: quick to load, with every kind of result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import explorer as ex


@pytest.fixture(scope="session")
def bench() -> ex.Workbench:
    """Two layers on made-up data; one class name wants to be read as HTML."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = torch.randn(300, 12)
    targets = model(inputs).argmax(1)
    return ex.load(model, data=(inputs, targets), test=(inputs, targets), classes=["a", "<b>", "c"], name="tiny")
