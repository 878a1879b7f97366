"""Cards: reading, what is refused, and measured tables that leave the written part alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from explorer.errors import ExplorerError
from explorer.subjects.cards import read_card, refresh_card
from explorer.subjects.heads import Head

CARD = '''name = "toy"
title = "A toy"   # a remark
summary = "one line"
about = """
[metrics] is not a table here.
"""
teaches = "nothing"
task = "classification"
input = "tensor"
classes = ["a", "b"]
batch_size = 16
strip = [0, 2]

[splits]
tune = 30
split_note = "by lot"
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "card.toml").write_text(CARD, encoding="utf-8")
    return tmp_path / "card.toml"


def test_a_card_is_read_with_what_it_leaves_out(path: Path) -> None:
    card = read_card(path)
    assert (card.name, card.strip, card.classes, card.splits["tune"]) == ("toy", (0, 2), ("a", "b"), 30)
    assert card.metrics is None and card.reference is None and card.training is None


def test_measured_tables_come_and_go_and_the_written_part_stays(path: Path) -> None:
    refresh_card(
        path, metrics={"accuracy": 0.95}, reference={"indices": [0, 1], "outputs": [[0.5, -1.25], [1.0, 2e-5]]}
    )
    assert path.read_text().startswith(CARD.rstrip())
    refresh_card(
        path, metrics={"accuracy": 0.9612345678}, training={"seed": 0, "command": 'python "a b".py', "ok": True}
    )
    card = read_card(path)
    assert path.read_text().startswith(CARD.rstrip())
    assert card.metrics == {"accuracy": 0.961235}
    assert card.reference == {"indices": [0, 1], "outputs": [[0.5, -1.25], [1.0, 2e-05]]}
    assert card.training == {"seed": 0, "command": 'python "a b".py', "ok": True}
    before = path.read_text()
    refresh_card(path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CARD.replace('title = "A toy"   # a remark\n', ""), r"lacks \['title'\]"),
        (CARD.replace("teaches", "teeches"), r"unknown \['teeches'\]"),
        ("name = ", "cannot be read"),
    ],
)
def test_other_files_are_refused_with_their_place(path: Path, text: str, says: str) -> None:
    path.write_text(text)
    with pytest.raises(ExplorerError, match=says) as caught:
        read_card(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ExplorerError, match="cannot be read"):
        read_card(path.parent / "no.toml")


def test_heads_and_gates_are_read_and_stay_when_measured_tables_come(path: Path) -> None:
    heads = 'heads = [{name = "digit", classes = ["0", "1"]}, {name = "loop", classes = ["no", "yes"], weight = 0.3}]'
    path.write_text(CARD.replace('classes = ["a", "b"]\n', f'{heads}\ngates = ["*.channel", "*.spatial"]\n'))
    for _ in range(2):
        card = read_card(path)
        assert card.heads == (Head("digit", ("0", "1")), Head("loop", ("no", "yes"), 0.3))
        assert card.gates == ("*.channel", "*.spatial") and card.classes == ()
        refresh_card(path, metrics={"accuracy": 0.95})
    assert read_card(path).metrics == {"accuracy": 0.95}


def test_heads_that_can_be_none_are_told_with_the_place_of_the_card(path: Path) -> None:
    path.write_text(CARD.replace('classes = ["a", "b"]', 'heads = [{name = "digit"}]'))
    with pytest.raises(ExplorerError, match="card.toml, heads=: .* is no head"):
        read_card(path)
