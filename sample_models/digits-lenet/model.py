"""LeNet-300-100, with 64 inputs: the two hidden layers on which pruning was first shown to take away nine of ten.

    image (B, 1, 8, 8)
      |  flatten
    pixels (B, 64)
      |  hidden1, ReLU      64 -> 300
      |  hidden2, ReLU     300 -> 100
      |  head              100 -> 10
    logits (B, 10)

The shape is that of LeCun et al. 1998, "Gradient-based learning applied to document recognition" (there with 784
inputs, for 28 x 28 pixels). Han et al. 2016, "Deep Compression", made it 40 times smaller.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

PIXELS = 64
HIDDEN = (300, 100)
CLASSES = 10


class LeNet(nn.Module):
    """Images `[B, 1, 8, 8]` with ink from 0 to 1 -> logits `[B, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(PIXELS, HIDDEN[0])
        self.hidden2 = nn.Linear(HIDDEN[0], HIDDEN[1])
        self.head = nn.Linear(HIDDEN[1], CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1)  # (B, 64)
        first = F.relu(self.hidden1(pixels))  # (B, 300)
        second = F.relu(self.hidden2(first))  # (B, 100)
        return self.head(second)  # (B, 10)


def build() -> nn.Module:
    """The architecture with fresh weights."""
    return LeNet()
