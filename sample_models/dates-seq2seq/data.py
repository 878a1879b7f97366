"""Dates as people write them, in many formats, and the one way in which ISO 8601 writes them.

A format is a row of parts ("the {th} of {month} {year}"). It is known which characters say the day, the month and the
year: that is the rationale. Numbers alone have the day first, unless the year stands before; years of two digits lie
from 1930 to 2029, as all dates here do. So every text means one date.

Tune and test have dates that training never has, and formats that training never has: these put together in another
way what stands in the others.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from string import Formatter

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.axes import Axis
from explorer.subjects.examples import Examples

NAME = "dates-seq2seq"
SIZES = {"training": 4000, "calibration": 256, "tune": 2400, "test": 2400}
SEEDS = {"training": 1, "calibration": 1, "tune": 2, "test": 3}
LENGTH = 40
"""Characters of a text at most."""
TRY = "Thursday 3 March 1994"
"""A date to begin with, for whoever wants to type one."""
FIRST, LAST = date(1930, 1, 1), date(2029, 12, 31)

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
UP_TO_TWENTY = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth",
)  # fmt: skip
ORDINALS = (*UP_TO_TWENTY, *(f"twenty-{word}" for word in UP_TO_TWENTY[:9]), "thirtieth", "thirty-first")

FORMATS = (
    "{d}/{m}/{year}",
    "{dd}/{mm}/{yy}",
    "{dd}.{mm}.{year}",
    "{d}.{m}.{yy}",
    "{d}.{roman}.{year}",
    "{year}-{m}-{d}",
    "{year}/{mm}/{dd}",
    "{year}{mm}{dd}",
    "{d} {month} {year}",
    "{dd} {month}, {yy}",
    "{d} {mon} '{yy}",
    "{dd}-{mon}-{year}",
    "{th} of {month} {year}",
    "the {th} of {month}, {year}",
    "the {th} of {mon} '{yy}",
    "the {word} of {month} {year}",
    "{word} {month}, {year}",
    "{month} {d}, {year}",
    "{mon} {d}, {yy}",
    "{mon}. {dd} {year}",
    "{month} {th}, {year}",
    "{mon} {th} {year}",
    "{month} the {word}, {year}",
    "{weekday} {d} {month} {year}",
    "{weekday}, {month} {d}, {year}",
    "{weekday} the {th} of {month} {year}",
    "{wd} {dd} {mon} {yy}",
    "{wd}, {d}/{m}/{year}",
    "{year} {month} {d}",
    "{year}, {month} {th}",
)
"""The formats of training; tune and test have them, too."""
NEW_FORMATS = (
    "{weekday}, {th} {mon} {year}",
    "the {word} of {mon} '{yy}",
    "{month} the {th}, '{yy}",
    "{weekday} {dd}.{mm}.{year}",
    "{wd}, {mon}. {th} {yy}",
    "{year}, the {word} of {month}",
    "{d} {month} {year}, {weekday}",
    "'{yy} {mon} {dd}",
)
"""The formats that training never has. The last two have a part where it never stands in training."""
IN_WORDS = {text for text in (*FORMATS, *NEW_FORMATS) if "{word}" in text}
NUMBERS_ONLY = {"{d}/{m}/{year}", "{dd}/{mm}/{yy}", "{dd}.{mm}.{year}", "{d}.{m}.{yy}", "{year}-{m}-{d}",
                "{year}/{mm}/{dd}", "{year}{mm}{dd}"}  # fmt: skip
SAYS = {"d": "D", "dd": "D", "th": "D", "word": "D", "m": "M", "mm": "M", "mon": "M", "month": "M", "roman": "M"}
SAYS |= {"yy": "Y", "year": "Y"}
"""What each part of a format tells: the day, the month or the year. (A weekday tells nothing that is needed.)"""

SIGNS = "0123456789-"
"""The signs of an answer; the id of one is its place."""
ANSWER = ("Y", "Y", "Y", "Y", "-", "M", "M", "-", "D", "D")
"""What each sign of an answer tells."""


@dataclass(frozen=True)
class Written:
    """One date as text, what each character of the text tells ("D", "M", "Y" or " "), the date, and its format."""

    text: str
    tells: str
    day: date
    form: str


def written_as(day: date, form: str) -> Written:
    """`day` in the format `form`."""
    year, month, number = day.year, MONTHS[day.month - 1], day.day
    ending = "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    weekday = WEEKDAYS[day.weekday()]
    parts = {
        "d": str(number), "dd": f"{number:02}", "th": f"{number}{ending}", "word": ORDINALS[number - 1],
        "m": str(day.month), "mm": f"{day.month:02}", "mon": month[:3], "month": month, "roman": ROMAN[day.month - 1],
        "yy": f"{year % 100:02}", "year": str(year), "weekday": weekday, "wd": weekday[:3],
    }  # fmt: skip
    text = tells = ""
    for between, part, _, _ in Formatter().parse(form):
        text, tells = text + between, tells + " " * len(between)
        if part:
            text, tells = text + parts[part], tells + SAYS.get(part, " ") * len(parts[part])
    return Written(text, tells, day, form)


@lru_cache
def days(split: str) -> tuple[date, ...]:
    """The dates of a split: of all from 1930 to 2029 in random order, seven tenths, and 15 % each to tune and test."""
    numbers = list(range(FIRST.toordinal(), LAST.toordinal() + 1))
    random.Random(0).shuffle(numbers)
    first, second = len(numbers) * 70 // 100, len(numbers) * 85 // 100
    dealt = {"tune": numbers[first:second], "test": numbers[second:]}
    return tuple(map(date.fromordinal, dealt.get(split, numbers[:first])))


def _draw(dice: random.Random, split: str) -> Written:
    """One text of `split`: any of its dates in any of its formats, two of five without or all in capitals."""
    forms = FORMATS if split == "training" else FORMATS + NEW_FORMATS
    found = written_as(dice.choice(days(split)), dice.choice(forms))
    chance = dice.random()
    text = found.text.lower() if chance < 0.3 else found.text.upper() if chance < 0.4 else found.text
    return Written(text, found.tells, found.day, found.form)


@lru_cache
def texts(split: str) -> tuple[Written, ...]:
    """The texts of a split ("training", "tune", "test"), no two alike."""
    if split not in SIZES:
        raise ExplorerError(f'there is no split "{split}"', where=NAME, instead=f"choose one of {list(SIZES)}")
    dice = random.Random(SEEDS[split])
    found: dict[str, Written] = {}
    while len(found) < SIZES[split]:
        one = _draw(dice, split)
        found.setdefault(one.text, one)
    return tuple(found.values())


def _characters() -> str:
    """All characters that the formats can write, in the order of their codes; id 0 is the padding."""
    parts = [*MONTHS, *ROMAN, *WEEKDAYS, *ORDINALS, "0123456789stndrdth", *FORMATS, *NEW_FORMATS]
    texts = [between for form in parts for between, *_ in Formatter().parse(form)]
    return "".join(sorted({letter for text in texts for letter in text + text.lower() + text.upper()}))


CHARACTERS = _characters()
PAD = 0
_IDS = {letter: place + 1 for place, letter in enumerate(CHARACTERS)}


def _encoded(lines: Sequence[str]) -> Tensor:
    """Character ids [texts, 40] of texts that are known to fit."""
    return torch.tensor([[_IDS[letter] for letter in line] + [PAD] * (LENGTH - len(line)) for line in lines])


def _examples(found: Sequence[Written]) -> Examples:
    iso = [one.day.isoformat() for one in found]
    return Examples(
        _encoded([one.text for one in found]),
        torch.tensor([[SIGNS.index(sign) for sign in answer] for answer in iso]),
        rationale=torch.tensor([[tells != " " for tells in one.tells.ljust(LENGTH)] for one in found]),
        slices={
            "new format": torch.tensor([one.form in NEW_FORMATS for one in found]),
            "numbers only": torch.tensor([one.form in NUMBERS_ONLY for one in found]),
            "day in words": torch.tensor([one.form in IN_WORDS for one in found]),
            "year of two digits": torch.tensor(["{yy}" in one.form for one in found]),
        },
    )


@lru_cache
def load(split: str) -> Examples:
    """One split: inputs [texts, 40] character ids, targets [texts, 10] ids of signs, rationale [texts, 40].

    Slices: "new format" (training never has it), "numbers only", "day in words", "year of two digits".
    """
    if split == "calibration":
        return load("training").take(slice(0, SIZES["calibration"]))
    return _examples(texts(split))


def training_batch(size: int, draw: torch.Generator) -> Examples:
    """`size` texts as training meets them, new ones each time: inputs [size, 40], the rest as for `load`.

    All random numbers come from `draw`.
    """
    dice = random.Random(int(torch.randint(2**62, (1,), generator=draw)))
    return _examples([_draw(dice, "training") for _ in range(size)])


def tells(split: str) -> list[str]:
    """What each character of each text tells, "D", "M", "Y" or " ", padded with blanks to 40."""
    kept = texts("training")[: SIZES[split]] if split == "calibration" else texts(split)
    return [one.tells.ljust(LENGTH) for one in kept]


def words(inputs: Tensor) -> list[list[str]]:
    """The characters of each text, without padding; joined they are the text."""
    return [[CHARACTERS[place - 1] for place in row if place != PAD] for row in inputs.tolist()]


def written(ids: Tensor) -> list[str]:
    """Answers or targets, ids of signs [B, 10], as text: "1994-03-03"."""
    return ["".join(SIGNS[place] for place in row) for row in ids.tolist()]


def axes(inputs: Tensor) -> tuple[Axis, ...]:
    """What attention goes from and to: the characters of each text, and the signs of the answer."""
    padded = inputs.shape[1]
    letters = [line + [""] * (padded - len(line)) for line in words(inputs)]
    return (
        Axis("characters", tuple(map(tuple, letters))),
        Axis("answer", tuple(ANSWER for _ in letters)),
    )


def prepare(raw: str | Iterable[str]) -> Tensor:
    """Texts -> character ids [texts, 40]; blanks at both ends are taken off.

    Raises `ExplorerError` for no text, an empty one, one of more than 40 characters, and unknown characters.
    """
    lines = [raw] if isinstance(raw, str) else list(raw)
    if not lines:
        raise ExplorerError("there is no text", where=NAME, instead="give at least one")
    return _encoded([_checked(line, f"{NAME}, text {place + 1}") for place, line in enumerate(lines)])


def _checked(line: object, where: str) -> str:
    """`line` as the model can read it."""
    if not isinstance(line, str):
        raise ExplorerError(f"{line!r} is not text", where=where, instead="give a date as text")
    text = line.strip()
    if not text:
        raise ExplorerError("the text is empty", where=where, instead='write a date, as in "3rd of March 1994"')
    unknown = list(dict.fromkeys(letter for letter in text if letter not in _IDS))
    if unknown:
        named = " ".join(unknown)
        raise ExplorerError(
            f"the model does not know {named}", where=where, instead=f"it knows {' '.join(CHARACTERS.strip())}"
        )
    if len(text) > LENGTH:
        raise ExplorerError(
            f"the text has {len(text)} characters, more than the {LENGTH} the model reads",
            where=where,
            instead="shorten it",
        )
    return text
