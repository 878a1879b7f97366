"""A plain convolutional network for 8 x 8 images of digits: the twin of digits-cbam without gates.

    image (B, 1, 8, 8)
      |  stem: 3 x 3 convolution, norm, ReLU            1 -> 32
    maps (B, 32, 8, 8)
      |  three blocks: 3 x 3 convolution, norm, ReLU    32 -> 48 -> 64 -> 64, the second halves the sides
    maps (B, 64, 4, 4)
      |  mean over the pixels
    features (B, 64)
      |  head
    logits (B, 10)

Each ReLU is a module of its own that runs once, so that methods which follow the activations (DeepLift) are exact.
"""

from __future__ import annotations

from torch import Tensor, nn

STEM = 32
WIDTHS = (48, 64, 64)
"""The channels that each block gives."""
STRIDES = (1, 2, 1)
CLASSES = 10


class Block(nn.Module):
    """A 3 x 3 convolution with its norm and its ReLU: maps `[B, C, H, W]` -> `[B, width, H / stride, W / stride]`."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(self.norm(self.conv(maps)))


class PlainNetwork(nn.Module):
    """Images `[B, 1, 8, 8]` with ink from 0 to 1 -> logits `[B, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, STEM, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        before = (STEM, *WIDTHS[:-1])
        self.blocks = nn.Sequential(*(Block(*sizes) for sizes in zip(before, WIDTHS, STRIDES, strict=True)))
        self.head = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.relu(self.norm(self.stem(images))))  # (B, 64, 4, 4)
        return self.head(maps.mean(dim=(2, 3)))  # (B, 10)


def build() -> nn.Module:
    """The architecture with fresh weights."""
    return PlainNetwork()
