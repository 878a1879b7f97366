"""Attention of transformers' models, fused and eager: equal to what their own eager code says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hub
from torch import Tensor, nn

import explorer as ex

EXAMPLES, WORDS = 6, 7
DRAW = torch.Generator().manual_seed(5)
IDS = torch.randint(3, 40, (EXAMPLES, WORDS), generator=DRAW)
LENGTHS = torch.tensor([7, 4, 5, 7, 2, 6])
MASK = (torch.arange(WORDS) < LENGTHS[:, None]).long()
IDS = IDS * MASK
PICTURES = torch.randn(EXAMPLES, 3, 32, 32, generator=DRAW)
LARGE = torch.randn(EXAMPLES, 3, 64, 64, generator=DRAW)
PICTURE: dict[str, Any] = {"image_size": 32, "patch_size": 8, "num_channels": 3}
WIDE: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
TEXT: dict[str, Any] = {"vocab_size": 40, "max_position_embeddings": 32, "pad_token_id": 0, **WIDE}
T5: dict[str, Any] = {"vocab_size": 40, "d_model": 24, "d_kv": 6, "d_ff": 32, "num_layers": 2, "num_heads": 4}
SIZES: dict[str, Any] = {"image_size": 64, "patch_size": 4, "num_channels": 3}
SWIN: dict[str, Any] = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, **SIZES}
"""16 windows of 4 by 4 patches, then 4; every second layer shifts them."""

Made = tuple[type[Any], Any, dict[str, Tensor], str]
WORDS_IN = {"input_ids": IDS, "attention_mask": MASK}
FAMILIES: dict[str, Callable[[], Made]] = {
    "bert": lambda: (hub.BertForSequenceClassification, hub.BertConfig(**TEXT), WORDS_IN, "classification"),
    "roberta": lambda: (hub.RobertaForSequenceClassification, hub.RobertaConfig(**TEXT), WORDS_IN, "classification"),
    "electra": lambda: (
        hub.ElectraForSequenceClassification,
        hub.ElectraConfig(embedding_size=12, **TEXT),
        WORDS_IN,
        "classification",
    ),
    "distilbert": lambda: (
        hub.DistilBertForSequenceClassification,
        hub.DistilBertConfig(vocab_size=40, dim=24, n_layers=2, n_heads=4, hidden_dim=32, pad_token_id=0),
        WORDS_IN,
        "classification",
    ),
    "gpt2": lambda: (
        hub.GPT2LMHeadModel,
        hub.GPT2Config(vocab_size=40, n_positions=32, n_embd=24, n_layer=2, n_head=4),
        WORDS_IN,
        "language-modeling",
    ),
    "llama": lambda: (
        hub.LlamaForCausalLM,
        hub.LlamaConfig(num_key_value_heads=2, **TEXT),
        WORDS_IN,
        "language-modeling",
    ),
    "vit": lambda: (
        hub.ViTForImageClassification,
        hub.ViTConfig(**PICTURE, **WIDE),
        {"pixel_values": PICTURES},
        "classification",
    ),
    "swin": lambda: (
        hub.SwinForImageClassification,
        hub.SwinConfig(**SWIN),
        {"pixel_values": LARGE},
        "classification",
    ),
    "t5": lambda: (
        hub.T5ForConditionalGeneration,
        hub.T5Config(**T5, pad_token_id=0, decoder_start_token_id=0),  # type: ignore[call-arg]
        {**WORDS_IN, "decoder_input_ids": IDS.flip(0)[:, :5].clamp_min(3)},
        "language-modeling",
    ),
}
CAUSAL = ("gpt2", "llama")


def opened(name: str, code: str, folder: Path) -> tuple[ex.Workbench, nn.Module, dict[str, Tensor]]:
    """(workbench, the same model as transformers runs it eagerly, inputs); saved and loaded as anybody would."""
    kind, config, inputs, task = FAMILIES[name]()
    if task == "classification":
        config.num_labels = 3
        targets = torch.arange(EXAMPLES) % 3
    else:
        ids = inputs.get("decoder_input_ids", inputs["input_ids"])
        targets = torch.cat([ids[:, 1:], torch.full((EXAMPLES, 1), -100)], 1)
    torch.manual_seed(3)
    kind(config).save_pretrained(folder)
    eager = kind.from_pretrained(folder, attn_implementation="eager").eval()
    data = {**inputs, "labels": targets}
    model = folder if code == "sdpa" else kind.from_pretrained(folder, attn_implementation="eager")
    return ex.load(model, data=data, task=task), eager, inputs


def told(outputs: Any) -> list[Tensor]:
    """The attention maps that transformers gives, in the order of the forward pass."""
    if hasattr(outputs, "encoder_attentions"):
        pairs = zip(outputs.decoder_attentions, outputs.cross_attentions, strict=True)
        return [*outputs.encoder_attentions, *(weights for pair in pairs for weights in pair)]
    return list(outputs.attentions)


@pytest.fixture(scope="module", params=[(name, code) for name in FAMILIES for code in ("sdpa", "eager")], ids="-".join)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(name, code, workbench, eager model, inputs) of one family, fused or eager."""
    name, code = request.param
    return name, code, *opened(name, code, tmp_path_factory.mktemp("family") / name)


def test_maps_are_those_of_the_models_own_eager_code(family: Any) -> None:
    name, code, bench, eager, inputs = family
    inner: list[Tensor] = []
    if name == "swin":  # it tells the maps of each stage's last layer alone
        for site in bench.attention_sites:
            eager.get_submodule(site.module).register_forward_hook(lambda module, args, output: inner.append(output[1]))
    with torch.no_grad():
        outputs = eager(**inputs, output_attentions=True)
    wanted = inner or told(outputs)
    maps = bench.dense.attention(inputs)
    assert len(maps.layers) == len(wanted) and maps.unavailable == ()
    valid = MASK.bool()
    for at, (layer, weights) in enumerate(zip(maps.layers, wanted, strict=True)):
        found = maps.weights[layer]
        if name == "swin":
            weights = weights.unflatten(0, (EXAMPLES, -1))
        assert found.shape == weights.shape
        rows = valid if found.shape[-2] == WORDS and name not in ("vit", "swin") else None
        if rows is not None:
            found, weights = found.transpose(1, 2)[rows], weights.transpose(1, 2)[rows]
        assert (found - weights).abs().max() < 1e-5, (at, layer)
    given = maps.outputs if isinstance(maps.outputs, Tensor) else maps.outputs["logits"]
    if name in CAUSAL:
        assert torch.allclose(given[valid], outputs.logits[valid], atol=1e-5)
    else:
        assert torch.allclose(given, outputs.logits, atol=1e-5)


def test_captured_or_not_the_answers_are_the_same(family: Any) -> None:
    name, code, bench, eager, inputs = family
    given, plain = bench.dense.attention(inputs).outputs, bench.dense.outputs(inputs)
    rows = MASK.bool() if name in CAUSAL else slice(None)
    assert torch.allclose(given[rows], plain[rows], atol=1e-5)


def test_layers_are_named_and_say_how_they_were_had(family: Any) -> None:
    name, code, bench, eager, inputs = family
    sites, modules = bench.attention_sites, dict(bench.subject.model.named_modules())
    assert all(layer in modules for layer in sites.names)
    kinds = [site.kind for site in sites]
    if name == "t5":
        assert kinds == ["self", "self", "self", "cross", "self", "cross"]
    else:
        assert set(kinds) == {"window" if name == "swin" else "self"}
    heads = [site.heads for site in sites]
    assert heads == ([2, 2, 4, 4] if name == "swin" else [4] * len(heads))
    fused = code == "sdpa" and bench.subject.model._supports_sdpa
    assert all(site.fused == fused for site in sites)
    assert all(("fused" in source) == fused for source in bench.dense.attention(inputs).source.values())


def test_what_may_not_be_seen_has_no_weight(family: Any) -> None:
    name, code, bench, eager, inputs = family
    if name in ("vit", "swin"):
        pytest.skip("pictures have neither padding nor order")
    maps = bench.dense.attention(inputs)
    valid = MASK.bool()
    for layer in maps.found:
        weights = layer.weights
        if layer.keys.length == WORDS:
            hidden = ~valid[:, None, None, :].expand_as(weights)
            queries = (
                valid[:, None, :, None].expand_as(weights) if weights.shape[-2] == WORDS else torch.ones_like(hidden)
            )
            assert weights[hidden & queries].max() < 1e-6
        if name in CAUSAL or ("decoder" in layer.name and layer.kind == "self"):
            assert weights.triu(1).abs().max() == 0.0


def test_padding_is_left_out_of_measures() -> None:
    """Of the same sentence, alone and padded, attention says the same."""
    kind, config, inputs, task = FAMILIES["bert"]()
    torch.manual_seed(3)
    model = kind(config)
    bench = ex.load(model, data={**inputs, "labels": torch.arange(EXAMPLES) % 2})
    padded = {key: value[1:2] for key, value in inputs.items()}
    alone = {key: value[:, : LENGTHS[1]] for key, value in padded.items()}
    with_padding, without = bench.dense.attention(padded), bench.dense.attention(alone)
    for layer in without.layers:
        assert torch.allclose(with_padding.entropy()[layer], without.entropy()[layer], atol=1e-6)
        assert torch.allclose(with_padding.confidence()[layer], without.confidence()[layer], atol=1e-6)


def test_token_types_are_taken_for_no_mask() -> None:
    kind, config, inputs, _ = FAMILIES["bert"]()
    types = torch.zeros_like(MASK)
    ordered = {"input_ids": IDS, "token_type_ids": types, "attention_mask": MASK}
    maps = ex.load(kind(config), data={**ordered, "labels": torch.arange(EXAMPLES) % 2}).dense.attention(ordered)
    assert torch.equal(maps.found[0].valid_queries, MASK.bool())
    assert [label != "" for label in maps.found[0].keys.labels[4]] == MASK[4].bool().tolist()


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5"])
def test_a_checkpoint_keeps_no_cache(name: str, tmp_path: Path) -> None:
    bench, _, inputs = opened(name, "sdpa", tmp_path / name)
    with torch.no_grad():
        assert bench.subject.model(**inputs).past_key_values is None


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_gradients_are_those_of_the_eager_model(name: str, tmp_path: Path) -> None:
    bench, eager, inputs = opened(name, "sdpa", tmp_path / name)
    maps = bench.dense.attention(inputs, target=1, position=1)
    outputs = eager(**inputs, output_attentions=True)
    logits = outputs.logits if outputs.logits.dim() == 2 else outputs.logits[:, 1]
    weights = told(outputs)
    wanted = torch.autograd.grad(logits[:, 1].sum(), weights, allow_unused=True)
    for layer, slope in zip(maps.found, wanted, strict=True):
        assert layer.gradients is not None
        slope = torch.zeros_like(layer.weights) if slope is None else slope
        rows = MASK.bool() if layer.weights.shape[-2] == WORDS else torch.ones(layer.weights.shape[:3:2]).bool()
        assert torch.allclose(layer.gradients.transpose(1, 2)[rows], slope.transpose(1, 2)[rows], atol=1e-5)
    assert any(layer.gradients.abs().max() > 1e-4 for layer in maps.found)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_head_that_is_off_is_a_head_without_its_columns(name: str, tmp_path: Path) -> None:
    """The output projection without the columns of a head gives what the edit gives, fused and eager."""
    bench, eager, inputs = opened(name, "sdpa", tmp_path / name)
    site = bench.attention_sites.found[-1]
    projection = output_of(eager, site.module)
    width = projection.weight.shape[0 if type(projection).__name__ == "Conv1D" else 1] // site.heads
    with torch.no_grad():
        inside = slice(width, 2 * width)
        if type(projection).__name__ == "Conv1D":
            projection.weight[inside] = 0
        else:
            projection.weight[:, inside] = 0
        wanted = eager(**inputs).logits
    for_all = slice(None) if name not in CAUSAL else MASK.bool()
    for model in (bench, ex.load(bench.subject.model, **data_of(bench))):
        edited = model.compress(ex.EditAttention(edit="off", layers=(site.name,), heads=(1,)))
        found = edited.outputs(inputs)
        assert torch.allclose(found[for_all], wanted[for_all], atol=1e-5)
        assert not torch.allclose(found[for_all], bench.dense.outputs(inputs)[for_all], atol=1e-5)


def data_of(bench: ex.Workbench) -> dict[str, Any]:
    """Data and task of a workbench, for `ex.load`."""
    tune = bench.subject.split("tune")
    return {"data": (tune.inputs, tune.targets), "task": bench.subject.task}


def output_of(model: nn.Module, module: str) -> Any:
    """The output projection of an attention module: inside, or beside it."""
    owner = model.get_submodule(module)
    for name in ("c_proj", "o_proj", "o", "out_lin"):
        if hasattr(owner, name):
            return getattr(owner, name)
    beside = model.get_submodule(module.rpartition(".")[0])
    return beside.o_proj if hasattr(beside, "o_proj") else beside.output.dense  # type: ignore[union-attr]


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("edit", ["temperature", "top-k", "uniform", "low-rank", "gain"])
def test_edits_of_eager_models_equal_those_of_fused_ones(name: str, edit: str, tmp_path: Path) -> None:
    fused, _, inputs = opened(name, "sdpa", tmp_path / "fused")
    eager, _, _ = opened(name, "eager", tmp_path / "eager")
    step = ex.EditAttention(edit=edit, heads=(0, 1))
    first, second = (bench.compress(step).attention(inputs) for bench in (fused, eager))
    rows = MASK.bool() if name in CAUSAL else slice(None)
    assert torch.allclose(first.outputs[rows], second.outputs[rows], atol=1e-4)
    for layer in first.found:
        one, two = layer.weights, second[layer.name].weights
        if layer.queries.length == WORDS and layer.kind == "self":
            one, two = one.transpose(1, 2)[MASK.bool()], two.transpose(1, 2)[MASK.bool()]
        assert torch.allclose(one, two, atol=1e-4)
