"""Examples and what models say to them: pictures, sentences, table rows and stories as escaped HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.figures.html import QUIET, Column, Markup, escaped, joined, table
from explorer.figures.palette import EITHER
from explorer.figures.pictures import picture_address
from explorer.figures.words import number_text, share_text, shortened

MOST_COLUMNS = 4
"""Of a table row so many features are shown."""


@dataclass(frozen=True)
class Face:
    """How one example looks.

    kind: image, text, image+text, story, table or tensor. truth: its target as people read it ("" where there is none
    to say). picture: a data address (image). words: the text, the question, or the opening of a story. fields:
    (feature, value) pairs. wide: its answer has the classes of several heads in it and takes more room.
    """

    kind: str
    truth: str = ""
    picture: str = ""
    words: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    wide: bool = False


def faces_of(subject: Any, examples: Any) -> list[Face]:
    """The faces of some prepared examples of a subject (see `subjects/subject.py`), in their order."""
    kind, count = subject.input, len(examples)
    truths = [""] * count if kind == "story" else [_truth(subject, target) for target in examples.targets]
    if kind in ("image", "image+text"):
        pictures = np.asarray(subject.picture(examples.inputs), dtype=np.float32)
        asked = [sentence(words) for words in subject.words(examples.inputs)] if kind != "image" else [""] * count
        return [
            Face(kind, truth, picture=picture_address(picture), words=text, wide=bool(subject.heads))
            for truth, picture, text in zip(truths, pictures, asked, strict=True)
        ]
    if kind == "sequence":
        texts = ["".join(signs) for signs in subject.words(examples.inputs)]
        return [Face(kind, truth, words=text) for truth, text in zip(truths, texts, strict=True)]
    if kind in ("text", "story"):
        inputs = subject.prompt(examples.inputs) if kind == "story" else examples.inputs
        texts = [sentence(words) for words in subject.words(inputs)]
        return [Face(kind, truth, words=text) for truth, text in zip(truths, texts, strict=True)]
    if kind == "table":
        rows = subject.rows(examples.inputs)
        names = [str(name) for name in rows.columns[:MOST_COLUMNS]]
        values = rows.iloc[:, :MOST_COLUMNS].to_numpy()
        fields = [tuple(zip(names, map(_field, row), strict=True)) for row in values]
        return [Face(kind, truth, fields=field) for truth, field in zip(truths, fields, strict=True)]
    return [Face("tensor", truth) for truth in truths]


def strip_html(
    faces: Sequence[Face], answers: Sequence[Any] | None = None, dense: Sequence[Any] | None = None
) -> Markup:
    """The same few examples with the variant's answers; those that differ from the dense model's are ringed.

    Parameters
    ----------
    answers, dense: `Answer`s in the order of `faces` (see `evaluation/answers.py`); None while they are not known.
    """
    if not faces:
        return Markup("")
    pairs = [
        (face, answers[place] if answers else None, dense[place] if dense else None) for place, face in enumerate(faces)
    ]
    if faces[0].kind in ("image", "image+text"):
        cells = joined(_picture_cell(*pair) for pair in pairs)
        return Markup(f'<div style="display:flex;flex-wrap:wrap;gap:6px;margin:6px 0">{cells}</div>')
    if faces[0].kind == "story":
        return joined(_story(*pair) for pair in pairs)
    columns, rows = [Column("answer"), Column("sure", right=True), Column("truth")], []
    names = [name for name, _ in faces[0].fields]
    columns += [Column(shortened(name, 22), right=True, help=name) for name in names]
    columns += [Column("text")] if faces[0].kind in ("text", "sequence") else []
    for face, answer, before in pairs:
        said = _told(answer, before) if face.kind != "sequence" else _written(answer, before)
        told = [said, _sure(answer), face.truth, *(value for _, value in face.fields)]
        rows.append([*told, face.words] if face.kind in ("text", "sequence") else told)
    return table(columns, rows)


def sentence(words: Sequence[str]) -> str:
    """Words as running text: no space before punctuation."""
    text = " ".join(words)
    for mark in (".", ",", "!", "?", ";", ":"):
        text = text.replace(f" {mark}", mark)
    return text


def flipped(answer: Any, before: Any) -> bool:
    """Whether the variant says something else than the dense model did."""
    return answer is not None and before is not None and answer.label != before.label


def _truth(subject: Any, target: Any) -> str:
    readable = getattr(subject, "heads", ()) or getattr(subject, "writes", False)
    several = getattr(target, "ndim", 0) and not readable
    return "" if several else str(subject.target_label(target))


def _field(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return number_text(float(value), zeros=True)
    return str(value)


def _sure(answer: Any) -> str:
    if answer is None:
        return ""
    return str(answer.detail) if answer.probability is None else share_text(answer.probability, 0)


def _told(answer: Any, before: Any) -> Markup:
    if answer is None:
        return Markup("&nbsp;")
    if flipped(answer, before):
        return joined((Markup(f"<b>{escaped(answer.label)}</b>"), _was(before)), " ")
    wrong = Markup(f' <span style="{QUIET}">(wrong)</span>') if answer.right is False else Markup("")
    return joined((answer.label, wrong))


def sign_runs(after: str, before: str) -> list[tuple[str, bool]]:
    """`after` cut into runs of signs that stand at the same place of `before` (False) and of those that do not (True).

    Answers that are written sign after sign are compared place by place: what has shifted has changed.
    """
    runs: list[tuple[str, bool]] = []
    for place, sign in enumerate(after):
        changed = before[place : place + 1] != sign
        if runs and runs[-1][1] == changed:
            runs[-1] = (runs[-1][0] + sign, changed)
        else:
            runs.append((sign, changed))
    return runs


def _written(answer: Any, before: Any) -> Markup:
    """A written answer in letters of one width, with the signs marked that differ from the dense model's answer."""
    if answer is None:
        return Markup("&nbsp;")
    runs = sign_runs(answer.label, answer.label if before is None else before.label)
    said = joined(
        Markup(f'<span style="border-bottom:2px solid {EITHER.warning}">{escaped(run)}</span>') if changed else run
        for run, changed in runs
    )
    parts = [Markup(f'<b style="font-family:monospace">{said}</b>')]
    if flipped(answer, before):
        parts.append(_was(before))
    if answer.right is False:
        parts.append(Markup(f'<span style="{QUIET}">(wrong)</span>'))
    return joined(parts, " ")


def _was(before: Any) -> Markup:
    """What the dense model said, marked in amber by its underline: small amber letters would be hard to read."""
    return Markup(f'<span style="border-bottom:2px solid {EITHER.warning}">was {escaped(before.label)}</span>')


def _picture_cell(face: Face, answer: Any, before: Any) -> Markup:
    changed = flipped(answer, before)
    ring = EITHER.warning if changed else "transparent"
    if changed:
        note = Markup(f"<b>was {escaped(before.label)}</b>")
    elif answer is not None and answer.right is False:
        note = Markup(f'<span style="{QUIET}">truth {escaped(face.truth)}</span>')
    else:
        note = Markup("&nbsp;")
    label = escaped(answer.label) if answer is not None else Markup("&nbsp;")
    alt = escaped(f"example, {face.truth}" if face.truth else "example")
    width, asked = 116 if face.wide else 62, Markup("")
    if face.words:  # a question of up to eight words takes two lines
        width = 132
        asked = Markup(f'<div style="font-size:12px;line-height:1.25;min-height:2.5em">{escaped(face.words)}</div>')
    return Markup(
        f'<div style="border:2px solid {ring};border-radius:8px;padding:5px;width:{width}px;line-height:1.4;'
        f'text-align:center;font-variant-numeric:tabular-nums">'
        f'<img src="{face.picture}" alt="{alt}" style="width:48px;height:48px;image-rendering:pixelated;'
        f'border-radius:3px;margin:0 auto;display:block">{asked}'
        f'<div style="font-weight:600;white-space:nowrap;overflow:hidden;text-overflow:ellipsis">{label}</div>'
        f'<div style="font-size:11px;{QUIET}">{_sure(answer) or "&nbsp;"}</div>'
        f'<div style="font-size:11px">{note}</div></div>'
    )


def _story(face: Face, answer: Any, before: Any) -> Markup:
    if answer is None:
        return Markup(f'<p style="margin:6px 0">{escaped(face.words)} …</p>')
    told, first = answer.label.split(), before.label.split() if before is not None else answer.label.split()
    differs = f"text-decoration:underline;text-decoration-thickness:2px;text-decoration-color:{EITHER.warning}"
    marked = [
        escaped(word)
        if place < len(first) and first[place] == word
        else Markup(f'<span style="{differs}">{escaped(word)}</span>')
        for place, word in enumerate(told)
    ]
    lines = [("this variant", sentence(marked))]
    if before is not None:
        lines.insert(0, ("dense", str(escaped(sentence(first)))))
    body = "".join(
        f'<div style="flex:1 1 260px"><div style="{QUIET};font-size:12px">{name}</div>{text}</div>'
        for name, text in lines
    )
    return Markup(
        f'<div style="margin:8px 0;line-height:1.45"><div style="{QUIET}">{escaped(face.words)} …</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:18px;margin-top:2px">{body}</div></div>'
    )
