"""What is special about dates-seq2seq: held-out dates and formats, writing by itself, and a known alignment."""

from __future__ import annotations

from datetime import date
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import explorer as ex
from explorer.attention.capture import capturing
from explorer.errors import ExplorerError
from explorer.subjects.cards import Card, read_card
from explorer.subjects.samples import sample_folder, sample_module

NAME = "dates-seq2seq"


@pytest.fixture(scope="module")
def data() -> ModuleType:
    return sample_module(NAME, "data")


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(sample_folder(NAME) / "card.toml")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model: nn.Module = sample_module(NAME, "model").build()
    model.load_state_dict(load_file(sample_folder(NAME) / "model.safetensors"))
    return model.eval()


@pytest.fixture(scope="module")
def looked(trained: nn.Module, data: ModuleType) -> tuple[Tensor, Tensor]:
    """(answers [N, 10] of the first tune texts, where the model looked while it wrote them [N, 10, 40])."""
    seen = []  # type: ignore[var-annotated]
    with torch.no_grad(), capturing(seen.append, trained):
        logits = trained(data.load("tune").inputs[:600])
    assert {one.module for one in seen} == {"attention"} and len(seen) == 10
    return logits.argmax(dim=2), torch.stack([one.weights for one in seen], dim=1)


def test_formats_are_many_and_each_text_means_one_date(data: ModuleType) -> None:
    assert len(data.FORMATS) >= 20 and len(data.NEW_FORMATS) >= 4
    assert not set(data.FORMATS) & set(data.NEW_FORMATS)
    parts = {part for form in data.FORMATS for part in data.SAYS if "{" + part + "}" in form}
    assert parts == set(data.SAYS)  # what is new is the order, never a part
    meant: dict[str, date] = {}
    for day in data.days("test")[:1500]:
        for form in (*data.FORMATS, *data.NEW_FORMATS):
            text = data.written_as(day, form).text
            assert meant.setdefault(text, day) == day
            assert len(text) <= data.LENGTH


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("the {th} of {month}, {year}", "the 3rd of March, 1994"),
        ("{weekday} {d} {month} {year}", "Thursday 3 March 1994"),
        ("{d}.{roman}.{year}", "3.III.1994"),
        ("{dd}/{mm}/{yy}", "03/03/94"),
        ("{month} the {word}, {year}", "March the third, 1994"),
    ],
)
def test_a_format_writes_a_date(data: ModuleType, form: str, text: str) -> None:
    assert data.written_as(date(1994, 3, 3), form).text == text


def test_endings_of_days(data: ModuleType) -> None:
    days = {number: data.written_as(date(2000, 1, number), "{th} {word}").text for number in range(1, 32)}
    assert [days[n].split()[0] for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 31)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "31st"
    ]  # fmt: skip
    assert (days[20], days[30], days[31]) == ("20th twentieth", "30th thirtieth", "31st thirty-first")


def test_splits_share_no_date_and_new_formats_are_never_in_training(data: ModuleType) -> None:
    days = {split: set(data.days(split)) for split in ("training", "tune", "test")}
    assert sum(map(len, days.values())) == len(days["training"] | days["tune"] | days["test"]) == 36525
    for split in ("training", "tune", "test"):
        assert {one.day for one in data.texts(split)} <= days[split]
    assert not data.load("training").slices["new format"].any()
    assert not data.training_batch(500, torch.Generator().manual_seed(1)).slices["new format"].any()
    share = data.load("tune").slices["new format"].double().mean().item()
    assert share == pytest.approx(len(data.NEW_FORMATS) / (len(data.FORMATS) + len(data.NEW_FORMATS)), abs=0.03)


def test_targets_and_rationale_say_the_date(data: ModuleType) -> None:
    tune, found = data.load("tune"), data.texts("tune")
    assert data.written(tune.targets) == [one.day.isoformat() for one in found]
    assert len(tune) >= 2000 and tune.rationale.shape == tune.inputs.shape
    for line, marks, tells in zip(data.words(tune.inputs), tune.rationale, data.tells("tune"), strict=True):
        assert not marks[len(line) :].any()
        assert {mark for mark, told in zip(marks.tolist(), tells, strict=True) if told == " "} <= {False}
        year = "".join(sign for sign, told in zip(line, tells, strict=False) if told == "Y")
        assert year.isdigit() and len(year) in (2, 4)


def test_a_training_batch_is_drawn_anew_from_its_generator(data: ModuleType) -> None:
    before = torch.get_rng_state()
    draw = torch.Generator().manual_seed(5)
    batch, following = data.training_batch(64, draw), data.training_batch(64, draw)
    assert torch.equal(torch.get_rng_state(), before)
    again = data.training_batch(64, torch.Generator().manual_seed(5))
    assert torch.equal(batch.inputs, again.inputs) and torch.equal(batch.targets, again.targets)
    assert not torch.equal(batch.inputs, following.inputs)
    assert set(batch.slices) == set(data.load("tune").slices)


def test_it_reads_the_formats_it_knows_and_most_new_ones(trained: nn.Module, data: ModuleType, card: Card) -> None:
    tune = data.load("tune")
    with torch.no_grad():
        right = (trained(tune.inputs).argmax(dim=2) == tune.targets).all(dim=1).double()
    assert card.metrics and right.mean().item() == pytest.approx(card.metrics["exact_match"], abs=1 / len(tune) + 1e-6)
    new = tune.slices["new format"]
    assert right.mean().item() >= 0.97
    assert right[~new].mean().item() >= 0.99
    assert 0.8 <= right[new].mean().item() < right[~new].mean().item()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3rd of March 1994", "1994-03-03"),
        ("Thursday 3 March 1994", "1994-03-03"),
        ("  12.xii.1987 ", "1987-12-12"),
        ("the thirty-first of december 1999", "1999-12-31"),
        ("MAR 3, 07", "2007-03-03"),
    ],
)
def test_it_reads_a_visitors_date(trained: nn.Module, data: ModuleType, text: str, answer: str) -> None:
    with torch.no_grad():
        assert data.written(trained(data.prepare(text)).argmax(dim=2)) == [answer]


def test_it_looks_at_what_the_sign_tells(looked: tuple[Tensor, Tensor], data: ModuleType) -> None:
    _, weights = looked
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(600, 10))
    padding = data.load("tune").inputs[:600] == data.PAD
    assert float(weights.masked_select(padding[:, None].expand_as(weights)).abs().max()) == 0
    tells = data.tells("tune")[:600]
    for step, least in ((2, 0.95), (3, 0.95), (6, 0.8), (9, 0.9)):
        own = torch.tensor([[told == data.ANSWER[step] for told in line] for line in tells])
        assert float((weights[:, step] * own).sum(dim=1).mean()) >= least
        assert float((weights[:, step] * ~own).sum(dim=1).mean()) < 1 - least


def test_padding_and_company_do_not_change_an_answer(trained: nn.Module, data: ModuleType) -> None:
    ids = data.prepare(["3/3/1994", "Wednesday the 22nd of September 1999"])
    with torch.no_grad():
        together, alone = trained(ids), trained(ids[:1, :8])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_a_text_of_padding_alone_gives_numbers(trained: nn.Module, data: ModuleType) -> None:
    """As a baseline of attribution it is one."""
    with torch.no_grad():
        assert bool(trained(torch.zeros(2, data.LENGTH, dtype=torch.long)).isfinite().all())


def test_it_writes_by_itself_what_it_writes_when_led_by_its_own_answer(trained: nn.Module, data: ModuleType) -> None:
    inputs = data.load("tune").inputs[:200]
    with torch.no_grad():
        free = trained(inputs)
        led = trained(inputs, previous=free.argmax(dim=2))
        misled = trained(inputs, previous=(free.argmax(dim=2) + 1) % len(data.SIGNS))
    torch.testing.assert_close(free, led)
    torch.testing.assert_close(free[:, 0], misled[:, 0])
    assert not torch.allclose(free[:, 1:], misled[:, 1:], atol=0.1)


def test_it_learns_through_its_plain_forward(trained: nn.Module, data: ModuleType) -> None:
    """Recovery does not know of `previous`: every parameter gets a gradient without it."""
    trained.zero_grad()
    batch = data.training_batch(8, torch.Generator().manual_seed(2))
    F.cross_entropy(trained(batch.inputs).flatten(0, 1), batch.targets.flatten()).backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in trained.parameters())
    trained.zero_grad()


def test_axes_name_characters_and_signs(data: ModuleType) -> None:
    inputs = data.prepare(["3/3/94", "1994-3-3"])
    source, answer = data.axes(inputs)
    assert (source.name, source.length) == ("characters", data.LENGTH)
    assert source.labels[0][:7] == ("3", "/", "3", "/", "9", "4", "")
    assert answer.length == 10 and "".join(answer.labels[1]) == "YYYY-MM-DD"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "the text is empty"),
        (["3/3/1994", "  "], "text 2"),
        ("3 März 1994", "does not know ä z"),
        ("3 March 1994" + "!" * 3, "does not know !"),
        ("the 3rd of March in the year of 1994, they say", "46 characters, more than the 40"),
        ([], "there is no text"),
        ([3], "3 is not text"),
    ],
)
def test_what_cannot_be_read_says_why(data: ModuleType, raw: Any, said: str) -> None:
    with pytest.raises(ExplorerError, match="dates-seq2seq") as problem:
        data.prepare(raw)
    assert said in str(problem.value)


def test_it_can_be_compressed_recovered_saved_and_loaded(tmp_path: Any) -> None:
    wb = ex.load(NAME)
    gates = [matrix for matrix in wb.matrices() if matrix.kind == "gate"]
    assert len(gates) == 24 and not wb.matrices().not_compressible
    v = wb.compress(ex.Prune(sparsity=0.7))
    broken = v.evaluate()
    assert broken.against(wb.dense.evaluate()).is_loss
    recovered = v.recover(epochs=0.3, progress=False)
    assert recovered.evaluate().value > broken.value + 0.2
    assert recovered.size.sparsity >= v.size.sparsity - 1e-9
    recovered.save(tmp_path / "small")
    loaded = ex.load(tmp_path / "small").variant
    inputs = wb.subject.split("tune").inputs[:100]
    with torch.no_grad():
        assert torch.equal(loaded.model(inputs), recovered.model(inputs))


def test_answers_are_what_was_written() -> None:
    wb = ex.load(NAME)
    variant = wb.compress(ex.Prune(sparsity=0.7))
    dense, now = wb.dense.answers(wb.subject.strip), variant.answers(wb.subject.strip)
    truths = [wb.subject.target_label(target) for target in wb.subject.split("tune").targets[list(wb.subject.strip)]]
    assert [answer.right for answer in dense] == [a.label == t for a, t in zip(dense, truths, strict=True)]
    assert sum(answer.right is False for answer in dense) == 1  # one is wrong from the start, as the strip wants it
    assert any(answer.label != before.label for answer, before in zip(now, dense, strict=True))
    assert all(len(answer.label) == 10 for answer in now)


def test_it_trains() -> None:
    train = sample_module(NAME, "train").train
    first, second = (train(steps=2, progress=False).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
