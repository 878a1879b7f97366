"""A light network with attention gates (CBAM) and two heads on one trunk, for 8 x 8 images of digits.

    image (B, 1, 8, 8)
      |  stem: 3 x 3 convolution, norm, ReLU                     1 -> 32
    maps (B, 32, 8, 8)
      |  three blocks:   depthwise 3 x 3, norm, ReLU             32 -> 48 -> 64 -> 64, the second halves the sides
      |                  pointwise 1 x 1, norm, ReLU
      |                  times the channel gate (B, C, 1, 1)
      |                  times the spatial gate (B, 1, H, W)
    maps (B, 64, 4, 4)
      |  mean over the pixels
    features (B, 64)
      |  one linear layer a head
    {"digit": logits (B, 10), "loop": logits (B, 2)}

Depthwise-separable convolutions as in MobileNets (Howard et al., 2017), gates as in CBAM: Convolutional Block Attention
Module (Woo et al., 2018), with a small kernel in the spatial gate because the images are small.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEM = 32
WIDTHS = (48, 64, 64)
"""The channels that each block gives."""
STRIDES = (1, 2, 1)
SQUEEZE = 8
"""The channel gate's hidden layer is so many times narrower than its input."""
HEADS = {"digit": 10, "loop": 2}
"""Each head and its number of classes."""


class ChannelGate(nn.Module):
    """How much of each channel passes: maps `[B, C, H, W]` -> gate `[B, C, 1, 1]`, each value in 0..1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // SQUEEZE)
        self.relu = nn.ReLU()
        self.excite = nn.Linear(channels // SQUEEZE, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, maps: Tensor) -> Tensor:
        pooled = torch.stack([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)  # (B, 2, C)
        both = self.excite(self.relu(self.squeeze(pooled)))  # (B, 2, C): one network for both
        return self.sigmoid(both.sum(dim=1))[:, :, None, None]


class SpatialGate(nn.Module):
    """How much of each pixel passes: maps `[B, C, H, W]` -> gate `[B, 1, H, W]`, each value in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3, padding=1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, maps: Tensor) -> Tensor:
        pooled = torch.stack([maps.mean(dim=1), maps.amax(dim=1)], dim=1)  # (B, 2, H, W)
        return self.sigmoid(self.conv(pooled))


class Block(nn.Module):
    """A depthwise-separable convolution and the two gates on what it gives."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.pointwise = nn.Conv2d(channels, width, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.channel = ChannelGate(width)
        self.spatial = SpatialGate()

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.relu1(self.norm1(self.depthwise(maps)))
        maps = self.relu2(self.norm2(self.pointwise(maps)))  # (B, width, H, W)
        maps = self.channel(maps) * maps
        return self.spatial(maps) * maps


class GatedNetwork(nn.Module):
    """Images `[B, 1, 8, 8]` with ink from 0 to 1 -> `{"digit": logits [B, 10], "loop": logits [B, 2]}`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, STEM, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        before = (STEM, *WIDTHS[:-1])
        self.blocks = nn.Sequential(*(Block(*sizes) for sizes in zip(before, WIDTHS, STRIDES, strict=True)))
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTHS[-1], classes) for name, classes in HEADS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.blocks(self.relu(self.norm(self.stem(images))))  # (B, 64, 4, 4)
        features = maps.mean(dim=(2, 3))  # (B, 64)
        return {name: head(features) for name, head in self.heads.items()}


def build() -> nn.Module:
    """The architecture with fresh weights."""
    return GatedNetwork()
