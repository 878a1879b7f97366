"""Data as people have them: every promised kind gives the same examples, every fault one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from explorer.errors import ExplorerError
from explorer.subjects.data import as_examples, to_floats
from explorer.subjects.examples import Examples

X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.5]])
Y = torch.tensor([0, 1, 1, 2])


def _same(examples: Examples, inputs: Tensor = X, targets: Tensor = Y) -> None:
    assert torch.equal(examples.inputs.float(), inputs)
    assert torch.equal(examples.targets, targets)


def _batches() -> Iterator[tuple[Tensor, Tensor]]:
    yield X[:3], Y[:3]
    yield X[3:], Y[3:]


@pytest.mark.parametrize(
    "data",
    [
        Examples(X, Y),
        (X, Y),
        (X.numpy(), Y.numpy()),
        (X.tolist(), Y.tolist()),
        (pd.DataFrame(X.numpy()), pd.Series(Y.numpy())),
        {"inputs": X, "targets": Y},
        {"inputs": X.numpy(), "labels": Y.numpy()},
        pd.DataFrame({"label": Y.numpy(), "a": X[:, 0].numpy(), "b": X[:, 1].numpy()}),
        pd.DataFrame({"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "last": Y.numpy()}),
        DataLoader(TensorDataset(X, Y), batch_size=3),
        [(X[:3], Y[:3]), (X[3:], Y[3:])],
        [{"inputs": X[:3], "y": Y[:3]}, {"inputs": X[3:], "y": Y[3:]}],
    ],
    ids=lambda data: type(data).__name__,
)
def test_every_kind_gives_the_same_examples(data: Any) -> None:
    _same(as_examples(data))


def test_a_generator_of_batches() -> None:
    _same(as_examples(_batches()))


def test_entries_of_a_dict_are_the_inputs_by_name() -> None:
    ids, mask = torch.tensor([[5, 6], [7, 0]]), torch.tensor([[1, 1], [1, 0]])
    examples = as_examples({"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1])})
    assert set(examples.inputs) == {"input_ids", "attention_mask"}
    assert examples.inputs["input_ids"].dtype == torch.int64
    batches = [{"input_ids": ids[:1], "targets": Y[:1]}, {"input_ids": ids[1:], "targets": Y[1:2]}]
    assert torch.equal(as_examples(batches).inputs["input_ids"], ids)


def test_tuples_of_inputs_stay_tuples() -> None:
    examples = as_examples(((X, X[:, 0].numpy()), Y))
    assert isinstance(examples.inputs, tuple) and len(examples.inputs) == 2
    batches = [((X[:2], X[:2, 0]), Y[:2]), ((X[2:], X[2:, 0]), Y[2:])]
    assert torch.equal(as_examples(batches).inputs[1], X[:, 0])


def test_precision_and_whole_numbers_stay() -> None:
    exact = np.array([[1 / 3], [2 / 3]])
    assert as_examples((exact, exact[:, 0])).inputs.dtype == torch.float64
    assert as_examples((exact, exact[:, 0])).targets.dtype == torch.float64
    assert as_examples((np.array([[1], [2]]), np.array([0, 1]))).inputs.dtype == torch.int64
    assert to_floats(torch.tensor([1, 2]), torch.float16).dtype == torch.int64
    assert to_floats({"a": torch.ones(1)}, torch.float16)["a"].dtype == torch.float16


def test_arrays_of_any_layout_and_byte_order() -> None:
    backwards = np.ascontiguousarray(X.numpy()[::-1])[::-1]
    assert backwards.strides[0] < 0
    _same(as_examples((backwards, Y)))
    _same(as_examples((np.asfortranarray(X.numpy()), Y.numpy().astype(">i8"))))
    _same(as_examples((X.numpy().astype(">f4"), Y)))


def test_history_is_left_behind() -> None:
    inputs = X.clone().requires_grad_() * 1
    assert not as_examples((inputs, Y)).inputs.requires_grad


# -- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_with_words_as_labels(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0], "label": ["dog", "cat", "dog"]})
    path = tmp_path / f"pets.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    examples = as_examples(path)
    assert examples.classes == ("cat", "dog")
    _same(examples, X[:3], torch.tensor([1, 0, 1]))
    # A split that lacks a class must not count from zero again.
    frame.iloc[[0]].to_csv(tmp_path / "dogs.csv", index=False)
    assert as_examples(tmp_path / "dogs.csv", classes=examples.classes).targets.tolist() == [1]
    assert as_examples(str(path), classes=("dog", "cat")).targets.tolist() == [0, 1, 0]
    with pytest.raises(ExplorerError, match='label "cat" is none of the classes dog, bird'):
        as_examples(path, classes=("dog", "bird"))


def test_batches_of_tables_must_agree_on_their_classes() -> None:
    frame = pd.DataFrame({"a": [1.0, 3.0, 5.0], "label": ["dog", "cat", "dog"]})
    parts = [frame.iloc[:1], frame.iloc[1:]]
    with pytest.raises(ExplorerError, match="different classes. Give all of them as classes="):
        as_examples(parts)
    assert as_examples(parts, classes=("cat", "dog")).targets.tolist() == [1, 0, 1]


def test_true_and_false_and_nullable_columns_are_numbers() -> None:
    frame = pd.DataFrame(
        {"a": pd.array([1, 2], dtype="Int64"), "b": [True, False], "y": pd.array([0, 1], dtype="Int64")}
    )
    _same(as_examples(frame), torch.tensor([[1.0, 1.0], [2.0, 0.0]]), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"a": [1.0], "city": ["Oslo"], "y": [1]}), "the columns city are not numbers"),
        (pd.DataFrame({"y": [1, 2]}), "fewer than two columns"),
        (pd.DataFrame({"a": [], "y": []}), "there is no row in it"),
        (pd.DataFrame({"a": [1.0, None], "y": [0, 1]}), "the inputs hold NaN or infinity .first in example 1."),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "y": [0, 1]}), "the inputs hold NaN"),
        (pd.DataFrame({"a": [1.0, 2.0], "y": [0, None]}), "the targets hold NaN or infinity .first in example 1."),
        (pd.DataFrame({"a": [1.0, 2.0], "y": pd.array([0, None], dtype="Int64")}), "the targets hold NaN"),
        (pd.DataFrame({"a": [1.0, 2.0], "y": ["dog", None]}), "the label of example 1 is missing"),
    ],
)
def test_faulty_tables(frame: pd.DataFrame, says: str) -> None:
    with pytest.raises(ExplorerError, match=says):
        as_examples(frame)


# -- files --------------------------------------------------------------------------------------------------------


def test_npz_with_inputs_and_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=X.numpy(), targets=Y.numpy())
    _same(as_examples(tmp_path / "data.npz"))
    np.savez_compressed(tmp_path / "two.npz", a=X.numpy(), b=X.numpy(), y=Y.numpy())
    assert set(as_examples(str(tmp_path / "two.npz")).inputs) == {"a", "b"}


def test_pickles_are_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "trap.npz", inputs=np.array([Trap()], dtype=object), targets=np.zeros(1))
    with pytest.raises(ExplorerError, match=r"trap.npz cannot be read .*allow_pickle=False"):
        as_examples(tmp_path / "trap.npz")
    (tmp_path / "trap.pkl").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ExplorerError, match="not a kind of file that is read here"):
        as_examples(tmp_path / "trap.pkl")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\x01 nothing", b"PK\x03\x04 half a zip"])
@pytest.mark.parametrize("ending", ["npz", "parquet", "csv"])
def test_broken_files(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"broken.{ending}"
    path.write_bytes(content)
    with pytest.raises(ExplorerError, match=r"data: "):
        as_examples(path)


def test_an_array_alone_is_no_data(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", X.numpy())
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(ExplorerError, match="cannot be read"):
        as_examples(tmp_path / "array.npz")
    np.savez(tmp_path / "alone.npz", inputs=X.numpy())
    with pytest.raises(ExplorerError, match='no targets. Add an entry "targets"'):
        as_examples(tmp_path / "alone.npz")
    with pytest.raises(ExplorerError, match="there is no file"):
        as_examples(tmp_path / "nowhere.csv")


def _pictures(folder: Path, names: list[str], mode: str = "L", size: tuple[int, int] = (5, 4)) -> None:
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, 51 * (number + 1) if mode == "L" else (255, 0, 51)).save(folder / name / "one.png")


def test_folders_of_images_by_class(tmp_path: Path) -> None:
    _pictures(tmp_path, ["zebra", "ant"])
    _pictures(tmp_path, [".thumbnails"])
    (tmp_path / "ant" / "notes.txt").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    examples = as_examples(tmp_path)
    assert examples.classes == ("ant", "zebra")
    assert examples.inputs.shape == (2, 1, 4, 5)  # [N, C, H, W]
    assert examples.targets.tolist() == [0, 1]
    assert examples.inputs[:, 0, 0, 0].tolist() == pytest.approx([0.4, 0.2])


def test_colour_images_have_three_channels(tmp_path: Path) -> None:
    _pictures(tmp_path, ["a"], "RGB")
    _pictures(tmp_path, ["b"], "RGBA")
    examples = as_examples(tmp_path)
    assert examples.inputs.shape == (2, 3, 4, 5)
    assert examples.inputs[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])


def test_faulty_folders_of_images(tmp_path: Path) -> None:
    with pytest.raises(ExplorerError, match="holds no images in sub-folders"):
        as_examples(tmp_path)
    _pictures(tmp_path, ["a", "b"])
    _pictures(tmp_path, ["c"], size=(7, 7))
    with pytest.raises(ExplorerError, match="different sizes"):
        as_examples(tmp_path)
    (tmp_path / "c" / "one.png").write_bytes(b"not an image")
    with pytest.raises(ExplorerError, match="one.png cannot be read as an image"):
        as_examples(tmp_path)
    Image.fromarray(np.full((4, 5), 60000, dtype=np.uint16)).save(tmp_path / "c" / "one.png")
    with pytest.raises(ExplorerError, match="more than 8 bits"):
        as_examples(tmp_path)


# -- faults of every kind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((torch.zeros(0, 2), torch.zeros(0)), "there is no example in it"),
        (([], []), "there is no example in it"),
        ([], "there is no batch in it"),
        (DataLoader(TensorDataset(X[:0], Y[:0])), "there is no batch in it"),
        ((X, torch.tensor(1)), "there is no example in it"),
        ((X, Y[:3]), "different lengths .4 inputs, 3 targets."),
        ({"a": X, "b": X[:2], "labels": Y}, "different lengths .2 inputs, 4 targets."),
        (((X, torch.tensor(1.0)), Y), "different lengths"),
        ((X * torch.tensor([1.0, float("nan")]), Y), "the inputs hold NaN or infinity .first in example 0."),
        ((X, torch.tensor([0.0, 1.0, float("inf"), 2.0])), "the targets hold NaN or infinity .first in example 2."),
        (({"a": X, "b": X / 0}, Y), "the inputs hold NaN or infinity"),
        ((["a b", "c d"], [0, 1]), "the inputs are .*, not numbers. Encode them"),
        ((X, ["cat", 1, "dog", 2.0]), "the targets are .*, not numbers"),
        (([[1.0, 2.0], [3.0]], [0, 1]), "the inputs have different lengths"),
        ({"inputs": X}, "the dict has no targets"),
        (X, "Tensor is not data with targets"),
        (X.numpy(), "ndarray is not data with targets"),
        (TensorDataset(X, Y), "TensorDataset is not data with targets.*DataLoader"),
        (7, "int is not data with targets"),
        ([X, Y], "it is 2 tensors. Give .inputs, targets., and several inputs as ..a, b., targets."),
        ((X, Y, Y), "it is 3 tensors"),
        ([(X[:2, :1], Y[:2]), (X[2:], Y[2:])], "the batches do not fit together.*pad"),
        ([({"a": X[:2]}, Y[:2]), ({"b": X[2:]}, Y[2:])], "the batches do not fit together"),
        ([(X[:2], Y[:2]), ({"b": X[2:]}, Y[2:])], "the batches do not fit together"),
        ([(X[0], 0), (X[1], 1)], "the batches do not fit together"),
    ],
)
def test_faults_are_told_in_one_sentence_with_their_place(data: Any, says: str) -> None:
    with pytest.raises(ExplorerError, match=rf"calibration: .*{says}") as caught:
        as_examples(data, "calibration")
    assert "\n" not in str(caught.value)


def test_labels_that_are_words_are_numbered_wherever_they_come_from() -> None:
    words = ["cat", "dog", "dog", "cat"]
    for labels in (words, np.array(words), pd.Series(words)):
        examples = as_examples((X, labels))
        assert examples.classes == ("cat", "dog") and examples.targets.tolist() == [0, 1, 1, 0]
    assert as_examples((X, words), classes=["dog", "cat"]).targets.tolist() == [1, 0, 0, 1]
