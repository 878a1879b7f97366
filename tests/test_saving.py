"""Saving: what is loaded in a new process says the very same, and the file is as long as the report said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import explorer as ex
from explorer.saving import NOTES, WEIGHTS, read_saved
from tests.loaded_again import MODELS, facts
from tests.toys import bench, numbers, perceptron

pytestmark = pytest.mark.xdist_group("saving")  # one process makes and loads them all

RECIPES: dict[str, list[Any]] = {
    "nothing": [],
    "pruned": [ex.Prune(sparsity=0.6)],
    "nearly all pruned": [ex.Prune(sparsity=0.97)],
    "by lot": [ex.Prune(sparsity=0.5, criterion="random", scope="matrix")],
    "rows": [ex.Prune(sparsity=0.4, pattern="row")],
    "2 of 4": [ex.Prune(pattern="n:m")],
    "3 of 7": [ex.Prune(pattern="n:m", n=3, m=7)],
    "rank": [ex.LowRank(rank=2)],
    "high rank": [ex.LowRank(energy=0.999)],
    "rank, pruned": [ex.LowRank(energy=0.8), ex.Prune(sparsity=0.5)],
    "high rank, pruned": [ex.LowRank(energy=0.999), ex.Prune(sparsity=0.9)],
    "pruned, rank": [ex.Prune(sparsity=0.5), ex.LowRank(rank=2)],
    "rows, weights": [ex.Prune(sparsity=0.3, pattern="row"), ex.Prune(sparsity=0.6)],
}
DIGITS = [recipe for recipe in RECIPES if recipe != "nothing"]
OWN = {
    "perceptron": ["nothing", "nearly all pruned", "rows, weights", "high rank, pruned"],
    "double": ["rank, pruned", "pruned"],
    "half": ["rank, pruned", "pruned", "2 of 4"],
    "convolutions": ["rank", "rows", "rank, pruned"],
    "recurrent": ["pruned", "rank", "2 of 4"],
    "encoder": ["pruned", "rank, pruned", "rows", "3 of 7"],
    "tied": ["pruned", "rank"],
    "regression": ["pruned", "rank"],
}
CASES = [f"digits-vit, {recipe}" for recipe in DIGITS] + [
    f"{model}, {recipe}{how}" for model, recipes in OWN.items() for recipe in recipes for how in ("", ", dense")
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A folder with every case saved, loaded in one new process; and what each said before."""
    folder = tmp_path_factory.mktemp("saved")
    benches = {"digits-vit": ex.load("digits-vit")}
    for name, own in MODELS.items():
        benches[name] = ex.load(own.model(0), data=own.data(), batch_size=16, **own.options)
    said = {}
    for case in CASES:
        model, _, recipe = case.removesuffix(", dense").partition(", ")
        wb = benches[model]
        wb.variant = wb.compress(RECIPES[recipe])
        wb.variant.save(folder / case)
        said[case] = facts(wb)
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(
        [sys.executable, "-m", "tests.loaded_again", str(folder)], cwd=root, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return folder, said


@pytest.mark.parametrize("case", CASES)
def test_a_new_process_says_the_same_to_the_last_bit(saved: tuple[Path, dict[str, dict[str, Any]]], case: str) -> None:
    folder, said = saved
    with np.load(folder / f"{case}.npz") as loaded:
        again = dict(loaded)
    assert set(again) == set(said[case])
    for name, values in said[case].items():
        if name == "report" and "dense" not in case and "digits" not in case:
            continue  # without its original the loaded model stands in the dense one's place
        assert np.array_equal(again[name], values), name


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_as_long_as_the_report_said_and_saves_again_alike(
    saved: tuple[Path, dict[str, dict[str, Any]]], case: str
) -> None:
    folder, said = saved
    first = (folder / case / WEIGHTS).read_bytes()
    assert f"('bytes', {len(first)})" in str(said[case]["report"])
    again = (folder / f"{case}.again" / WEIGHTS).read_bytes()
    if "dense" in case or "digits" in case:
        assert again == first
    else:
        assert len(again) == len(first)  # the digest of the dense model is another


def test_the_empty_recipe_is_the_size_of_the_dense_model(saved: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    _, said = saved
    assert "('ratio', 1.0)" in str(said["perceptron, nothing"]["report"])


# -- the smallest file --------------------------------------------------------------------------------------------

SMALLEST: dict[str, list[Any]] = {
    "nothing": [],
    "pruned": [ex.Prune(sparsity=0.8)],
    "rows": [ex.Prune(sparsity=0.4, pattern="row")],
    "2 of 4": [ex.Prune(pattern="n:m")],
    "rank, pruned": [ex.LowRank(rank=4), ex.Prune(sparsity=0.5)],
    "quantised": [ex.Quantize(bits=4, scheme="affine", rest=8)],
    "coded": [ex.Prune(sparsity=0.8), ex.Codebook(bits=3, rest=8)],
    "rank, coded": [ex.LowRank(rank=4), ex.Codebook(bits=4)],
}


@pytest.mark.parametrize("recipe", SMALLEST)
def test_the_smallest_file_is_as_long_as_it_says_and_decodes_to_the_same_bits(tmp_path: Path, recipe: str) -> None:
    v = ex.load("digits-lenet").compress(SMALLEST[recipe])
    before = v.storage
    folder = v.save(tmp_path / "small", smallest=True)
    assert (folder / WEIGHTS).stat().st_size == v.bytes_smallest()
    assert v.storage is before and v.size.bytes == before.size_bytes
    if recipe in ("pruned", "quantised", "coded"):
        assert v.bytes_smallest() < before.size_bytes
    again = ex.load(folder)
    assert again.variant.recipe == v.recipe
    for name, form in v.forms.items():
        assert torch.equal(again.variant.forms[name].decode(), form.decode())
    for name, form in v.outfit.rest.items():
        assert torch.equal(again.variant.outfit.rest[name].decode(), form.decode())
    assert again.variant.evaluate().to_dict() == v.evaluate().to_dict()
    assert (again.variant.save(tmp_path / "again", smallest=True) / WEIGHTS).read_bytes() == (
        folder / WEIGHTS
    ).read_bytes()


# -- what a folder says -------------------------------------------------------------------------------------------


def test_notes_are_plain_text_without_dates(tmp_path: Path) -> None:
    wb = bench()
    folder = wb.compress(ex.Prune(sparsity=0.5)).save(tmp_path / "deep" / "small")
    notes = yaml.safe_load((folder / NOTES).read_text())
    assert notes["recipe"] == ex.Recipe([ex.Prune(sparsity=0.5)]).to_dict()
    assert (notes["sample"], notes["task"], notes["classes"]) == (None, "classification", ["0", "1", "2"])
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, NOTES])  # no draft stays behind
    again = wb.compress(ex.Prune(sparsity=0.5)).save(tmp_path / "again")
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in (WEIGHTS, NOTES))


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert bench().dense.save("~/small") == tmp_path / "small"
    assert ex.load("~/small", architecture=perceptron(), data=numbers()).variant.is_dense


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ex.ExplorerError, match="file cannot be written .*Choose another folder"):
        bench().dense.save(tmp_path / "file")


def test_what_was_read_back(tmp_path: Path) -> None:
    found = read_saved(bench().dense.save(tmp_path))
    assert (found.sample, found.dtype, found.embeddings) == (None, torch.float32, False)
    assert found.facts == {
        "name": "Sequential",
        "task": "classification",
        "input": "tensor",
        "classes": ["0", "1", "2"],
        "heads": (),
        "gates": [],
    }


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (NOTES, b"", "is damaged. Save the variant again"),
        (NOTES, b"[not, a, mapping]", "is damaged"),
        (NOTES, b"\xff\xfe\x00", "is damaged"),
        (NOTES, b"a: [1, 2", "is damaged"),
        (NOTES, b"!!python/object/apply:os.system [exit]", "is damaged"),
        (WEIGHTS, b"", "not a whole weights file"),
        (WEIGHTS, b"PK\x03\x04", "not a whole weights file"),
        (WEIGHTS, None, "holds no saved variant"),
        (NOTES, None, "holds no saved variant"),
    ],
)
def test_damaged_folders(tmp_path: Path, file: str, content: bytes | None, says: str) -> None:
    folder = bench().dense.save(tmp_path / "small")
    (folder / file).write_bytes(content) if content is not None else (folder / file).unlink()
    with pytest.raises(ex.ExplorerError, match=says):
        ex.load(folder, architecture=perceptron(), data=numbers())


@pytest.mark.parametrize("dtype", ["load", "no_such", "Tensor"])
def test_a_number_type_from_a_file_is_only_a_number_type(tmp_path: Path, dtype: str) -> None:
    folder = bench().dense.save(tmp_path / "small")
    notes = yaml.safe_load((folder / NOTES).read_text())
    (folder / NOTES).write_text(yaml.safe_dump(notes | {"dtype": dtype}))
    with pytest.raises(ex.ExplorerError, match="is damaged"):
        ex.load(folder, architecture=perceptron(), data=numbers())


def test_a_cut_off_weights_file_is_told(tmp_path: Path) -> None:
    folder = bench().compress(ex.Prune(sparsity=0.5)).save(tmp_path / "small")
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-10])
    with pytest.raises(ex.ExplorerError, match="not a whole weights file"):
        ex.load(folder, architecture=perceptron(), data=numbers())
