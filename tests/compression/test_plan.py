"""Plans: what a recipe means for one model, what is skipped and why, and warnings, before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from explorer import ExplorerError, LowRank, Prune, Recipe
from explorer.compression.plan import Plan, resolve
from explorer.recipe import Step
from explorer.weights.matrices import Matrices, find_matrices


@pytest.fixture(scope="module")
def matrices() -> Matrices:
    blocks = nn.ModuleList(nn.ModuleDict({"fc1": nn.Linear(8, 16), "fc2": nn.Linear(16, 8)}) for _ in range(2))
    return find_matrices(nn.ModuleDict({"patch": nn.Linear(6, 8), "blocks": blocks, "head": nn.Linear(8, 3)}))


def plan(matrices: Matrices, *steps: Step, answers: int | None = 3) -> Plan:
    return resolve(Recipe(steps), matrices, answers)


def acting(found: Plan, step: int = 0) -> list[str]:
    return [entry.matrix for entry in found.acting(step)]


def skipped(found: Plan, step: int = 0) -> dict[str, str]:
    return {e.matrix: e.skipped for e in found.entries if e.step == step and e.skipped is not None}


def amounts(found: Plan, step: int = 0) -> dict[str, float | None]:
    return {entry.matrix: entry.amount for entry in found.acting(step)}


def told(matrices: Matrices, *steps: Step) -> str:
    with pytest.raises(ExplorerError) as problem:
        plan(matrices, *steps)
    return str(problem.value)


# -- who is chosen ------------------------------------------------------------------------------------------------


def test_by_default_everything_competes(matrices: Matrices) -> None:
    found = plan(matrices, Prune(sparsity=0.5))
    assert acting(found) == matrices.names and set(amounts(found).values()) == {None}
    assert not found.warnings
    assert "compete for 50 % of all chosen weights" in str(found)


def test_layers_and_exclusions(matrices: Matrices) -> None:
    found = plan(matrices, Prune(sparsity=0.5, layers=("blocks.*",), exclude=("*.fc2",)))
    assert acting(found) == ["blocks.0.fc1", "blocks.1.fc1"]


@pytest.mark.parametrize(
    "step",
    [
        Prune(sparsity=0.5, layers=("haed",)),
        Prune(sparsity=0.5, layers=("*", "haed")),
        Prune(sparsity=0.5, exclude=("haed",)),
        Prune(sparsity=0.5, overrides={"haed": 0.1}),
        LowRank(rank=2, overrides={"haed": None}),
        Prune(sparsity=0.5, layers=("haed",), enabled=False),
    ],
)
def test_a_name_that_means_nothing_is_an_error_that_lists_what_there_is(matrices: Matrices, step: Step) -> None:
    sentence = told(matrices, Prune(sparsity=0.1), step)
    assert f"step 2, {step.label}" in sentence and '"haed"' in sentence
    assert "patch" in sentence and "head" in sentence


def test_a_recipe_for_another_model_is_told_at_its_first_step(matrices: Matrices) -> None:
    assert "step 1" in told(matrices, Prune(sparsity=0.1, layers=("encoder.layer.0.attention",)), LowRank(rank=1))


def test_a_step_that_is_off_does_nothing(matrices: Matrices) -> None:
    found = plan(matrices, Prune(sparsity=0.5, enabled=False), LowRank(rank=2))
    assert not found.acting(0) and not found.warnings and len(found.acting(1)) == 6
    assert "(off)" in str(found)


def test_the_empty_recipe(matrices: Matrices) -> None:
    found = plan(matrices)
    assert not found.entries and not found.warnings and "the dense model" in str(found)


def test_a_step_that_changes_nothing_is_warned_about(matrices: Matrices) -> None:
    for step in (
        Prune(sparsity=0.5, overrides={"*": None}),
        Prune(sparsity=0.5, layers=("head",), exclude=("h*",)),
        Prune(sparsity=0.5, pattern="row", layers=("h*",)),
    ):
        (warning,) = plan(matrices, step).warnings
        assert "changes nothing" in warning.text


# -- amounts ------------------------------------------------------------------------------------------------------


def test_each_matrix_on_its_own(matrices: Matrices) -> None:
    assert set(amounts(plan(matrices, Prune(sparsity=0.5, scope="matrix"))).values()) == {0.5}


def test_overrides_replace_the_sparsity_and_null_spares(matrices: Matrices) -> None:
    found = plan(matrices, Prune(sparsity=0.5, overrides={"*.fc1": 0.2, "head": None}))
    assert amounts(found)["blocks.0.fc1"] == 0.2 and amounts(found)["patch"] is None
    assert set(skipped(found)) == {"head"} and "override" in skipped(found)["head"]


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ({"*": 0.1, "head": 0.9}, 0.9),
        ({"head": 0.9, "*": 0.1}, 0.9),  # an exact name wins wherever it stands
        ({"h*": 0.9, "*": 0.1}, 0.1),  # of globs the later one wins
        ({"*": 0.1, "h*": 0.9}, 0.9),
    ],
)
def test_an_exact_name_wins_over_globs_and_a_later_glob_over_an_earlier(
    matrices: Matrices, overrides: dict[str, float | None], wanted: float
) -> None:
    assert amounts(plan(matrices, Prune(sparsity=0.5, overrides=overrides)))["head"] == wanted


def test_an_override_where_the_step_does_not_act_is_warned_about(matrices: Matrices) -> None:
    found = plan(matrices, Prune(sparsity=0.5, layers=("blocks.*",), overrides={"head": 0.9, "*.fc1": 0.1}))
    (warning,) = found.warnings
    assert "the override of head has no effect" in warning.text and "head" not in amounts(found)


def test_overrides_beside_a_threshold(matrices: Matrices) -> None:
    found = plan(matrices, Prune(threshold=0.1, overrides={"head": 0.25}))
    assert amounts(found)["head"] == 0.25 and amounts(found)["patch"] is None
    assert "score below 0.1" in str(found) and "25 % of its weights" in str(found)


def test_groups_with_a_ragged_end_say_so(matrices: Matrices) -> None:
    text = str(plan(matrices, Prune(pattern="n:m", n=2, m=4)))
    assert "patch         keep 2 of each 4 inputs, at most 2 of the last 2" in text
    assert "keep 2 of each 4 inputs\n" in text


# -- rows ---------------------------------------------------------------------------------------------------------


def test_the_rows_that_are_the_answers_are_spared(matrices: Matrices) -> None:
    found = plan(matrices, Prune(sparsity=0.5, pattern="row"))
    assert set(skipped(found)) == {"head"} and "answers" in skipped(found)["head"]
    assert len(acting(found)) == 5


@pytest.mark.parametrize("layers", [("head",), ("*", "head")])
def test_unless_they_are_named_exactly(matrices: Matrices, layers: tuple[str, ...]) -> None:
    assert "head" in acting(plan(matrices, Prune(sparsity=0.5, pattern="row", layers=layers)))


def test_single_weights_of_the_answers_are_not_spared(matrices: Matrices) -> None:
    assert "head" in acting(plan(matrices, Prune(sparsity=0.5)))


# -- ranks --------------------------------------------------------------------------------------------------------


def test_ranks_and_their_overrides(matrices: Matrices) -> None:
    found = plan(matrices, LowRank(rank=2, overrides={"*.fc1": 3, "patch": None}))
    assert amounts(found)["blocks.1.fc1"] == 3 and amounts(found)["head"] == 2
    assert set(skipped(found)) == {"patch"}


def test_a_rank_beyond_some_matrices_leaves_those_as_they_are(matrices: Matrices) -> None:
    found = plan(matrices, LowRank(rank=5))
    assert "head" not in acting(found) and "rank 5 is beyond its 3" in skipped(found)["head"]
    assert "blocks.0.fc1" in acting(found)


@pytest.mark.parametrize(
    ("step", "where", "most"),
    [
        (LowRank(rank=4, layers=("head",)), "head", 3),
        (LowRank(rank=4, layers=("*", "head")), "head", 3),
        (LowRank(rank=2, overrides={"head": 4}), "head", 3),
        (LowRank(rank=99), "blocks.0.", 8),  # the advice holds for the matrix that can have most
    ],
)
def test_a_rank_beyond_a_named_matrix_or_beyond_all_is_an_error(
    matrices: Matrices, step: LowRank, where: str, most: int
) -> None:
    sentence = told(matrices, step)
    assert f"beyond {where}" in sentence and f"from 1 to {most}" in sentence and "step 1, Low rank" in sentence


def test_ranks_that_save_nothing_are_warned_about(matrices: Matrices) -> None:
    found = plan(matrices, LowRank(rank=6, layers=("blocks.*",)))  # break-even is 8 * 16 / 24 = 5.33
    (warning,) = found.warnings
    assert "rank 6 is above break-even in 4" in warning.text and "5.3" in warning.text
    assert "break-even is 5.3" in str(found)
    assert not plan(matrices, LowRank(rank=5, layers=("blocks.*",))).warnings


# -- the order of steps -------------------------------------------------------------------------------------------

ORDERS: list[tuple[list[Step], list[tuple[int, str]]]] = [
    (
        [Prune(sparsity=0.5), LowRank(rank=2)],
        [(1, "step 2 factorises what step 1 pruned: the zeros are lost; put Low")],
    ),
    ([LowRank(rank=2), Prune(sparsity=0.5)], [(1, "step 2 prunes the two thin factors that step 1 made")]),
    ([Prune(sparsity=0.5), Prune(sparsity=0.6)], []),
    ([LowRank(rank=2), LowRank(rank=1)], []),
    ([Prune(sparsity=0.5, layers=("head",)), LowRank(rank=2, layers=("patch",))], []),
    ([Prune(sparsity=0.5, enabled=False), LowRank(rank=2)], []),
    ([LowRank(rank=2), Prune(sparsity=0.5), LowRank(rank=1)], [(1, "two thin factors"), (2, "zeros are lost")]),
]


@pytest.mark.parametrize(("steps", "wanted"), ORDERS, ids=[" then ".join(s.kind for s in steps) for steps, _ in ORDERS])
def test_what_one_step_does_to_anothers_work(
    matrices: Matrices, steps: list[Step], wanted: list[tuple[int, str]]
) -> None:
    found = plan(matrices, *steps)
    assert [warning.step for warning in found.warnings] == [step for step, _ in wanted]
    for warning, (_, words) in zip(found.warnings, wanted, strict=True):
        assert words in warning.text
        assert f"warning, step {warning.step + 1}: " in str(found)


def test_a_model_without_matrices() -> None:
    empty = find_matrices(nn.LayerNorm(3))
    assert not resolve(Recipe(), empty).entries
    with pytest.raises(ExplorerError, match="no compressible matrix"):
        resolve(Recipe([Prune(sparsity=0.5)]), empty)


@pytest.mark.parametrize("step", [Prune(sparsity=0.5), Prune(pattern="n:m"), LowRank(energy=0.9), LowRank(rank=1)])
def test_the_printed_plan_tells_each_matrix(matrices: Matrices, step: Any) -> None:
    lines = str(plan(matrices, step)).splitlines()
    assert lines[0] == f"1. {step.sentence()}" and [line.split()[0] for line in lines[1:7]] == matrices.names
