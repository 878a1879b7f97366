"""The controls of one step, made from its fields: labels, help and limits stand on the step itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from explorer.errors import ExplorerError
from explorer.figures.palette import EITHER
from explorer.figures.pictures import pattern_svg
from explorer.knobs import (
    globs_from,
    globs_worth_offering,
    idle_fields,
    is_rare,
    limits,
    lists_from,
    lists_text,
    overrides_from,
    overrides_text,
    turned,
)
from explorer.names import CRITERIA, EDITS, FACTORISATIONS, PATTERNS
from explorer.notebook.jupyter import ipywidgets
from explorer.recipe import Prune, Step
from explorer.steps import LEARNED, EditAttention, GradualPrune
from explorer.workbench import Workbench

REGISTRIES: dict[str, Any] = {"criterion": CRITERIA, "pattern": PATTERNS, "method": FACTORISATIONS, "edit": EDITS}
WORDS = {"global": "across all layers", "matrix": "inside each matrix"}
MAY_BE_EMPTY = ("rest", "batch_size", "until")
"""Numbers that may be left out, where nothing else says what they stand at."""
LABEL = {"description_width": "88px"}
WIDE = {"width": "98%"}


class StepControls:
    """The knobs of one step.

    Parameters
    ----------
    bench: the workbench, for the names and ranks of its matrices.
    changed: called with the new step when a knob was turned; raises `ExplorerError` where that cannot be, and then
        the knob goes back.
    failed: called with the error in that case.

    Attributes: `step` as it stands; `knobs`: field name to widget; `widget`: all of them, the rare ones behind "more".
    """

    def __init__(
        self,
        bench: Workbench,
        step: Step,
        changed: Callable[[Step], None],
        failed: Callable[[ExplorerError], None],
    ) -> None:
        self.step = step
        self._bench, self._changed, self._failed = bench, changed, failed
        self._widgets = ipywidgets()
        self._quiet = False
        self.knobs: dict[str, Any] = {name: self._knob(name) for name in type(step).model_fields if name != "enabled"}
        for name, knob in self.knobs.items():
            knob.observe(lambda change, name=name: self._turned(name, change["new"]), names="value")
        self.widget = self._arranged()
        self.show(step)

    # -- from the step to the knobs -------------------------------------------------------------------------------

    def show(self, step: Step, amounts: dict[str, float] | None = None) -> None:
        """Set all knobs to the step, without calling anybody.

        Parameters
        ----------
        amounts: what the knobs stand at that the step does not set: the threshold that its sparsity means, and so on;
            "most" is the largest threshold worth offering.
        """
        self.step = step
        known = dict(amounts or {})
        self._quiet = True
        try:
            if "threshold" in self.knobs:
                reach = max(known.pop("most", self.knobs["threshold"].max), step_value(step, "threshold") or 0.0)
                self.knobs["threshold"].max = max(reach, 1e-6)
                self.knobs["threshold"].step = self.knobs["threshold"].max / 1000
            for name, knob in self.knobs.items():
                value = getattr(step, name)
                knob.value = self._shown(name, known.get(name) if value is None else value, knob)
            self._unfold(step)
        finally:
            self._quiet = False

    def _shown(self, name: str, value: Any, knob: Any) -> Any:
        """A field's value as its widget holds it."""
        if name in ("layers", "exclude"):
            return ", ".join(value)
        if name in ("overrides", "teachers"):
            return overrides_text(value)
        if name in ("own_heads", "gains"):
            return lists_text(value)
        if name == "heads":
            return " ".join(map(str, value))
        if name in MAY_BE_EMPTY:
            return "" if value is None else f"{value:g}"
        return knob.value if value is None else value

    def _unfold(self, step: Step) -> None:
        """Show the knobs that belong to the edit or the pattern, and the picture of the latter."""
        if isinstance(step, EditAttention):
            for name, knob in self.knobs.items():
                knob.layout.display = "none" if name in idle_fields(step) else None
        if not isinstance(step, Prune):
            return
        grouped = step.pattern == "n:m"
        for name in ("n", "m", "sparsity", "threshold", "overrides", "scope"):
            belongs = grouped if name in ("n", "m") else not grouped
            self.knobs[name].layout.display = None if belongs else "none"
        entry = PATTERNS[step.pattern]
        picture = pattern_svg(step.pattern, n=step.n or 2, m=step.m or 4, colours=EITHER)
        self._picture.value = (
            f'<div style="display:flex;gap:12px;align-items:center;margin:2px 0 6px 92px"><div style="flex:none;'
            f'zoom:.7">{picture}</div><span style="opacity:.7;line-height:1.35">{entry.help}</span></div>'
        )

    # -- from the knobs to the step -------------------------------------------------------------------------------

    def _turned(self, name: str, value: Any) -> None:
        if self._quiet:
            return
        try:
            fields: dict[str, Any] = {name: self._read(name, value)}
            if name == "pattern" and self.step.model_dump().get("sparsity") is None:
                fields["sparsity"] = self.knobs["sparsity"].value
            step = turned(self.step, **fields)
            self._changed(step)
        except ExplorerError as problem:
            self.show(self.step)
            self._failed(problem)

    def _read(self, name: str, value: Any) -> Any:
        """A widget's value as its field takes it."""
        if name == "layers":
            return globs_from(value) or ("*",)
        if name == "exclude":
            return globs_from(value)
        if name in ("own_heads", "gains"):
            return lists_from(value, whole=name == "own_heads")
        if name == "heads":
            return tuple(_heads(value))
        if name in ("overrides", "teachers"):
            return overrides_from(value, whole=name == "overrides" and not isinstance(self.step, Prune))
        if name in MAY_BE_EMPTY:
            return _number_or_none(value)
        return round(value, 6) if isinstance(value, float) else value

    # -- making them ----------------------------------------------------------------------------------------------

    def _arranged(self) -> Any:
        kind = type(self.step)
        names = sorted((name for name in self.knobs if not is_rare(kind, name)), key=lambda name: name == "layers")
        plain = [self.knobs[name] for name in names]
        rare = [knob for name, knob in self.knobs.items() if is_rare(kind, name)]
        if isinstance(self.step, Prune):
            self._picture = self._widgets.HTML()
            pattern = self.knobs["pattern"]
            plain = [pattern, self._picture, *(knob for knob in plain if knob is not pattern)]
        more = self._widgets.Accordion([self._widgets.VBox(rare)], titles=("more",), selected_index=None)
        return self._widgets.VBox([*plain, more] if rare else plain)

    def _knob(self, name: str) -> Any:
        """The widget that suits the type of a field."""
        kind, widgets = type(self.step), self._widgets
        field = kind.model_fields[name]
        words = {"description": field.title or name, "tooltip": field.description or "", "style": LABEL}
        if name in ("layers", "exclude"):
            edits = issubclass(kind, EditAttention)
            names = self._bench.attention_sites.names if edits else self._bench.matrices().names
            offers = [*(["*"] if name == "layers" else []), *globs_worth_offering(names), *names]
            return widgets.Combobox(options=offers, ensure_option=False, continuous_update=False, layout=WIDE, **words)
        if name == "heads":
            return widgets.Text(placeholder="all, or 0 2", continuous_update=False, layout=WIDE, **words)
        if name in REGISTRIES:
            return self._choice(name, field.annotation, words)
        if get_origin(field.annotation) is Literal:
            options = [(WORDS.get(option, option), option) for option in get_args(field.annotation)]
            return widgets.Dropdown(options=options, layout=WIDE, **words)
        if get_origin(field.annotation) is dict:
            examples = {"own_heads": "blocks.0.attn=0 2", "gains": "blocks.0.attn=1 0.5 1 0"}
            example = examples.get(name, "blocks.0.*=0.3, head=off")
            return widgets.Text(placeholder=example, continuous_update=False, layout=WIDE, **words)
        return self._number(name, words)

    def _choice(self, name: str, annotation: Any, words: dict[str, Any]) -> Any:
        registry = REGISTRIES[name]
        listed = get_args(annotation) if get_origin(annotation) is Literal else registry.names()
        options = [(registry[option].label, option) for option in listed]
        if name == "criterion" and isinstance(self.step, GradualPrune):
            options.append((LEARNED, LEARNED))
        if name != "pattern":
            return self._widgets.Dropdown(options=options, layout=WIDE, **words)
        tips = [registry[option].help for option in listed]
        style = {**LABEL, "button_width": "auto"}
        return self._widgets.ToggleButtons(options=options, tooltips=tips, layout=WIDE, **{**words, "style": style})

    def _number(self, name: str, words: dict[str, Any]) -> Any:
        widgets = self._widgets
        low, high = limits(type(self.step), name)
        kinds = get_args(type(self.step).model_fields[name].annotation) or (
            type(self.step).model_fields[name].annotation,
        )
        if name in MAY_BE_EMPTY:
            return widgets.Text(placeholder="empty", continuous_update=False, layout={"width": "200px"}, **words)
        if float in kinds and high != 1 and name != "threshold":
            return widgets.FloatText(step=0.001 if name == "learning_rate" else 1.0, layout={"width": "200px"}, **words)
        still = {"continuous_update": False, "layout": WIDE, **words}
        if name == "threshold":
            return widgets.FloatSlider(min=0.0, max=1.0, step=0.001, readout_format=".4f", **still)
        if name == "rank" and not isinstance(self.step, EditAttention):
            most = max((matrix.max_rank for matrix in self._bench.matrices()), default=1)
            return widgets.IntSlider(min=1, max=most, **still)
        if high == 1:
            return widgets.FloatSlider(min=low or 0.0, max=1.0, step=0.001, readout_format=".1%", **still)
        highest = 2**31 - 1 if high is None else int(high)
        return widgets.BoundedIntText(min=int(low or 0), max=highest, layout={"width": "200px"}, **words)


def _number_or_none(text: str) -> float | None:
    """A typed number; nothing typed is None."""
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError as problem:
        raise ExplorerError(f'"{text}" is no number', instead="type a number, or nothing") from problem
    return int(number) if number == int(number) else number


def _heads(text: str) -> list[int]:
    """Typed numbers of heads."""
    try:
        return [int(piece) for piece in text.replace(",", " ").split()]
    except ValueError as problem:
        raise ExplorerError(f'"{text}" is no list of heads', instead="write their numbers: 0 2") from problem


def step_value(step: Step, name: str) -> Any:
    """A field of the step, or None where this kind of step has none of that name."""
    return getattr(step, name, None)
