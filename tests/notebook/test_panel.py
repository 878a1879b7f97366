"""The live panel, without a kernel: widgets are plain objects then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import explorer as ex
from explorer.errors import ExplorerError
from explorer.figures.words import size_text
from explorer.knobs import NEW_STEPS
from explorer.notebook import jupyter
from explorer.notebook.panel import LivePanel
from explorer.recipe import LowRank, Prune, Recipe
from explorer.steps import Quantize, Recover


def soon(check: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something drawn in the background is there."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def head(panel: LivePanel) -> str:
    """The headline as HTML."""
    return str(panel.widget.children[1].value)


def message(panel: LivePanel) -> str:
    """What the panel warns of, as HTML."""
    return str(panel.widget.children[3].value)


def test_an_empty_recipe_starts_with_a_knob_that_changes_nothing(panel: LivePanel) -> None:
    assert panel.recipe == Recipe([Prune(sparsity=0.0)])
    assert panel.wait(20) and panel.quality is not None and panel.quality.value == 1.0


def test_a_knob_gives_the_numbers_of_the_engine(panel: LivePanel, bench: ex.Workbench) -> None:
    panel.controls[0].knobs["sparsity"].value = 0.5
    assert panel.recipe == Recipe([Prune(sparsity=0.5)])
    assert "50.0 %" in head(panel)  # at once
    assert panel.wait(20)
    report = bench.compress(ex.Prune(sparsity=0.5)).report()
    assert panel.quality is not None and panel.quality.value == report.quality.value
    assert panel.variant.size == report.size
    assert f"{100 * report.quality.value:.1f} %" in head(panel)


def test_sparsity_and_threshold_move_each_other(panel: LivePanel, bench: ex.Workbench) -> None:
    knobs = panel.controls[0].knobs
    knobs["sparsity"].value = 0.5
    scores = bench.scores(panel.recipe, 0)
    assert knobs["threshold"].value == pytest.approx(scores.threshold_at(0.5))
    knobs["threshold"].value = 0.2
    assert panel.recipe == Recipe([Prune(threshold=0.2)])
    assert knobs["sparsity"].value == pytest.approx(scores.sparsity_at(0.2), abs=1e-6)


def test_the_figure_follows_and_its_curve_grows(panel: LivePanel) -> None:
    panel.controls[0].knobs["sparsity"].value = 0.5
    place = panel._places.picture.widget
    soon(lambda: place.outputs and "Above it the curve of 41" in place.outputs[0]["data"]["text/plain"])
    assert "of 240 weights" in place.outputs[0]["data"]["text/plain"]


def test_an_error_leaves_the_state(panel: LivePanel) -> None:
    panel.controls[0].knobs["sparsity"].value = 0.5
    before = panel.recipe
    panel.controls[0].knobs["layers"].value = "nothing.*"
    assert panel.recipe is before and panel.controls[0].knobs["layers"].value == "*"
    assert "no weight matrix matches" in panel.message and "no weight matrix matches" in message(panel)
    with pytest.raises(ExplorerError):
        panel.set(Recipe([LowRank(rank=999)]))
    assert panel.recipe is before
    panel.controls[0].knobs["sparsity"].value = 0.6
    assert panel.message == "" and "no weight matrix" not in message(panel)


def test_steps_can_be_added_moved_switched_and_removed(panel: LivePanel) -> None:
    panel.controls[0].knobs["sparsity"].value = 0.5
    panel._add(LowRank(energy=0.95))
    assert [step.kind for step in panel.recipe] == ["prune", "low-rank"] and "zeros are lost" in message(panel)
    panel._shift(1, -1)
    assert [step.kind for step in panel.recipe] == ["low-rank", "prune"] and "zeros are lost" not in message(panel)
    panel._places.switches[0].value = False
    assert not panel.recipe[0].enabled
    panel._remove(0)
    assert panel.recipe == Recipe([Prune(sparsity=0.5)])
    panel._remove(0)
    assert len(panel.recipe) == 0 and "nothing is changed" in head(panel)


def test_undo_redo_and_the_list_of_visits(panel: LivePanel) -> None:
    first = panel.recipe
    panel.controls[0].knobs["sparsity"].value = 0.5
    second = panel.recipe
    panel.undo()
    assert panel.recipe == first and panel.controls[0].knobs["sparsity"].value == 0
    panel.redo()
    assert panel.recipe == second
    panel._places.visits.value = 0
    assert panel.recipe == first and [place for _, place in panel._places.visits.options] == [0, 1]


def test_a_later_turn_wins(panel: LivePanel) -> None:
    for share in (0.1, 0.2, 0.3, 0.4):
        panel.controls[0].knobs["sparsity"].value = share
    assert panel.wait(20) and "40.0 %" in head(panel)
    time.sleep(0.3)  # a watcher that is late must not draw its own turn
    assert "40.0 %" in head(panel)


def test_a_panel_shows_itself_as_text_and_html(panel: LivePanel) -> None:
    panel.wait(20)
    shown = panel._repr_mimebundle_()
    assert shown["text/plain"].startswith("live panel on tiny")
    assert "Sparsity" in shown["text/html"] and "run this cell again" in shown["text/html"]


@pytest.mark.parametrize(
    "step",
    [Prune(sparsity=0.3, scope="matrix"), Prune(pattern="n:m"), Prune(sparsity=0.2, pattern="row"), LowRank(rank=2)],
)
def test_every_kind_of_step_has_its_figure(bench: ex.Workbench, step: Any) -> None:
    panel = LivePanel(bench, Recipe([step]))
    try:
        place = panel._places.picture.widget
        soon(lambda: panel._curve is not None and panel._curve.finished and place.outputs)
        assert place.outputs[0]["data"]["text/plain"]
    finally:
        panel.close()


def test_the_door_opens_a_panel(bench: ex.Workbench) -> None:
    panel = bench.live(ex.Prune(sparsity=0.25))
    assert isinstance(panel, LivePanel) and panel.recipe == Recipe([Prune(sparsity=0.25)])
    panel.close()


def test_without_ipywidgets_there_is_one_sentence(bench: ex.Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(jupyter, "import_module", missing)
    with pytest.raises(ExplorerError, match="ipywidgets is not installed here"):
        LivePanel(bench)


def learning_panel() -> LivePanel:
    """A panel on a model that has data to learn from."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = torch.randn(400, 12)
    targets = model(inputs).argmax(1)
    data, training = (inputs[:200], targets[:200]), (inputs[200:], targets[200:])
    return LivePanel(ex.load(model, data=data, training=training, name="learns"))


def test_recovering_goes_to_the_recovered_variant() -> None:
    panel = learning_panel()
    panel.set(Recipe([Prune(sparsity=0.7)]))
    assert panel.wait(20) and panel.quality is not None
    broken = panel.quality.value
    panel.recover(Recover(epochs=30))
    assert panel.wait_recovered(60) and panel.wait(20)
    assert panel.recipe == Recipe([Prune(sparsity=0.7), Recover(epochs=30)])
    assert panel.quality.value > broken and panel.variant.size.sparsity == pytest.approx(0.7, abs=0.01)
    panel.controls[0].knobs["sparsity"].value = 0.5  # what was trained for other zeros is off now
    assert panel.recipe == Recipe([Prune(sparsity=0.5), Recover(epochs=30, enabled=False)])
    panel.undo()
    assert panel.recipe == Recipe([Prune(sparsity=0.7), Recover(epochs=30)])
    panel.close()


def test_a_recovery_is_stopped_and_a_second_one_is_refused_meanwhile() -> None:
    panel = learning_panel()
    panel.set(Recipe([Prune(sparsity=0.7), Recover(epochs=100_000, enabled=False)]))
    panel._places.switches[1].value = True
    soon(lambda: panel._places.progress.layout.display is None)
    panel.recover()
    assert "a recovery is running" in panel.message
    time.sleep(0.3)
    panel.stop()
    assert panel.wait_recovered(60)
    step = panel.recipe[1]
    assert isinstance(step, Recover) and step.enabled and step.until is not None
    panel.close()


def test_without_data_to_learn_from_the_panel_says_so(panel: LivePanel) -> None:
    panel.set(Recipe([Prune(sparsity=0.5)]))
    panel.recover()
    assert "has no data to learn from" in panel.message


@pytest.mark.parametrize("kind", NEW_STEPS)
def test_every_kind_of_step_has_its_knobs(kind: str) -> None:
    panel = LivePanel(ex.load("digits-vit")) if kind == "edit-attention" else learning_panel()
    panel.set(Recipe([NEW_STEPS[kind]]))
    assert panel.wait(20) and not panel.message
    (controls,) = panel.controls
    assert {name for name in type(controls.step).model_fields if name != "enabled"} == set(controls.knobs)
    panel.close()


def test_numbers_that_may_be_left_out_can_be_emptied() -> None:
    panel = learning_panel()
    panel.set(Recipe([Quantize(bits=4)]))
    knob = panel.controls[0].knobs["rest"]
    assert knob.value == ""
    knob.value = "8"
    assert panel.recipe == Recipe([Quantize(bits=4, rest=8)])
    knob.value = "many"
    assert '"many" is no number' in panel.message and panel.recipe == Recipe([Quantize(bits=4, rest=8)])
    knob.value = ""
    assert panel.recipe == Recipe([Quantize(bits=4)])
    panel.close()


def test_the_smallest_file_is_measured_when_asked(panel: LivePanel) -> None:
    panel.controls[0].knobs["sparsity"].value = 0.5
    variant, told = panel.variant, panel._places.smallest
    assert "smallest" not in told.value
    panel.squeeze()
    soon(lambda: "smallest file" in told.value and "≈" not in told.value)
    assert size_text(variant.bytes_smallest()) in told.value
    panel.controls[0].knobs["sparsity"].value = 0.6
    assert "smallest" not in told.value  # it was the file of another recipe
