"""Folders that transformers' save_pretrained wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import explorer as ex
from explorer.subjects.checkpoints import from_checkpoint, is_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    config.num_labels = 3
    place = tmp_path_factory.mktemp("saved") / "small-bert"
    BertForSequenceClassification(config).save_pretrained(place)
    return place


def test_a_folder_opens_as_its_own_architecture(folder: Path) -> None:
    ids = torch.randint(1, 50, (20, 8), generator=torch.Generator().manual_seed(1))
    bench = ex.load(folder, data={"input_ids": ids, "labels": torch.arange(20) % 3})
    reference = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = reference(input_ids=ids).logits
    assert bench.name == "small-bert"
    assert torch.allclose(bench.dense.outputs({"input_ids": ids}), wanted, atol=1e-6)
    assert bench.compress(ex.Prune(sparsity=0.5)).size.sparsity == pytest.approx(0.5, abs=1e-4)


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert not is_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "cannot be read"),
        ("{}", "names no architecture"),
        (json.dumps({"architectures": ["NoSuchModel"]}), "does not know the architecture NoSuchModel"),
        (json.dumps({"architectures": ["logging"]}), "does not know the architecture logging"),
    ],
)
def test_a_config_that_names_no_model(config: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(ex.ExplorerError, match=says):
        from_checkpoint(tmp_path)


def test_a_checkpoint_without_its_weights(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ex.ExplorerError, match="cannot be loaded"):
        from_checkpoint(tmp_path)
