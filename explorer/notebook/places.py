"""The places of a panel: where numbers, knobs and pictures stand. They keep their size while their content changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from explorer.figures.html import QUIET, escaped
from explorer.figures.palette import EITHER
from explorer.knobs import NEW_STEPS
from explorer.notebook.controls import StepControls
from explorer.notebook.jupyter import FigurePlace, ipywidgets
from explorer.recipe import Step
from explorer.steps import EditAttention

FIGURE_HEIGHT = 400
SMALLEST_TIP = "Measure the file of save(smallest=True): what is changed, entropy-coded on top"
RECOVER_TIP = "Train a little, with the zeros, ranks and codes kept: usually most of the loss comes back"


@dataclass(frozen=True)
class Moves:
    """What the buttons of a panel do."""

    undo: Callable[[], None]
    redo: Callable[[], None]
    revisit: Callable[[int], None]
    add: Callable[[Step], None]
    switch: Callable[[int, bool], None]
    shift: Callable[[int, int], None]
    remove: Callable[[int], None]
    recover: Callable[[], None]
    stop: Callable[[], None]
    squeeze: Callable[[], None]


class Places:
    """The widgets of one panel, arranged: numbers and examples across, below them the knobs beside what they did."""

    def __init__(self, title: str, name: str, moves: Moves, attends: bool = False) -> None:
        widgets = self._widgets = ipywidgets()
        self._moves = moves
        self._setting = False
        self.head = widgets.HTML(layout={"min_height": "150px"})
        self.strip = widgets.HTML(layout={"min_height": "60px"})
        self.message, self.layers, self.steps = widgets.HTML(), widgets.HTML(), widgets.VBox()
        self.picture = FigurePlace(FIGURE_HEIGHT)
        self.switches: list[Any] = []
        self.undo = self._button("Undo", "One move back", moves.undo)
        self.redo = self._button("Redo", "The move again", moves.redo)
        self.visits = widgets.Select(options=[], rows=7, layout={"width": "98%"})
        self.visits.observe(self._chosen, names="value")
        offered = [s for s in NEW_STEPS.values() if not isinstance(s, EditAttention) or attends]
        adds = [self._button(f"Add {s.label.lower()}", s.help, partial(moves.add, s)) for s in offered]
        heading = widgets.HTML(f'<b>{escaped(title)}</b> <span style="{QUIET}">{escaped(name)}</span>')
        back = widgets.HBox([widgets.HTML("<b>Where you have been</b>"), self.undo, self.redo])
        self.recover = self._button("Recover", RECOVER_TIP, moves.recover)
        self.stop = self._button("Stop", "Stop now and keep the best so far", moves.stop)
        self.progress = widgets.FloatProgress(min=0.0, max=1.0, layout={"width": "240px"})
        self.told = widgets.HTML()
        self.learning = widgets.HBox([self.recover, self.stop, self.progress, self.told])
        self.smallest = widgets.HTML()
        squeezed = widgets.HBox([self._button("Smallest file", SMALLEST_TIP, moves.squeeze), self.smallest])
        self.show_learning(None, "")
        left = [self.steps, self.learning, widgets.HBox(adds, layout={"flex_flow": "row wrap"}), self.picture.widget]
        sides = [
            widgets.VBox(left, layout={"flex": "3 1 430px", "overflow": "hidden"}),
            widgets.VBox(
                [back, self.visits, squeezed, self.layers], layout={"flex": "2 1 330px", "overflow": "hidden"}
            ),
        ]
        below = widgets.HBox(sides, layout={"flex_flow": "row wrap", "align_items": "flex-start"})
        self.widget = widgets.VBox([heading, self.head, self.strip, self.message, below])

    def lay_out(self, controls: list[StepControls]) -> None:
        """One card a step, in order."""
        self.switches = [self._switch(position, control.step) for position, control in enumerate(controls)]
        self.steps.children = [self._card(at, control, len(controls)) for at, control in enumerate(controls)]

    def switch_to(self, position: int, on: bool) -> None:
        """Set the switch of a step without calling anybody."""
        self._silently(lambda: setattr(self.switches[position], "value", on))

    def list_visits(self, words: list[str], current: int) -> None:
        """Offer the recipes that were visited, without calling anybody."""
        options = tuple((text, place) for place, text in enumerate(words))

        def put() -> None:
            if self.visits.options != options:
                self.visits.options = options
            self.visits.value = current

        self._silently(put)

    def show_learning(self, share: float | None, words: str) -> None:
        """How far a recovery is (None: none runs), and what is to be said of it."""
        running = share is not None
        self.recover.layout.display = "none" if running else None
        self.stop.layout.display = self.progress.layout.display = None if running else "none"
        self.progress.value = share or 0.0
        self.told.value = f'<span style="{QUIET}">{escaped(words)}</span>'

    def show_smallest(self, words: str) -> None:
        """What is known of the smallest file."""
        self.smallest.value = f'<span style="{QUIET}">{escaped(words)}</span>'

    def _silently(self, change: Callable[[], None]) -> None:
        self._setting = True
        try:
            change()
        finally:
            self._setting = False

    def _chosen(self, change: Any) -> None:
        if not self._setting and change["new"] is not None:
            self._moves.revisit(change["new"])

    def _card(self, position: int, control: StepControls, count: int) -> Any:
        """One step: what it is, on or off, where it stands, and its knobs."""
        moves, widgets = self._moves, self._widgets
        title = widgets.HTML(f"<b>{position + 1} · {escaped(control.step.label)}</b>", layout={"width": "130px"})
        buttons = [
            self._button("Up", "Do this step earlier: order matters", partial(moves.shift, position, -1)),
            self._button("Down", "Do this step later: order matters", partial(moves.shift, position, +1)),
        ]
        buttons = buttons if count > 1 else []
        remove = self._button("Remove", "Take this step out of the recipe", partial(moves.remove, position))
        head = widgets.HBox([title, self.switches[position], *buttons, remove])
        frame = {"border": f"1px solid {EITHER.line}", "padding": "6px", "margin": "2px 0"}
        return widgets.VBox([head, control.widget], layout=frame)

    def _switch(self, position: int, step: Step) -> Any:
        tip = type(step).model_fields["enabled"].description
        switch = self._widgets.Checkbox(
            step.enabled, description="on", indent=False, tooltip=tip, layout={"width": "60px"}
        )

        def turned(change: Any) -> None:
            if not self._setting:
                self._moves.switch(position, change["new"])

        switch.observe(turned, names="value")
        return switch

    def _button(self, word: str, tip: str, pressed: Callable[[], None]) -> Any:
        button = self._widgets.Button(description=word, tooltip=tip, layout={"width": "auto"})
        button.on_click(lambda _: pressed())
        return button
