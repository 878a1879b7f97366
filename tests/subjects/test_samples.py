"""Finding the bundled samples, and importing their files once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from explorer.errors import ExplorerError
from explorer.subjects import samples
from explorer.subjects.samples import sample_cards, sample_folder, sample_module, shipped


def test_every_folder_with_a_card_is_a_sample() -> None:
    folders = {path.parent.name for path in shipped("sample_models").glob("*/card.toml")}
    assert set(sample_cards()) == folders
    assert list(sample_cards())[0] == "digits-vit"
    for name, card in sample_cards().items():
        assert card.name == name == sample_folder(name).name


@pytest.mark.parametrize("name", ["no-such", "", ".", "..", "digits-vit/", "../sample_models/digits-vit", "/etc"])
def test_an_unknown_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ExplorerError, match=f'no sample called "{name}". Choose one of: .*digits-vit'):
        sample_folder(name)


def test_a_missing_folder_says_what_to_do() -> None:
    with pytest.raises(ExplorerError, match="the folder no_such is missing. Install"):
        shipped("no_such")


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "toy-one"
    folder.mkdir()
    (folder / "card.toml").write_text("")
    monkeypatch.setattr(samples, "shipped", lambda name: tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("explorer_samples.toy_one")]:
        del sys.modules[name]


def test_a_file_is_imported_once_also_by_threads_at_the_same_time(sample: Path) -> None:
    (sample / "model.py").write_text("import time\ntime.sleep(0.1)\nready = object()\n")
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(sample_module("toy-one", "model").ready)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(map(id, found))) == 1


def test_a_file_that_fails_is_tried_again(sample: Path) -> None:
    (sample / "data.py").write_text("raise RuntimeError('not yet')\n")
    with pytest.raises(RuntimeError, match="not yet"):
        sample_module("toy-one", "data")
    (sample / "data.py").write_text("answer = 42\n")
    assert sample_module("toy-one", "data").answer == 42


def test_a_missing_file_is_named(sample: Path) -> None:
    with pytest.raises(ExplorerError, match="toy-one: the sample has no train.py"):
        sample_module("toy-one", "train")
