"""After saving and loading, what was pruned stays zero in a recovery, and what was only rounded to zero does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import explorer as ex
from explorer.recovery.holds import hold
from explorer.saving import WEIGHTS
from explorer.weights.coded import Quantised
from explorer.weights.forms import Factors, Form

LAYERS = "blocks.0.mlp.*"
MILD = ex.Prune(sparsity=0.05, scope="matrix", layers=LAYERS)
"""Where so few are gone, a list of all codes is the shortest, and it has no mask."""
MANY = ex.Prune(sparsity=0.6, scope="matrix", layers=LAYERS)


def rounded(bits: int) -> ex.Quantize:
    return ex.Quantize(bits=bits, layers=LAYERS)


def loaded(tmp_path: Path, recipe: list[Any]) -> tuple[ex.Variant, ex.Workbench, set[str]]:
    """The variant before saving, the workbench with it after loading, and the layouts in the file."""
    variant = ex.load("digits-vit").compress(recipe)
    bench = ex.load(variant.save(tmp_path / "first"))
    again = bench.variant.save(tmp_path / "again")
    assert (again / WEIGHTS).read_bytes() == (tmp_path / "first" / WEIGHTS).read_bytes()
    assert bench.variant.size.bytes == variant.size.bytes
    names = [entry.encoding for entry in variant.storage.entries if entry.encoding != "raw"]
    return variant, bench, {layout.partition(",")[0] for name in names for layout in re.findall(r"/(\w+)", name)}


def parts(form: Form) -> list[Form]:
    return [form.left, form.right] if isinstance(form, Factors) else [form]


def trained(form: Form) -> Form:
    """The form after some steps that pull every weight away from where it is."""
    held = hold(form)
    optimiser = torch.optim.Adam(held.leaves, lr=0.05)
    for _ in range(5):
        optimiser.zero_grad()
        (held.weight() - 1).square().sum().backward()
        optimiser.step()
    return held.form()


@pytest.mark.parametrize(
    ("recipe", "layout"),
    [
        ([MILD, rounded(8)], "packed"),
        ([ex.LowRank(rank=8, layers=LAYERS), MILD, rounded(8)], "packed"),
        ([rounded(8), MILD], "packed"),
        ([MANY, rounded(4)], "bitmask"),
    ],
    ids=["pruned, rounded", "factors", "rounded, pruned", "with a mask"],
)
def test_zeros_stay_zero_after_loading(tmp_path: Path, recipe: list[Any], layout: str) -> None:
    variant, bench, layouts = loaded(tmp_path, recipe)
    assert layout in layouts
    for name, form in variant.outfit.forms.items():
        for was, now in zip(parts(form), parts(trained(bench.variant.outfit.forms[name])), strict=True):
            assert not now.decode()[was.decode() == 0].any()
            assert not torch.equal(was.decode(), now.decode())


@pytest.mark.parametrize(
    ("recipe", "layout"),
    [
        ([rounded(8)], "packed"),
        ([rounded(2)], "bitmask"),
        ([ex.Prune(sparsity=0.0), rounded(8)], "packed"),
        ([MANY.change(overrides={"blocks.0.mlp.*": 0.0}), rounded(8)], "packed"),
        ([MANY, ex.LowRank(rank=8, layers=LAYERS), rounded(8)], "packed"),
    ],
    ids=["rounded", "rounded, with a mask", "nothing pruned", "pruned nowhere", "zeros filled by a low rank"],
)
def test_weights_that_were_only_rounded_to_zero_go_on_learning(tmp_path: Path, recipe: list[Any], layout: str) -> None:
    variant, bench, layouts = loaded(tmp_path, recipe)
    assert layout in layouts
    for name, form in variant.outfit.forms.items():
        for was, now in zip(parts(form), parts(bench.variant.outfit.forms[name]), strict=True):
            assert isinstance(now, Quantised) and now.zeros is None and torch.equal(was.decode(), now.decode())
