"""Edits of attention: each against a slow formula by hand, and what has to stay as it is."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import explorer as ex
from explorer.attention.capture import captured
from explorer.attention.editing import Edit, grid_distance
from explorer.attention.edits import EDITS, NEEDS_FUSED, Rows, edited_gate  # type: ignore[attr-defined]
from explorer.attention.sites import Site
from explorer.weights.install import put_on
from explorer.weights.open_attention import open_attention
from tests.toys import seeded

B, T, E, H = 3, 6, 8, 2
D = E // H


class Attending(nn.Module):
    """Attention of two heads, fused or eager, causal or under a mask: `[B, T, 8]` -> `[B, T, 8]`."""

    num_heads = H

    def __init__(self, fused: bool = True, causal: bool = False) -> None:
        super().__init__()
        self.fused, self.causal = fused, causal
        self.parts, self.out = nn.Linear(E, 3 * E), nn.Linear(E, E)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key, value = self.parts(x).unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = F.scaled_dot_product_attention(query, key, value, mask, is_causal=self.causal)
        else:
            scores = query @ key.transpose(-2, -1) / math.sqrt(D)
            seen = torch.ones(T, T, dtype=torch.bool).tril() if self.causal else mask
            if seen is not None:
                scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
            mixed = F.softmax(scores, dim=-1) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


X = torch.randn(B, T, E, generator=torch.Generator().manual_seed(1))
PADDED = torch.ones(B, 1, 1, T, dtype=torch.bool)
PADDED[1, ..., 4:] = False


def site(fused: bool = True, kind: str = "self") -> Site:
    return Site("inner", "inner", 0, kind, fused, H, T, T)


class Outer(nn.Module):
    """What an edit is put on: `inner` is the attention."""

    def __init__(self, **how: bool) -> None:
        super().__init__()
        self.inner = Attending(**how)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.inner(x, mask)


def with_edits(*edits: Edit, **how: bool) -> nn.Module:
    model = seeded(lambda: Outer(**how))
    put_on(model, edits)
    return model


def run(model: nn.Module, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(outputs, map)"""
    maps: list[Tensor] = []
    with torch.no_grad(), captured(maps):
        outputs = model(X, mask)
    assert len(maps) == 1
    return outputs, maps[0]


AMOUNTS: dict[str, dict[str, Any]] = {
    "off": {}, "gain": {"gain": 0.3}, "uniform": {}, "temperature": {"temperature": 0.4}, "top-k": {"k": 2},
    "window": {"window": 1}, "decay": {"decay": 0.7}, "dropout": {"share": 0.4}, "low-rank": {"rank": 2},
    "block-low-rank": {"rank": 1, "block": 3}, "linear": {}, "causal": {}, "bidirectional": {},
}  # fmt: skip


def test_every_edit_is_tried_here() -> None:
    assert set(AMOUNTS) == set(EDITS.names())


def by_hand(edit: str, amounts: dict[str, Any], causal: bool, mask: Tensor | None) -> Tensor:
    """The rows after an edit, entry by entry."""
    model = seeded(lambda: Outer(causal=causal)).inner
    query, key, _ = model.parts(X).detach().unflatten(-1, (3, H, D)).permute(2, 0, 3, 1, 4).double()  # type: ignore[operator, union-attr]
    new = torch.zeros(B, H, T, T, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            seen = [
                [(not causal or j <= i) and (mask is None or bool(mask[b, 0, 0, j])) for j in range(T)]
                for i in range(T)
            ]
            score = [[float(query[b, h, i] @ key[b, h, j]) / math.sqrt(D) for j in range(T)] for i in range(T)]
            new[b, h] = _edited(edit, amounts, score, seen, query[b, h], key[b, h])
    return new


def _softmax(score: list[list[float]], seen: list[list[bool]]) -> Tensor:
    rows = [[math.exp(s) if on else 0.0 for s, on in zip(*pair, strict=True)] for pair in zip(score, seen, strict=True)]
    return torch.tensor([[value / sum(row) for value in row] for row in rows], dtype=torch.float64)


def _shares(rows: Tensor) -> Tensor:
    return torch.stack([row / row.sum() if row.sum() > 0 else row for row in rows])


def _near(rows: Tensor, rank: int) -> Tensor:
    left, values, right = torch.linalg.svd(rows)
    return sum(values[r] * left[:, r, None] * right[None, r] for r in range(min(rank, len(values)))).clamp_min(0)


def _edited(
    edit: str, amounts: dict[str, Any], score: list[list[float]], seen: list[list[bool]], query: Tensor, key: Tensor
) -> Tensor:
    rows, on = _softmax(score, seen), torch.tensor(seen).double()
    apart = torch.tensor([[abs(i - j) for j in range(T)] for i in range(T)])
    if edit == "off":
        return 0 * rows
    if edit == "gain":
        return amounts["gain"] * rows
    if edit == "uniform":
        return _shares(on)
    if edit == "temperature":
        return _softmax([[s / amounts["temperature"] for s in row] for row in score], seen)
    if edit == "top-k":
        least = rows.sort(-1, descending=True).values[:, amounts["k"] - 1]
        return _shares(rows * (rows >= least[:, None]))
    if edit == "window":
        return _shares(rows * (apart <= amounts["window"]))
    if edit == "decay":
        return _shares(rows * torch.exp(-amounts["decay"] * apart.double()))
    if edit == "low-rank":
        return _shares(_near(rows, amounts["rank"]) * on)
    if edit == "block-low-rank":
        side, whole = amounts["block"], rows.clone()
        for i in range(0, T, side):
            for j in range(0, T, side):
                whole[i : i + side, j : j + side] = _near(rows[i : i + side, j : j + side], amounts["rank"])
        return _shares(whole * on)
    if edit == "linear":
        feature = lambda v: torch.where(v > 0, v + 1, v.exp())  # noqa: E731  (elu(v) + 1)
        return _shares(torch.tensor([[float(feature(q) @ feature(k)) for k in key] for q in query]).double() * on)
    if edit == "causal":
        return _shares(rows.tril())
    assert edit == "bidirectional"
    return _softmax(score, [[any(seen[i][j] for i in range(T)) for j in range(T)]] * T)


@pytest.mark.parametrize("edit", [name for name in AMOUNTS if name != "dropout"])
@pytest.mark.parametrize("how", ["plain", "causal", "padded"])
@pytest.mark.parametrize("fused", [True, False])
def test_each_edit_is_what_its_formula_says(edit: str, how: str, fused: bool) -> None:
    step = ex.EditAttention(edit=edit, **AMOUNTS[edit])
    mask = PADDED if how == "padded" else None
    outputs, rows = run(with_edits(Edit(site(fused), step), fused=fused, causal=how == "causal"), mask)
    if edit in NEEDS_FUSED and not fused:
        assert torch.equal(outputs, run(with_edits(fused=False, causal=how == "causal"), mask)[0])
        return
    wanted = by_hand(edit, AMOUNTS[edit], how == "causal", mask)
    assert torch.allclose(rows.double(), wanted, atol=2e-6)
    model = seeded(Outer).inner
    values = model.parts(X).detach().unflatten(-1, (3, H, D))[:, :, 2].transpose(1, 2)  # type: ignore[operator, union-attr]
    mixed = model.out((wanted.float() @ values).transpose(1, 2).flatten(2)).detach()  # type: ignore[operator, union-attr]
    assert torch.allclose(outputs, mixed, atol=1e-5)
    if edit != "bidirectional" and how != "plain":
        seen = torch.ones(T, T, dtype=torch.bool).tril() if mask is None else mask
        assert rows[~seen.expand_as(rows)].abs().max() == 0  # what was hidden stays hidden


IDENTITIES: list[tuple[str, dict[str, Any], bool]] = [
    ("temperature", {"temperature": 1.0}, False), ("top-k", {"k": T}, False), ("top-k", {"k": 99}, False),
    ("window", {"window": T}, False), ("decay", {"decay": 0.0}, False), ("gain", {"gain": 1.0}, False),
    ("low-rank", {"rank": T}, False), ("block-low-rank", {"rank": 3, "block": 3}, False),
    ("dropout", {"share": 0.0}, False), ("causal", {}, True), ("bidirectional", {}, False),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "amounts", "causal"), IDENTITIES)
@pytest.mark.parametrize("fused", [True, False])
def test_an_edit_that_changes_nothing_changes_nothing(
    edit: str, amounts: dict[str, Any], causal: bool, fused: bool
) -> None:
    step = ex.EditAttention(edit=edit, **amounts)
    edited = run(with_edits(Edit(site(fused), step), fused=fused, causal=causal))
    plain = run(with_edits(fused=fused, causal=causal))
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(edited, plain, strict=True))


@pytest.mark.parametrize("edit", list(AMOUNTS))
@pytest.mark.parametrize("causal", [True, False])
def test_heads_that_are_not_named_stay_bit_for_bit(edit: str, causal: bool) -> None:
    _, plain = run(with_edits(causal=causal))
    _, rows = run(with_edits(Edit(site(), ex.EditAttention(edit=edit, **AMOUNTS[edit]), (1,)), causal=causal))
    assert torch.equal(rows[:, 0], plain[:, 0])
    same = (edit, causal) in {("causal", True), ("bidirectional", False)}
    assert torch.allclose(rows[:, 1], plain[:, 1], atol=1e-6) == same


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(set(AMOUNTS) - {"off", "gain", "dropout"})), st.integers(0, 9999), st.integers(1, 7))
def test_rows_sum_to_one_or_are_empty_and_hide_what_was_hidden(edit: str, seed: int, keys: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, H, keys, D, generator=draw), torch.randn(2, H, keys, D, generator=draw)
    hidden = torch.rand(2, 1, keys, keys, generator=draw) < 0.4
    free = query @ key.mT * 3
    scores = free.masked_fill(hidden, float("-inf"))
    weights = scores.softmax(-1).nan_to_num(0.0)
    apart = (torch.arange(keys)[:, None] - torch.arange(keys)).abs()
    rows = Rows(scores, weights, apart, query, key, 3.0, free, draw)
    new = EDITS[edit].function(rows, ex.EditAttention(edit=edit, **AMOUNTS[edit]))
    sums = new.sum(-1)
    assert (((sums - 1).abs() < 1e-5) | (sums == 0)).all() and (new >= 0).all()
    if edit != "bidirectional":
        assert (new[hidden.expand_as(new)] == 0).all()


def test_ties_keep_exactly_k() -> None:
    flat = torch.full((1, 1, 3, 5), 0.2)
    rows = Rows(torch.zeros(1, 1, 3, 5), flat, torch.zeros(3, 5))
    new = EDITS["top-k"].function(rows, ex.EditAttention(edit="top-k", k=2))
    assert ((new > 0).sum(-1) == 2).all() and torch.allclose(new.sum(-1), torch.ones(1, 1, 3))


def test_dropout_is_the_same_each_time_and_another_by_seed_and_site() -> None:
    rows = {}
    for name, seed in (("blocks.0.attn", 0), ("blocks.1.attn", 0), ("blocks.0.attn", 1)):
        step, place = (
            ex.EditAttention(edit="dropout", share=0.5, seed=seed),
            Site(name, "inner", 0, "self", True, H, T, T),
        )
        rows[name, seed] = run(with_edits(Edit(place, step)))[1]
        assert torch.equal(rows[name, seed], run(with_edits(Edit(place, step)))[1])
    first, *others = rows.values()
    assert all(not torch.equal(first == 0, other == 0) for other in others)
    plain = run(with_edits())[1]
    assert torch.allclose(first[first > 0], 2 * plain[first > 0]) and 0.3 < (first == 0).float().mean() < 0.7


def test_off_is_zeroed_columns_of_the_output_projection() -> None:
    plain = seeded(Outer)
    with torch.no_grad():
        plain.inner.out.weight[:, D:] = 0  # type: ignore[operator, union-attr]
    edited = with_edits(Edit(site(), ex.EditAttention(edit="off"), (1,)))
    assert torch.allclose(run(edited)[0], run(plain)[0], atol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
def test_off_of_a_packed_attention(need_weights: bool) -> None:
    packed = open_attention(seeded(lambda: nn.MultiheadAttention(E, H, batch_first=True)))  # type: ignore[arg-type]
    cut = copy.deepcopy(packed)
    with torch.no_grad():
        cut.out_proj.weight[:, :D] = 0
    holder = nn.ModuleDict({"inner": packed})
    put_on(holder, [Edit(site(not need_weights), ex.EditAttention(edit="off"), (0,))])
    with torch.no_grad():
        found, weights = packed(X, X, X, need_weights=need_weights, average_attn_weights=False)
        wanted, _ = cut(X, X, X)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert weights is None or (weights[:, 0].abs().max() == 0 and weights[:, 1].abs().max() > 0)


def test_gains_of_each_head() -> None:
    _, plain = run(with_edits())
    step = ex.EditAttention(edit="gain", gains={"inner": (0.5, 2.0)})
    _, rows = run(with_edits(Edit(site(), step, (), (0.5, 2.0))))
    assert torch.equal(rows, plain * torch.tensor([0.5, 2.0])[:, None, None])


def test_edits_come_one_after_the_other() -> None:
    steps = ex.EditAttention(edit="top-k", k=3), ex.EditAttention(edit="window", window=1)
    _, plain = run(with_edits())
    _, rows = run(with_edits(*[Edit(site(), step) for step in steps]))
    kept = plain * (plain >= plain.sort(-1, descending=True).values[..., 2:3])
    near = kept * ((torch.arange(T)[:, None] - torch.arange(T)).abs() <= 1)
    assert torch.allclose(rows, near / near.sum(-1, keepdim=True).clamp_min(1e-30), atol=1e-6)


def test_the_window_of_a_picture_lies_on_its_grid() -> None:
    apart = grid_distance((2, 3), 1)
    assert apart[0].eq(0).all() and apart[:, 0].eq(0).all()  # the class token is near to all
    assert apart[1, 4] == 1 and apart[1, 3] == 2 and apart[1, 5] == 1 and apart[4, 3] == 2
    edit = Edit(site(), ex.EditAttention(edit="window"), grid=(2, 3), first=1)
    assert torch.equal(edit.distance(7, 7), apart) and edit.distance(3, 5)[0].tolist() == [2, 1, 0, 1, 2]


def test_the_mask_between_shifted_windows_stays() -> None:
    scores = torch.randn(4, H, 4, 4, generator=torch.Generator().manual_seed(3))
    apart = torch.zeros(4, 4, dtype=torch.bool)
    apart[:2, 2:] = apart[2:, :2] = True
    masked = torch.where(apart, scores - 100, scores)
    rows = Rows(masked, masked.softmax(-1), torch.zeros(4, 4), windows=True)
    assert torch.equal(rows.seen, ~apart.expand_as(scores))
    new = EDITS["uniform"].function(rows, ex.EditAttention(edit="uniform"))
    assert torch.equal(new, 0.5 * (~apart).float().expand_as(new))


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_flow_through_edits_and_are_finite(fused: bool) -> None:
    for edit, amounts in AMOUNTS.items():
        model = with_edits(Edit(site(fused), ex.EditAttention(edit=edit, **amounts), (0,)), fused=fused).train()
        model(X, PADDED).square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
        assert model.inner.parts.weight.grad.abs().max() > 0  # type: ignore[union-attr, operator]


def test_gradients_are_finite_where_rows_are_alike_or_see_nothing() -> None:
    blind = torch.ones(B, 1, T, T, dtype=torch.bool)
    blind[0, 0, 2] = False
    for edit in ("low-rank", "temperature", "uniform", "linear", "bidirectional", "window"):
        model = with_edits(Edit(site(), ex.EditAttention(edit=edit, **AMOUNTS[edit])))
        with torch.no_grad():
            model.inner.parts.weight[: 2 * E] = 0  # type: ignore[operator, union-attr]
            model.inner.parts.bias[: 2 * E] = 0  # type: ignore[operator, union-attr]
        model(X, blind).square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_gradient_equals_finite_differences_under_an_edit() -> None:
    model = with_edits(Edit(site(), ex.EditAttention(edit="temperature", temperature=1.7), (1,))).double()
    weight, x = model.inner.parts.weight, X.double()  # type: ignore[union-attr]
    (slope,) = torch.autograd.grad(model(x).square().sum(), weight)  # type: ignore[arg-type]
    with torch.no_grad():
        for place in [(E - 1, 2), (2 * E - 1, 5), (1, 1)]:
            values = []
            for moved in (1e-6, -2e-6):
                weight[place] += moved  # type: ignore[index, operator]
                values.append(model(x).square().sum())
            weight[place] += 1e-6  # type: ignore[index, operator]
            assert float(slope[place]) == pytest.approx(float(values[0] - values[1]) / 2e-6, rel=1e-5)


def test_copies_pickles_and_state_dicts_stay_as_usual() -> None:
    edited = with_edits(Edit(site(), ex.EditAttention(edit="top-k", k=1)))
    wanted = run(edited)[0]
    assert list(edited.state_dict()) == list(seeded(Outer).state_dict())
    for twin in (copy.deepcopy(edited), pickle.loads(pickle.dumps(edited))):
        assert torch.equal(run(twin)[0], wanted)
        with torch.no_grad():
            twin.inner.out.weight.zero_()  # type: ignore[operator, union-attr]
        assert not torch.equal(run(twin)[0], wanted) and torch.equal(run(edited)[0], wanted)  # the copy runs itself


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    model = with_edits(Edit(site(), ex.EditAttention(edit="dropout", share=0.3))).train()
    plain = torch.autograd.grad(model(X).square().sum(), list(model.parameters()))
    x = X.clone().requires_grad_()
    model.zero_grad()
    checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
    assert all(torch.allclose(p.grad, wanted, atol=1e-6) for p, wanted in zip(model.parameters(), plain, strict=True))  # type: ignore[arg-type]


def test_half_precision_stays_half_precision() -> None:
    for edit, amounts in AMOUNTS.items():
        for fused in (True, False):
            model = with_edits(Edit(site(fused), ex.EditAttention(edit=edit, **amounts)), fused=fused).bfloat16()
            with torch.no_grad():
                outputs = model(X.bfloat16())
            assert outputs.dtype == torch.bfloat16 and outputs.isfinite().all()


def test_gates_keep_their_shape() -> None:
    gate = torch.rand(2, 4, 1, 1)
    for edit in ("off", "gain", "uniform", "top-k", "dropout"):
        new = edited_gate(gate, ex.EditAttention(edit=edit, **AMOUNTS[edit]), True, torch.Generator().manual_seed(0))
        assert new.shape == gate.shape
    dropped = edited_gate(gate, ex.EditAttention(edit="dropout", share=0.5), True, torch.Generator().manual_seed(0))
    assert torch.equal(dropped[dropped > 0], 2 * gate[dropped > 0]) and (dropped == 0).any()
