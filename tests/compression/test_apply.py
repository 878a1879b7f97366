"""Applying plans: masks as PyTorch's own pruning makes them, exact counts, composition, and dense forms left alone."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

import explorer as ex
from explorer import ExplorerError, LowRank, Prune, Recipe
from explorer.compression.apply import Model, apply_plan, score_index
from explorer.compression.factorising import singular
from explorer.compression.memory import Memory
from explorer.compression.order import removed_count
from explorer.compression.patterns import n_of_m
from explorer.compression.plan import resolve
from explorer.recipe import Step
from explorer.weights.forms import Dense, Factors, Form, Masked, rows_gone
from explorer.weights.matrices import Matrices, find_matrices

SHARES = (0.0, 0.1, 0.37, 0.5, 0.9, 1.0)


class Bench:
    """A model's dense forms, and what recipes make of them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.matrices: Matrices = find_matrices(model)
        self.dense = {m.name: Dense(m.view(model.get_parameter(m.parameter).detach())) for m in self.matrices}
        self.memory = Memory()

    @property
    def start(self) -> Model:
        return Model(self.dense, {}, self.memory)

    def forms(self, *steps: Step) -> dict[str, Form]:
        return dict(apply_plan(resolve(Recipe(steps), self.matrices), self.start).forms)

    def masks(self, *steps: Step) -> dict[str, Tensor]:
        """What is kept of every matrix, also of those that no step changed."""
        return masks({**self.dense, **self.forms(*steps)})

    def digest(self) -> str:
        state = hashlib.blake2b()
        for form in self.dense.values():
            state.update(form.weight.contiguous().view(torch.uint8).numpy().tobytes())
        return state.hexdigest()


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 20), nn.Conv1d(4, 10, 3), nn.Conv2d(3, 6, 2), nn.Linear(20, 7))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(model())


@pytest.fixture(autouse=True)
def dense_forms_are_never_written_to(bench: Bench) -> Any:
    before = bench.digest()
    yield
    assert bench.digest() == before


def single(weight: Tensor, *steps: Step) -> Form:
    """What steps make of one matrix."""
    layer = nn.Linear(weight.shape[1], weight.shape[0]).to(weight.dtype)
    layer.weight = nn.Parameter(weight.clone())
    bench = Bench(layer)
    return bench.forms(*steps).get("weight", bench.dense["weight"])  # a step that removes nothing changes nothing


def masks(forms: Mapping[str, Form]) -> dict[str, Tensor]:
    return {name: as_masked(form).mask for name, form in forms.items()}


def as_factors(form: Form) -> Factors:
    assert isinstance(form, Factors)
    return form


def as_masked(form: Form) -> Masked:
    if type(form) is Dense:  # a step that removes nothing leaves the form as it is
        return Masked(form.weight, torch.ones(form.shape, dtype=torch.bool))
    assert isinstance(form, Masked)
    return form


# -- PyTorch's own pruning as the oracle --------------------------------------------------------------------------


def torch_masks(pruned: nn.Module, names: list[str]) -> dict[str, Tensor]:
    return {name: pruned.get_buffer(f"{name}.weight_mask").flatten(1).bool() for name in names}


@pytest.mark.parametrize("sparsity", SHARES)
def test_masks_by_magnitude_in_each_matrix(bench: Bench, sparsity: float) -> None:
    oracle = model()
    for name in bench.matrices.names:
        torch_prune.l1_unstructured(oracle.get_submodule(name), "weight", amount=sparsity)
    wanted = torch_masks(oracle, bench.matrices.names)
    for name, mask in bench.masks(Prune(sparsity=sparsity, scope="matrix")).items():
        assert torch.equal(mask, wanted[name]), name


@pytest.mark.parametrize("sparsity", SHARES)
def test_masks_by_magnitude_across_all_matrices(bench: Bench, sparsity: float) -> None:
    oracle = model()
    slots = [(oracle.get_submodule(name), "weight") for name in bench.matrices.names]
    torch_prune.global_unstructured(slots, torch_prune.L1Unstructured, amount=sparsity)
    wanted = torch_masks(oracle, bench.matrices.names)
    for name, mask in bench.masks(Prune(sparsity=sparsity)).items():
        assert torch.equal(mask, wanted[name]), name


@pytest.mark.parametrize("sparsity", SHARES)
def test_masks_of_whole_rows(bench: Bench, sparsity: float) -> None:
    oracle = model()
    for name in bench.matrices.names:
        torch_prune.ln_structured(oracle.get_submodule(name), "weight", amount=sparsity, n=2, dim=0)
    wanted = torch_masks(oracle, bench.matrices.names)
    forms = bench.forms(Prune(sparsity=sparsity, pattern="row", scope="matrix"))
    for name, mask in masks({**bench.dense, **forms}).items():
        assert torch.equal(mask, wanted[name]), name
        removed = as_masked(forms[name]).rows_removed if name in forms else torch.zeros(len(mask), dtype=torch.bool)
        assert removed is not None and torch.equal(~removed, wanted[name][:, 0])


@pytest.mark.parametrize("sparsity", SHARES)
def test_random_masks_remove_as_many(bench: Bench, sparsity: float) -> None:
    oracle = model()
    for name in bench.matrices.names:
        torch_prune.random_unstructured(oracle.get_submodule(name), "weight", amount=sparsity)
    wanted = torch_masks(oracle, bench.matrices.names)
    for name, mask in bench.masks(Prune(sparsity=sparsity, criterion="random", scope="matrix")).items():
        assert int(mask.sum()) == int(wanted[name].sum())


def test_a_second_prune_goes_on_where_pytorch_would() -> None:
    """PyTorch removes a share of what is left; ours is a share of the whole, so 0.5 then 0.75 is its 0.5 then 0.5."""
    torch.manual_seed(0)
    layer = nn.Linear(16, 8)
    weight = layer.weight.detach().clone()
    for _ in range(2):
        torch_prune.l1_unstructured(layer, "weight", amount=0.5)
    ours = single(weight, Prune(sparsity=0.5), Prune(sparsity=0.75))
    assert torch.equal(as_masked(ours).mask, layer.get_buffer("weight_mask").bool())


# -- exact counts -------------------------------------------------------------------------------------------------

TIED = st.integers(0, 9999).map(
    lambda seed: torch.randint(-2, 3, (7, 9), generator=torch.Generator().manual_seed(seed)).float()
)


@settings(max_examples=60, deadline=None)
@given(TIED, st.floats(0, 1), st.sampled_from(["magnitude", "random"]), st.sampled_from(["global", "matrix"]))
@example(torch.zeros(7, 9), 0.5, "magnitude", "global")
@example(torch.ones(7, 9), 1.0, "magnitude", "global")
@example(torch.ones(7, 9), 0.0, "magnitude", "matrix")
def test_exactly_the_asked_share_goes_also_with_ties(
    weight: Tensor, sparsity: float, criterion: str, scope: Any
) -> None:
    form = as_masked(single(weight, Prune(sparsity=sparsity, criterion=criterion, scope=scope)))
    assert int((~form.mask).sum()) == removed_count(sparsity, 63)
    assert torch.equal(form.decode(), weight * form.mask)
    if criterion == "magnitude" and form.mask.any() and not form.mask.all():
        assert weight[form.mask].abs().min() >= weight[~form.mask].abs().max()


@settings(max_examples=40, deadline=None)
@given(TIED, st.floats(0, 3))
def test_a_threshold_removes_what_scores_below_it(weight: Tensor, threshold: float) -> None:
    form = as_masked(single(weight, Prune(threshold=threshold)))
    assert torch.equal(form.mask, weight.abs() >= torch.tensor(threshold))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.floats(0, 1))
def test_sparsity_and_its_threshold_mean_the_same_away_from_ties(seed: int, sparsity: float) -> None:
    torch.manual_seed(seed)
    bench = Bench(nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3)))
    recipe = Recipe([Prune(sparsity=sparsity)])
    index = score_index(resolve(recipe, bench.matrices), 0, bench.start)
    by_share = bench.masks(*recipe)
    by_threshold = bench.masks(Prune(threshold=index.threshold_at(sparsity)))
    assert all(torch.equal(by_share[name], by_threshold[name]) for name in by_share)


@settings(max_examples=40, deadline=None)
@given(TIED, st.integers(1, 12), st.data())
def test_groups_hold_with_ties_and_ragged_ends(weight: Tensor, m: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, m))
    form = as_masked(single(weight, Prune(pattern="n:m", n=n, m=m)))
    assert form.group == (None if form.mask.all() else (n, m))
    assert torch.equal(form.mask, n_of_m(weight.abs(), n, m))
    assert all(int(group.sum()) <= n for line in form.mask for group in line.split(m))


def test_nothing_asked_is_nothing_changed(bench: Bench) -> None:
    for steps in ([], [Prune(sparsity=0.0)], [Prune(threshold=0.0)], [Prune(pattern="n:m", n=4, m=4)]):
        assert bench.forms(*steps) == {}


def test_everything_asked_is_everything_gone(bench: Bench) -> None:
    for step in (
        Prune(sparsity=1.0),
        Prune(threshold=1e9),
        Prune(sparsity=1.0, pattern="row"),
        Prune(pattern="n:m", n=0),
    ):
        forms = bench.forms(step)
        assert list(forms) == bench.matrices.names and all(form.nonzero == 0 for form in forms.values())


# -- scopes, overrides, exclusions --------------------------------------------------------------------------------


def test_a_global_share_is_one_of_all_chosen_weights(bench: Bench) -> None:
    forms = bench.forms(Prune(sparsity=0.5, layers=("0", "3")))
    assert set(forms) == {"0", "3"}
    assert sum(form.nonzero for form in forms.values()) == (12 * 20 + 20 * 7) // 2
    assert len({form.nonzero / form.entries for form in forms.values()}) == 2  # matrices do compete


def test_overridden_matrices_leave_the_competition(bench: Bench) -> None:
    forms = bench.forms(Prune(sparsity=0.5, overrides={"0": 0.25, "1": None}))
    assert set(forms) == {"0", "2", "3"}
    assert forms["0"].nonzero == 240 - 60
    rest = bench.forms(Prune(sparsity=0.5, layers=("2", "3")))
    assert all(torch.equal(forms[name].decode(), rest[name].decode()) for name in rest)


def test_rows_of_different_length_compete_fairly(bench: Bench) -> None:
    removed = [as_masked(form).rows_removed for form in bench.forms(Prune(sparsity=0.5, pattern="row")).values()]
    assert sum(int(rows.sum()) for rows in removed if rows is not None) == removed_count(0.5, 20 + 10 + 6 + 7)


def test_random_scores_of_a_matrix_do_not_depend_on_its_company(bench: Bench) -> None:
    alone = bench.forms(Prune(sparsity=0.5, criterion="random", scope="matrix", layers=("3",), seed=4))
    together = bench.forms(Prune(sparsity=0.5, criterion="random", scope="matrix", seed=4))
    other = bench.forms(Prune(sparsity=0.5, criterion="random", scope="matrix", seed=5))
    assert torch.equal(alone["3"].decode(), together["3"].decode())
    assert not torch.equal(other["3"].decode(), together["3"].decode())


def test_random_masks_are_nested_as_the_knob_moves(bench: Bench) -> None:
    former: dict[str, Tensor] | None = None
    for sparsity in (0.2, 0.5, 0.8):
        found = bench.masks(Prune(sparsity=sparsity, criterion="random"))
        assert former is None or not any((found[name] & ~former[name]).any() for name in found)
        former = found


# -- low rank -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_error_of_a_rank_is_the_tail(bench: Bench, rank: int) -> None:
    former = {name: float("inf") for name in bench.dense}
    for name, form in bench.forms(LowRank(rank=rank)).items():
        weight = bench.dense[name].weight.double()
        error = float((weight - form.decode()).norm())
        tail = torch.linalg.svdvals(weight)[rank:].square().sum().sqrt()
        assert error == pytest.approx(float(tail), abs=1e-5) and error < former[name]
        assert as_factors(form).rank == rank


def test_full_rank_and_all_energy_give_the_matrix_back(bench: Bench) -> None:
    for step in (LowRank(energy=1.0), LowRank(rank=6, layers=("2",))):
        for name, form in bench.forms(step).items():
            torch.testing.assert_close(form.decode(), bench.dense[name].weight, rtol=0, atol=1e-5)


def test_energy_chooses_a_rank_for_each_matrix(bench: Bench) -> None:
    forms = bench.forms(LowRank(energy=0.8, overrides={"3": 2, "1": None}))
    assert set(forms) == {"0", "2", "3"} and as_factors(forms["3"]).rank == 2
    squares = torch.linalg.svdvals(bench.dense["0"].weight.double()).square()
    rank = as_factors(forms["0"]).rank
    assert squares[:rank].sum() >= 0.8 * squares.sum() > squares[: rank - 1].sum()


# -- composition --------------------------------------------------------------------------------------------------


def test_low_rank_of_a_pruned_matrix_takes_the_pruned_one_and_loses_its_zeros(bench: Bench) -> None:
    pruned = bench.forms(Prune(sparsity=0.5))
    both = bench.forms(Prune(sparsity=0.5), LowRank(rank=3))
    for name, form in both.items():
        left, right = singular("svd", name, pruned[name], bench.memory).truncated(3)
        torch.testing.assert_close(form.decode(), left @ right)
        assert form.decode().count_nonzero() > 1.5 * pruned[name].nonzero


def test_pruning_factors_acts_on_the_factors(bench: Bench) -> None:
    forms = bench.forms(LowRank(rank=3), Prune(sparsity=0.5))
    plain = bench.forms(LowRank(rank=3))
    entries = nonzero = 0
    pooled = []
    for name, form in forms.items():
        factors, whole = as_factors(form), as_factors(plain[name])
        for side, full in ((factors.left, whole.left), (factors.right, whole.right)):
            assert torch.equal(side.decode(), full.decode() * as_masked(side).mask)
            entries, nonzero = entries + side.entries, nonzero + side.nonzero
            pooled.append((side.decode().abs()[as_masked(side).mask], full.decode().abs()[~as_masked(side).mask]))
        torch.testing.assert_close(form.decode(), factors.left.decode() @ factors.right.decode())
    assert nonzero == entries - removed_count(0.5, entries)
    kept, gone = (torch.cat([part[at] for part in pooled]) for at in (0, 1))
    assert kept.min() >= gone.max()  # one competition of all factors


def test_each_factor_loses_its_own_share_where_matrices_do_not_compete(bench: Bench) -> None:
    for form in bench.forms(LowRank(rank=3), Prune(sparsity=0.25, scope="matrix")).values():
        for side in (as_factors(form).left, as_factors(form).right):
            assert side.nonzero == side.entries - removed_count(0.25, side.entries)


def test_rows_of_a_product_are_rows_of_its_left_factor(bench: Bench) -> None:
    for form in bench.forms(LowRank(rank=3), Prune(sparsity=0.5, pattern="row", scope="matrix")).values():
        factors = as_factors(form)
        rows = as_masked(factors.left).rows_removed
        assert rows is not None and int(rows.sum()) == removed_count(0.5, len(rows))
        assert not factors.decode()[rows].any() and factors.decode()[~rows].any()
        assert type(factors.right) is Dense


def test_groups_in_factors(bench: Bench) -> None:
    form = as_factors(bench.forms(LowRank(rank=6), Prune(pattern="n:m", n=1, m=3))["0"])
    assert as_masked(form.left).group == (1, 3) == as_masked(form.right).group
    assert form.right.nonzero == 6 * 12 // 3


def test_a_second_prune_keeps_the_first(bench: Bench) -> None:
    steps = (Prune(sparsity=0.3, criterion="random"), Prune(sparsity=0.6))
    first, second = bench.masks(steps[0]), bench.masks(*steps)
    assert not any((second[name] & ~first[name]).any() for name in second)
    total = sum(mask.numel() for mask in second.values())
    assert sum(int((~mask).sum()) for mask in second.values()) == removed_count(0.6, total)


@pytest.mark.parametrize("second", [0.0, 0.2, 0.5])
def test_a_smaller_second_share_brings_nothing_back(bench: Bench, second: float) -> None:
    first, both = bench.forms(Prune(sparsity=0.5)), bench.forms(Prune(sparsity=0.5), Prune(sparsity=second))
    assert all(torch.equal(first[name].decode(), both[name].decode()) for name in first)


@settings(max_examples=40, deadline=None)
@given(TIED, st.floats(0, 1), st.floats(0, 1))
def test_a_second_share_counts_what_is_gone_also_beside_kept_zeros(weight: Tensor, a: float, b: float) -> None:
    form = as_masked(single(weight, Prune(sparsity=a, criterion="random"), Prune(sparsity=b)))
    assert int((~form.mask).sum()) == max(removed_count(a, 63), removed_count(b, 63))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_scores_of_a_second_step_put_what_is_gone_first(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    bench = Bench(nn.Linear(8, 8).to(dtype))
    recipe = Recipe([Prune(sparsity=0.5), Prune(sparsity=0.7)])
    index = score_index(resolve(recipe, bench.matrices), 1, bench.start)
    assert index.total == 64 and index.sparsity_at(0.0) == 0.5
    assert Prune(threshold=index.threshold_at(0.2)).threshold == 0.0
    histogram = index.histogram(16)
    assert histogram.edges[0] == pytest.approx(0, abs=1e-30) and int(histogram.counts.sum()) + histogram.beyond == 64


def test_groups_then_a_second_prune_still_hold(bench: Bench) -> None:
    for form in bench.forms(Prune(pattern="n:m"), Prune(sparsity=0.7)).values():
        assert as_masked(form).group == (2, 4)
        assert all(int(group.sum()) <= 2 for line in as_masked(form).mask for group in line.split(4))


def test_rows_then_a_second_prune_stay_gone(bench: Bench) -> None:
    first = bench.forms(Prune(sparsity=0.5, pattern="row"))
    for second in (Prune(sparsity=0.8), Prune(sparsity=0.6, pattern="row")):
        for name, form in bench.forms(Prune(sparsity=0.5, pattern="row"), second).items():
            before, after = as_masked(first[name]).rows_removed, as_masked(form).rows_removed
            assert before is not None and after is not None and not (before & ~after).any()
            assert not form.decode()[after].any()


def test_the_order_of_steps_matters(bench: Bench) -> None:
    a, b = Prune(sparsity=0.5), LowRank(rank=3)
    one, other = bench.forms(a, b), bench.forms(b, a)
    assert all(not torch.equal(one[name].decode(), other[name].decode()) for name in one)
    assert sum(form.nonzero for form in one.values()) > sum(form.nonzero for form in other.values())


def test_steps_on_different_matrices_do_not_meet(bench: Bench) -> None:
    a, b = Prune(sparsity=0.5, layers=("0",)), LowRank(rank=3, layers=("3",))
    one, other = bench.forms(a, b), bench.forms(b, a)
    assert set(one) == {"0", "3"}
    assert all(torch.equal(one[name].decode(), other[name].decode()) for name in one)


def test_a_step_that_is_off_is_not_there(bench: Bench) -> None:
    off = bench.forms(Prune(sparsity=0.9, enabled=False), Prune(sparsity=0.3))
    on = bench.forms(Prune(sparsity=0.3))
    assert all(torch.equal(off[name].decode(), on[name].decode()) for name in on)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_forms_keep_the_type_of_the_weight(dtype: torch.dtype) -> None:
    weight = torch.randn(8, 12).to(dtype)
    steps = ([Prune(sparsity=0.5)], [LowRank(rank=2)], [LowRank(rank=2), Prune(pattern="n:m")], [Prune(threshold=0.5)])
    for chosen in steps:
        assert single(weight, *chosen).decode().dtype is dtype


def test_weights_that_hold_nan_are_told() -> None:
    weight = torch.ones(3, 4)
    weight[1, 2] = float("nan")
    with pytest.raises(ExplorerError, match="the scores of weight hold NaN"):
        single(weight, Prune(sparsity=0.5))


# -- what a knob shows --------------------------------------------------------------------------------------------


def test_the_scores_of_a_step_are_those_after_the_steps_before_it(bench: Bench) -> None:
    recipe = Recipe([LowRank(rank=2), Prune(sparsity=0.5), LowRank(rank=1)])
    plan = resolve(recipe, bench.matrices)
    index = score_index(plan, 1, bench.start)
    factors = [as_factors(form) for form in bench.forms(LowRank(rank=2)).values()]
    scores = torch.cat([side.decode().abs().reshape(-1) for form in factors for side in (form.left, form.right)])
    assert index.total == scores.numel()
    assert index.count_below(0.2) == int((scores < 0.2).sum())


def test_matrices_with_a_share_of_their_own_are_not_among_the_scores(bench: Bench) -> None:
    plan = resolve(Recipe([Prune(sparsity=0.5, overrides={"0": 0.1})]), bench.matrices)
    assert score_index(plan, 0, bench.start).total == bench.matrices.total - 240


def test_a_group_pattern_shows_the_scores_of_single_weights(bench: Bench) -> None:
    plan = resolve(Recipe([Prune(pattern="n:m")]), bench.matrices)
    assert score_index(plan, 0, bench.start).total == bench.matrices.total


def test_a_low_rank_step_has_no_scores(bench: Bench) -> None:
    with pytest.raises(ExplorerError, match="step 1 is no Prune step"):
        score_index(resolve(Recipe([LowRank(rank=1)]), bench.matrices), 0, bench.start)


# -- rows go with their bias --------------------------------------------------------------------------------------


def opened(module: nn.Module, inputs: Tensor) -> ex.Workbench:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return ex.load(module, data=(inputs, torch.arange(len(inputs)) % 3), task="classification")


def test_a_model_without_its_rows_is_the_model_shrunk_for_real() -> None:
    inputs = torch.randn(9, 6)
    bench = opened(nn.Sequential(nn.Linear(6, 10), nn.Sigmoid(), nn.Linear(10, 3)), inputs)
    variant = bench.compress(Prune(sparsity=0.4, pattern="row"))
    assert set(variant.outfit.forms) == {"0"}  # the rows of the last matrix are the answers
    removed = as_masked(variant.outfit.forms["0"]).rows_removed
    assert removed is not None and int(removed.sum()) == 4
    dense = dict(bench.subject.model.named_parameters())
    with torch.no_grad():
        hidden = inputs @ dense["0.weight"][~removed].t() + dense["0.bias"][~removed]
        # what a removed neuron still says is the activation of zero: a constant, which shrinking moves into the bias
        constant = 0.5 * dense["2.weight"][:, removed].sum(dim=1)
        wanted = hidden.sigmoid() @ dense["2.weight"][:, ~removed].t() + dense["2.bias"] + constant
        torch.testing.assert_close(variant.model(inputs), wanted, rtol=0, atol=1e-5)


def test_each_projection_of_attention_takes_its_own_part_of_the_bias_along() -> None:
    class Attention(nn.Module):
        def __init__(self, **sizes: int) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True, **sizes)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            other = x[..., : self.attn.kdim]
            y: Tensor = self.head(self.attn(x, other, other)[0].mean(dim=1))
            return y

    for sizes in ({}, {"kdim": 5, "vdim": 5}):
        bench = opened(Attention(**sizes), torch.randn(6, 4, 8))
        step = Prune(sparsity=0.5, pattern="row", scope="matrix", layers=("attn.key",))
        variant = bench.compress([LowRank(rank=1, layers=("attn.key",)), step])
        removed = as_masked(as_factors(variant.outfit.forms["attn.key"]).left).rows_removed
        assert removed is not None and int(removed.sum()) == 4
        before = bench.subject.model.get_parameter("attn.in_proj_bias")
        after = variant.model.get_parameter("attn.in_proj_bias")
        gone = torch.cat([torch.zeros(8, dtype=torch.bool), removed, torch.zeros(8, dtype=torch.bool)])
        assert torch.equal(after != before, gone) and not after[gone].any()


# -- what is remembered -------------------------------------------------------------------------------------------


class Heavy:
    def __init__(self, resident_bytes: int) -> None:
        self.resident_bytes = resident_bytes


def test_memory_computes_once_and_lets_the_least_recently_used_go() -> None:
    memory, made = Memory(limit_bytes=100), []

    def recall(name: str) -> Heavy:
        def make() -> Heavy:
            made.append(name)
            return Heavy(40)

        found: Heavy = memory.recall(name, make)
        return found

    first = recall("a")
    assert recall("a") is first and recall("b") and recall("a") is first
    recall("c")  # now b must go, which was asked for least recently
    assert made == ["a", "b", "c"]
    assert recall("a") is first
    recall("b")
    assert made == ["a", "b", "c", "b"]


def test_a_result_larger_than_the_memory_is_given_all_the_same() -> None:
    assert Memory(limit_bytes=1).recall("a", lambda: Heavy(999)).resident_bytes == 999


def test_decompositions_of_the_dense_model_are_made_once(bench: Bench) -> None:
    bench.forms(LowRank(rank=2))
    first = singular("svd", "0", bench.dense["0"], bench.memory)
    assert singular("svd", "0", bench.dense["0"], bench.memory) is first
    pruned = bench.forms(Prune(sparsity=0.5))["0"]
    assert singular("svd", "0", pruned, bench.memory) is not first


def test_two_threads_with_different_recipes_equal_one_after_the_other(bench: Bench) -> None:
    recipes: list[list[Step]] = [
        [Prune(sparsity=0.5)],
        [LowRank(rank=2)],
        [LowRank(rank=3), Prune(sparsity=0.5)],
        [Prune(sparsity=0.3, criterion="random"), LowRank(energy=0.9)],
    ]
    wanted = [Bench(model()).forms(*steps) for steps in recipes]
    shared = Bench(model())
    found: list[dict[str, Form]] = [{} for _ in recipes]

    def run(start: int) -> None:
        for turn in range(8):
            at = (start + turn) % len(recipes)
            found[at] = shared.forms(*recipes[at])

    threads = [threading.Thread(target=run, args=(start,)) for start in (0, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(wanted, found, strict=True):
        assert all(torch.equal(one[name].decode(), other[name].decode()) for name in one)


def test_rows_that_are_gone_stay_gone_through_low_rank(bench: Bench) -> None:
    rows = Prune(sparsity=0.5, pattern="row", scope="matrix", layers=("0",))
    gone = rows_gone(bench.forms(rows)["0"])
    factors = as_factors(bench.forms(rows, LowRank(rank=4, layers=("0",)))["0"])
    still = rows_gone(factors)
    assert gone is not None and still is not None and gone.any()
    assert torch.equal(gone, still)
    assert not factors.decode()[gone].any()
