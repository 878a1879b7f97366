"""What a person does, in a real Chromium: every number on screen is the one that the engine states."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from playwright.sync_api import Browser, Page, expect

from explorer.figures.words import large_text, metric_text, share_text, size_text
from explorer.opening import load
from explorer.recipe import LowRank, Prune, Recipe
from explorer.steps import Quantize, Recover
from explorer.workbench import Workbench
from tests.web.app_page import AppPage


@cache
def bench() -> Workbench:
    return load("digits-vit")


def stated(recipe: Recipe) -> dict[str, str]:
    """What the engine says of a recipe, in the words of the cards."""
    report = bench().compress(recipe).report()
    return {
        "quality": metric_text(report.quality.primary, report.quality.value),
        "size": size_text(report.size.bytes),
        "sparsity": share_text(report.size.sparsity),
        "work": large_text(report.cost.macs, "MACs"),
    }


@pytest.fixture
def app(page: Page, app_server: str) -> AppPage:
    return AppPage(page, app_server)


def test_it_opens_with_numbers_and_asks_nobody_else(app: AppPage) -> None:
    app.open().settle()
    assert app.numbers() == stated(Recipe([Prune(sparsity=0.0)]))
    expect(app.page.locator(".chart svg polyline.measured:not(.growing)")).to_be_attached(timeout=90_000)
    assert app.errors == []
    assert [url for url in app.requests if not url.startswith((app.address, "data:", "blob:", "ws:"))] == []


def test_dragging_the_line_moves_everything(app: AppPage) -> None:
    app.open().settle()
    app.drag(0.2)
    app.wait_for_knob("threshold")
    (step,) = app.recipe
    assert isinstance(step, Prune) and step.threshold is not None
    assert app.numbers() == stated(app.recipe)
    assert float(app.knob("threshold").locator("input").input_value()) == pytest.approx(step.threshold, abs=1e-4)
    kept = bench().compress(app.recipe).size.kept["blocks.0.mlp.0"]
    expect(app.page.locator(".st-key-card-layers")).to_contain_text(f"{share_text(kept.share, 0)} kept")


def test_the_keyboard_moves_the_line(app: AppPage) -> None:
    app.open().settle()
    handle = app.page.locator(".chart .handle")
    handle.focus()
    for _ in range(8):
        app.page.keyboard.press("PageUp")
    app.wait_for_knob("threshold")
    assert app.numbers() == stated(app.recipe)
    assert app.page.locator(".chart .handle").get_attribute("aria-valuetext") is not None


MOVES: dict[str, tuple[Callable[[AppPage], None], str]] = {
    "sparsity": (lambda app: app.slide("sparsity", 1), "prune,sparsity=0.301"),
    "threshold": (lambda app: app.type("threshold", "0.02"), "prune,threshold=0.02"),
    "pattern": (lambda app: app.knob("pattern").get_by_text("neurons").click(), "prune,sparsity=0.3,pattern=row"),
    "n:m": (lambda app: app.knob("pattern").get_by_text("N : M").click(), "prune,pattern=n:m,n=2,m=4"),
    "criterion": (lambda app: app.choose("criterion", "random"), "prune,sparsity=0.3,criterion=random"),
    "scope": (lambda app: app.choose("scope", "per matrix"), "prune,sparsity=0.3,scope=matrix"),
    "off": (lambda app: app.knob("on").locator("label").click(), "prune,sparsity=0.3,enabled=false"),
    "add": (
        lambda app: app.press("add-low-rank"),
        "prune,sparsity=0.3;low-rank,energy=0.95",
    ),
}


@pytest.mark.parametrize("knob", MOVES)
def test_each_knob_of_pruning(app: AppPage, knob: str) -> None:
    move, wanted = MOVES[knob]
    app.open(model="digits-vit", recipe="prune,sparsity=0.3").settle()
    move(app)
    app.wait_for_recipe(Recipe.from_url(wanted))
    app.page.wait_for_timeout(300)
    app.settle()
    assert app.numbers() == stated(app.recipe)
    assert app.errors == []


def test_each_knob_of_low_rank(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="low-rank,rank=16").settle()
    app.type("rank", "8")
    app.wait_for_recipe(Recipe([LowRank(rank=8)]))
    assert app.numbers() == stated(app.recipe)
    app.drag(0.5)
    app.page.wait_for_function("() => !location.search.includes('rank%3D8') && !location.search.includes('rank=8')")
    app.settle()
    (step,) = app.recipe
    assert isinstance(step, LowRank) and step.rank is not None and 28 <= step.rank <= 36
    assert app.numbers() == stated(app.recipe)
    app.slide("energy", 1)
    app.wait_for_knob("energy")
    assert app.numbers() == stated(app.recipe)


def test_a_copied_link_opens_the_same_numbers(app: AppPage, browser: Browser) -> None:
    app.open().settle()
    app.drag(0.25)
    app.wait_for_knob("threshold")
    before = app.settle().numbers()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    other = AppPage(context.new_page(), app.address)
    other.page.goto(app.page.url)
    assert other.settle().numbers() == before
    assert other.recipe == app.recipe
    context.close()


def test_undo_works_across_pages(app: AppPage) -> None:
    app.open().settle()
    first = app.numbers()
    app.drag(0.2)
    app.wait_for_knob("threshold")
    app.go("Model")
    expect(app.page.locator(".st-key-card-architecture")).to_be_visible()
    app.press("undo")
    app.page.wait_for_function("() => location.search.includes('sparsity')")
    app.go("Compress")
    expect(app.chart).to_be_visible()
    assert app.wait_for_recipe(Recipe([Prune(sparsity=0.0)])).numbers() == first


def test_a_click_on_a_former_dot_brings_its_recipe_back(app: AppPage) -> None:
    app.open().settle()
    app.drag(0.15)
    app.wait_for_knob("threshold")
    first, numbers = app.recipe, app.numbers()
    app.drag(0.3)
    app.page.wait_for_function(f"() => !location.search.includes({str(first[0].model_dump()['threshold'])!r})")
    app.settle()
    assert app.recipe != first
    app.page.locator('.history [data-place="1"]').click()
    assert app.wait_for_recipe(first).numbers() == numbers


def test_the_browsers_back_button_goes_back_a_move(app: AppPage) -> None:
    app.open().settle()
    app.drag(0.2)
    app.wait_for_knob("threshold")
    app.page.go_back()
    app.wait_for_recipe(Recipe([Prune(sparsity=0.0)]))
    assert app.numbers() == stated(app.recipe)


def test_another_sample_repaints_the_whole_page(app: AppPage) -> None:
    app.open().settle()
    app.choose("sample", "negation-text")
    expect(app.card("work")).to_contain_text("Work per sentence")
    assert app.settle().recipe == Recipe([Prune(sparsity=0.0)])
    assert "model=negation-text" in app.page.url
    app.drag(0.2)
    app.wait_for_knob("threshold")
    expect(app.page.locator(".ce-message")).to_have_count(0)
    app.go("Model")
    expect(app.page.locator(".st-key-card-about")).to_contain_text("Sentiment of short reviews")
    app.choose("sample", "cancer-tab")
    expect(app.page.locator(".st-key-card-about")).to_contain_text("breast")


def test_a_step_that_is_off_still_shows_what_it_would_rank(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="prune,sparsity=0.5,enabled=false").settle()
    expect(app.page.locator(".chart .words")).to_contain_text("65,984 of 131,968 weights")
    threshold = app.knob("threshold").locator("input")
    expect(threshold).not_to_have_value("0.0000")  # the scores come a moment after the numbers
    assert float(threshold.input_value()) > 0.01


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ({"model": "no-such"}, "here is no sample called"),
        ({"model": "digits-vit", "recipe": "prune,sparsity=7"}, "outside 0 to 1"),
    ],
)
def test_a_bad_link_says_so_on_a_working_page(app: AppPage, link: dict[str, str], words: str) -> None:
    app.open(**link).settle()
    expect(app.page.locator(".ce-message")).to_contain_text(words)
    app.drag(0.2)
    app.wait_for_knob("threshold")
    assert app.settle().numbers() == stated(app.recipe)
    expect(app.page.locator(".ce-message")).to_have_count(0)


def test_the_model_page_shows_every_matrix(app: AppPage) -> None:
    app.open("model", model="digits-vit")
    table = app.page.locator(".st-key-card-architecture")
    expect(table).to_be_visible()
    text = table.inner_text()
    assert all(matrix.name in text for matrix in bench().matrices())
    expect(app.page.locator(".st-key-card-weights .js-plotly-plot")).to_be_visible(timeout=30_000)
    expect(app.page.locator(".st-key-card-data img").first).to_be_visible()
    assert app.errors == []


def test_the_cliff_and_the_way_back(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="prune,sparsity=0.85").settle()
    broken = bench().compress(app.recipe).evaluate()
    app.press("recover")
    expect(app.page.locator(".st-key-card-recover [data-testid=stProgress]")).to_be_visible()
    expect(app.page.locator(".ce-learning img").first).to_be_visible()
    app.wait_for_knob("recover")
    assert app.numbers()["size"] == stated(Recipe([Prune(sparsity=0.85)]))["size"]  # the same zeros, the same bytes
    recovered = float(app.numbers()["quality"].removesuffix(" %")) / 100
    assert recovered > broken.value + 0.2
    expect(app.page.locator(".st-key-card-strip .was.back").first).to_be_visible()
    expect(app.page.locator(".history .dot")).to_have_count(3)
    again = app.page.locator(".st-key-recover button").first
    for _ in range(3):  # the time it would take stands there at the first draw after it was measured
        app.press("undo")
        app.wait_for_recipe(Recipe([Prune(sparsity=0.85)]))
        app.press("redo")
        app.wait_for_knob("recover")
        assert float(app.numbers()["quality"].removesuffix(" %")) / 100 == recovered  # kept, not trained anew
        if "about" in again.inner_text():
            break
    expect(again).to_contain_text("about")
    assert app.errors == []


def test_a_recovery_stops_in_the_middle_with_the_best_so_far(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="prune,sparsity=0.85;recover,epochs=400,enabled=false").settle()
    app.page.locator("[class*='st-key-on-']").nth(1).locator("label").click()
    expect(app.page.locator(".ce-learning figcaption b").nth(1)).to_contain_text("%", timeout=60_000)
    app.press("stop-recovery")
    app.page.wait_for_function("() => location.search.includes('until')", timeout=60_000)
    app.settle()
    (_, step) = app.recipe
    assert isinstance(step, Recover) and step.enabled and step.until is not None and step.until < 400
    assert app.errors == []


def test_a_link_with_a_recovery_trains_it_and_a_turned_knob_switches_it_off(app: AppPage) -> None:
    wanted = Recipe([Prune(sparsity=0.85), Recover(epochs=1, seed=3)])
    app.open(model="digits-vit", recipe=wanted.to_url()).settle()
    app.wait_for_recipe(wanted)
    expect(app.chart).to_be_visible()
    app.drag(0.1)
    app.page.wait_for_function("() => location.search.includes('enabled')")
    app.settle()
    first, second = app.recipe
    assert isinstance(first, Prune) and first.threshold is not None and not second.enabled
    assert app.numbers() == stated(app.recipe)


def test_each_knob_of_coding(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="quantize,bits=6").settle()
    app.type("bits", "3")
    app.wait_for_recipe(Recipe([Quantize(bits=3)]))
    assert app.numbers() == stated(app.recipe)
    app.choose("granularity", "tensor")
    app.wait_for_recipe(Recipe([Quantize(bits=3, granularity="tensor")]))
    app.drag(0.9)
    app.page.wait_for_function("() => !location.search.includes('bits%3D3') && !location.search.includes('bits=3')")
    assert app.settle().numbers() == stated(app.recipe)
    app.press("add-codebook")
    app.page.wait_for_function("() => location.search.includes('codebook')")
    assert app.settle().numbers() == stated(app.recipe)
    assert app.errors == []


def test_gates_say_pass_fail_and_undecided(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="prune,sparsity=0.6").settle()
    card = app.page.locator(".st-key-card-gates")
    app.type("gate-max_bytes", "300")
    expect(card).to_contain_text("pass")
    app.type("gate-max_bytes", "100")
    expect(card).to_contain_text("fail")
    app.type("gate-max_loss", "1.5")
    expect(card).to_contain_text("undecided")
    app.type("gate-min_agreement", "120")
    expect(app.page.locator(".ce-message")).to_contain_text("outside 0 to 1")
    assert app.errors == []


def test_a_cell_of_the_sensitivity_scan_becomes_a_step(app: AppPage) -> None:
    app.open("layers", model="digits-vit")
    app.press("scan-start")
    cells = app.page.locator(".cells button")
    expect(cells).to_have_count(6 * len(bench().matrices()), timeout=120_000)
    expect(app.page.locator(".st-key-scan-start button").first).to_be_visible()
    found = bench().sensitivity(Prune, progress=False)
    first = found.by_target[found.ranked[0]][3]  # 80 % of the most fragile matrix
    assert cells.nth(3).get_attribute("aria-label").startswith(f"{found.ranked[0]}, sparsity 80 %: ")  # type: ignore[union-attr]  # an attribute that is there
    cells.nth(3).click()
    app.page.wait_for_function("() => location.search.includes('layers%3D')")
    wanted = Recipe([Prune(sparsity=0.8, layers=first.target.matrices)])
    assert app.recipe == wanted
    app.go("Compress")
    assert app.wait_for_recipe(wanted).numbers() == stated(wanted)
    assert app.errors == []


def test_the_smallest_model_within_a_point_is_found_and_comes_on_screen(app: AppPage) -> None:
    app.open("layers", model="digits-vit")
    app.press("allocate")
    app.page.wait_for_function("() => location.search.includes('overrides')", timeout=120_000)
    (step,) = app.recipe
    assert isinstance(step, Prune) and step.overrides
    report = bench().compress(app.recipe).report()
    dense = bench().dense.evaluate().value
    assert report.quality.value >= dense - 0.01 and report.size.sparsity > 0.5
    app.press("undo")
    app.page.wait_for_function("() => !location.search.includes('overrides')")
    assert app.errors == []


def test_the_smallest_file_is_measured_when_asked(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="prune,sparsity=0.8").settle()
    app.press("smallest")
    length = size_text(bench().compress(app.recipe).bytes_smallest())
    expect(app.card("size")).to_contain_text(f"smallest {length}")  # without the "about" of an estimate
    assert app.page.locator(".st-key-smallest").count() == 0 and app.errors == []


def test_figures_and_changed_answers_open(app: AppPage) -> None:
    app.open(model="digits-vit", recipe="prune,sparsity=0.8").settle()
    app.press("see-all")
    dialog = app.page.get_by_role("dialog")
    expect(dialog).to_contain_text("broken")
    expect(dialog.locator("img").first).to_be_visible()
    app.page.keyboard.press("Escape")
    app.press("figures")
    expect(app.page.get_by_role("dialog").locator(".js-plotly-plot")).to_be_visible(timeout=30_000)
    assert app.errors == []
