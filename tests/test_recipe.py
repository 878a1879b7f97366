"""Recipes: lossless through every kind of text, immutable, and plain about what they cannot read."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import explorer as ex
from explorer import ExplorerError, LowRank, Prune, Recipe
from explorer.recipe import VERSION, as_recipe
from explorer.steps import LARGEST_SEED, Step

# Names as models have them, names that look like numbers or syntax to some format, and anything at all.
NAMES = st.one_of(
    st.sampled_from(
        [
            "*", "blocks.0.attn.qkv.query", "*.mlp.*", "a,b;c=d", "[!x]?", "0.5", "true", "null", "NaN", "1e3", "~",
            "- x", "a: b", "#", "{}", "[1]", "'", '"', "\\", "\n", "\t", "%3B", "a+b", "&", "层.権重", "\u2028", "\x85",
            "🧮", "",
        ]
    ),
    st.text(max_size=8),
)  # fmt: skip
GLOBS = st.lists(NAMES, min_size=1, max_size=3)
SHARES = st.floats(0, 1)
COMMON = {"layers": GLOBS, "exclude": st.lists(NAMES, max_size=2), "enabled": st.booleans()}


@st.composite
def steps(draw: st.DrawFn) -> Step:
    fields: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=COMMON))
    kind = draw(st.sampled_from(["sparsity", "threshold", "n:m", "rank", "energy"]))
    if kind in ("rank", "energy"):
        fields[kind] = draw(st.integers(1, 10_000) if kind == "rank" else st.floats(0, 1, exclude_min=True))
        fields["overrides"] = draw(st.dictionaries(NAMES, st.none() | st.integers(1, 99), max_size=3))
        return LowRank(**fields)
    fields["criterion"] = draw(st.sampled_from(["magnitude", "random"]))
    fields["seed"] = draw(st.integers(0, LARGEST_SEED))
    fields["scope"] = draw(st.sampled_from(["global", "matrix"]))
    if kind == "n:m":
        m = draw(st.integers(1, 32))
        return Prune(pattern="n:m", m=m, n=draw(st.integers(0, m)), **fields)
    fields[kind] = draw(SHARES if kind == "sparsity" else st.floats(0, 1e9))
    fields["pattern"] = draw(st.sampled_from(["unstructured", "row"]))
    fields["overrides"] = draw(st.dictionaries(NAMES, st.none() | SHARES, max_size=3))
    return Prune(**fields)


RECIPES = st.lists(steps(), max_size=4).map(Recipe)
ODD = Recipe([Prune(sparsity=0.1, overrides={"*,;=": None, "b": 0.25}, layers=("0.5", "NaN")), LowRank(rank=1)])


@settings(max_examples=150, deadline=None)
@given(RECIPES)
@example(Recipe([]))
@example(ODD)
def test_recipes_are_lossless_through_every_text(recipe: Recipe) -> None:
    ways = {
        "dict": Recipe.from_dict(recipe.to_dict()),
        "YAML": Recipe.from_yaml(recipe.to_yaml()),
        "YAML file format": Recipe.from_dict(yaml.safe_load(recipe.to_yaml())),
        "URL": Recipe.from_url(recipe.to_url()),
        "Python": eval(recipe.to_python(), {"ex": ex}),
        "str": eval(str(recipe), {"Recipe": Recipe, "Prune": Prune, "LowRank": LowRank}),
        "pickle": pickle.loads(pickle.dumps(recipe)),
    }
    for way, found in ways.items():
        assert found == recipe, way
        # equality alone could hide a field that both sides lost
        assert [step.model_dump() for step in found] == [step.model_dump() for step in recipe], way
        assert [list(getattr(step, "overrides", {})) for step in found] == [
            list(getattr(step, "overrides", {})) for step in recipe
        ], way
        assert hash(found) == hash(recipe)


@settings(max_examples=60, deadline=None)
@given(RECIPES)
def test_a_link_survives_the_address_bar(recipe: Recipe) -> None:
    text = recipe.to_url()
    assert text.isascii() and not set(text) & set(" &#\n\"'<>")
    bar = urlencode({"subject": "digits-vit", "recipe": text})
    assert Recipe.from_url(parse_qs(bar, keep_blank_values=True)["recipe"][0]) == recipe


def test_short_recipes_make_short_readable_text() -> None:
    recipe = Recipe([Prune(sparsity=0.5), LowRank(rank=16, layers=("*.mlp.*",))])
    assert recipe.to_url() == "prune,sparsity=0.5;low-rank,layers=*.mlp.*,rank=16"
    assert recipe.to_python() == (
        "ex.Recipe([\n    ex.Prune(sparsity=0.5),\n    ex.LowRank(layers='*.mlp.*', rank=16),\n])"
    )
    assert yaml.safe_load(recipe.to_yaml()) == {
        "version": VERSION,
        "steps": [{"step": "prune", "sparsity": 0.5}, {"step": "low-rank", "layers": "*.mlp.*", "rank": 16}],
    }


def test_a_step_that_is_off_stays_in_the_recipe_and_decides_nothing() -> None:
    off = Prune(sparsity=0.9, enabled=False)
    recipe = Recipe([off, LowRank(rank=2)])
    assert len(Recipe.from_url(recipe.to_url())) == 2
    assert recipe.active() == Recipe([LowRank(rank=2)])
    assert recipe != recipe.active()
    assert recipe.sentence() == "rank 2"
    assert Recipe([off]).sentence() == "nothing changed"


def test_a_recipe_is_immutable_and_a_key() -> None:
    step = Prune(sparsity=0.5)
    recipe = Recipe([step])
    with pytest.raises(AttributeError):
        recipe.steps = ()
    other = recipe.replace(0, LowRank(rank=2))
    assert recipe == Recipe(step) and other == Recipe([LowRank(rank=2)])
    assert {recipe: 1}[Recipe([Prune(sparsity=0.5)])] == 1
    assert recipe != [step] and copy.deepcopy(recipe) == recipe
    assert list(recipe) == [step] and recipe[0] is step and len(recipe) == 1


def test_the_order_of_steps_is_part_of_the_recipe() -> None:
    a, b = Prune(sparsity=0.5), LowRank(rank=2)
    assert Recipe([a, b]) != Recipe([b, a])


BAD_YAML = {
    "an unknown key of a step": ("- step: prune\n  sparsty: 0.5\n", ["step 1", "Prune", '"sparsty"']),
    "an unknown key of the recipe": ("version: 1\nstepz: []\n", ["'stepz'", "version and steps"]),
    "an unknown step": ("- step: prunes\n", ["step 1", "'prunes'", "prune, low-rank"]),
    "a step that is no name": ("- step: [prune]\n", ["step 1", "['prune']"]),
    "a step without its name": ("- sparsity: 0.5\n", ["step 1", "step: prune"]),
    "a list of words": ("- prune\n- low-rank\n", ["step 1", "step: prune"]),
    "the second step": ("- step: prune\n  sparsity: 0.5\n- step: prune\n  sparsity: 2\n", ["step 2", "sparsity is 2"]),
    "a later version": ("version: 99\nsteps: []\n", ["version 99", "reads version 1"]),
    "a version that is a word": ("version: one\nsteps: []\n", ["version 'one'"]),
    "steps that are no list": ("steps: {step: prune}\n", ["steps is not a list"]),
    "steps that are a number": ("steps: 0\n", ["steps is not a list"]),
    "a word": ("prune\n", ["a list of steps, not str"]),
    "a number": ("7\n", ["a list of steps, not int"]),
    "bad indentation": ("steps:\n  - step: prune\n sparsity: 0.5\n", ["line 3", "not YAML"]),
    "a forbidden character": ("steps: \x00\n", ["not YAML"]),
    "endless brackets": ("[" * 1000, ["not YAML"]),
    "an object": ("!!python/object/apply:os.getcwd []\n", ["not YAML"]),
    "a date": ("- step: prune\n  sparsity: 2020-01-01\n", ["step 1", "sparsity"]),
    "NaN": ("- step: prune\n  sparsity: .nan\n", ["step 1", "sparsity is nan"]),
    "a name that YAML takes for true": (
        "- step: prune\n  sparsity: 0.1\n  overrides: {on: 0.5}\n",
        ["step 1", "overrides"],
    ),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_what_yaml_gets_wrong_is_told_in_one_sentence(case: str) -> None:
    text, words = BAD_YAML[case]
    with pytest.raises(ExplorerError) as told:
        Recipe.from_yaml(text)
    for word in words:
        assert word in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prune,sparsity", ["link", "sparsity"]),
        ("prunes,sparsity=0.5", ["prunes"]),
        ("prune,sparsity={", ["step 1", "sparsity"]),
        ("prune,sparsity=1.5", ["step 1", "outside 0 to 1"]),
        ("prune,sparsity=true", ["step 1", "sparsity is True"]),
        ("prune,layers={}", ["step 1", "layers"]),
        ("%ff;;", ["step 1"]),
    ],
)
def test_a_broken_link_is_told_in_one_sentence(text: str, words: list[str]) -> None:
    with pytest.raises(ExplorerError) as told:
        Recipe.from_url(text)
    assert all(word in str(told.value) for word in words)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.text("prune,lowank-sity=0.5;[]{}\"'%:&*!- \n", max_size=40))
def test_no_text_brings_anything_but_a_recipe_or_a_sentence(text: str) -> None:
    for read in (Recipe.from_yaml, Recipe.from_url):
        try:
            assert isinstance(read(text), Recipe)
        except ExplorerError as told:
            assert str(told)


def test_nothing_at_all_is_the_empty_recipe() -> None:
    assert Recipe.from_yaml("") == Recipe.from_url("") == Recipe.from_dict([]) == Recipe()
    assert Recipe.from_yaml("steps:\n") == Recipe()


def test_whatever_a_person_hands_over_becomes_a_recipe(tmp_path: Path) -> None:
    step = Prune(sparsity=0.5)
    recipe = Recipe([step])
    path = tmp_path / "half.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    plain = {"step": "prune", "sparsity": 0.5}
    given_things: list[Any] = [
        recipe, step, [step], (step,), iter([step]), plain, [plain], {"steps": [plain]}, recipe.to_dict(),
        recipe.to_yaml(), path, str(path),
    ]  # fmt: skip
    for asked in given_things:
        assert as_recipe(asked) == recipe, asked


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (3, ["int is not a recipe"]),
        (None, ["NoneType is not a recipe"]),
        ([Prune(sparsity=0.5), "prune"], ["step 2", "str is not a step"]),
        ({"step": "prune", "sparsity": 3}, ["step 1", "sparsity is 3"]),
        ("missing.yaml", ["missing.yaml cannot be read"]),
        (Path("missing.yaml"), ["missing.yaml cannot be read"]),
    ],
)
def test_what_is_no_recipe_is_told(asked: Any, words: list[str]) -> None:
    with pytest.raises(ExplorerError) as told:
        as_recipe(asked)
    assert all(word in str(told.value) for word in words)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "picture.yaml"
    path.write_bytes(b"\xff\xd8\xff\x00")
    with pytest.raises(ExplorerError, match="cannot be read"):
        as_recipe(path)
