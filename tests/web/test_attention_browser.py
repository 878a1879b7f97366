"""The Attention page in a real Chromium: what the first minute of a student shows."""

from __future__ import annotations

from functools import cache

import pytest
from playwright.sync_api import Page, expect

from explorer.figures.words import metric_text
from explorer.opening import load
from explorer.recipe import Prune, Recipe
from explorer.steps import EditAttention
from explorer.workbench import Workbench
from tests.web.app_page import AppPage

LAYER = "encoder.layers.1.self_attn"


@cache
def bench() -> Workbench:
    return load("negation-text")


@pytest.fixture
def app(page: Page, app_server: str) -> AppPage:
    return AppPage(page, app_server)


def test_a_student_finds_the_head_for_not_and_switches_it_off(app: AppPage) -> None:
    page = app.open(model="negation-text").settle().page
    app.go("Attention")
    sentence = page.get_by_role("textbox", name="Type a sentence")
    sentence.fill("the lead is superb but the movie is never superb")
    sentence.press("Enter")
    own = page.locator(".st-key-card-example").get_by_text("Your own")
    for _ in range(3):  # what meets the page while it is painted is lost; a person types again
        try:
            expect(own).to_be_visible(timeout=8_000)
            break
        except AssertionError:
            sentence.fill("the lead is superb but the movie is never superb")
            sentence.press("Enter")
    said = page.locator(".ce-said")
    expect(said.locator(".dense .answer b").first).to_have_text("negative")
    page.get_by_role("button", name="never: ").first.click()
    head = page.get_by_role("button", name=f"{LAYER}, head 0")
    expect(page.get_by_role("combobox", name="Number under each head")).to_have_value("attention to “never”")
    shown = page.get_by_role("group", name="Attention heads").get_by_role("button")
    numbers = [float(cell.locator("b").inner_text()) for cell in shown.all()]
    assert len(numbers) == 4 and numbers.index(max(numbers)) == 2  # head 0 of layer 1 looks at "never" most
    head.click()
    expect(head).to_have_attribute("aria-pressed", "true")
    app.press("head-off")
    wanted = Recipe([EditAttention(edit="off", own_heads={LAYER: (0,)})])
    app.wait_for_recipe(wanted)
    expect(said.locator(".variant .answer b").first).to_have_text("positive")
    expect(said).to_contain_text("flipped")
    quality = bench().compress(wanted).evaluate()
    assert app.value("quality") == metric_text("accuracy", quality.value)
    row = page.locator(".st-key-card-slices tr", has_text="has negation")
    expect(row.locator("td.loss")).to_be_visible()
    assert float(row.locator("td.loss").inner_text().removeprefix("−").removesuffix(" points")) >= 10
    assert app.errors == []


def test_a_digit_is_drawn_and_answered(app: AppPage) -> None:
    page = app.open(model="digits-vit").settle().page
    app.go("Attention")
    page.get_by_role("button", name="Draw or upload").click()
    pad = page.locator(".pad canvas")
    expect(pad).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    box = app.still(pad)
    x, y, side = box["x"], box["y"], box["width"]
    page.mouse.move(x + 0.5 * side, y + 0.06 * side)
    page.mouse.down()
    for step in range(1, 31):
        page.mouse.move(x + 0.5 * side, y + (0.06 + 0.88 * step / 30) * side)
    page.mouse.up()
    page.get_by_role("button", name="Use this drawing").click()
    expect(page.locator(".st-key-card-example")).to_contain_text("Your own drawing")
    expect(page.locator(".ce-said .dense .answer b").first).to_have_text("1")
    assert app.errors == []


def test_an_edit_moves_numbers_and_undo_brings_them_back(app: AppPage) -> None:
    page = app.open(model="digits-vit").settle().page
    app.go("Attention")
    before = app.value("quality")
    app.press("add-edit-uniform")
    app.wait_for_recipe(Recipe([EditAttention(edit="uniform")]))
    assert app.value("quality") != before
    expect(page.locator(".places figure")).to_have_count(3)
    page.locator(".st-key-undo button").first.click()
    app.wait_for_recipe(Recipe([Prune(sparsity=0.0)]))
    assert app.value("quality") == before
    assert app.errors == []
