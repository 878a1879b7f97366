"""Scikit-learn's handwritten digits: the splits of `digits-vit`, varied in training as there."""

from __future__ import annotations

from explorer.subjects.samples import sample_module

GRID = (8, 8)
"""Rows and columns of inputs: each pixel is one."""

_digits = sample_module("digits-vit", "data")
load = _digits.load
picture = _digits.picture
prepare = _digits.prepare
training_batch = _digits.training_batch
