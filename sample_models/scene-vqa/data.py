"""Generated scenes of up to four handwritten digits, each with a generated question whose answer is no or yes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.axes import Axis
from explorer.subjects.digits import bundled_digits, digit_pools, varied_digits
from explorer.subjects.examples import Examples
from explorer.subjects.scenes import PATCH, PLACES, SIDE, Scenes, draw_scenes
from explorer.subjects.vocabulary import Vocabulary, tokens_of

GRID = (SIDE // PATCH, SIDE // PATCH)
"""Rows and columns of patches."""
LENGTH = 8
"""Words and signs of a question at most."""

# Of every ten digits of a class three go to tune (u), two to test (t), five to training (r): as for scene-digits.
DEAL = "urturutrrr"

# Pool of digits, number of questions (each about a scene of its own) and seed of each split. Training draws its scenes
# and questions anew all the time; the split "training" is a sample of them to look at and to calibrate with.
SPLITS = {
    "training": ("r", 4000, 21),
    "calibration": ("r", 256, 22),
    "tune": ("u", 4800, 23),
    "test": ("t", 4800, 24),
}

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = tuple(f"an {name}" if name == "eight" else f"a {name}" for name in NAMES)
SIZES = ("larger than four", "smaller than five")
FAMILIES: dict[str, tuple[str, ...]] = {
    "asks for even or odd": tuple(f"is the framed digit {kind} ?" for kind in ("even", "odd")),
    "asks for the size of the framed digit": tuple(f"is the framed digit {size} ?" for size in SIZES),
    "asks which digit is framed": tuple(f"is the framed digit {digit} ?" for digit in DIGITS),
    "asks for the size of the leftmost digit": tuple(f"is the leftmost digit {size} ?" for size in SIZES),
    "asks for any digit": tuple(f"is there {digit} ?" for digit in DIGITS),
    "asks how many": ("is there only one digit ?", *(f"are there {name} digits ?" for name in NAMES[2 : PLACES + 1])),
}
"""The questions, by family. Within each question no and yes are equally likely."""
PARITY, SIZE, WHICH, LEFTMOST, ANY, COUNT = range(len(FAMILIES))
WEIGHTS = (1.0, 1.0, 1.0, 3.0, 1.0, 1.0)  # the leftmost digit is clear in fewer than half of the scenes
APART = PATCH  # pixels by which the leftmost digit must lie farther left than any other
CLASSES = ("no", "yes")
TRY = "is there a seven ?"
"""A question to begin with, for whoever wants to ask one."""

_TEXTS = tuple(text for texts in FAMILIES.values() for text in texts)
_WORDS = Vocabulary(("<pad>", *sorted({word for text in _TEXTS for word in text.split()})), LENGTH, "scene-vqa")
VOCABULARY: list[str] = list(_WORDS.words)
PAD = _WORDS.pad


@dataclass(frozen=True)
class Questions:
    """Questions, one about each scene.

    Parameters
    ----------
    ids: `[scenes, 8]`, the words as numbers, padded with `PAD`.
    answers: `[scenes]`, 0 no, 1 yes.
    families: `[scenes]`, which of `FAMILIES`.
    about: `[scenes, 4]` booleans, the digits that the answer rests on.
    """

    ids: Tensor
    answers: Tensor
    families: Tensor
    about: Tensor


def pool(split: str) -> tuple[Tensor, Tensor]:
    """The bundled digits of which the scenes of `split` are made: images `[digits, 8, 8]` and labels `[digits]`."""
    if split not in SPLITS:
        raise ExplorerError(f'there is no split called "{split}"', instead=f"choose one of: {', '.join(SPLITS)}")
    images, labels = bundled_digits()
    numbers = digit_pools(DEAL)[SPLITS[split][0]]
    return images[numbers], labels[numbers]


@lru_cache
def load(split: str) -> Examples:
    """The questions of `split`: inputs "image" `[N, 1, 32, 32]` with ink from 0 to 1 and "question" `[N, 8]` word ids.

    Targets `[N]`: 0 no, 1 yes. `rationale` `[N, 64]` marks the patches that hold ink of the digits the question is
    about, row after row: the framed one, the leftmost one, for "is there a seven ?" the sevens (where there is none:
    all digits), for "are there two digits ?" all. The slices are the families of questions and "digits in the scene"
    (1 to 4). The same call gives the same scenes and questions.
    """
    digits, labels = pool(split)
    _, count, seed = SPLITS[split]
    draw = torch.Generator().manual_seed(seed)
    return _examples(draw_scenes(digits, labels, count, draw), draw)


def training_scenes(size: int, draw: torch.Generator) -> Scenes:
    """`size` new scenes of varied training digits. All random numbers come from `draw`."""
    return draw_scenes(*pool("training"), size, draw, vary=_another_hand)


def training_batch(size: int, draw: torch.Generator) -> Examples:
    """`size` questions as training meets them, about new scenes of varied training digits; the rest as for `load`.

    Inputs "image" `[size, 1, 32, 32]` and "question" `[size, 8]`, targets `[size]`. All random numbers come from
    `draw`.
    """
    return _examples(training_scenes(size, draw), draw)


def _another_hand(digits: Tensor, draw: torch.Generator) -> Tensor:
    """Training digits, varied; they hardly move, since the scene already puts them anywhere."""
    return varied_digits(digits, draw, shift=0.06, pressure=0.3)


def _examples(scenes: Scenes, draw: torch.Generator) -> Examples:
    asked = ask(scenes, draw)
    slices = {name: asked.families == place for place, name in enumerate(FAMILIES)}
    return Examples(
        {"image": scenes.images, "question": asked.ids},
        asked.answers,
        rationale=(scenes.inked & asked.about[:, :, None]).any(dim=1),
        slices={**slices, "digits in the scene": scenes.digits},
    )


def ask(scenes: Scenes, draw: torch.Generator) -> Questions:
    """One question about each scene, of a random family that is clear there. All random numbers come from `draw`."""
    count = len(scenes.digits)
    present = scenes.labels >= 0  # (B, 4)
    left = _leftmost(scenes)  # (B, 4)
    weights = torch.tensor(WEIGHTS).repeat(count, 1)
    weights[:, LEFTMOST] *= left.any(dim=1)
    families = torch.multinomial(weights, 1, generator=draw).squeeze(1)
    yes = torch.rand(count, generator=draw) < 0.5
    first = torch.randint(2, (count,), generator=draw)  # which of two questions of opposite answers
    framed, leftmost = scenes.labels[:, 0], (scenes.labels * left).sum(dim=1)
    asked = torch.stack(
        [
            first,
            first,
            _named(scenes, yes, draw),
            first,
            _searched(scenes, yes, draw),
            torch.where(yes, scenes.digits, _other(scenes.digits - 1, PLACES, draw) + 1) - 1,
        ]
    )  # (families, B): place of the question within its family
    answers = torch.stack([framed % 2 == first, _fits(framed, first), yes, _fits(leftmost, first), yes, yes])
    alone = torch.arange(PLACES) == 0  # the framed digit
    sought = scenes.labels == asked[ANY][:, None]
    about = torch.stack(
        [alone & present] * 3 + [left, torch.where(sought.any(dim=1, keepdim=True), sought, present), present]
    )  # (families, B, 4)
    rows = torch.arange(count)
    return Questions(
        ids=_table()[_starts()[families] + asked[families, rows]],
        answers=answers[families, rows].long(),
        families=families,
        about=about[families, rows],
    )


def _leftmost(scenes: Scenes) -> Tensor:
    """Which digit `[B, 4]` lies clearly farther left than all others; none where it is alone, or it is unclear."""
    columns = scenes.places[:, :, 1].masked_fill(scenes.labels < 0, 2 * SIDE)
    two = columns.topk(2, dim=1, largest=False).values
    clear = (two[:, 1] - two[:, 0] >= APART) & (scenes.digits > 1)
    return (columns == two[:, :1]) & clear[:, None]


def _fits(digits: Tensor, size: Tensor) -> Tensor:
    """Whether each digit is larger than four (size 0) or smaller than five (size 1)."""
    return (digits > 4) == (size == 0)


def _other(values: Tensor, among: int, draw: torch.Generator) -> Tensor:
    """For each value from 0 to `among` - 1 another one."""
    return (values + torch.randint(1, among, values.shape, generator=draw)) % among


def _named(scenes: Scenes, yes: Tensor, draw: torch.Generator) -> Tensor:
    """The framed digit for yes; for no another of the scene in half of the cases, else any that is not framed."""
    framed = scenes.labels[:, 0]
    beside = scenes.labels[torch.arange(len(yes)), torch.randint(1, PLACES, yes.shape, generator=draw)]
    tempting = (beside >= 0) & (beside != framed) & (torch.rand(yes.shape, generator=draw) < 0.5)
    return torch.where(yes, framed, torch.where(tempting, beside, _other(framed, len(NAMES), draw)))


def _searched(scenes: Scenes, yes: Tensor, draw: torch.Generator) -> Tensor:
    """A digit that is in the scene for yes, one that is not for no; each such one as likely as the others."""
    there = (scenes.labels[:, :, None] == torch.arange(len(NAMES))).any(dim=1)  # (B, 10)
    return torch.multinomial((there == yes[:, None]).float(), 1, generator=draw).squeeze(1)


@lru_cache
def _table() -> Tensor:
    """All questions as word ids `[questions, 8]`, family after family."""
    return _encoded([text.split() for text in _TEXTS])


@lru_cache
def _starts() -> Tensor:
    """Where each family starts in `_table`."""
    sizes = torch.tensor([len(texts) for texts in FAMILIES.values()])
    return sizes.cumsum(0) - sizes


def _encoded(questions: list[list[str]]) -> Tensor:
    """Known words -> ids `[questions, 8]`, padded at the end."""
    rows = [[_WORDS.ids[word] for word in words] for words in questions]
    return torch.tensor([row + [PAD] * (LENGTH - len(row)) for row in rows])


# -- showing and preparing ---------------------------------------------------------------------------------------------


def picture(inputs: Mapping[str, Tensor]) -> Tensor:
    """Inputs -> grey pictures of the scenes `[B, 32, 32]`, dark ink (0) on white paper (1)."""
    return 1 - inputs["image"].squeeze(1).clamp(0, 1)


def words(inputs: Mapping[str, Tensor]) -> list[list[str]]:
    """The words and signs of each question, without padding."""
    return _WORDS.decode(inputs["question"])


def axes(inputs: Mapping[str, Tensor]) -> tuple[Axis, ...]:
    """What the positions of attention are: the 64 patches of the scene, and the 8 words of the question."""
    rows, columns = GRID
    patches = tuple(f"row {row}, column {column}" for row in range(1, rows + 1) for column in range(1, columns + 1))
    texts = tuple(tuple(asked) + ("",) * (LENGTH - len(asked)) for asked in words(inputs))
    return Axis("patches", (patches,) * len(texts), grid=GRID), Axis("words", texts)


def prepare(pairs: Any) -> dict[str, Tensor]:
    """Scenes of one's own with questions about them -> inputs "image" `[B, 1, 32, 32]` and "question" `[B, 8]`.

    Takes one pair (scene `[32, 32]` with ink from 0 (paper) to 1, "question"), or a list of pairs. Raises
    `ExplorerError` for a scene of another size and for a question with unknown words, too many words or none.
    """
    one = isinstance(pairs, tuple) and len(pairs) == 2 and isinstance(pairs[1], str)
    given = [pairs] if one else list(pairs) if isinstance(pairs, Iterable) else []
    if not given:
        raise ExplorerError("there is no scene with a question", where="scene-vqa", instead=_PAIR)
    images, questions = [], []
    for place, pair in enumerate(given):
        where = f"scene-vqa, question {place + 1}"
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], str):
            raise ExplorerError("this is no scene with a question", where=where, instead=_PAIR)
        images.append(_scene(pair[0], where))
        questions.append(_question(pair[1], where))
    return {"image": torch.stack(images), "question": _encoded(questions)}


_PAIR = 'give pairs of a scene of 32 x 32 pixels and a text, such as "is the framed digit even ?"'


def _scene(raw: Any, where: str) -> Tensor:
    pixels = torch.as_tensor(raw, dtype=torch.float32)
    if pixels.shape != (SIDE, SIDE):
        shape = tuple(pixels.shape)
        raise ExplorerError(f"the scene has the shape {shape}", where=where, instead="give a scene of 32 x 32 pixels")
    if not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise ExplorerError(
            "the scene has values outside 0 to 1", where=where, instead="scale the ink to 0 (paper) to 1 (full)"
        )
    return pixels.unsqueeze(0)


def _question(text: str, where: str) -> list[str]:
    asked = tokens_of(text)
    if not asked:
        raise ExplorerError("the question is empty", where=where, instead="write at least one word")
    unknown = [word for word in asked if word not in _WORDS.ids]
    if unknown:
        known = ", ".join(VOCABULARY[1:])
        raise ExplorerError(
            f'the model does not know the word "{unknown[0]}"', where=where, instead=f"use these words: {known}"
        )
    if len(asked) > LENGTH:
        raise ExplorerError(
            f"the question has {len(asked)} words and signs, more than the {LENGTH} the model reads",
            where=where,
            instead="shorten it",
        )
    return asked
