"""The dense model is never touched, whatever is done to a private clone or a full copy; and clones run as it does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from explorer import ExplorerError
from explorer.weights.clone import digest, full_copy, private_clone, watermarks
from explorer.weights.forms import Dense, Masked
from explorer.weights.install import Outfit, PrivateModel
from explorer.weights.matrices import find_matrices
from explorer.weights.open_attention import OpenAttention

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # models of today still hold some

TOKENS = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 0]])
NUMBERS = torch.linspace(-1, 1, 24).reshape(4, 6)


class Plain(nn.Module):
    """Layers of several kinds, with buffers that a forward in training mode writes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.norm(self.first(x)).relu())
        return y


class Shared(nn.Module):
    """Tied as in T5: one weight is the embedding of encoder and decoder, and gives the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(9, 6)
        self.encoder, self.decoder = nn.Embedding(9, 6), nn.Embedding(9, 6)
        self.body = nn.Linear(6, 6)
        self.lm_head = nn.Linear(6, 9, bias=False)
        for owner in (self.encoder, self.decoder, self.lm_head):
            owner.weight = self.shared.weight

    def forward(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.lm_head(self.body(self.encoder(tokens)) + self.decoder(tokens))
        return y


class OldWeightNorm(nn.Module):
    """Its weight is a plain attribute with a history, which `deepcopy` alone refuses."""

    def __init__(self) -> None:
        super().__init__()
        with pytest.warns(FutureWarning):
            self.normed = nn.utils.weight_norm(nn.Linear(6, 5))
        self.plain = nn.Linear(5, 3)
        self.kept: list[Any] = [{"deep": (self.plain.weight * 2,)}]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.plain(self.normed(x))
        return y


class NewWeightNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.normed = parametrizations.weight_norm(nn.Linear(6, 5))
        self.plain = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.plain(self.normed(x))
        return y


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.script = torch.jit.script(nn.Linear(6, 5))
        self.plain = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.plain(self.script(x))
        return y


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0]
        return y


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x[None])
        return y


KINDS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "plain": (Plain, NUMBERS),
    "tied": (Shared, TOKENS),
    "old weight norm": (OldWeightNorm, NUMBERS),
    "new weight norm": (NewWeightNorm, NUMBERS),
    "scripted child": (Scripted, NUMBERS),
    "recurrent": (Recurrent, NUMBERS),
    "encoder": (Encoder, NUMBERS),
}


@pytest.fixture(params=KINDS)
def dense(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, inputs = KINDS[request.param]
    return build().eval(), inputs


@contextmanager
def untouched(model: nn.Module, inputs: Tensor) -> Iterator[None]:
    """Holds the model to its digest, its bits, its outputs and its gradients, also when the block raises."""
    model.eval()
    with torch.no_grad():
        before = model(inputs).clone()
    mark, state = digest(model), copy.deepcopy(model.state_dict())
    gradients = [(p.requires_grad, p.grad, p.dtype) for p in model.parameters()]
    try:
        yield
    finally:
        assert digest(model) == mark
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, state[name]), name
        assert [(p.requires_grad, p.grad, p.dtype) for p in model.parameters()] == gradients
        assert not model.training
        with torch.no_grad():
            assert torch.equal(model(inputs), before)


Copy = Callable[[nn.Module], nn.Module]


def train_a_step(model: nn.Module, inputs: Tensor) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.5, weight_decay=0.1)
    model(inputs).square().sum().backward()
    optimiser.step()


DEEDS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "half": lambda model, inputs: model.half(),
    "double": lambda model, inputs: model.double(),
    "requires_grad": lambda model, inputs: [p.requires_grad_(not p.requires_grad) for p in model.parameters()],
    "zero_grad": lambda model, inputs: model.zero_grad(),
    "a forward in training mode": lambda model, inputs: model.train()(inputs),
    "load_state_dict": lambda model, inputs: model.load_state_dict(
        {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    ),
}
BREAKING: dict[str, Callable[[nn.Module, Tensor], object]] = {
    **DEEDS,
    "an optimiser's step": train_a_step,
    "writing in place": lambda model, inputs: [p.data.zero_() for p in model.parameters()],
}


@pytest.mark.parametrize("deed", BREAKING)
def test_a_full_copy_is_yours_to_train_or_break(dense: tuple[nn.Module, Tensor], deed: str) -> None:
    model, inputs = dense
    with untouched(model, inputs):
        BREAKING[deed](full_copy(model), inputs)


@pytest.mark.parametrize("deed", [name for name in DEEDS if name != "load_state_dict"])
def test_a_private_clone_leaks_nothing(dense: tuple[nn.Module, Tensor], deed: str) -> None:
    """Its Parameters alias the model's storage, so that what only replaces or marks them must not show."""
    model, inputs = dense
    with untouched(model, inputs):
        DEEDS[deed](private_clone(model), inputs)


@pytest.mark.parametrize("make", [private_clone, full_copy])
def test_copies_run_as_the_model_does(dense: tuple[nn.Module, Tensor], make: Copy) -> None:
    model, inputs = dense
    with untouched(model, inputs), torch.no_grad():
        clone = make(model).eval()
        # the encoder leaves PyTorch's fused path, whose sums run in another order
        torch.testing.assert_close(clone(inputs), model(inputs), rtol=0, atol=1e-6)
        assert torch.equal(clone(inputs), make(clone)(inputs))


def test_a_private_clone_is_bit_equal_where_nothing_is_fused() -> None:
    for name in ("plain", "tied", "old weight norm", "new weight norm", "scripted child", "recurrent"):
        build, inputs = KINDS[name]
        model = build().eval()
        with torch.no_grad():
            assert torch.equal(private_clone(model)(inputs), model(inputs)), name


def test_a_private_clone_shares_memory_but_no_object(dense: tuple[nn.Module, Tensor]) -> None:
    model, _ = dense
    clone = private_clone(model)
    own = dict(clone.named_parameters())
    for name, parameter in model.named_parameters():
        assert own[name] is not parameter and not own[name].requires_grad
        if not name.startswith("script"):  # PyTorch copies what it has scripted
            assert own[name].data_ptr() == parameter.data_ptr()
    for (_, mine), (_, other) in zip(clone.named_buffers(), model.named_buffers(), strict=True):
        assert mine is not other and mine.data_ptr() != other.data_ptr()


def test_a_full_copy_shares_nothing(dense: tuple[nn.Module, Tensor]) -> None:
    model, _ = dense
    taken = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not taken & {tensor.data_ptr() for tensor in full_copy(model).state_dict().values()}


@pytest.mark.parametrize("make", [private_clone, full_copy])
def test_tied_slots_stay_tied(make: Copy) -> None:
    model = Shared()
    clone = make(model)
    assert isinstance(clone, Shared)
    for owner in (clone.encoder, clone.decoder, clone.lm_head):
        assert owner.weight is clone.shared.weight
    assert clone.shared.weight is not model.shared.weight
    assert len(list(clone.parameters())) == len(list(model.parameters()))


def test_a_change_reaches_every_tied_slot() -> None:
    """As in T5, where a change of the shared weight once had no effect: the other slots kept the old object."""
    model = Shared().eval()
    private = PrivateModel(model, find_matrices(model))
    (matrix,) = private._matrices.select(["lm_head"])
    kept = torch.zeros(matrix.rows, matrix.columns, dtype=torch.bool)
    with untouched(model, TOKENS), torch.no_grad():
        module = private.wear(Outfit({"lm_head": Masked(torch.zeros(9, 6), kept)}, {}))
        assert isinstance(module, Shared)
        for owner in (module.shared, module.encoder, module.decoder, module.lm_head):
            assert not owner.weight.any()
        assert not module(TOKENS).any()
        assert torch.equal(private.wear(Outfit({}, {}))(TOKENS), model(TOKENS))
        assert module.encoder.weight is module.shared.weight is module.lm_head.weight


def test_t5_itself() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2, vocab_size=13, tie_word_embeddings=True
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    tokens = torch.tensor([[1, 2, 3]])

    def logits(module: nn.Module) -> Tensor:
        with torch.no_grad():
            found: Tensor = module(input_ids=tokens, decoder_input_ids=tokens, use_cache=False).logits
        return found

    before, mark = logits(model), digest(model)
    private = PrivateModel(model, find_matrices(model))
    assert torch.equal(logits(private.module), before)
    weight = torch.zeros(13, 8)
    module = private.wear(Outfit({"lm_head": Masked(weight, weight != 0)}, {}))
    shared = module.get_parameter("shared.weight")
    assert not shared.any() and module.get_parameter("encoder.embed_tokens.weight") is shared
    assert not logits(module).any()
    assert torch.equal(logits(private.wear(Outfit({}, {}))), before)
    assert torch.equal(logits(model), before) and digest(model) == mark


def test_an_exception_in_the_middle_leaves_the_dense_model_and_the_clone_whole() -> None:
    model = Plain().eval()
    private = PrivateModel(model, find_matrices(model))
    zeros = torch.zeros(8, 6)
    broken = Outfit({"first": Masked(zeros, zeros != 0)}, {"no.such.tensor": Dense(zeros)})
    with untouched(model, NUMBERS), torch.no_grad():
        for _ in range(2):  # the second time must not take the half-dressed clone for a dressed one
            with pytest.raises(KeyError):
                private.wear(broken)
        assert torch.equal(private.wear(Outfit({}, {}))(NUMBERS), model(NUMBERS))


def test_an_exception_inside_a_forward_leaves_the_dense_model_whole() -> None:
    model = Plain().eval()
    with untouched(model, NUMBERS), pytest.raises(RuntimeError):
        private_clone(model)(torch.zeros(4, 7))


def test_a_recurrent_layer_runs_with_the_exchanged_weight() -> None:
    """An LSTM keeps its weights in a second list, of which a clone needs its own."""
    model = Recurrent().eval()
    matrices = find_matrices(model)
    zeros = {m.name: Masked(torch.zeros(m.rows, m.columns), torch.zeros(m.rows, m.columns) > 0) for m in matrices}
    with untouched(model, NUMBERS), torch.no_grad():
        private = PrivateModel(model, matrices)
        for parameter in full_copy(model).parameters():
            parameter.zero_()
        assert not torch.equal(private.wear(Outfit(zeros, {}))(NUMBERS), model(NUMBERS))
        assert torch.equal(private.wear(Outfit({}, {}))(NUMBERS), model(NUMBERS))


def test_a_forward_that_is_a_method_of_the_model_moves_with_it() -> None:
    model = Plain().eval()
    model.forward = model.forward  # type: ignore[method-assign]  # an instance attribute, as tracing tools leave it
    clone = full_copy(model)
    with torch.no_grad():
        clone.get_parameter("second.weight").zero_()
        clone.get_parameter("second.bias").zero_()
        assert not clone(NUMBERS).any()


def test_what_cannot_be_copied_is_told() -> None:
    model = Plain()
    vars(model)["lock"] = Lock()
    with pytest.raises(ExplorerError, match=r"Plain: the model cannot be copied .*locks"):
        private_clone(model)


def test_clones_take_the_open_path() -> None:
    clone = private_clone(Encoder())
    attention = [module for module in clone.modules() if isinstance(module, nn.MultiheadAttention)]
    assert attention and all(isinstance(module, OpenAttention) for module in attention)
    encoders = [module for module in clone.modules() if isinstance(module, nn.TransformerEncoder)]
    assert encoders and not any(encoder.use_nested_tensor for encoder in encoders)
    assert not clone.training


@pytest.mark.parametrize("norm_first", [False, True])
def test_every_module_of_an_encoder_is_called(norm_first: bool) -> None:
    """PyTorch's fused path goes past the layers inside, and with them past thin ones, edits and records."""
    layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, norm_first=norm_first)
    model, called = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), []

    def noted(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return forward(*args, **kwargs)

        return note

    clone = private_clone(model)
    inside = {name: module for name, module in clone.named_modules() if not list(module.children())}
    inside = {name: module for name, module in inside.items() if list(module.parameters())}
    for name, module in inside.items():
        module.forward = noted(name, module.forward)
    x, padding = torch.randn(2, 4, 6), torch.tensor([[False] * 4, [False, False, True, True]])
    for mask in (None, padding):
        called.clear()
        with torch.no_grad():
            clone(x, src_key_padding_mask=mask)
        assert sorted(called) == sorted(inside)


# -- fingerprints -------------------------------------------------------------------------------------------------


def test_the_digest_sees_every_bit_name_type_and_shape() -> None:
    model = Plain()
    seen = {digest(model)}
    with torch.no_grad():
        model.second.weight[0, 0] = torch.nextafter(model.second.weight[0, 0], torch.tensor(9.0))
    seen.add(digest(model))
    model.norm.get_buffer("running_mean").add_(1)
    seen.add(digest(model))
    seen.add(digest(nn.Sequential(model)))
    seen.add(digest(model.double()))
    assert len(seen) == 5


def test_the_digest_is_the_same_for_equal_models() -> None:
    model = Plain()
    assert digest(model) == digest(copy.deepcopy(model)) == digest(private_clone(model)) == digest(full_copy(model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_digest_takes_any_type(dtype: torch.dtype) -> None:
    model = nn.Linear(3, 2).to(dtype)
    model.register_buffer("flags", torch.tensor([True, False]))
    model.register_buffer("scalar", torch.tensor(3))
    model.register_buffer("nothing", torch.zeros(0, 4))
    assert len(digest(model)) == 16


def test_watermarks_move_with_every_change_in_place() -> None:
    model = Plain()
    before = watermarks(model)
    assert watermarks(model) == before
    with torch.no_grad():
        model.first.weight.mul_(1.0)
    assert watermarks(model) != before
    before = watermarks(model)
    model.first.weight.requires_grad_(False)
    assert watermarks(model) != before
    before = watermarks(model)
    model.first.weight = nn.Parameter(model.first.weight.detach().clone())
    assert watermarks(model) != before
