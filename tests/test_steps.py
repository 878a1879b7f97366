"""Steps: every bad input is one plain sentence, and nothing inside a step can change."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import explorer as ex
from explorer import ExplorerError, LowRank, Prune, Recipe
from explorer.steps import LEARNED, STEPS, Codebook, EditAttention, GradualPrune, Quantize, Recover, Step

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
    (Quantize, {"bits": 1}, ["Quantise", "bits is 1", "from 2 to 8"]),
    (Quantize, {"bits": 16}, ["Quantise", "bits is 16", "from 2 to 8"]),
    (Quantize, {"bits": 4.5}, ["Quantise", "bits is 4.5", "whole number"]),
    (Quantize, {"scheme": "log"}, ["Quantise", "scheme is 'log'", "symmetric", "affine"]),
    (Quantize, {"granularity": "block"}, ["Quantise", "granularity is 'block'", "tensor", "channel"]),
    (Quantize, {"overrides": {"a": 9}}, ["Quantise", '"a" has 9 bits', "2 to 8"]),
    (Quantize, {"rest": 1}, ["Quantise", "rest is 1", "from 2 to 8"]),
    (Codebook, {"bits": 0}, ["Codebook", "bits is 0", "from 1 to 8"]),
    (Codebook, {"bits": True}, ["Codebook", "bits is True"]),
    (Codebook, {"overrides": {"a": 0}}, ["Codebook", '"a" has 0 bits', "1 to 8"]),
    (Codebook, {"scheme": "affine"}, ["Codebook", 'unknown field "scheme"']),
    (Recover, {"epochs": 0}, ["Recover", "epochs is 0", "above 0"]),
    (Recover, {"epochs": NAN}, ["Recover", "epochs is nan"]),
    (Recover, {"learning_rate": 0}, ["Recover", "learning_rate is 0", "above 0"]),
    (Recover, {"learning_rate": "fast"}, ["Recover", "learning_rate is 'fast'", "number"]),
    (Recover, {"distill": -1}, ["Recover", "distill is -1", "from 0 on"]),
    (Recover, {"temperature": 0}, ["Recover", "temperature is 0"]),
    (Recover, {"task_weight": 0}, ["Recover", "nothing is learnt"]),
    (Recover, {"teachers": {"prune,sparsity=0.5": 0}}, ["Recover", "weight of the teacher", "above 0"]),
    (Recover, {"teachers": "dense"}, ["Recover", "teachers is 'dense'"]),
    (Recover, {"label_smoothing": 1.5}, ["Recover", "label_smoothing is 1.5", "from 0 to 1"]),
    (Recover, {"hold_back": 0.9}, ["Recover", "hold_back is 0.9", "from 0 to 0.5"]),
    (Recover, {"batch_size": 0}, ["Recover", "batch_size is 0", "from 1 on"]),
    (Recover, {"update": "biases"}, ["Recover", "update is 'biases'", "weights", "batchnorm"]),
    (Recover, {"until": -1}, ["Recover", "until is -1"]),
    (Recover, {"sparsity": 0.5}, ["Recover", 'unknown field "sparsity"']),
    (GradualPrune, {"sparsity": 1.2}, ["Prune in training", "sparsity is 1.2", "from 0 to 1"]),
    (GradualPrune, {"schedule": "steep"}, ["Prune in training", "schedule is 'steep'", "cubic", "linear"]),
    (GradualPrune, {"rounds": 0}, ["Prune in training", "rounds is 0", "from 1 on"]),
    (GradualPrune, {"criterion": "luck"}, ['no criterion called "luck"']),
    (GradualPrune, {"pattern": "n:m"}, ["Prune in training", "pattern is 'n:m'"]),
    (GradualPrune, {"zeros": "leave"}, ["Prune in training", "zeros is 'leave'", "may return"]),
    (GradualPrune, {"ramp": 2}, ["Prune in training", "ramp is 2", "from 0 to 1"]),
    (EditAttention, {"edit": "squint"}, ['called "squint"', "temperature", "off"]),
    (EditAttention, {"edit": 3}, ["Edit attention", "edit is 3"]),
    (EditAttention, {"layers": ()}, ["Edit attention", "at least one glob"]),
    (EditAttention, {"heads": (-1,)}, ["Edit attention", "head -1 is below 0", "count from 0"]),
    (EditAttention, {"heads": "all"}, ["Edit attention", "heads is 'all'"]),
    (EditAttention, {"edit": "temperature", "temperature": 0}, ["Edit attention", "temperature is 0", "above 0"]),
    (EditAttention, {"edit": "temperature", "temperature": NAN}, ["Edit attention", "temperature is nan"]),
    (EditAttention, {"edit": "top-k", "k": 0}, ["Edit attention", "k is 0", "from 1 on"]),
    (EditAttention, {"edit": "top-k", "k": 1.5}, ["Edit attention", "k is 1.5"]),
    (EditAttention, {"edit": "window", "window": -1}, ["Edit attention", "window is -1", "from 0 on"]),
    (EditAttention, {"edit": "decay", "decay": -0.5}, ["Edit attention", "decay is -0.5", "from 0 on"]),
    (EditAttention, {"edit": "dropout", "share": 1}, ["Edit attention", "share is 1", "less than 1"]),
    (EditAttention, {"edit": "low-rank", "rank": 0}, ["Edit attention", "rank is 0", "from 1 on"]),
    (EditAttention, {"edit": "gain", "gain": 11}, ["Edit attention", "gain is 11", "from 0 to 10"]),
    (EditAttention, {"edit": "gain", "gains": {"a": (1, 99)}}, ["Edit attention", '"a" has the gain 99', "0 to 10"]),
    (EditAttention, {"edit": "off", "gains": {"a": (1,)}}, ["Edit attention", 'gains belong to edit="gain"']),
    (EditAttention, {"edit": "top-k", "temperature": 2}, ["temperature does not belong", 'edit="top-k"', "takes k"]),
    (EditAttention, {"edit": "off", "k": 2}, ["k does not belong", 'edit="off"', "takes no amount"]),
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
        (Quantize(), "8 bits"),
        (Codebook(bits=3, layers=("a",)), "codebook of 8 values in a"),
        (Recover(epochs=1), "recover 1 epoch"),
        (Recover(epochs=10, until=2.5, distill=1), "recover 2.5 epochs, taught by dense"),
        (Recover(update="batchnorm"), "estimate BatchNorm anew"),
        (GradualPrune(sparsity=0.9), "prune to 90 % in 10 epochs, magnitude"),
        (GradualPrune(pattern="row", criterion=LEARNED), "prune to 80 % of neurons in 10 epochs, learned"),
        (EditAttention(), "all heads off"),
        (EditAttention(heads=(3, 1), layers=("blocks.0.attn",)), "heads 1, 3 off in blocks.0.attn"),
        (EditAttention(edit="temperature", temperature=0.5, heads=(2,)), "head 2 temperature 0.5"),
        (EditAttention(edit="top-k", k=1), "all heads top k (k 1)"),
        (EditAttention(edit="block-low-rank"), "all heads low rank in blocks (rank 2, block 4)"),
        (EditAttention(edit="gain", gains={"a": (0.5, 1)}), "all heads own gains"),
        (EditAttention(edit="uniform", own_heads={"a": (0, 1), "b": (2,)}), "3 heads uniform"),
    ],
)
def test_a_step_tells_itself_in_a_few_words(step: Step, words: str) -> None:
    assert step.sentence() == words


@pytest.mark.parametrize("step", STEPS.values())
def test_every_field_has_a_label_and_a_help_text(step: type[Step]) -> None:
    for name, field in step.model_fields.items():
        assert field.title and field.description, name
        assert field.description.endswith(".") or "such as" in field.description


NEW: list[Step] = [
    Quantize(bits=3, scheme="affine", granularity="tensor", overrides={"a,b": None, "c*": 5}, rest=8, layers="*.mlp.*"),
    Codebook(bits=2, overrides={"x;y": 7}, exclude=("head", "0.5")),
    Recover(epochs=0.1 + 0.2, until=1 / 3, teachers={"prune,sparsity=0.5;low-rank,rank=2": 0.5}, batch_size=3, seed=9),
    Recover(update="batchnorm", enabled=False),
    GradualPrune(sparsity=0.95, schedule="linear", rounds=3, criterion=LEARNED, zeros="may return", ramp=0.5, l1=1e-5),
    EditAttention(edit="temperature", temperature=1 / 3, heads=(2, 0), layers=("blocks.*",), exclude=("a#2",)),
    EditAttention(edit="gain", gains={"a.b": (0.1 + 0.2, 1), "c#2": (0,)}, enabled=False),
    EditAttention(edit="dropout", share=0.25, own_heads={"x,y": (3, 1), "z;*": ()}, seed=7),
    EditAttention(edit="block-low-rank", rank=1, block=5),
]


@pytest.mark.parametrize("step", NEW, ids=lambda step: step.sentence())
def test_steps_that_code_and_train_are_lossless_through_every_text(step: Step) -> None:
    recipe = Recipe([step, *NEW])
    for found in (
        Recipe.from_yaml(recipe.to_yaml()),
        Recipe.from_url(recipe.to_url()),
        Recipe.from_dict(recipe.to_dict()),
        eval(recipe.to_python(), {"ex": ex}),
        pickle.loads(pickle.dumps(recipe)),
    ):
        assert found == recipe and [s.model_dump() for s in found] == [s.model_dump() for s in recipe]
        assert [type(s) for s in found] == [type(s) for s in recipe] and hash(found) == hash(recipe)
    text = recipe.to_url()
    assert text.isascii() and not set(text) & set(" &#\n\"'<>")


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 60), st.sampled_from(["cubic", "linear"]))
def test_a_rising_sparsity_ends_exactly_at_its_target_and_never_falls(
    target: float, start: float, rounds: int, schedule: Any
) -> None:
    start = min(start, target)
    step = GradualPrune(sparsity=target, rounds=rounds, schedule=schedule)
    way = [step.sparsity_at(number, start) for number in range(rounds + 3)]
    assert way[0] == pytest.approx(start, abs=1e-12) and set(way[rounds:]) == {target}
    assert all(after >= before - 1e-12 for before, after in zip(way, way[1:], strict=False))


def test_an_edit_of_attention_knows_its_amounts() -> None:
    assert EditAttention(edit="temperature").amounts == {"temperature": 2.0}
    assert EditAttention(edit="block-low-rank", block=3).amounts == {"rank": 2, "block": 3}
    assert EditAttention(edit="gain", gains={"a": (1, 0)}).amounts == {} == EditAttention().amounts
    assert EditAttention(heads=(2, 0, 2)).heads == (0, 2)
    own = EditAttention(heads=(1,), own_heads={"blocks.0.*": (0, 3)})
    assert own.heads_of("blocks.0.attn") == (0, 3) and own.heads_of("blocks.1.attn") == (1,)
