"""How examples look on a page, by the kind of input: pictures, sentences, both, table rows, openings of stories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch

from explorer.figures.pictures import picture_address
from explorer.figures.words import number_text

MOST_COLUMNS = 5
"""Of a table row so many features are shown."""


@dataclass(frozen=True)
class Views:
    """How the examples of the strip look: one HTML fragment each, and their true labels.

    header: the names of a table's columns. captions: what stands under each picture, as HTML, where something does.
    wide: answers have the classes of several heads in them and take more room.
    """

    kind: str
    faces: list[str]
    truths: list[str]
    header: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    wide: bool = False


def faces_of(subject: Any, indices: Sequence[int], split: str = "tune", opening: bool = True) -> Views:
    """The look of some examples of a split, by the kind of input; every word is escaped.

    opening: of a story only the beginning, from which the models write on.
    """
    some = subject.split(split).take(torch.as_tensor(list(indices)))
    truths = (
        [subject.target_label(target) for target in some.targets] if subject.input != "story" else ["" for _ in indices]
    )
    if subject.input in ("image", "image+text"):
        pictures = np.asarray(subject.picture(some.inputs), dtype=np.float32)
        asked = subject.words(some.inputs) if subject.input == "image+text" else []
        captions = tuple(escape(sentence(words)) for words in asked)
        faces = [picture_address(picture) for picture in pictures]
        return Views(subject.input, faces, truths, captions=captions, wide=bool(subject.heads))
    if subject.input == "sequence":
        return Views("sequence", [escape("".join(signs)) for signs in subject.words(some.inputs)], truths)
    if subject.input in ("text", "story"):
        inputs = subject.prompt(some.inputs) if subject.input == "story" and opening else some.inputs
        return Views(subject.input, [escape(sentence(words)) for words in subject.words(inputs)], truths)
    if subject.input == "table":
        rows = subject.rows(some.inputs)
        header = tuple(str(name) for name in rows.columns[:MOST_COLUMNS])
        shown = rows[list(rows.columns[:MOST_COLUMNS])].itertuples(index=False)
        faces = ["".join(f"<td>{escape(_cell(value))}</td>" for value in row) for row in shown]
        return Views("table", faces, truths, header)
    return Views("tensor", [f"example {index}" for index in indices], truths)


def _cell(value: object) -> str:
    return number_text(float(value)) if isinstance(value, (int, float, np.number)) else str(value)


def sentence(words: Sequence[str]) -> str:
    """Words as running text: no space before punctuation."""
    text = " ".join(words)
    for mark in (".", ",", "!", "?", ";", ":"):
        text = text.replace(f" {mark}", mark)
    return text
