"""What the recipe did, beside the knobs: history, what is left of each layer, one matrix as a picture, the bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from explorer.figures.storage import encoding_label
from explorer.figures.words import count_text, counted, share_text, shortened, size_text
from explorer.web import markup
from explorer.web.figures_dialog import figures_button
from explorer.web.history import history_card
from explorer.web.markup import NAME_LENGTH
from explorer.web.matrix_picture import matrix_html
from explorer.web.state import Session, act


def results(session: Session) -> None:
    """Draw the cards of the right column."""
    variant = session.bench.compress(session.recipe)
    history_card(session)
    with st.container(key="card-layers"):
        st.html(markup.title("What is left, layer by layer", counted(len(variant.size.kept), "matrix", "matrices")))
        st.html(bars_html(variant.size.kept))
    with st.container(key="card-matrix"):
        matrix_view(session, variant)


def stored(session: Session) -> None:
    """Draw what stands under the knobs: where the bytes of the file are, and the figures to save."""
    variant = session.bench.compress(session.recipe)
    with st.container(key="card-bytes"):
        header = f"{size_text(variant.storage.header_bytes)} of it the header"
        st.html(markup.title("Where the bytes are", header))
        st.html(bytes_html(variant.storage.entries))
    figures_button(session)


def bars_html(kept: Mapping[str, Any]) -> str:
    """One bar a matrix: the share of its numbers that is still not zero; over all of it in amber."""
    rows = []
    for item in kept.values():
        left = "gone" if not item.nonzero else f"{share_text(item.share, 0)} kept"
        label = f"rank {item.rank}" if item.rank else left
        numbers = f"{count_text(item.nonzero)} of {count_text(item.total)} numbers"
        words = f"{item.name}: {numbers}, {size_text(item.size_bytes)}"
        words += f", {counted(item.rows_removed, 'neuron')} gone" if item.rows_removed else ""
        kind = "over" if item.share > 1 else ""
        width = 100 * min(1.0, item.share)
        rows.append(markup.bar(item.name, shortened(item.name, NAME_LENGTH), words, width, label, kind=kind))
    return markup.bars(rows, "What is left of each matrix")


def bytes_html(entries: Iterable[Any], most: int = 10) -> str:
    """The largest tensors of the file: what each takes, over what it takes in the dense model (pale)."""
    ordered = sorted(entries, key=lambda entry: -max(entry.size_bytes, entry.dense_bytes))
    widest = max((max(entry.size_bytes, entry.dense_bytes) for entry in ordered), default=1) or 1
    rows = []
    for entry in ordered[:most]:
        encoding = encoding_label(entry.encoding)
        words = f"{entry.name}: {encoding}, {entry.size_bytes:,} bytes; dense {entry.dense_bytes:,}"
        ways = ", ".join(f"{encoding_label(name)} {size_text(size)}" for name, size in entry.alternatives.items())
        words += f"; other ways: {ways}" if ways else ""
        kind = "over" if entry.size_bytes > entry.dense_bytes else "raw" if entry.encoding == "raw" else ""
        rows.append(
            markup.bar(
                entry.name,
                shortened(entry.name, NAME_LENGTH),
                words,
                100 * entry.size_bytes / widest,
                f"{size_text(entry.size_bytes)} · {encoding}" if entry.size_bytes else "gone",
                kind=kind,
                ground=100 * entry.dense_bytes / widest,
            )
        )
    rest = ordered[most:]
    if rest:
        taken, name = sum(entry.size_bytes for entry in rest), f"{len(rest)} smaller ones"
        rows.append(markup.bar(name, name, "", 0.0, f"{size_text(taken)} in all", ground=0.0))
    return markup.bars(rows, "Bytes of each tensor in the file")


def matrix_view(session: Session, variant: Any) -> None:
    """The weights, the mask or the factors of one matrix, which is chosen here."""
    names = list(variant.forms)
    chosen = session.trail.matrix if session.trail.matrix in names else names[len(names) // 2]
    st.selectbox(
        "One matrix",
        names,
        key=session.control("matrix-choice", chosen),
        on_change=act,
        args=(choose,),
        help="Rows are neurons, columns their inputs. Teal is above zero, rust below, pale is gone.",
    )
    st.html(matrix_html(variant.forms[chosen], str(chosen), is_dark()))


def choose(session: Session) -> None:
    """Another matrix was chosen for its picture."""
    session.trail.matrix = session.taken("matrix-choice")


def is_dark() -> bool:
    """Whether the browser shows the dark theme (pictures need to know; the rest follows by style)."""
    return st.context.theme.type == "dark"
