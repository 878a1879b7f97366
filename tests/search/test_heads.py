"""What heads are worth: gradients beside finite differences, costs beside a plain loop."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import explorer as ex
from explorer.attending import silent_heads
from explorer.attention.editing import LiveGains
from explorer.search.heads import HeadRow, HeadTable
from tests.toys import Encoder, numbers, seeded


@pytest.fixture(scope="module")
def vit() -> ex.Workbench:
    return ex.load("digits-vit")


@pytest.fixture(scope="module")
def table(vit: ex.Workbench) -> HeadTable:
    return vit.heads(progress=False)


def exact_bench() -> tuple[ex.Workbench, Tensor, Tensor]:
    """An untrained encoder in double precision, with calibration examples."""
    ids = torch.randint(1, 20, (24, 7), generator=torch.Generator().manual_seed(2))
    ids[::4, 5:] = 0
    targets = torch.arange(24) % 2
    model = seeded(lambda: Encoder(layers=2)).double()
    bench = ex.load(model, data=(ids, targets), calibration=(ids[:10], targets[:10]), batch_size=8)
    return bench, ids[:10], targets[:10]


def test_the_gradient_is_the_slope_of_each_examples_loss_in_the_heads_gain() -> None:
    bench, ids, targets = exact_bench()
    rows = bench.heads(measured=False, progress=False).rows
    assert len(rows) == 6
    for row in rows:
        losses = []
        for gain in (1 + 1e-5, 1 - 1e-5):
            step = ex.EditAttention(edit="gain", gain=gain, own_heads={row.layer: (row.head,)})
            outputs = bench.compress(step).outputs(ids)
            losses.append(nn.functional.cross_entropy(outputs, targets, reduction="none"))
        slope = float(((losses[0] - losses[1]) / 2e-5).abs().mean())
        assert row.gradient == pytest.approx(slope, rel=1e-5)
        assert row.gradient > 0 and row.cost is None


def test_the_cost_is_what_a_plain_loop_measures(vit: ex.Workbench, table: HeadTable) -> None:
    dense = vit.dense.evaluate()
    assert table.measured and len(table.rows) == 16
    for row in table.rows[4:8]:
        step = ex.EditAttention(edit="off", own_heads={row.layer: (row.head,)})
        change = vit.compress(step).evaluate().against(dense)
        assert (row.cost, row.low, row.high) == (change.delta, change.low, change.high)
    assert {row.layer for row in table.rows[4:8]} == {"blocks.1.attn"}
    assert min(row.cost for row in table.rows if row.cost is not None) < -0.02


def test_maps_are_read_on_calibration_examples(vit: ex.Workbench, table: HeadTable) -> None:
    assert (table.split, table.examples) == ("calibration", 128)
    maps = vit.dense.attention(vit.subject.split("calibration").inputs)
    for row in table.rows:
        assert row.entropy == pytest.approx(float(maps.entropy()[row.layer][row.head]), rel=1e-4)
        assert row.confidence == pytest.approx(float(maps.confidence()[row.layer][row.head]), rel=1e-4)


def test_it_joins_the_same_question_and_counts_no_recipes(vit: ex.Workbench, table: HeadTable) -> None:
    tried = vit.recipes_tried
    assert vit.heads(progress=False) == table
    assert vit.recipes_tried == tried


def test_least_takes_the_least_important_and_leaves_one_head(vit: ex.Workbench, table: HeadTable) -> None:
    by_gradient = sorted(table.rows, key=lambda row: row.gradient)
    chosen = {(name, head) for name, heads in table.least(3).own_heads.items() for head in heads}
    assert chosen == {(row.layer, row.head) for row in by_gradient[:3]}
    plan = vit.plan(table.least(15, by="cost"))
    assert sum(entry.what.count(",") + 1 for entry in plan.acting(0)) == 15
    for by, key in (("confidence", 1), ("entropy", -1)):
        values = [key * getattr(row, by) for row in table.ranked(by)]
        assert values == sorted(values)
    costs = [row.cost for row in table.ranked("cost")]
    assert costs == sorted(costs, reverse=True)  # type: ignore[type-var]
    with pytest.raises(ex.ExplorerError, match="one head must stay"):
        table.least(16)
    with pytest.raises(ex.ExplorerError, match="choose one of|Choose one of"):
        table.least(1, by="size")


def test_heads_that_are_off_are_marked_and_not_taken_again(vit: ex.Workbench) -> None:
    steps = [
        ex.EditAttention(edit="off", own_heads={"blocks.1.attn": (2,)}),
        ex.EditAttention(edit="gain", gains={"blocks.3.attn": (1.0, 0.0, 0.5, 1.0)}),
    ]
    found = vit.heads(steps, progress=False)
    off = {(row.layer, row.head) for row in found.rows if row.off}
    assert off == {("blocks.1.attn", 2), ("blocks.3.attn", 1)}
    assert all(row.gradient == 0 and row.cost is None for row in found.rows if row.off)
    assert found.measured and "is off" in str(found)
    taken = found.least(13, by="gradient").own_heads
    assert 2 not in taken.get("blocks.1.attn", ()) and 1 not in taken.get("blocks.3.attn", ())
    with pytest.raises(ex.ExplorerError, match="14 of 14 heads"):
        found.least(14)


def test_all_heads_of_a_layer_may_be_off(vit: ex.Workbench) -> None:
    edits = vit.edits(ex.Recipe(ex.EditAttention(edit="off", layers=("blocks.0.attn",))))
    assert silent_heads(edits).get("blocks.0.attn", set()) == {0, 1, 2, 3}
    assert silent_heads(edits).get("blocks.1.attn", set()) == set()


def test_a_job_that_is_stopped_keeps_its_rows() -> None:
    bench, _, _ = exact_bench()
    job = bench.heads_job()
    job.stop()
    job.wait(10)
    assert job.finished and 0 <= job.progress <= 1
    again = bench.heads_job()
    assert again is not job
    assert again.wait(30) and again.progress == 1.0 and len(again.rows) == 6
    assert again.table is not None and again.table.measured


def test_costs_stream_in_and_are_told_apart(table: HeadTable) -> None:
    half = dataclasses.replace(
        table,
        rows=tuple(
            row if at < 8 else dataclasses.replace(row, cost=None, low=None, high=None)
            for at, row in enumerate(table.rows)
        ),
    )
    assert not half.measured and "8 of 16 measured" in half.sentence()
    with pytest.raises(ex.ExplorerError, match="not measured"):
        half.least(1, by="cost")
    assert half.least(1, by="gradient") == table.least(1, by="gradient")
    worst = min(table.rows, key=lambda row: row.cost or 0.0)
    assert f"{worst.layer} head {worst.head}" in table.sentence()


def test_a_score_without_gradient_says_so() -> None:
    ids = torch.randint(1, 20, (12, 5), generator=torch.Generator().manual_seed(2))
    score = lambda outputs, targets: (outputs.argmax(-1) == targets).float()  # noqa: E731  (one expression, used once)
    model = seeded(lambda: Encoder(layers=1))
    bench = ex.load(model, data=(ids, torch.arange(12) % 2), task="score", score=score)
    found = bench.heads(progress=False)
    assert found.split == "tune" and found.measured
    with pytest.raises(ex.ExplorerError, match="no gradient"):
        found.least(1)
    assert found.least(1, by="cost").edit == "off"


def test_gains_of_their_own_for_each_example() -> None:
    """Two rows of gains for two examples are the gains of each alone."""
    bench, ids, _ = exact_bench()
    site = next(iter(bench.attention_sites))
    model = bench.dense.model
    both = torch.tensor([[1.0, 0.0, 0.5], [2.0, 1.0, 0.0]], dtype=torch.float64)

    def run(live: Tensor, inputs: Tensor) -> Tensor:
        owner = model.get_submodule(site.module)
        owner.__dict__["forward"] = LiveGains.of(site, live).forward(owner, ())
        try:
            with torch.no_grad():
                return model(inputs)
        finally:
            del owner.__dict__["forward"]

    together = run(both, ids[:2])
    for at in range(2):
        torch.testing.assert_close(together[at], run(both[at], ids[at : at + 1])[0])
    with pytest.raises(ex.ExplorerError, match="3 maps for 2 examples"):
        run(both, ids[:3])


def test_a_model_without_heads_is_refused() -> None:
    bench = ex.load(nn.Sequential(nn.Linear(6, 3)), data=numbers())
    with pytest.raises(ex.ExplorerError, match="no heads"):
        bench.heads(progress=False)


def test_rows_are_plain_data() -> None:
    row = HeadRow("a", 0, "self", 0.5, 0.5, 0.1)
    assert row == HeadRow("a", 0, "self", 0.5, 0.5, 0.1) and row.cost is None and not row.off
