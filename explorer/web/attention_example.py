"""The example that is looked at: chosen from the data, or one's own; and what both models say to it."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import numpy as np
import streamlit as st
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.figures.pictures import picture_address
from explorer.figures.words import counted, share_text
from explorer.subjects.examples import tensors_in
from explorer.web import markup
from explorer.web.component import component
from explorer.web.look import (
    Look,
    Said,
    Seen,
    forget_own,
    kinds_offered,
    look_of,
    offered,
    step_to,
)
from explorer.web.looks import sentence
from explorer.web.state import Session, act, changes_nothing

AMONG = {"all": "all examples", "wrong": "this variant is wrong", "flipped": "answer flipped"}
OWN = {
    "text": "Type a sentence",
    "story": "Type the beginning of a story",
    "sequence": "Type a text",
    "image+text": "Ask something else about this picture",
    "image": "Draw or upload",
    "table": "Edit this row",
}
LARGEST_UPLOAD = 4  # megabytes

_pad = component("pad")


def example_card(session: Session, found: Seen) -> None:
    """Draw the card: which example, one's own, what both models say."""
    look = look_of(session)
    with st.container(key="card-example"):
        _choice(session, look)
        _own(session, look, found)
        if look.own_note:
            st.html(markup.quiet(look.own_note))
        st.html(face_html(session, found) + answers_html(session, found))


def _choice(session: Session, look: Look) -> None:
    among = look.among if look.among in kinds_offered(session) else "all"
    indices = offered(session, among)
    columns = st.columns([1.6, 1, 0.42, 0.42], vertical_alignment="bottom", gap="small")
    with columns[0]:
        st.selectbox(
            "Examples",
            kinds_offered(session),
            format_func=lambda kind: AMONG.get(kind, kind),
            key=session.control("look-among", among),
            on_change=act,
            args=(_among,),
            help="Held-out examples of the tune split: all of them, those that are answered wrong, those whose "
            "answer differs from the dense model's, or those of one class.",
        )
    with columns[1]:
        total = len(session.bench.subject.split("tune"))
        st.number_input(
            "Number",
            0,
            total - 1,
            key=session.control("look-index", int(look.index or 0)),
            on_change=act,
            args=(_index,),
            help=f"Its number in the tune split, 0 to {total - 1}.",
        )
    at = indices.index(look.index) + 1 if look.index in indices else None
    words = f"{counted(len(indices), 'example')}" + (f", this is number {at}" if at is not None else "")
    for column, icon, by, name in (
        (columns[2], ":material/chevron_left:", -1, "The one before"),
        (columns[3], ":material/chevron_right:", 1, "The next one"),
    ):
        column.button(
            "", key=f"look-step-{by}", icon=icon, on_click=act, args=(step_to, by), help=f"{name}: {words}",
            disabled=not indices, width="stretch",
        )  # fmt: skip
    if among != "all":
        st.html(markup.quiet(words if indices else f"No example: {AMONG.get(among, among)}. Choose among all."))


def _own(session: Session, look: Look, found: Seen) -> None:
    """Something of one's own, in the way that suits the input."""
    subject = session.bench.subject
    kind = subject.input
    if subject.ways is None or kind not in OWN:
        return
    tried = getattr(subject.ways, "TRY", "")
    if kind in ("text", "story", "sequence", "image+text"):
        st.text_input(
            OWN[kind],
            key=session.control("look-typed", ""),
            placeholder=f"such as: {tried}" if tried else "and press Enter",
            on_change=act,
            args=(_typed,),
            help="Both models answer what you type; words that they do not know are told.",
        )
    elif kind == "image" and isinstance(found.inputs, Tensor) and found.inputs.shape[1] == 1:
        with st.popover(OWN[kind], width="stretch", help="A digit of your own."):
            side = int(found.inputs.shape[-1])
            ink = found.inputs[0, 0].clamp(0, 1)
            st.html(markup.quiet("Draw with the pointer; the right button or Shift erases."))
            _pad(
                key="pad",
                data={"side": side, "ink": [round(float(value), 3) for value in ink.flatten()]},
                on_drawn_change=partial(act, _drawn),
            )
            st.file_uploader(
                "or upload a picture",
                type=["png", "jpg", "jpeg", "bmp"],
                max_upload_size=LARGEST_UPLOAD,
                key=f"upload-{session.sample}",
                on_change=act,
                args=(_uploaded,),
                help="One digit, dark on light or light on dark; it is cut out and brought to the model's size.",
            )
    elif kind == "table":
        with st.popover(OWN[kind], width="stretch", help="Change measurements and see what both models say."):
            row = subject.rows(found.inputs).T
            row.columns = ["value"]
            key = f"row-{session.sample}-{look.index}-{look.own is None}"
            edited = st.data_editor(row, key=key, height=320, width="stretch")
            st.button("Use these numbers", key="use-row", width="stretch", on_click=act, args=(_row, edited))
    if look.own is not None:
        st.button("Back to the data", key="look-back", on_click=act, args=(_back,), type="tertiary")


def face_html(session: Session, found: Seen) -> str:
    """The example itself: its picture, its text."""
    subject = session.bench.subject
    if subject.input in ("image", "image+text"):
        picture = picture_address(np.asarray(subject.picture(found.inputs)[0], dtype=np.float32))
        words = sentence(subject.words(found.inputs)[0]) if subject.input == "image+text" else ""
        caption = f"<span>{escape(words)}</span>" if words else ""
        return f'<div class="ce-face"><img src="{escape(picture)}" alt="the example">{caption}</div>'
    if subject.input in ("text", "story", "sequence"):
        signs = subject.words(found.inputs)[0]
        text = "".join(signs) if subject.input == "sequence" else sentence(signs)
        return f'<div class="ce-face"><span>{escape(text)}</span></div>'
    return ""


# -- what both models say ----------------------------------------------------------------------------------------------


def answers_html(session: Session, found: Seen) -> str:
    """Bars of the likeliest answers, dense over variant; the truth where it is known."""
    same = changes_nothing(session.recipe)
    rows = []
    for number, before in enumerate(found.before):
        after = found.after[number] if number < len(found.after) else before
        flipped = before.answers and after.answers and before.answers[0][0] != after.answers[0][0]
        name = f"{before.what}: " if len(found.before) > 1 or before.what != "answer" else ""
        rows.append(_one("dense", name, before))
        if not same:
            rows.append(_one("variant", name, after, flipped=bool(flipped)))
    truth = f'<div class="ce-quiet">truth: {escape(found.truth)}</div>' if found.truth else ""
    return f'<div class="ce-said">{"".join(rows)}</div>{truth}'


def _one(kind: str, name: str, said: Said, flipped: bool = False) -> str:
    title = {"dense": "dense", "variant": "this variant"}[kind]
    parts = []
    for answer, share in said.answers:
        if share is None:
            parts.append(f'<span class="answer"><b>{escape(answer)}</b></span>')
            continue
        words = f"{answer}: {share_text(share, 1)}"
        parts.append(
            f'<span class="answer" title="{escape(words)}"><b>{escape(answer)}</b> {share_text(share, 0)}'
            f'<i style="width:{100 * share:.1f}%"></i></span>'
        )
    mark = ' <em class="was">flipped</em>' if flipped else ""
    who = f'<span class="who">{escape(name)}{title}{mark}</span>'
    return f'<div class="{kind}" style="--answers:{len(said.answers)}">{who}{"".join(parts)}</div>'


# -- moves -------------------------------------------------------------------------------------------------------------


def _among(session: Session) -> None:
    look = look_of(session)
    look.among = session.taken("look-among")
    indices = offered(session, look.among)
    if indices and look.index not in indices:
        look.index = indices[0]
        forget_own(look)


def _index(session: Session) -> None:
    look = look_of(session)
    look.index = int(session.taken("look-index"))
    forget_own(look)


def _back(session: Session) -> None:
    forget_own(look_of(session))


def _typed(session: Session) -> None:
    text = str(session.taken("look-typed"))
    session.controls["look-typed"] = (session.controls["look-typed"][0], text, text)
    subject, look = session.bench.subject, look_of(session)
    if subject.input == "image+text":
        one = subject.split("tune").take(slice(look.index, (look.index or 0) + 1)).inputs
        picture = next(tensor for tensor in tensors_in(one) if tensor.dim() == 4)
        asked = subject.prepare([(picture[0, 0], text)])
    else:
        asked = subject.prepare([text])
    look.own, look.place, look.query = asked, None, None
    look.own_note = note_of(subject, asked, text)


def note_of(subject: Any, inputs: Any, text: str) -> str:
    """What is to be said about a typed text: the words that the model does not know."""
    known = list(subject.words(inputs)[0]) if subject.input != "image+text" else []
    unknown = sum(word == "<unknown>" for word in known)
    if not unknown:
        return f"Your own: {text}"
    return f"Your own: {text} ({counted(unknown, 'word')} unknown to the model, read as <unknown>)"


def _drawn(session: Session) -> None:
    chosen = session.event("pad", "drawn")
    if chosen is None:
        return
    look = look_of(session)
    one = session.bench.subject.split("tune").take(slice(0, 1)).inputs
    ink = torch.tensor([float(value) for value in chosen["ink"]], dtype=one.dtype).clamp(0, 1)
    if ink.numel() != one[0].numel():
        raise ExplorerError("the drawing does not fit this model", where="drawing", instead="draw it again")
    look.own, look.own_note, look.query = ink.reshape(one.shape), "Your own drawing", None


def _uploaded(session: Session) -> None:
    file = st.session_state.get(f"upload-{session.sample}")
    if file is None:
        return
    look = look_of(session)
    one = session.bench.subject.split("tune").take(slice(0, 1)).inputs
    ink = ink_of(file, tuple(one.shape[-2:]))
    look.own, look.own_note, look.query = ink.to(one.dtype).reshape(one.shape), f"Your own picture: {file.name}", None


def ink_of(file: Any, size: tuple[int, int]) -> Tensor:
    """Ink `[height, width]` from 0 (paper) to 1 of a picture, cut out around what is drawn and brought to `size`."""
    try:
        with Image.open(file) as picture:
            if picture.width * picture.height > 40_000_000:
                raise ExplorerError("the picture is too large", where="upload", instead="give one below 40 megapixels")
            grey = np.asarray(picture.convert("L"), dtype=np.float32) / 255
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as problem:
        raise ExplorerError(
            "this is no picture that can be read", where="upload", instead="give PNG or JPEG"
        ) from problem
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = 1 - grey if np.median(edge) > 0.5 else grey
    ink = np.clip((ink - np.quantile(ink, 0.05)) / max(1e-6, float(ink.max() - np.quantile(ink, 0.05))), 0, 1)
    rows, columns = np.flatnonzero((ink > 0.3).any(1)), np.flatnonzero((ink > 0.3).any(0))
    if not len(rows):
        raise ExplorerError(
            "there is nothing drawn in this picture", where="upload", instead="give a digit with contrast"
        )
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(cut.shape)
    square = np.zeros((side, side), dtype=np.float32)
    top, left = (side - cut.shape[0]) // 2, (side - cut.shape[1]) // 2
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    resized = Image.fromarray(np.rint(255 * square).astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(resized, dtype=np.float32) / 255)


def _row(session: Session, edited: Any) -> None:
    values = {str(name): value for name, value in edited["value"].items()}
    look = look_of(session)
    look.own, look.own_note, look.query = session.bench.subject.prepare([values]), "Your own row", None
