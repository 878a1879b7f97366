"""What an edit does to a row and to the work, and how a search went, as figures."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import explorer as ex
from explorer.attention.editing import Edit
from explorer.attention.maps import AttentionMaps
from explorer.figures.attention_edit import edit_figure, work_figure
from explorer.figures.attention_tuning import tuning_figure
from explorer.search.gains import TunedHeads


@cache
def maps(edit: str = "") -> AttentionMaps:
    bench = ex.load("digits-vit")
    recipe = ex.Recipe([ex.EditAttention(edit=edit)] if edit else [])
    return bench.compress(recipe).attention(bench.subject.split("tune").take(slice(0, 1)).inputs)


def test_one_row_before_and_after_with_the_largest_keys_in_order() -> None:
    figure = edit_figure(maps(), maps("top-k"), "blocks.3.attn", 1, query=0)
    before, after = figure.data
    old, new = (found.weights["blocks.3.attn"][0, 1, 0].numpy() for found in (maps(), maps("top-k")))
    shown = np.sort(np.argsort(-np.maximum(old, new), kind="stable")[:14])
    assert np.allclose(before.x, old[shown]) and np.allclose(after.x, new[shown])
    assert (np.asarray(after.x) > 0).sum() == 3 and "class token" in figure.layout.title.subtitle.text


def test_the_work_of_an_edit_is_drawn_beside_full_attention() -> None:
    site = ex.load("digits-vit").attention_sites["blocks.0.attn"]
    figure = work_figure(Edit(site, ex.EditAttention(edit="linear")))
    full, marked, edited = figure.data[0], figure.data[1], figure.data[2]
    assert full.y[-1] / full.y[-2] == 4 and edited.y[-1] / edited.y[-2] == 2
    assert marked.x == (17,) and marked.y == (4 * 2 * 17 * 17 * 16,)
    assert "here it is computed in full" in figure.layout.title.subtitle.text


def test_what_costs_nothing_is_left_out_of_a_logarithm() -> None:
    site = ex.load("digits-vit").attention_sites["blocks.0.attn"]
    assert set(work_figure(Edit(site, ex.EditAttention())).data[2].y) == {None}


@pytest.mark.parametrize("dark", [False, True])
def test_a_search_for_gains_shows_its_parts_and_every_gain(dark: bool) -> None:
    history = ((0, 1.5, 1.0, 1.0), (1, 1.2, 0.9, 0.6))
    tuned = TunedHeads(
        "toy", ex.Recipe(), {"a": (1.0, 0.0), "b": (0.5,)}, history, 1.0, 1.5, 0.9, 1.2, "gradient", 0.5, 1,
        "calibration", 32, 0.1,
    )  # fmt: skip
    figure = tuning_figure(tuned, dark=dark)
    objective, loss, price, gains = figure.data
    assert objective.y == (1.5, 1.2) and loss.y == (1.0, 0.9) and price.y == (0.5, 0.3)
    assert gains.y == (1.0, 0.0, 0.5) and "1 of 3 heads silent" in figure.layout.title.subtitle.text
