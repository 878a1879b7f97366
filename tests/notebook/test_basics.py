"""A notebook, executed: every promised object shows itself as HTML, every figure as Plotly, and the panel reacts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"

CELLS = {
    "load": 'import explorer as ex\nwb = ex.load("digits-vit")\nwb',
    "samples": "ex.samples()",
    "matrices": "wb.matrices()",
    "recipe": 'recipe = ex.Recipe([ex.LowRank(rank=16, layers="*.mlp.*"), ex.Prune(sparsity=0.6)])\nrecipe',
    "plan": "wb.plan(recipe)",
    "variant": "v = wb.compress(recipe)\nv",
    "quality": "v.evaluate()",
    "report": "v.report()",
    "size": "v.size",
    "storage": "v.storage",
    "spectrum": 'wb.spectrum("blocks.0.mlp.0")',
    "latency": "v.latency(seconds=0.1)",
    "figure of matrices": "wb.matrices().figure()",
    "figure of variant": "v.figure()",
    "figure of quality": "v.evaluate().figure(dense=wb.dense.evaluate())",
    "figure of storage": "v.storage.figure()",
    "figure of spectrum": 'wb.spectrum("blocks.0.mlp.0").figure(rank=16)',
    "attention": 'maps = v.attention(wb.subject.split("tune").take(slice(0, 2)).inputs)\nmaps',
    "attention on the input": 'maps.on_input("blocks.1.attn", 0)',
    "drift": "drift = ex.attention_drift(wb.dense, v, examples=32)\ndrift",
    "heads": "heads = wb.heads(examples=32, measured=False, progress=False)\nheads",
    "figure of attention": "maps.figure()",
    "figure of one head": 'maps.figure(layer="blocks.0.attn", head=2)',
    "figure on the input": 'maps.on_input("blocks.1.attn", 0).figure()',
    "figure of drift": "drift.figure()",
    "figure of heads": "heads.figure()",
    "panel": "panel = wb.live()\npanel",
    "turn": (
        "import json\n"
        'panel.controls[0].knobs["sparsity"].value = 0.7\n'
        "panel.wait(60)\n"
        "asked = wb.compress(ex.Prune(sparsity=0.7)).report()\n"
        'told = {"recipe": panel.recipe.to_url(), "head": panel.widget.children[1].value}\n'
        'told |= {"bytes": panel.variant.size.bytes, "asked": asked.size.bytes}\n'
        'told |= {"value": panel.quality.value, "measured": asked.quality.value}\n'
        "print(json.dumps(told))"
    ),
    "close": "panel.close()",
}
HTML = [name for name in CELLS if not name.startswith("figure") and name not in ("samples", "turn", "close")]
FIGURES = [name for name in CELLS if name.startswith("figure")]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Any]]]:
    """What each cell puts out, from a kernel of this very Python."""
    folder = tmp_path_factory.mktemp("notebook")
    kernels = folder / "kernels" / "this-python"
    kernels.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernels.joinpath("kernel.json").write_text(
        json.dumps({"argv": start, "display_name": "this", "language": "python"})
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    before = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "PYTHONPATH", "PLOTLY_RENDERER")}
    os.environ["JUPYTER_PATH"] = str(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before["PYTHONPATH"])))
    os.environ.pop("PLOTLY_RENDERER", None)
    try:
        client = NotebookClient(
            notebook, kernel_name="this-python", timeout=120, resources={"metadata": {"path": str(folder)}}
        )
        client.execute()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    yield {name: list(cell.outputs) for name, cell in zip(CELLS, notebook.cells, strict=True)}


def bundle(outputs: list[Any]) -> dict[str, Any]:
    """All that a cell shows, by type."""
    shown: dict[str, Any] = {}
    for output in outputs:
        shown |= dict(output.get("data", {}))
    return shown


@pytest.mark.parametrize("name", HTML)
def test_every_promised_object_shows_itself(outputs: dict[str, list[Any]], name: str) -> None:
    shown = bundle(outputs[name])
    assert shown["text/plain"].strip()
    assert shown["text/html"].startswith("<div")
    assert "<script" not in shown["text/html"]
    assert "http" not in shown["text/html"].replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_plotly_figure(outputs: dict[str, list[Any]], name: str) -> None:
    figure = bundle(outputs[name])[PLOTLY]
    assert figure["data"] and figure["layout"]["title"]["text"]
    assert figure["layout"]["meta"]["alt"]
    assert figure["config"]["showSendToCloud"] is False
    assert figure["config"]["displaylogo"] is False


def test_nothing_complains(outputs: dict[str, list[Any]]) -> None:
    told = [output["text"] for cell in outputs.values() for output in cell if output.get("name") == "stderr"]
    assert not told


def test_the_panel_is_a_widget_with_its_numbers_as_html(outputs: dict[str, list[Any]]) -> None:
    shown = bundle(outputs["panel"])
    assert shown[WIDGET]["model_id"]
    assert "Sparsity" in shown["text/html"]


def test_the_panel_reacts_to_a_knob(outputs: dict[str, list[Any]]) -> None:
    told = json.loads("".join(output["text"] for output in outputs["turn"] if output.get("name") == "stdout"))
    assert told["recipe"] == "prune,sparsity=0.7"
    assert told["bytes"] == told["asked"]
    assert told["value"] == told["measured"]
    assert f"{100 * told['value']:.1f} %" in told["head"]
