"""All answers that a recipe broke or repaired, each with what it was and what it is."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import streamlit as st

from explorer.figures.words import counted
from explorer.web import markup
from explorer.web.looks import faces_of
from explorer.web.parts import safely
from explorer.web.state import Session, changes_nothing, current

MOST = 60
"""So many examples of a kind are shown at most."""


def changes_button(session: Session) -> None:
    """The button that opens the dialog, where there is something to see."""
    dense, quality = session.dense.quality, session.job.quality
    measured = dense is not None and quality is not None and quality.correct is not None
    words = "Every answer that was right and is wrong now, and the other way round."
    idle = not measured or changes_nothing(session.recipe)
    if st.button("see all", key="see-all", type="tertiary", disabled=idle, help=words):
        changes_dialog()


@st.dialog("Answers that changed", width="large")
@safely
def changes_dialog() -> None:
    """Broken answers first, then repaired ones."""
    session = current()
    dense, quality = session.dense.quality, session.job.quality
    if dense is None or quality is None or dense.correct is None or quality.correct is None:
        st.html('<div class="ce-empty">Nothing is measured yet.</div>')
        return
    _, mine, theirs = np.intersect1d(quality.indices, dense.indices, return_indices=True)
    right, was_right = quality.correct[mine], dense.correct[theirs]
    for title, chosen in (("broken", was_right & ~right), ("repaired", ~was_right & right)):
        places = np.flatnonzero(chosen)
        limit = f"the first {MOST} are shown" if len(places) > MOST else ""
        st.html(markup.title(f"{counted(len(places), 'answer')} {title}", limit))
        if len(places):
            st.html(_examples(session, quality, dense, mine[places[:MOST]], theirs[places[:MOST]]))


def _examples(session: Session, quality: Any, dense: Any, mine: Any, theirs: Any) -> str:
    subject = session.bench.subject
    look = faces_of(subject, quality.indices[mine].tolist())
    cells = []
    for place, face in enumerate(look.faces):
        now, was = _label(subject, quality.predictions, mine[place]), _label(subject, dense.predictions, theirs[place])
        words = escape(f"{was} → {now}") if now else ""
        if look.kind in ("image", "image+text"):
            caption = look.captions[place] if look.captions else ""
            cells.append(markup.picture(face, look.truths[place], words, caption_html=caption))
        elif look.kind == "table":
            cells.append(f'<tr><td class="left">{words}</td>{face}</tr>')
        else:
            cells.append(markup.line(face, f"<b>{words}</b>", written=look.kind == "sequence"))
    if look.kind == "table":
        return markup.table(("was → is", *look.header), cells)
    kind = {"image": "ce-grid", "image+text": "ce-grid asked"}.get(look.kind, "ce-lines one")
    return f'<div class="{kind}">{"".join(cells)}</div>'


def _label(subject: Any, predictions: Any, place: int) -> str:
    if predictions is None:
        return ""
    if subject.task in ("multi-task", "sequence"):
        return str(subject.target_label(predictions[place]))
    number = int(predictions[place])
    return str(subject.classes[number]) if 0 <= number < len(subject.classes) else str(number)
