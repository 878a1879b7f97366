"""Steps: every bad input is one plain sentence, and nothing inside a step can change."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from explorer import ExplorerError, LowRank, Prune
from explorer.steps import Step

NAN, INFINITY = float("nan"), float("inf")

BAD: list[tuple[type[Step], dict[str, Any], list[str]]] = [
    (Prune, {}, ["Prune", "either a sparsity or a threshold"]),
    (Prune, {"sparsity": 0.5, "threshold": 0.1}, ["Prune", "either a sparsity or a threshold"]),
    (Prune, {"sparsity": 1.4}, ["Prune", "sparsity is 1.4", "from 0 to 1"]),
    (Prune, {"sparsity": -0.1}, ["Prune", "sparsity is -0.1", "from 0 to 1"]),
    (Prune, {"sparsity": NAN}, ["Prune", "sparsity is nan", "Give a number"]),
    (Prune, {"sparsity": INFINITY}, ["Prune", "sparsity is inf"]),
    (Prune, {"sparsity": True}, ["Prune", "sparsity is True"]),
    (Prune, {"sparsity": "half"}, ["Prune", "sparsity is 'half'", "number"]),
    (Prune, {"sparsity": [0.5]}, ["Prune", "sparsity is [0.5]", "number"]),
    (Prune, {"threshold": -1}, ["Prune", "threshold is -1", "from 0 on"]),
    (Prune, {"threshold": NAN}, ["Prune", "threshold is nan"]),
    (Prune, {"threshold": INFINITY}, ["Prune", "threshold is inf"]),
    (Prune, {"sparsity": 0.5, "criterion": "luck"}, ['no criterion called "luck"', "magnitude", "random"]),
    (Prune, {"sparsity": 0.5, "criterion": 3}, ["Prune", "criterion is 3"]),
    (Prune, {"sparsity": 0.5, "pattern": "stripes"}, ["Prune", "pattern is 'stripes'", "unstructured", "n:m", "row"]),
    (Prune, {"sparsity": 0.5, "scope": "galaxy"}, ["Prune", "scope is 'galaxy'", "global", "matrix"]),
    (Prune, {"sparsity": 0.5, "layers": ()}, ["Prune", "at least one glob"]),
    (Prune, {"sparsity": 0.5, "layers": []}, ["Prune", "at least one glob"]),
    (Prune, {"sparsity": 0.5, "layers": 7}, ["Prune", "layers is 7", "glob"]),
    (Prune, {"sparsity": 0.5, "layers": ["a", 7]}, ["Prune", "layers is ['a', 7]", "glob"]),
    (Prune, {"sparsity": 0.5, "exclude": None}, ["Prune", "exclude is None", "glob"]),
    (Prune, {"sparsity": 0.5, "sparsty": 0.5}, ["Prune", 'unknown field "sparsty"', "sparsity", "threshold"]),
    (Prune, {"sparsity": 0.5, "seed": -1}, ["Prune", "seed is -1"]),
    (Prune, {"sparsity": 0.5, "seed": 2**70}, ["Prune", "seed is", "4294967295"]),
    (Prune, {"sparsity": 0.5, "seed": 0.5}, ["Prune", "seed is 0.5"]),
    (Prune, {"sparsity": 0.5, "enabled": "perhaps"}, ["Prune", "enabled is 'perhaps'"]),
    (Prune, {"sparsity": 0.5, "overrides": {"a": 2}}, ["Prune", 'overrides["a"] is 2', "from 0 to 1"]),
    (Prune, {"sparsity": 0.5, "overrides": {"a": NAN}}, ["Prune", "overrides", "nan"]),
    (Prune, {"sparsity": 0.5, "overrides": {"a": True}}, ["Prune", "overrides", "True"]),
    (Prune, {"sparsity": 0.5, "overrides": [0.5]}, ["Prune", "overrides is [0.5]", "name or glob"]),
    (Prune, {"pattern": "n:m", "n": 5, "m": 4}, ["Prune", "N is 5 and M is 4"]),
    (Prune, {"pattern": "n:m", "n": 5}, ["Prune", "N is 5 and M is 4"]),
    (Prune, {"pattern": "n:m", "n": -1}, ["Prune", "n is -1"]),
    (Prune, {"pattern": "n:m", "n": 0, "m": 0}, ["Prune", "m is 0"]),
    (Prune, {"pattern": "n:m", "sparsity": 0.5}, ["Prune", "N:M", "leave out sparsity"]),
    (Prune, {"pattern": "n:m", "overrides": {"a": 0.5}}, ["Prune", "N:M", "overrides"]),
    (Prune, {"sparsity": 0.5, "n": 2}, ["Prune", "n and m belong to"]),
    (LowRank, {}, ["Low rank", "either a rank or an energy"]),
    (LowRank, {"rank": 4, "energy": 0.9}, ["Low rank", "either a rank or an energy"]),
    (LowRank, {"rank": 0}, ["Low rank", "rank is 0", "from 1 on"]),
    (LowRank, {"rank": 2.5}, ["Low rank", "rank is 2.5"]),
    (LowRank, {"rank": True}, ["Low rank", "rank is True"]),
    (LowRank, {"energy": 0}, ["Low rank", "energy is 0", "above 0, up to 1"]),
    (LowRank, {"energy": 1.01}, ["Low rank", "energy is 1.01", "above 0, up to 1"]),
    (LowRank, {"rank": 4, "method": "magic"}, ['no low-rank method called "magic"', "svd"]),
    (LowRank, {"rank": 4, "overrides": {"head": 0}}, ["Low rank", '"head" is 0', "at least 1"]),
]


@pytest.mark.parametrize(("step", "fields", "words"), BAD, ids=[f"{step.__name__} {fields}" for step, fields, _ in BAD])
def test_every_bad_input_is_one_plain_sentence(step: type[Step], fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ExplorerError) as told:
        step(**fields)
    sentence = str(told.value)
    for word in words:
        assert word in sentence
    assert "\n" not in sentence and "pydantic" not in sentence and sentence.endswith(".")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"sparsity": 0}, 0.0),
        ({"sparsity": 1}, 1.0),
        ({"sparsity": np.float32(0.25)}, 0.25),
        ({"sparsity": "5e-1"}, 0.5),  # YAML takes 5e-1, without a point, for text
    ],
)
def test_numbers_may_come_in_other_clothes(fields: dict[str, Any], wanted: float) -> None:
    found = Prune(**fields).sparsity
    assert found == wanted and type(found) is float


def test_one_glob_stands_for_a_list_of_one() -> None:
    given: dict[str, Any] = {"layers": "*.mlp.*", "exclude": ["a", "b"]}
    step = Prune(sparsity=0.5, **given)
    assert (step.layers, step.exclude) == (("*.mlp.*",), ("a", "b"))


def test_two_of_four_is_the_usual_group() -> None:
    step = Prune(pattern="n:m")
    assert (step.n, step.m) == (2, 4)
    assert (Prune(pattern="n:m", m=8).n, Prune(pattern="n:m", n=1).m) == (2, 4)


def test_nothing_inside_a_step_can_change() -> None:
    own: dict[str, float | None] = {"head": 0.1}
    step = Prune(sparsity=0.5, overrides=own)
    with pytest.raises(ValidationError):
        step.sparsity = 0.9
    for change in (
        lambda: step.overrides.__setitem__("head", 0.9),
        lambda: step.overrides.update(head=0.9),
        lambda: step.overrides.pop("head"),
        lambda: step.overrides.clear(),
        lambda: step.overrides.setdefault("tail", 0.9),
        lambda: step.overrides.__delitem__("head"),
    ):
        with pytest.raises(TypeError):
            change()
    own["head"] = 0.9
    assert step.overrides == {"head": 0.1}


def test_change_makes_another_step_and_checks_it_again() -> None:
    step = Prune(sparsity=0.5, overrides={"a": None}, seed=3)
    other = step.change(sparsity=0.25)
    assert (step.sparsity, other.sparsity, other.overrides, other.seed) == (0.5, 0.25, {"a": None}, 3)
    with pytest.raises(ExplorerError, match="outside 0 to 1"):
        step.change(sparsity=2)
    with pytest.raises(ExplorerError, match="unknown field"):
        step.change(rank=2)


def test_equal_steps_mean_the_same() -> None:
    assert Prune(sparsity=1) == Prune(sparsity=1.0) and hash(Prune(sparsity=1)) == hash(Prune(sparsity=1.0))
    assert Prune(sparsity=0.5) != Prune(threshold=0.5)
    assert Prune(sparsity=0.5) != LowRank(energy=0.5)
    # a later glob wins over an earlier one, so that the order of overrides is part of the meaning
    first: dict[str, float | None] = {"*": 0.1, "a*": 0.2}
    second: dict[str, float | None] = {"a*": 0.2, "*": 0.1}
    assert Prune(sparsity=0.5, overrides=first) != Prune(sparsity=0.5, overrides=second)


@pytest.mark.parametrize("step", [Prune(sparsity=0.5, overrides={"a": 0.1}), LowRank(rank=3), Prune(pattern="n:m")])
def test_steps_travel_between_processes(step: Step) -> None:
    assert pickle.loads(pickle.dumps(step)) == step
    assert copy.deepcopy(step) == step
    with pytest.raises(TypeError):
        copy.deepcopy(Prune(sparsity=0.5, overrides={"a": 0.1})).overrides["a"] = 0.9


def test_given_names_only_what_differs_from_the_defaults() -> None:
    assert Prune(sparsity=0.5, criterion="magnitude", layers=("*",), seed=0).given() == {"sparsity": 0.5}
    assert LowRank(rank=3, layers=("a", "b"), enabled=False).given() == {
        "layers": ["a", "b"],
        "enabled": False,
        "rank": 3,
    }


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Prune(sparsity=0.5), "prune 50 %, magnitude"),
        (Prune(threshold=0.02, layers=("*.mlp.*",)), "prune below 0.02, magnitude in *.mlp.*"),
        (Prune(pattern="n:m", n=1, m=4), "prune 1:4, magnitude"),
        (Prune(sparsity=0.125, pattern="row", criterion="random"), "prune 12.5 % of neurons, random"),
        (LowRank(rank=16), "rank 16"),
        (LowRank(energy=0.95, layers=("a", "b")), "rank for 95 % energy in a, b"),
    ],
)
def test_a_step_tells_itself_in_a_few_words(step: Step, words: str) -> None:
    assert step.sentence() == words


@pytest.mark.parametrize("step", [Prune, LowRank])
def test_every_field_has_a_label_and_a_help_text(step: type[Step]) -> None:
    for name, field in step.model_fields.items():
        assert field.title and field.description, name
        assert field.description.endswith(".") or "such as" in field.description
