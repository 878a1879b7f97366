"""Opening: samples, models of one's own with data of every kind, and saved folders; and one sentence for each fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import explorer as ex
from tests.toys import (
    COLOURS_AND_SIZES,
    Encoder,
    Recurrent,
    Tied,
    TwoHeads,
    TwoInputs,
    bench,
    numbers,
    perceptron,
    plain_outputs,
    seeded,
    two_answers,
)

HALF = ex.Prune(sparsity=0.5)


def _accuracy(model: nn.Module, inputs: Any, targets: Tensor) -> float:
    return float((plain_outputs(model, inputs).argmax(1) == targets).double().mean())


# -- samples ------------------------------------------------------------------------------------------------------


def test_samples_are_listed_with_a_line_each() -> None:
    listed = ex.samples()
    assert list(listed)[0] == "digits-vit"
    assert all(summary and "\n" not in summary for summary in listed.values())


def test_a_sample_opens_by_its_name() -> None:
    wb = ex.load("digits-vit")
    assert wb.name == "digits-vit" and wb.subject.input == "image" and wb.subject.card is not None
    assert {split: wb.subject.length(split) for split in wb.subject.splits} == {
        "training": 897, "calibration": 128, "tune": 540, "test": 360,
    }  # fmt: skip
    assert not wb.subject.model.training


@pytest.mark.parametrize("name", ["no-such", "", "DIGITS-VIT"])
def test_an_unknown_sample_names_those_there_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    says = 'no sample called "' + name if name else "holds no saved variant"
    with pytest.raises(ex.ExplorerError, match=says):
        ex.load(name)


@pytest.mark.parametrize("name", ["no/such", "./digits-vit", "~/nowhere", Path("elsewhere"), Path("/nowhere")])
def test_a_path_that_is_not_there_is_a_path(name: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ex.ExplorerError, match="there is no folder .*Check the path"):
        ex.load(name)


def test_a_folder_of_the_same_name_does_not_hide_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-vit").mkdir()
    assert ex.load("digits-vit").subject.card is not None
    bench().compress(HALF).save("digits-vit")  # unless a variant was saved under it
    assert ex.load("digits-vit", architecture=perceptron(), data=numbers()).name == "Sequential"


@pytest.mark.parametrize("split", ["data", "calibration", "test", "training"])
def test_a_sample_brings_its_own_data(split: str) -> None:
    given: dict[str, Any] = {split: numbers()}
    with pytest.raises(ex.ExplorerError, match=f"{split}=: digits-vit brings its own data. Leave it out"):
        ex.load("digits-vit", **given)


# -- models of one's own ------------------------------------------------------------------------------------------


def _folder_of_images(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(4):
            pixels = draw.integers(0, 255, (6, 6), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


X, Y = numbers(20)
FRAME = pd.DataFrame(X.double().numpy()).assign(label=[("ant", "bee", "cow")[y] for y in Y]).rename(columns=str)


def _csv(folder: Path) -> Path:
    FRAME.to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


def _parquet(folder: Path) -> str:
    FRAME.to_parquet(folder / "data.parquet")
    return str(folder / "data.parquet")


def _npz(folder: Path) -> Path:
    np.savez(folder / "data.npz", inputs=X.numpy(), labels=Y.numpy())
    return folder / "data.npz"


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: (X, Y),
        lambda folder: (X.double().numpy(), Y.numpy()),
        lambda folder: (FRAME.drop(columns="label"), pd.Series(Y.numpy())),
        lambda folder: FRAME,
        lambda folder: {"inputs": X, "targets": Y},
        lambda folder: DataLoader(TensorDataset(X, Y), batch_size=7),
        lambda folder: [{"inputs": X[:9], "labels": Y[:9]}, {"inputs": X[9:], "labels": Y[9:]}],
        _csv,
        _parquet,
        _npz,
    ],
    ids=["tensors", "arrays", "frame and series", "frame", "dict", "loader", "dict batches", "csv", "parquet", "npz"],
)
def test_data_of_every_kind_give_the_same_numbers(make: Any, tmp_path: Path) -> None:
    model = perceptron()
    wb = ex.load(model, data=make(tmp_path))
    quality = wb.dense.evaluate()
    assert quality.value == _accuracy(model, X, Y)
    assert quality.total == 20 and wb.subject.primary == "accuracy" and wb.name == "Sequential"
    assert wb.compress(HALF).report().to_dict()["sparsity"] == 0.5


def test_words_in_the_data_name_the_classes_in_every_split(tmp_path: Path) -> None:
    wb = ex.load(perceptron(), data=FRAME, test=FRAME[FRAME.label != "ant"])
    assert wb.subject.classes == ("ant", "bee", "cow")
    assert wb.subject.split("test").targets.tolist() == Y[Y != 0].tolist()
    turned = ex.load(perceptron(), data=FRAME, classes=["cow", "bee", "ant"])
    assert turned.subject.split("tune").targets.tolist() == (2 - Y).tolist()
    with pytest.raises(ex.ExplorerError, match='test: the label "elk" is none of the classes ant, bee, cow'):
        ex.load(perceptron(), data=FRAME, test=FRAME.replace("ant", "elk"))


def test_a_folder_of_images_by_class(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), perceptron(36, 8, 2))
    wb = ex.load(model, data=_folder_of_images(tmp_path / "pets"))
    assert wb.subject.classes == ("cat", "dog") and wb.subject.input == "image"
    assert wb.subject.split("tune").inputs.shape == (8, 1, 6, 6)
    assert wb.subject.picture(wb.subject.split("tune").inputs).shape == (8, 6, 6)
    assert {answer.label for answer in wb.dense.answers(range(8))} <= {"cat", "dog"}


@pytest.mark.parametrize("wrap", ["dict", "tuple", "dict batches", "tuple batches"])
def test_several_inputs_by_name_or_place(wrap: str) -> None:
    model, a, b, targets = seeded(TwoInputs), torch.randn(12, 4), torch.randn(12, 2), torch.arange(12) % 3
    with torch.no_grad():
        expected = float((model(a, b).argmax(1) == targets).double().mean())
    data: Any = {
        "dict": {"b": b, "a": a, "labels": targets},
        "tuple": ((a, b), targets),
        "dict batches": [{"a": a[:5], "b": b[:5], "y": targets[:5]}, {"a": a[5:], "b": b[5:], "y": targets[5:]}],
        "tuple batches": DataLoader(TensorDataset(a, b, targets), batch_size=5, collate_fn=_paired),
    }[wrap]
    wb = ex.load(model, data=data)
    assert wb.dense.evaluate().value == expected
    assert wb.compress(ex.LowRank(rank=1)).evaluate().complete


def _paired(rows: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    a, b, targets = (torch.stack(part) for part in zip(*rows, strict=True))
    return (a, b), targets


def test_regression_with_one_and_several_numbers() -> None:
    from sklearn import metrics

    inputs = torch.randn(50, 6)
    for outputs in (1, 2):
        model = perceptron(outputs=outputs)
        targets = inputs[:, :outputs] * 2
        wb = ex.load(model, data=(inputs, targets[:, 0] if outputs == 1 else targets), task="regression")
        flat = wb.dense.report().to_dict()
        given = plain_outputs(model, inputs)
        assert flat["r2"] == pytest.approx(metrics.r2_score(targets, given), rel=1e-4)
        assert flat["root_mean_squared_error"] == pytest.approx(
            metrics.root_mean_squared_error(targets, given), rel=1e-4
        )
        assert flat["r2_low"] < flat["r2"] < flat["r2_high"]
        assert wb.subject.primary == "r2" and "mistakes" not in flat


def test_sequences_and_language() -> None:
    ids = torch.randint(11, (20, 5))
    lm = ex.load(seeded(Tied), data=(ids, ids.roll(-1, 1)), task="language-modeling").dense.evaluate()
    assert lm.primary == "token_accuracy" and lm.metrics["perplexity"] > 1
    exact = ex.load(seeded(Tied), data=(ids, ids), task="sequence").dense.evaluate()
    assert exact.primary == "exact_match" and exact.mistakes is not None


def test_forward_and_score_of_ones_own() -> None:
    model, seen = perceptron(), []

    def forward(module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        seen.append(module)
        return module(inputs["x"] - inputs["shift"])

    def closeness(outputs: Tensor, targets: Tensor) -> Tensor:
        return -(outputs.softmax(1)[:, 0] - targets).abs()

    wb = ex.load(model, data={"x": X + 1, "shift": torch.ones(20, 1), "y": Y / 2}, forward=forward, score=closeness)
    quality = wb.dense.evaluate()
    expected = closeness(plain_outputs(model, X + 1 - 1), Y / 2).double().mean().item()
    assert (quality.task, quality.primary) == ("score", "score")
    assert quality.value == pytest.approx(expected, rel=1e-6) and quality.low < quality.value < quality.high
    assert model not in seen  # only private clones run
    wb.compress(HALF).evaluate()


def test_one_logit_for_two_classes() -> None:
    model = perceptron(outputs=1)
    targets = (X[:, 0] > 0).long()
    wb = ex.load(model, data=(X, targets), classes=["no", "yes"])
    assert wb.dense.evaluate().value == float(((plain_outputs(model, X)[:, 0] > 0) == targets).double().mean())
    assert all(answer.detail.startswith("P(yes)") for answer in wb.dense.answers([0, 1]))


def test_a_transformers_model_from_a_config() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.BertForSequenceClassification(config).eval()
    ids = torch.randint(1, 40, (12, 6))
    mask = torch.ones_like(ids)
    mask[::2, 4:] = 0
    data = {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(12) % 3}
    wb = ex.load(model, data=data, batch_size=5)
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).logits.argmax(1)
    quality = wb.dense.evaluate()
    assert quality.predictions is not None
    assert quality.predictions.tolist() == expected[quality.indices].tolist()
    v = wb.compress([ex.LowRank(rank=4, layers=("*.query", "*.key")), HALF])
    assert v.size.bytes < wb.dense.size.bytes and v.evaluate().complete


@pytest.mark.parametrize("training", [True, False])
def test_a_model_stays_in_its_mode_and_is_measured_in_evaluation_mode(training: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3)).train(training)
    wb = ex.load(model, data=(X, Y))
    assert wb.dense.evaluate().value == _accuracy(model, X, Y)
    assert wb.compress(HALF).report().dense is not None
    assert model.training is training and model[1].training is training
    assert not wb.compress(HALF).model.training


def test_double_precision_from_end_to_end() -> None:
    model = perceptron().double()
    inputs = X.double() + 1e-9 * torch.randn(20, 6, dtype=torch.float64)
    wb = ex.load(model, data=(inputs.numpy(), inputs[:, :3].numpy()), task="regression")
    assert torch.equal(wb.dense.outputs(wb.subject.split("tune").inputs), plain_outputs(model, inputs))
    from sklearn import metrics

    assert wb.dense.evaluate().value == pytest.approx(
        metrics.r2_score(inputs[:, :3], plain_outputs(model, inputs)), rel=1e-12
    )


def test_double_data_for_a_single_precision_model() -> None:
    model = perceptron()
    wb = ex.load(model, data=(X.double().numpy(), Y.numpy()))
    assert wb.subject.split("tune").inputs.dtype == torch.float32
    assert wb.dense.evaluate().value == _accuracy(model, X, Y)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_number_type_is_a_copy(dtype: torch.dtype) -> None:
    model = perceptron()
    wb = ex.load(model, data=(X, Y), dtype=dtype)
    assert wb.dense.outputs(wb.subject.split("tune").inputs).dtype == dtype
    assert wb.compress(HALF).report().to_dict()["bytes_dense"] > 0
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert ex.load(model, data=(X, Y), device="cpu").dense.evaluate().value == _accuracy(model, X, Y)


def test_recurrent_and_stock_encoder_models_load() -> None:
    sequences = torch.randn(12, 4, 5)
    assert ex.load(seeded(Recurrent), data=(sequences, torch.arange(12) % 3)).dense.evaluate().value == _accuracy(
        seeded(Recurrent), sequences, torch.arange(12) % 3
    )
    ids = torch.randint(0, 20, (12, 7))
    wb = ex.load(seeded(Encoder), data=(ids, torch.arange(12) % 2))
    assert wb.dense.evaluate().value == _accuracy(seeded(Encoder), ids, torch.arange(12) % 2)


def test_embeddings_are_left_alone_unless_asked() -> None:
    ids = torch.randint(0, 20, (12, 7))
    data = (ids, torch.arange(12) % 2)
    assert "words" not in ex.load(seeded(Encoder), data=data).matrices().names
    assert "words" in ex.load(seeded(Encoder), data=data, embeddings=True).matrices().names


def test_a_single_example_is_enough() -> None:
    wb = ex.load(perceptron(), data=(X[:1], Y[:1]))
    assert wb.compress(HALF).report().to_dict()["examples"] == 1
    number = ex.load(perceptron(outputs=1), data=(X[:1], X[:1, 0]), task="regression").dense.evaluate()
    assert number.low == float("-inf")


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "data=: there is no data to measure on. Give .inputs, targets. of held-out examples"),
        ({"data": ([], [])}, "data: there is no example in it"),
        ({"data": (X, Y[:5])}, "data: inputs and targets have different lengths .20 inputs, 5 targets."),
        ({"data": (X * float("nan"), Y)}, "data: the inputs hold NaN or infinity"),
        ({"data": (X, Y), "test": (X * float("inf"), Y)}, "test: the inputs hold NaN or infinity"),
        ({"data": (X, Y), "calibration": (X[:0], Y[:0])}, "calibration: there is no example in it"),
        ({"data": (X, Y), "task": "clustering"}, 'no task "clustering". Choose one of: classification, multi-task'),
        ({"data": (X, Y), "task": "score"}, 'the task "score" and score= belong together'),
        ({"data": (X, Y), "task": "regression", "score": torch.add}, "belong together"),
        ({"data": (X, Y), "batch_size": 0}, "batch_size is 0"),
        ({"data": (X[:, :4], Y)}, "Sequential: the model cannot be run on the data .RuntimeError"),
        ({"data": (X.long(), Y)}, "Sequential: the model cannot be run on the data .RuntimeError"),
        ({"data": {"a": X, "labels": Y}}, "Sequential: the model cannot be run on the data .TypeError"),
        ({"data": "nowhere.csv"}, "data: there is no file nowhere.csv"),
        ({"data": (X, Y), "forward": lambda model, x: 1 / 0}, "cannot be run on the data .ZeroDivisionError"),
    ],
)
def test_faults_are_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ex.ExplorerError, match=says) as caught:
        ex.load(perceptron(), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("thing", [None, 7, {"a": torch.ones(2)}, lambda x: x])
def test_other_things_cannot_be_loaded(thing: Any) -> None:
    with pytest.raises(ex.ExplorerError, match="cannot be loaded. Give a sample's name, a torch.nn.Module or a folder"):
        ex.load(thing)


@pytest.mark.parametrize(
    ("task", "targets", "says"),
    [
        ("classification", torch.full((20,), 3), "label 3 does not fit a model with 3 classes. Labels go from 0 to 2"),
        ("classification", torch.full((20,), -1), "label -1 does not fit"),
        ("classification", X[:, 0], "the targets are fractions, not class numbers. Use task="),
        ("regression", Y.float(), "outputs and targets have different shapes"),
        ("language-modeling", Y, "wants logits .examples, positions, words."),
    ],
)
def test_targets_that_do_not_fit_the_task(task: str, targets: Tensor, says: str) -> None:
    with pytest.raises(ex.ExplorerError, match=says):
        ex.load(perceptron(), data=(X, targets), task=task).dense.evaluate()


# -- saved variants of one's own model ------------------------------------------------------------------------------


def test_an_own_model_needs_its_architecture(tmp_path: Path) -> None:
    folder = bench().compress(HALF).save(tmp_path / "small")
    with pytest.raises(ex.ExplorerError, match="architecture=: .*holds a variant of your own model, Sequential. Give"):
        ex.load(folder, data=numbers())
    with pytest.raises(ex.ExplorerError, match="there is no data to measure on"):
        ex.load(folder, architecture=perceptron())
    for architecture in (perceptron(seed=5), lambda: perceptron(seed=5)):
        wb = ex.load(folder, architecture=architecture, data=numbers())
        assert wb.variant.recipe == ex.Recipe([HALF]) and wb.variant.size.sparsity == 0.5
        assert wb.name == "Sequential" and "its dense original is not here" in str(wb)
        assert wb.dense.evaluate().to_dict() == wb.variant.evaluate().to_dict()


def test_an_architecture_keeps_its_own_weights(tmp_path: Path) -> None:
    folder = bench().compress(HALF).save(tmp_path / "small")
    model = perceptron(seed=5)
    ex.load(folder, architecture=model, data=numbers())
    assert torch.equal(model.get_parameter("0.weight"), perceptron(seed=5).get_parameter("0.weight"))


def test_with_its_original_the_change_is_measured(tmp_path: Path) -> None:
    wb = bench()
    folder = wb.compress(HALF).save(tmp_path / "small")
    loaded = ex.load(folder, dense=perceptron(), data=numbers())
    assert "original is not here" not in str(loaded)
    assert loaded.dense.evaluate().to_dict() == wb.dense.evaluate().to_dict()
    assert loaded.variant.report().to_dict() == wb.compress(HALF).report().to_dict()
    assert loaded.compress(HALF) is loaded.variant


def test_a_wrong_original_is_told(tmp_path: Path) -> None:
    folder = bench().compress(HALF).save(tmp_path / "small")
    with pytest.raises(
        ex.ExplorerError, match="made from another model than Sequential as it is here. Give the original"
    ):
        ex.load(folder, dense=perceptron(seed=5), data=numbers())


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        (lambda: perceptron(hidden=17), "no 17 by 6 matrix .*Check the architecture"),
        (lambda: nn.Sequential(nn.Linear(6, 3)), "no 3 by 6 matrix .*Check the architecture"),
        (lambda: nn.Sequential(perceptron()), 'the file holds "0.bias", which this architecture has not'),
        (lambda: nn.Sequential(*perceptron(), nn.Linear(3, 3)), 'the file lacks "3.weight"'),
    ],
)
def test_another_architecture_is_told(tmp_path: Path, architecture: Any, says: str) -> None:
    folder = bench().compress(HALF).save(tmp_path / "small")
    with pytest.raises(ex.ExplorerError, match=says):
        ex.load(folder, architecture=architecture, data=(X, Y))


def test_a_saved_sample_brings_its_data_and_its_original(tmp_path: Path) -> None:
    wb = ex.load("digits-vit")
    v = wb.compress(HALF)
    folder = v.save(tmp_path / "small")
    loaded = ex.load(folder)
    assert loaded.variant.report().to_dict() == v.report().to_dict()
    assert loaded.dense.is_dense and not loaded.variant.is_dense
    with pytest.raises(ex.ExplorerError, match="data=: digits-vit brings its own data"):
        ex.load(folder, data=numbers())


# -- what a person may try first ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"classes": ["a", "b"]}, "2 class names for a model with 3 classes"),
        ({"classes": "abc"}, "classes is the text 'abc'"),
        ({"device": "nowhere"}, "the model cannot go there"),
        ({"dtype": torch.int8}, "the model cannot go there"),
        ({"batch_size": "8"}, "batch_size is '8'"),
        ({"score": lambda outputs, targets: outputs[:, 0] * float("nan")}, "score=: it gives NaN"),
        ({"score": lambda outputs, targets: outputs.nothing}, "score=: it raises AttributeError"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    data = (torch.randn(9, 4), torch.arange(9) % 3)
    with pytest.raises(ex.ExplorerError, match=says):
        ex.load(nn.Linear(4, 3), data=data, **options).dense.evaluate()


def test_classes_are_named_also_where_the_data_lack_some() -> None:
    wb = ex.load(nn.Linear(4, 3), data=(torch.randn(8, 4), torch.arange(8) % 2))
    assert wb.subject.classes == ("0", "1", "2")
    assert {answer.detail for answer in wb.dense.answers(range(8))} == {""}


def test_targets_that_equal_the_inputs_would_score_copying() -> None:
    ids = torch.randint(11, (6, 5))
    with pytest.raises(ex.ExplorerError, match="copying would be scored.*Move them by one"):
        ex.load(nn.Embedding(11, 11), data=(ids, ids), task="language-modeling")


@pytest.mark.parametrize(
    ("name", "says"),
    [("weights.pt", "holds weights only. Build the module"), ("./nowhere", "there is no folder ./nowhere")],
)
def test_paths_that_are_no_folder(name: str, says: str) -> None:
    with pytest.raises(ex.ExplorerError, match=says):
        ex.load(name)


def test_weights_without_numbers() -> None:
    data = (torch.randn(6, 4), torch.arange(6) % 3)
    for model in (nn.Linear(4, 3, device="meta"), nn.LazyLinear(3)):
        with pytest.raises(ex.ExplorerError, match="holds no numbers yet"):
            ex.load(model, data=data)


def test_options_of_ones_own_model_do_not_change_a_sample() -> None:
    with pytest.raises(ex.ExplorerError, match="task=: cancer-tab is opened as it is bundled"):
        ex.load("cancer-tab", task="regression")


def test_objects_print_themselves_at_a_plain_prompt() -> None:
    wb = ex.load(nn.Linear(4, 3), data=(torch.randn(6, 4), torch.arange(6) % 3))
    v = wb.compress(ex.Prune(sparsity=0.5))
    for shown in (wb, wb.matrices(), v, v.plan, v.evaluate(), v.size, v.storage, v.report(), v.recipe):
        assert repr(shown) == str(shown) and "object at" not in repr(shown)


def test_inputs_that_the_model_cannot_take_are_told_in_a_sentence() -> None:
    wb = ex.load(nn.Linear(4, 3), data=(torch.randn(6, 4), torch.arange(6) % 3))
    with pytest.raises(ex.ExplorerError, match="the model cannot be run on the data"):
        wb.dense.outputs(torch.randn(2, 5))
    with pytest.raises(ex.ExplorerError, match="cannot be timed"):
        wb.dense.latency(batch=0)


# -- several heads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [dict, tuple])
def test_a_model_with_several_heads(kind: type) -> None:
    model, (inputs, targets) = seeded(lambda: TwoHeads(kind)), two_answers(40)
    wb = ex.load(model, data=(inputs, targets), task="multi-task", heads=COLOURS_AND_SIZES)
    assert [head.name for head in wb.subject.heads] == ["colour", "size"]
    with torch.no_grad():
        said = torch.stack([logits.argmax(1) for logits in seeded(TwoHeads)(inputs).values()], dim=1)
    quality = wb.dense.evaluate()
    assert quality.value == pytest.approx(float((said == targets).all(dim=1).double().mean()))
    assert quality.by_head == pytest.approx(
        {name: float((said == targets)[:, at].double().mean()) for at, name in enumerate(COLOURS_AND_SIZES)}
    )
    (answer,) = wb.dense.answers([3])
    names = [COLOURS_AND_SIZES[head][int(said[3, at])] for at, head in enumerate(("colour", "size"))]
    assert answer.label == " · ".join(names)
    assert wb.subject.target_label(torch.tensor([2, -100])) == "blue · –"
    assert set(wb.dense.outputs(inputs[:2])) == {"colour", "size"}
    assert wb.answers_matrices == {"colour", "size"}
    for shown in (wb, wb.dense, quality, wb.compress(HALF).report()):
        assert "object at" not in str(shown)


def test_rows_of_all_heads_are_spared() -> None:
    wb = ex.load(seeded(TwoHeads), data=two_answers(20), heads=COLOURS_AND_SIZES)
    rows = ex.Prune(sparsity=0.5, pattern="row", scope="matrix")
    assert set(wb.compress(rows).outfit.forms) == {"trunk"}
    named = rows.change(layers=("size",))
    assert set(wb.compress(named).outfit.forms) == {"size"}


def test_a_saved_variant_with_several_heads_comes_back(tmp_path: Path) -> None:
    heads = [ex.Head("colour", ("red", "green", "blue")), ex.Head("size", ("small", "large"), 0.5)]
    v = ex.load(seeded(TwoHeads), data=two_answers(40), heads=heads).compress(HALF)
    v.save(tmp_path)
    again = ex.load(tmp_path, architecture=TwoHeads, data=two_answers(40))
    assert again.subject.task == "multi-task" and again.subject.heads == tuple(heads)
    assert again.variant.evaluate().to_dict() == v.evaluate().to_dict()
    beside = ex.load(tmp_path, dense=seeded(TwoHeads), data=two_answers(40))
    assert beside.variant.report().to_dict() == v.report().to_dict()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "the model gives dict, not a tensor"),
        ({"task": "multi-task"}, 'the task "multi-task" and heads= belong together'),
        ({"task": "classification", "heads": COLOURS_AND_SIZES}, 'the task "multi-task" and heads= belong together'),
        ({"heads": {"colour": ["r", "g", "b"], "weight": ["a", "b"]}}, "the model gives no output weight"),
        ({"heads": {"colour": ["r", "g", "b"]}}, r"targets have the shape \(1, 2\) for 1 heads"),
        ({"heads": {"colour": ["r", "g"], "size": ["a", "b"]}}, "the head colour gives shape .* for 2 classes"),
        ({"heads": "colour"}, "names no heads"),
    ],
)
def test_heads_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ex.ExplorerError, match=says):
        ex.load(seeded(TwoHeads), data=two_answers(20), **options)


def test_heads_of_ones_own_do_not_change_a_sample() -> None:
    with pytest.raises(ex.ExplorerError, match="heads=: digits-vit is opened as it is bundled"):
        ex.load("digits-vit", heads=COLOURS_AND_SIZES)
