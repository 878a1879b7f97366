"""Reading: chosen layers and heads, gradients, memory, and that nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode

import explorer as ex
from explorer.attention.capture import capturing
from explorer.weights.open_attention import open_attention
from tests.toys import Encoder, bench, seeded

IDS = torch.randint(1, 20, (6, 7), generator=torch.Generator().manual_seed(4))
IDS[1, 4:] = 0
FIRST, SECOND = "encoder.layers.0.self_attn", "encoder.layers.1.self_attn"


@pytest.fixture(scope="module")
def encoder() -> ex.Workbench:
    return ex.load(seeded(lambda: Encoder(layers=2)), data=(IDS, torch.arange(6) % 2))


def hooks_of(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def test_chosen_layers_and_heads_are_parts_of_the_whole(encoder: ex.Workbench) -> None:
    whole = encoder.dense.attention(IDS)
    one = encoder.dense.attention(IDS, layers=SECOND, heads=(2, 0))
    assert one.layers == [SECOND] and one[SECOND].heads == (2, 0)
    assert torch.allclose(one.weights[SECOND], whole.weights[SECOND][:, [2, 0]], atol=1e-6)
    assert torch.equal(one[SECOND].weights[:, one[SECOND].place(0)], one.weights[SECOND][:, 1])
    assert torch.allclose(one.outputs, whole.outputs, atol=1e-5)  # the other layer ran as it is
    alone = encoder.dense.attention(IDS[1:2])
    assert torch.allclose(alone.weights[SECOND], whole.weights[SECOND][1:2], atol=1e-6)


def test_heads_and_layers_that_are_not_there(encoder: ex.Workbench) -> None:
    with pytest.raises(ex.ExplorerError, match=r"there is no head 3.*Heads go from 0 to 2"):
        encoder.dense.attention(IDS, heads=(0, 3))
    with pytest.raises(ex.ExplorerError, match='no attention layer matches "decoder"'):
        encoder.dense.attention(IDS, layers="decoder")
    with pytest.raises(ex.ExplorerError, match="no example to look at"):
        encoder.dense.attention(IDS[:0])
    with pytest.raises(ex.ExplorerError, match="this model has no attention"):
        bench().dense.attention(torch.randn(2, 6))


def test_maps_that_would_not_fit_are_refused_before_they_are_computed(encoder: ex.Workbench) -> None:
    long = IDS.repeat(100, 10)  # 600 texts of 70 words: 2 layers, 3 heads, 70 x 70 weights of 4 bytes
    size = 600 * 2 * 3 * 70 * 70 * 4
    with pytest.raises(ex.ExplorerError, match=rf"600 examples would take {size / 2**30:.2g} GiB, and .* are allowed"):
        encoder.dense.attention(long, most_bytes=size - 1)
    assert len(encoder.dense.attention(long, most_bytes=size)) == 600
    one_head = encoder.dense.attention(long, layers=FIRST, heads=(1,), most_bytes=size // 6)
    assert one_head.weights[FIRST].shape == (600, 1, 70, 70)


def test_looking_at_the_size_computes_no_weights() -> None:
    query = torch.randn(1, 2, 5, 4)
    shapes: list[Any] = []
    with capturing(lambda seen: shapes.append((seen.raw.device.type, tuple(seen.raw.shape))), light=True):
        given = F.scaled_dot_product_attention(query, query[:, :1], query[:, :1], enable_gqa=True)
    assert shapes == [("meta", (1, 2, 5, 5))]
    assert torch.equal(given, F.scaled_dot_product_attention(query, query[:, :1], query[:, :1], enable_gqa=True))


class Attending(nn.Module):
    """One attention after which the weights can be moved by hand: `[B, 4, 6]` -> `[B, 2]`."""

    def __init__(self, folded: bool = False) -> None:
        super().__init__()
        self.folded, self.query, self.key, self.head = folded, nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.moved: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.unflatten(-1, (2, 3)).transpose(1, 2) for part in (self.query(x), self.key(x), x))
        scores = query @ key.transpose(-2, -1)
        if self.folded:
            weights = scores.flatten(0, 1).transpose(1, 2).softmax(1).transpose(1, 2)
            mixed = torch.bmm(weights, value.flatten(0, 1)).unflatten(0, (-1, 2))
        else:
            weights = scores.softmax(-1)
            mixed = (weights if self.moved is None else weights + self.moved) @ value
        return self.head(mixed.transpose(1, 2).flatten(2).mean(1).tanh())


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("target", [1, "predicted", (0, 1, 1)])
def test_gradients_equal_finite_differences(folded: bool, target: Any) -> None:
    model, x = seeded(Attending).double(), torch.randn(3, 4, 6, dtype=torch.float64)
    wb = ex.load(seeded(lambda: Attending(folded)).double(), data=(torch.cat([x, x]), torch.arange(6) % 2))
    maps = wb.dense.attention(x, target=target)
    slopes = maps["model"].gradients
    assert slopes is not None and slopes.shape == (3, 2, 4, 4)
    step = 1e-6
    with torch.no_grad():
        chosen = model(x).argmax(1) if target == "predicted" else torch.as_tensor(target).expand(3)
        for place in [(0, 0, 0, 0), (1, 1, 2, 3), (2, 0, 3, 1)]:
            values = []
            for sign in (1, -1):
                model.moved = torch.zeros(3, 2, 4, 4, dtype=torch.float64)
                model.moved[place] = sign * step
                values.append(model(x).gather(1, chosen[:, None]).sum())
            assert float(slopes[place]) == pytest.approx(float(values[0] - values[1]) / (2 * step), abs=1e-7)
    assert not any(parameter.requires_grad for parameter in wb.dense._dressed().parameters())


def test_a_target_that_is_not_there(encoder: ex.Workbench) -> None:
    with pytest.raises(ex.ExplorerError, match="there is no output 2.*0 to 1"):
        encoder.dense.attention(IDS, target=2)


class Bare(nn.Module):
    """Attention that no weight of the model reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.scaled_dot_product_attention(x, x, x).mean(1))


def test_a_map_that_no_weight_reaches_has_no_gradients() -> None:
    x = torch.randn(6, 4, 6)
    wb = ex.load(seeded(Bare), data=(x, torch.arange(6) % 2))
    assert wb.dense.attention(x).weights["model"].shape == (6, 1, 4, 4)
    with pytest.raises(ex.ExplorerError, match="no weight of the model reaches this map"):
        wb.dense.attention(x, target=0)


def test_nothing_stays_behind(encoder: ex.Workbench) -> None:
    private = encoder.dense._dressed()
    before = hooks_of(private), hooks_of(encoder.subject.model)
    encoder.dense.attention(IDS, target=0)
    with pytest.raises(ex.ExplorerError):
        encoder.dense.attention(IDS.float() + 0.5)  # an embedding takes no such numbers
    assert (hooks_of(private), hooks_of(encoder.subject.model)) == before
    assert _get_current_function_mode() is None
    seen: list[Any] = []
    with pytest.raises(RuntimeError), capturing(seen.append, private):
        assert hooks_of(private) > before[0]
        raise RuntimeError("stopped")
    assert hooks_of(private) == before[0] and _get_current_function_mode() is None


class Choosing(nn.Module):
    """A layer that runs for positive inputs alone."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes = (nn.MultiheadAttention(6, 2, batch_first=True) for _ in range(2))
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.always(x, x, x)[0]
        return self.head((self.sometimes(x, x, x)[0] if self.wanted else x).mean(1))

    wanted = True


def test_a_layer_that_a_pass_never_comes_to() -> None:
    model, x = seeded(Choosing), torch.randn(6, 4, 6)
    wb = ex.load(model, data=(x, torch.arange(6) % 2))
    assert wb.attention_sites.names == ["always", "sometimes"]
    wb.dense._dressed().wanted = False  # type: ignore[assignment]
    assert wb.dense.attention(x).layers == ["always"]
    with pytest.raises(ex.ExplorerError, match="a forward pass never comes there"):
        wb.dense.attention(x, layers="sometimes")


def test_in_training_mode_rows_still_sum_to_one_and_dropout_comes_after() -> None:
    torch.manual_seed(0)
    stock = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    opened, x, maps = open_attention(stock).train(), torch.randn(2, 5, 8), []  # type: ignore[var-annotated]
    for need_weights in (True, False):
        with capturing(maps.append):
            torch.manual_seed(1)
            output, _ = opened(x, x, x, need_weights=need_weights)
        assert torch.allclose(maps[-1].weights.sum(-1), torch.ones(2, 2, 5))
        opened.eval()
        assert not torch.allclose(output, opened(x, x, x, need_weights=need_weights)[0], atol=1e-3)
        opened.train()
