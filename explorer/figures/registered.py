"""Which figure each result draws with `.figure()`: joins the types of the floors below to the figures."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from explorer.compression.lowrank import Spectrum
from explorer.evaluation.latency import Latency
from explorer.evaluation.quality import Quality
from explorer.figures import attention_views as _attention  # noqa: F401  (registers figures and notebook views)
from explorer.figures import comparison as _comparison  # noqa: F401  (registers figures)
from explorer.figures import gates as _gates  # noqa: F401  (registers notebook views)
from explorer.figures import result_views as _results  # noqa: F401  (registers notebook views)
from explorer.figures import sensitivity as _sensitivity  # noqa: F401  (registers figure and notebook view)
from explorer.figures import views as _views  # noqa: F401  (registers notebook views)
from explorer.figures.bars import latency_figure, matrices_figure, quality_figure
from explorer.figures.layers import layers_figure
from explorer.figures.spectrum import spectrum_figure
from explorer.figures.storage import bytes_figure
from explorer.figures.words import metric_label, metric_text, share_text, size_text
from explorer.report import Report, Size
from explorer.shown import figure_of
from explorer.variant import Variant
from explorer.weights.matrices import Matrices
from explorer.weights.packing import Storage
from explorer.workbench import Workbench

figure_of(Spectrum)(spectrum_figure)
figure_of(Latency)(latency_figure)
figure_of(Quality)(quality_figure)
figure_of(Matrices)(matrices_figure)


@figure_of(Workbench)
def workbench_figure(bench: Workbench, **options: Any) -> go.Figure:
    """The weights of the dense model, matrix by matrix."""
    return matrices_figure(bench.matrices(), **{"caption": bench.name, **options})


@figure_of(Variant)
def variant_figure(variant: Variant, **options: Any) -> go.Figure:
    """What is left of each matrix."""
    return layers_figure(variant.size.kept, **{**_facts(variant.size, variant.recipe.sentence()), **options})


@figure_of(Size)
def size_figure(size: Size, **options: Any) -> go.Figure:
    """What is left of each matrix."""
    return layers_figure(size.kept, **{**_facts(size, ""), **options})


@figure_of(Report)
def report_figure(report: Report, **options: Any) -> go.Figure:
    """What is left of each matrix, and what that costs."""
    facts = _facts(report.size, report.recipe)
    quality = report.quality
    facts["subtitle"] = (
        f"{metric_label(quality.primary)} {metric_text(quality.primary, quality.value)} · {facts['subtitle']}"
    )
    return layers_figure(report.size.kept, **{**facts, **options})


@figure_of(Storage)
def storage_figure(storage: Storage, **options: Any) -> go.Figure:
    """Where the bytes of the file are."""
    return bytes_figure(storage.entries, **{"header_bytes": storage.header_bytes, **options})


def _facts(size: Size, recipe: str) -> dict[str, Any]:
    facts = f"{size_text(size.bytes)}, dense {size_text(size.bytes_dense)} · sparsity {share_text(size.sparsity)}"
    return {"subtitle": facts, "caption": recipe}
