"""The controls of a step, made from its fields."""

from __future__ import annotations

import pytest

import explorer as ex
from explorer.errors import ExplorerError
from explorer.notebook.controls import StepControls
from explorer.recipe import LowRank, Prune, Step


class Listener:
    """Takes what controls tell; refuses steps on request."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.errors: list[ExplorerError] = []
        self.refuse = False

    def changed(self, step: Step) -> None:
        if self.refuse:
            raise ExplorerError("refused")
        self.steps.append(step)

    def controls(self, bench: ex.Workbench, step: Step) -> StepControls:
        return StepControls(bench, step, self.changed, self.errors.append)


@pytest.mark.parametrize("step", [Prune(sparsity=0.3), Prune(pattern="n:m"), LowRank(rank=2), LowRank(energy=0.5)])
def test_every_field_has_a_knob_with_its_own_words(bench: ex.Workbench, step: Step) -> None:
    controls = Listener().controls(bench, step)
    assert set(controls.knobs) == set(type(step).model_fields) - {"enabled"}
    for name, knob in controls.knobs.items():
        field = type(step).model_fields[name]
        assert knob.description == field.title and knob.tooltip == field.description


def test_showing_a_step_calls_nobody(bench: ex.Workbench) -> None:
    listener = Listener()
    controls = listener.controls(bench, Prune(sparsity=0.3))
    controls.show(Prune(threshold=7.0, criterion="random", layers=("0",)), {"sparsity": 0.9, "most": 2.0})
    assert not listener.steps and not listener.errors
    assert controls.knobs["threshold"].value == 7.0 and controls.knobs["sparsity"].value == 0.9
    assert controls.knobs["layers"].value == "0"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sparsity", 0.5, Prune(sparsity=0.5)),
        ("threshold", 0.25, Prune(threshold=0.25)),
        ("criterion", "random", Prune(sparsity=0.3, criterion="random")),
        ("scope", "matrix", Prune(sparsity=0.3, scope="matrix")),
        ("pattern", "n:m", Prune(pattern="n:m")),
        ("pattern", "row", Prune(sparsity=0.3, pattern="row")),
        ("layers", "0, 2", Prune(sparsity=0.3, layers=("0", "2"))),
        ("layers", "", None),
        ("exclude", "2", Prune(sparsity=0.3, exclude=("2",))),
        ("overrides", "0=0.1, 2=off", Prune(sparsity=0.3, overrides={"0": 0.1, "2": None})),
        ("seed", 5, Prune(sparsity=0.3, seed=5)),
    ],
)
def test_a_knob_changes_its_field(bench: ex.Workbench, name: str, value: object, expected: Step | None) -> None:
    listener = Listener()
    controls = listener.controls(bench, Prune(sparsity=0.3))
    controls.knobs[name].value = value
    assert not listener.errors
    assert (listener.steps or [Prune(sparsity=0.3)])[-1] == (expected or Prune(sparsity=0.3))


def test_a_knob_goes_back_where_the_step_cannot_be(bench: ex.Workbench) -> None:
    listener = Listener()
    controls = listener.controls(bench, Prune(sparsity=0.3))
    controls.knobs["overrides"].value = "nonsense"
    assert "not name=amount" in str(listener.errors[-1]) and controls.knobs["overrides"].value == ""
    listener.refuse = True
    controls.knobs["sparsity"].value = 0.9
    assert "refused" in str(listener.errors[-1]) and controls.knobs["sparsity"].value == 0.3


def test_only_the_knobs_of_the_pattern_are_there(bench: ex.Workbench) -> None:
    controls = Listener().controls(bench, Prune(sparsity=0.3))
    shown = lambda name: controls.knobs[name].layout.display is None  # noqa: E731  (one word, used four times)
    assert shown("sparsity") and not shown("n")
    controls.show(Prune(pattern="n:m", n=1, m=8))
    assert shown("n") and not shown("sparsity")
    assert (controls.knobs["n"].value, controls.knobs["m"].value) == (1, 8)


def test_ranks_reach_to_the_largest_matrix(bench: ex.Workbench) -> None:
    assert Listener().controls(bench, LowRank(rank=2)).knobs["rank"].max == 12
