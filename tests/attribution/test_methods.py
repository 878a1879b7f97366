"""Attribution methods: exact on linear models, and the values that Captum itself gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import captum.attr as captum
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import explorer as ex
from explorer.attribution.reading import hook_count
from explorer.names import METHODS
from explorer.subjects.examples import tensors_in
from tests.toys import Encoder, TwoInputs, bench, numbers, seeded

TOLERANCE = 1e-6


@lru_cache
def sample(name: str) -> ex.Workbench:
    return ex.load(name)


def first(wb: ex.Workbench, count: int = 3) -> Any:
    return wb.subject.split("tune").take(slice(0, count)).inputs


def public_model(wb: ex.Workbench) -> nn.Module:
    """A copy of the model as Captum's users would take it."""
    return copy.deepcopy(wb.subject.model).eval()


def linear() -> ex.Workbench:
    return ex.load(seeded(lambda: nn.Sequential(nn.Linear(6, 3))), data=numbers(40))


# -- what is exactly known ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["integrated-gradients", "kernel-shap", "feature-ablation", "gradient-shap"])
def test_on_a_linear_model_the_values_are_weights_times_differences(method: str) -> None:
    wb = linear()
    x, baseline = first(wb, 4), torch.randn(6, generator=torch.Generator().manual_seed(3))
    found = wb.dense.attribute(x, method, target=2, baseline=baseline, samples=400, progress=False)
    weight = wb.subject.model.get_parameter("0.weight").detach()[2]
    torch.testing.assert_close(found.values, weight * (x - baseline), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["digits-vit", "digits-cnn", "cancer-tab", "negation-text", "story-lm", "scene-vqa"])
def test_integrated_gradients_add_up_to_what_the_output_gained(name: str) -> None:
    found = sample(name).dense.attribute(first(sample(name)), "integrated-gradients", samples=200, progress=False)
    assert found.delta is not None
    gained = found.scores[0] - found.scores[1]
    whole = sum(part.values.flatten(1).sum(1) for part in found.parts.values())
    torch.testing.assert_close(found.delta, whole - gained, atol=1e-4, rtol=0)
    assert float(found.delta.abs().max()) < 0.02 * max(1.0, float(gained.abs().max()))


def test_kernel_shap_adds_up_over_features_also_beside_padding() -> None:
    wb = sample("negation-text")
    found = wb.dense.attribute(first(wb), "kernel-shap", samples=400, progress=False)
    assert found.delta is not None and float(found.delta.abs().max()) < 1e-2
    assert found.error is not None and float(found.error.max()) > 0
    assert not bool(found.values[~found.only.present].any())


def test_lrp_of_a_network_of_relus_is_input_times_gradient() -> None:
    """Ancona et al. 2018: with the epsilon rule, where all bends are ReLUs."""
    wb = sample("digits-lenet")
    x = first(wb)
    lrp, product = (wb.dense.attribute(x, name, progress=False) for name in ("lrp", "input-x-gradient"))
    torch.testing.assert_close(lrp.values, product.values, atol=1e-3, rtol=1e-3)


# -- the same as Captum ------------------------------------------------------------------------------------------------


def _raw(name: str, model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    block = (x.shape[1], 2, 2)
    blocks = torch.arange(16).view(4, 4).repeat_interleave(2, 0).repeat_interleave(2, 1).view(1, 1, 8, 8)
    run: dict[str, Callable[[], Tensor]] = {
        "integrated-gradients": lambda: captum.IntegratedGradients(model).attribute(x, zero, target),
        "saliency": lambda: captum.Saliency(model).attribute(x.clone().requires_grad_(), target),
        "input-x-gradient": lambda: captum.InputXGradient(model).attribute(x.clone().requires_grad_(), target),
        "feature-ablation": lambda: captum.FeatureAblation(model).attribute(x, zero, target, feature_mask=blocks),
        "occlusion": lambda: captum.Occlusion(model).attribute(x, block, (x.shape[1], 1, 1), zero, target),
        "deeplift": lambda: captum.DeepLift(model).attribute(x, zero, target),
    }
    return run[name]().detach().squeeze(1)


OF_CAPTUM = ["integrated-gradients", "saliency", "input-x-gradient", "feature-ablation", "occlusion"]


@pytest.mark.parametrize(
    ("model", "method"),
    [*((name, own) for name in ("digits-cnn", "digits-vit") for own in OF_CAPTUM), ("digits-cnn", "deeplift")],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Captum tells of its hooks and of inputs without gradients
def test_values_are_those_of_captum(model: str, method: str) -> None:
    wb = sample(model)
    x = first(wb, 5)
    found = wb.dense.attribute(x, method, progress=False)
    public = public_model(wb).requires_grad_(False)
    expected = _raw(method, public, x, found.target)
    scale = max(1.0, float(expected.abs().max()))
    assert float((found.values - expected).abs().max()) <= TOLERANCE * scale


def test_grad_cam_is_that_of_captum_spread_over_the_picture() -> None:
    wb = sample("digits-cnn")
    x = first(wb, 5)
    found = wb.dense.attribute(x, "layer-gradcam", layer="blocks.2.relu", progress=False)
    public: Any = public_model(wb)
    raw = captum.LayerGradCam(public, public.blocks[2].relu).attribute(x, found.target, relu_attributions=True)
    expected = F.interpolate(raw.detach(), (8, 8), mode="bilinear").squeeze(1)
    torch.testing.assert_close(found.values, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(wb.dense.attribute(x, "layer-gradcam", progress=False).values, found.values)  # the default


def test_grad_cam_of_tokens_weighs_channels_not_tokens() -> None:
    wb = sample("digits-vit")
    x = first(wb, 4)
    found = wb.dense.attribute(x, "layer-gradcam", layer="blocks.2", progress=False)
    public: Any = public_model(wb)
    held: list[Tensor] = []
    public.blocks[2].register_forward_hook(lambda module, args, output: held.append(output))
    score = public(x).gather(1, found.target[:, None]).sum()
    tokens = held[0][:, 1:]
    slope = torch.autograd.grad(score, held[0])[0][:, 1:]
    cam = (tokens * slope.mean(1, keepdim=True)).sum(2).relu()
    torch.testing.assert_close(found.only.features, cam.detach(), atol=1e-5, rtol=1e-4)


def test_token_ids_are_explained_at_their_embedding_as_captum_does() -> None:
    wb = sample("negation-text")
    ids = first(wb, 4)
    found = wb.dense.attribute(ids, progress=False)
    public: Any = public_model(wb).requires_grad_(False)
    target = found.target
    method = captum.LayerIntegratedGradients(public, public.word_embedding)
    raw = method.attribute(ids, torch.zeros_like(ids), target)
    torch.testing.assert_close(found.values, raw.sum(2).detach(), atol=1e-4, rtol=1e-4)


def test_attention_times_gradient_is_what_the_maps_say() -> None:
    wb = sample("digits-vit")
    x = first(wb)
    found = wb.dense.attribute(x, "attention-x-gradient", target=4, progress=False)
    maps = wb.dense.attention(x, target=4)
    last = maps[maps.layers[-1]]
    assert last.gradients is not None
    expected = (last.weights * last.gradients).relu().mean(1)[:, 0, 1:]  # the class token alone is read
    torch.testing.assert_close(found.only.features, expected, atol=1e-6, rtol=1e-4)


def test_rollout_is_that_of_the_maps() -> None:
    wb = sample("digits-vit")
    x = first(wb)
    found = wb.dense.attribute(x, "attention-x-gradient", target=4, layer="rollout", progress=False)
    expected = wb.dense.attention(x, target=4).flow_to(0, gradients=True)[:, 1:]
    torch.testing.assert_close(found.only.features, expected, atol=1e-5, rtol=1e-4)


# -- all samples -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ex.samples())
def test_each_sample_has_values_of_its_shape_by_its_default_method(name: str) -> None:
    wb = sample(name)
    found = wb.dense.attribute(first(wb), samples=10, progress=False)
    shapes = [tuple(own.values.shape[1:]) for own in found.parts.values()]
    tensors = tensors_in(first(wb))
    assert shapes == [tuple(one.shape[-2:] if one.dim() == 4 else one.shape[1:]) for one in tensors]
    for own in found.parts.values():
        assert bool(own.values.isfinite().all()) and len(own.values) == 3
        assert own.axis.length == own.part.count and len(own.axis.labels) == 3
    assert sum(float(own.values.abs().sum()) for own in found.parts.values()) > 0
    assert found.method in METHODS.names() and found.baseline in str(found)


@pytest.mark.parametrize("method", ["deeplift", "lrp"])
def test_methods_of_rules_are_refused_with_the_reason(method: str) -> None:
    wb = sample("digits-vit")
    with pytest.raises(ex.ExplorerError, match="not right on this model: its function"):
        wb.dense.attribute(first(wb), method, progress=False)


def test_a_relu_that_runs_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.bend = nn.Linear(6, 6), nn.Linear(6, 3), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.bend(self.one(self.bend(x))))

    wb = ex.load(seeded(Twice), data=numbers(20))
    with pytest.raises(ex.ExplorerError, match="bend runs more than once"):
        wb.dense.attribute(first(wb), "deeplift", progress=False)


def test_deeplift_is_complete_on_the_plain_network() -> None:
    wb = sample("digits-cnn")
    found = wb.dense.attribute(first(wb, 8), "deeplift", progress=False)
    assert found.delta is not None and float(found.delta.abs().max()) < 1e-3


def test_the_random_method_is_seeded() -> None:
    wb = linear()
    once, again, other = (wb.dense.attribute(first(wb), "random", seed=s, progress=False).values for s in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other)


@pytest.mark.parametrize("method", METHODS.names())
def test_no_hook_and_no_random_state_is_left_behind(method: str) -> None:
    wb = sample("digits-cnn")
    module = wb.dense._dressed()
    hooks, before = hook_count(module), torch.random.get_rng_state()
    if method in ("lrp", "attention-x-gradient"):
        with pytest.raises(ex.ExplorerError):
            wb.dense.attribute(first(wb), method, progress=False)
    else:
        wb.dense.attribute(first(wb), method, samples=20, seed=5, progress=False)
    assert hook_count(wb.dense._dressed()) == hooks == hook_count(module)
    assert torch.equal(torch.random.get_rng_state(), before)
    wb.check_dense()


# -- other kinds of models ---------------------------------------------------------------------------------------------


def test_several_inputs_give_several_parts() -> None:
    draw = torch.Generator().manual_seed(0)
    data = {"a": torch.randn(20, 4, generator=draw), "b": torch.randn(20, 2, generator=draw)}
    wb = ex.load(seeded(TwoInputs), data=(data, torch.arange(20) % 3))
    found = wb.dense.attribute(first(wb), baseline={"a": "zero", "b": torch.ones(2)}, target=1, progress=False)
    model = wb.subject.model
    torch.testing.assert_close(found["a"].values, model.get_parameter("left.weight")[1].detach() * data["a"][:3])
    expected = model.get_parameter("right.weight")[1].detach() * (data["b"][:3] - 1)
    torch.testing.assert_close(found["b"].values, expected, atol=1e-6, rtol=1e-5)
    with pytest.raises(ex.ExplorerError, match="2 parts"):
        _ = found.values


def test_a_model_without_gradients_is_explained_by_taking_features_away() -> None:
    class Still(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.detach()).detach()

    wb = ex.load(seeded(Still), data=numbers(20))
    found = wb.dense.attribute(first(wb), "saliency", progress=False)
    assert found.method == "feature-ablation" and found.asked == "saliency" and "needs gradients" in found.note
    plain = wb.dense.attribute(first(wb), "feature-ablation", progress=False)
    assert torch.equal(found.values, plain.values)


def test_padding_gets_nothing() -> None:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 20, (12, 7), generator=draw)
    ids[:, 5:] = 0
    wb = ex.load(seeded(Encoder), data=(ids, torch.arange(12) % 2))
    for method in ("saliency", "integrated-gradients", "feature-ablation", "random"):
        found = wb.dense.attribute(ids[:3], method, progress=False)
        assert not bool(found.values[:, 5:].any()) and bool(found.values[:, :5].any())


def test_the_next_word_is_explained_by_the_words_before_it() -> None:
    wb = sample("story-lm")
    found = wb.dense.attribute(first(wb, 2), position=9, progress=False)
    assert bool(found.values[:, :10].any()) and not bool(found.values[:, 10:].any())
    outputs = wb.dense.outputs(first(wb, 2))
    torch.testing.assert_close(found.scores[0], outputs[:, 9].amax(1), atol=1e-4, rtol=1e-4)


def test_each_step_and_each_head_is_explained_on_its_own() -> None:
    dates, gates = sample("dates-seq2seq"), sample("digits-cbam")
    steps = [dates.dense.attribute(first(dates), position=step, progress=False) for step in (0, 9)]
    assert not torch.equal(steps[0].values, steps[1].values)
    torch.testing.assert_close(steps[0].scores[0], dates.dense.outputs(first(dates))[:, 0].amax(1))
    heads = [gates.dense.attribute(first(gates), head=name, progress=False) for name in ("digit", "loop")]
    assert heads[1].target_words[0].startswith("loop: ")
    torch.testing.assert_close(heads[1].scores[0], gates.dense.outputs(first(gates))["loop"].amax(1))


def test_examples_in_pieces_are_the_same_as_together(monkeypatch: pytest.MonkeyPatch) -> None:
    wb = bench()
    x = first(wb, 30)
    whole = wb.dense.attribute(x, "integrated-gradients", progress=False)
    monkeypatch.setattr("explorer.attribution.reading.AT_ONCE", 7)
    monkeypatch.setattr("explorer.attribution.question.MOST_BYTES", 2**12)
    pieces = wb.dense.attribute(x, "integrated-gradients", seed=1, progress=False)
    torch.testing.assert_close(pieces.values, whole.values, atol=1e-5, rtol=1e-4)
    assert pieces.values is not whole.values
