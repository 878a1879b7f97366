"""The one error family: a sentence with a place in front and advice behind."""

from __future__ import annotations

import copy
import pickle

import pytest

from explorer import ExplorerError


@pytest.mark.parametrize(
    ("where", "instead", "sentence"),
    [
        (None, None, "sparsity is 1.4."),
        ("Prune", None, "Prune: sparsity is 1.4."),
        (None, "give a share", "sparsity is 1.4. Give a share."),
        ("Prune", "Give a share.", "Prune: sparsity is 1.4. Give a share."),
    ],
)
def test_it_reads_as_a_sentence(where: str | None, instead: str | None, sentence: str) -> None:
    for what in ("sparsity is 1.4", "sparsity is 1.4."):
        assert str(ExplorerError(what, where=where, instead=instead)) == sentence


def test_the_place_grows_from_the_inside_out() -> None:
    told = ExplorerError("sparsity is 1.4", where="Prune", instead="give a share").at("step 2").at("recipe.yaml")
    assert str(told) == "recipe.yaml, step 2, Prune: sparsity is 1.4. Give a share."
    assert str(ExplorerError("nothing").at("here")) == "here: nothing."


def test_it_travels_between_processes() -> None:
    told = ExplorerError("sparsity is 1.4", where="Prune", instead="give a share")
    for found in (pickle.loads(pickle.dumps(told)), copy.copy(told)):
        assert (str(found), found.what, found.where, found.instead) == (
            str(told), "sparsity is 1.4", "Prune", "give a share",
        )  # fmt: skip
