"""The app as a person in front of a browser sees it: numbers to read, knobs to move."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, quote, urlsplit

from playwright.sync_api import FloatRect, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from explorer.recipe import Recipe

SECONDS = 60
expect.set_options(timeout=30_000)  # five seconds, the default, are short for a machine that also measures
CARDS = ("quality", "size", "sparsity", "work")


class AppPage:
    """One browser page with the app in it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: str = "", **link: str) -> AppPage:
        """Open a page of the app, wait until all numbers are there."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in link.items())
        self.page.goto(f"{self.address}/{path}" + (f"?{query}" if query else ""))
        expect(self.page.locator(".ce-facts").first).to_be_visible(timeout=SECONDS * 1000)
        return self

    # -- reading ---------------------------------------------------------------------------------------------------

    def card(self, name: str) -> Locator:
        """One of the headline cards."""
        return self.page.locator(f".st-key-card-{name}")

    def value(self, name: str) -> str:
        """The number of a headline card."""
        return self.card(name).locator(".value > span").first.inner_text()

    def numbers(self) -> dict[str, str]:
        """All headline numbers that the engine states exactly."""
        return {name: self.value(name) for name in CARDS}

    def settle(self) -> AppPage:
        """Wait until all numbers are those of the recipe in the address bar, none of them dimmed or an estimate.

        The address changes before the cards do, and these one after another; so each says which recipe it is of.
        """
        self.page.wait_for_function(
            """names => {
                const asked = new URLSearchParams(location.search).get("recipe");
                const cards = names.map(name => document.querySelector(`.st-key-card-${name}`));
                if (!cards.every(card => card?.querySelector("[data-of]")?.dataset.of === asked)) return false;
                const quality = cards[names.indexOf("quality")];
                return /mistake|on /.test(quality.innerText) && !quality.querySelector(".ce-old, .ce-progress");
            }""",
            arg=list(CARDS),
            timeout=SECONDS * 1000,
        )
        return self

    @property
    def recipe(self) -> Recipe:
        """The recipe that the address bar holds."""
        return Recipe.from_url(parse_qs(urlsplit(self.page.url).query, keep_blank_values=True)["recipe"][0])

    def wait_for_knob(self, field: str) -> AppPage:
        """Wait until the recipe in the address bar sets a field, and its numbers are there."""
        self.page.wait_for_function("field => location.search.includes(field)", arg=field, timeout=SECONDS * 1000)
        return self.settle()

    def press(self, key: str) -> None:
        """Press a button by its key (a button with help stands twice in the page, once for narrow screens)."""
        self.page.locator(f".st-key-{key} button").first.click()

    def wait_for_recipe(self, wanted: Recipe) -> AppPage:
        """Wait until the address bar holds a recipe."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if "recipe=" in self.page.url and self.recipe == wanted:
                return self.settle()
            self.page.wait_for_timeout(20)
        raise AssertionError(f"the address bar holds {self.recipe}, not {wanted}")

    # -- moving ----------------------------------------------------------------------------------------------------

    @property
    def chart(self) -> Locator:
        """The picture that is a knob."""
        return self.page.locator(".chart svg").first

    def drag(self, share: float) -> None:
        """Drag the line of the chart to a share of its width, and let go."""
        self.hold(share)
        self.page.mouse.up()

    def hold(self, share: float) -> None:
        """Drag the line of the chart to a share of its width, and keep holding it."""
        self.still(self.chart)  # a chart that is just being replaced cannot be scrolled to
        self.chart.scroll_into_view_if_needed()
        box = self.still(self.chart)
        x, y = box["x"] + 46 + share * (box["width"] - 60), box["y"] + 0.6 * box["height"]
        self.page.mouse.move(x - 12, y)
        self.page.mouse.down()
        self.page.mouse.move(x - 6, y)
        self.page.mouse.move(x, y)

    def still(self, place: Locator) -> FloatRect:
        """Where something is, once it has not moved for a moment: a page that opens is drawn from top to bottom."""
        box, seen = place.bounding_box(), 0
        while seen < 6:
            self.page.wait_for_timeout(60)
            now = place.bounding_box()
            box, seen = now, seen + 1 if now == box and now is not None else 0
        assert box is not None
        return box

    def knob(self, key: str) -> Locator:
        """A control by the beginning of its key; steps have ids, so the first step's is found."""
        return self.page.locator(f"[class*='st-key-{key}-']").first

    def choose(self, key: str, option: str) -> None:
        """Choose in a list."""
        field = self.knob(key).locator("input[role=combobox]")
        field.scroll_into_view_if_needed()
        self.still(field)  # an open list closes when the page still scrolls
        entry = self.page.get_by_role("option", name=option, exact=True).first
        for patience in (5, 5, SECONDS):  # a page that still settles closes the list; a person opens it again
            field.click()
            try:
                entry.click(timeout=patience * 1000)
                return
            except PlaywrightTimeout:
                if patience == SECONDS:
                    raise

    def type(self, key: str, value: str) -> None:
        """Type a number."""
        field = self.knob(key).locator("input").first
        field.fill(value)
        field.press("Enter")

    def slide(self, key: str, presses: int) -> None:
        """Move a slider with the arrow keys of the keyboard."""
        handle = self.knob(key).get_by_role("slider").first
        handle.focus()
        for _ in range(presses):
            handle.press("ArrowRight")

    def go(self, page: str) -> None:
        """Choose a page in the sidebar."""
        link = self.page.locator(".st-key-pages a").filter(has_text=page)
        chosen = self.page.locator(f".st-key-page-{page.lower()}-here")
        for patience in (
            5,
            5,
            SECONDS,
        ):  # a click that meets the page while it is painted is lost; a person clicks again
            link.click()
            try:
                expect(chosen).to_be_attached(timeout=patience * 1000)
                return
            except AssertionError:
                if patience == SECONDS:
                    raise
