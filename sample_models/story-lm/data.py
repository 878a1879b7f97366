"""Short stories from a written grammar: three friends, one toy, something happens, somebody helps.

Every story opens with who is where and who has what. After that, names, pronouns, colours, toys and places refer back
to the opening, and the one who helped is the one who is thanked. What can happen depends on the toy, and what is there
depends on the place.

Held out are combinations of hero, toy and place: tune and test hold only such that no training story has.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.examples import Examples
from explorer.subjects.vocabulary import Vocabulary, tokens_of

SIZES = {"training": 16000, "calibration": 128, "tune": 256, "test": 256}
SEEDS = {"training": 1, "calibration": 1, "tune": 2, "test": 3}
LENGTH = 84
"""Tokens a story has at most; the model reads and writes that many."""


@dataclass(frozen=True)
class Person:
    """A name with its pronouns; in a sentence it is written as its name."""

    name: str
    he: str
    him: str
    his: str

    def __str__(self) -> str:
        return self.name


GIRLS = ("anna", "ella", "emma", "lily", "lucy", "mia", "nora", "rose", "sara", "zoe")
BOYS = ("adam", "ben", "finn", "hugo", "jack", "leo", "max", "noah", "sam", "tom")
PEOPLE = tuple(
    [Person(name, "she", "her", "her") for name in GIRLS] + [Person(name, "he", "him", "his") for name in BOYS]
)
COLOURS = ("black", "blue", "green", "pink", "purple", "red", "white", "yellow")


@dataclass(frozen=True)
class Place:
    """What is there: where a lost toy may lie (the likelier spot first), where one may get stuck, who may take it."""

    name: str
    spots: tuple[str, str]
    high: str
    animal: str

    def __str__(self) -> str:
        return self.name


PLACES = (
    Place("park", ("under the bench", "behind the fountain"), "in a tall tree", "dog"),
    Place("beach", ("in the sand", "behind the rocks"), "on a high cliff", "gull"),
    Place("garden", ("under the roses", "behind the shed"), "on the wall", "cat"),
    Place("farm", ("in the hay", "behind the barn"), "on the barn", "goat"),
    Place("forest", ("under the leaves", "behind the log"), "in a pine tree", "fox"),
    Place("school", ("under the desk", "behind the door"), "on the roof", "puppy"),
    Place("market", ("under the table", "behind the baskets"), "on a tent", "hen"),
    Place("zoo", ("under the sign", "behind the gate"), "on the fence", "monkey"),
    Place("river", ("in the reeds", "behind the bridge"), "on the bridge", "duck"),
    Place("library", ("under the chair", "behind the books"), "on the top shelf", "mouse"),
)

# What may happen to a toy, the likeliest first.
TOYS: dict[str, tuple[str, str, str]] = {
    "ball": ("lost", "stuck", "shared"),
    "bear": ("lost", "taken", "borrowed"),
    "boat": ("stuck", "swapped", "lost"),
    "cake": ("shared", "taken", "swapped"),
    "coat": ("borrowed", "taken", "lost"),
    "cup": ("broken", "borrowed", "lost"),
    "doll": ("swapped", "lost", "taken"),
    "drum": ("broken", "shared", "borrowed"),
    "hat": ("taken", "lost", "stuck"),
    "kite": ("stuck", "broken", "lost"),
    "pear": ("shared", "taken", "swapped"),
    "puzzle": ("borrowed", "shared", "swapped"),
    "robot": ("broken", "borrowed", "shared"),
    "scarf": ("taken", "lost", "borrowed"),
    "train": ("broken", "swapped", "shared"),
    "truck": ("swapped", "broken", "lost"),
}
REPAIRS = {"cup": "glue", "drum": "string", "kite": "tape", "robot": "a screw", "train": "a wheel", "truck": "a spring"}

# "[a|b]": one of these, the first seven times in ten. {hero} owns the toy, {friend} acts, {third} looks on.
OPENINGS = (
    "{one} , {two} and {three} were at the {place} . {hero} had a {colour} {toy} .",
    "{one} , {two} and {three} went to the {place} . {hero} brought a {colour} {toy} .",
)
PLOTS = {
    "lost": "{hero} played with the {toy} [until it was gone|and lost it] . {hero} looked {elsewhere} but it was not "
    "there . {hero} was [sad|upset] . {friend} came to help {hero.him} . {friend} looked {spot} and found the {colour} "
    "{toy} . {hero} thanked {friend} [with a big hug|with a smile] .",
    "stuck": "{hero} threw the {toy} up and it got stuck {place.high} . {hero} jumped but {hero.he} could not reach "
    "it . {friend} [brought a long stick|found a ladder] and got the {colour} {toy} down . {friend} gave it back to "
    "{hero} . {hero} thanked {friend} [with a big hug|with a smile] .",
    "broken": "{hero} [slipped|ran too fast] and dropped the {toy} . now it was broken and {hero} was [sad|upset] . "
    "{third} wanted to help {hero.him} but did not know how . {friend} came with {repair} and fixed the {colour} {toy} "
    ". {hero} thanked {friend} [with a big hug|with a smile] .",
    "taken": "then a {place.animal} took the {toy} and ran away . {hero} called for help . {friend} heard {hero.him} "
    "and ran after the {place.animal} . the {place.animal} dropped the {toy} {spot} . {friend} brought the {colour} "
    "{toy} back to {hero} . {hero} thanked {friend} [with a big hug|with a smile] .",
    "shared": "but {friend} had no {toy} and was [sad|alone] . {hero} saw that {friend} was [sad|alone] . so {hero} "
    "shared the {colour} {toy} with {friend.him} . now {friend} was happy and thanked {hero} [with a big hug|with a "
    "smile] . {third} asked for the {toy} too and {hero} said yes .",
    "swapped": "but {friend} had a {colour2} {toy2} . {hero} liked the {toy2} and {friend} liked the {toy} . so {hero} "
    "gave the {colour} {toy} to {friend} and {friend} gave the {colour2} {toy2} to {hero} . now {friend} had the {toy} "
    "and {hero} had the {toy2} .",
    "borrowed": "soon {friend} asked for the {toy} and {hero} said yes . {friend} [played with|looked at] it and left "
    "it {spot} . then {hero} wanted it back . {friend} was sorry and brought the {colour} {toy} back to {hero} . "
    "{hero} thanked {friend} [with a smile|with a big hug] .",
}
CLOSINGS = (
    "{third} was glad too . {hero} took {hero.his} {kept} home .",
    "{third} smiled at {hero} and {friend} . {hero} took {hero.his} {kept} home .",
)
CHOICE = re.compile(r"\[([^\]]*)\]")
SPECIAL = ("<pad>", "<unknown>", "<end>")


def _likely(dice: random.Random, options: Sequence[str]) -> str:
    """One of `options`: the first seven times in ten, else one of the others."""
    return options[0] if dice.random() < 0.7 else dice.choice(options[1:])


def _after(options: Sequence[str], one: str) -> list[str]:
    """The other options, beginning with the one that comes after `one`."""
    place = options.index(one) + 1
    return [*options[place:], *options[: place - 1]]


def _other(dice: random.Random, *taken: Person) -> Person:
    """Somebody who is not in `taken`."""
    return dice.choice([person for person in PEOPLE if person not in taken])


def fold(hero: Person, toy: str, place: Place) -> str:
    """The split that has the stories of this hero with this toy at this place: a tenth tune, a tenth test."""
    number = PEOPLE.index(hero) + 3 * list(TOYS).index(toy) + 7 * PLACES.index(place)
    return {0: "tune", 1: "test"}.get(number % 10, "training")


@lru_cache
def combinations(split: str) -> list[tuple[Person, str, Place]]:
    """The combinations of hero, toy and place that a split may tell of."""
    every = itertools.product(PEOPLE, TOYS, PLACES)
    return [(hero, toy, place) for hero, toy, place in every if fold(hero, toy, place) == split]


def _story(dice: random.Random, split: str) -> tuple[str, str]:
    """One story of `split` as text, and the name of its plot."""
    hero, toy, place = dice.choice(combinations(split))
    friend = _other(dice, hero)
    third = _other(dice, hero, friend)
    # The friend is named before the third, mostly: who helps can be guessed but not known.
    order = [friend, third] if dice.random() < 0.85 else [third, friend]
    order.insert(dice.randrange(3), hero)
    colour = dice.choice(COLOURS)
    colour2, toy2 = _likely(dice, _after(COLOURS, colour)), _likely(dice, _after(list(TOYS), toy))
    spot = _likely(dice, place.spots)
    plot = _likely(dice, TOYS[toy])
    text = f"{_likely(dice, OPENINGS)} {PLOTS[plot]} {_likely(dice, CLOSINGS)}"
    fallen: dict[str, str] = {}  # a choice that stands twice in a story ("sad" or "alone") falls the same way twice
    text = CHOICE.sub(lambda found: fallen.setdefault(found[1], _likely(dice, found[1].split("|"))), text)
    story = text.format(
        one=order[0],
        two=order[1],
        three=order[2],
        hero=hero,
        friend=friend,
        third=third,
        colour=colour,
        toy=toy,
        colour2=colour2,
        toy2=toy2,
        kept=f"{colour2} {toy2}" if plot == "swapped" else f"{colour} {toy}",
        place=place,
        spot=spot,
        elsewhere=place.spots[1 - place.spots.index(spot)],
        repair=REPAIRS.get(toy, ""),
    )
    return story, plot


@lru_cache
def stories(split: str) -> tuple[tuple[str, str], ...]:
    """The stories of a split as text, each with the name of its plot."""
    if split not in SEEDS:
        raise ExplorerError(f'there is no split "{split}"', where="story-lm", instead=f"choose one of {list(SIZES)}")
    dice = random.Random(SEEDS[split])
    return tuple(_story(dice, split) for _ in range(SIZES[split]))


def _vocabulary() -> Vocabulary:
    """All words that the grammar can write, in alphabetical order after the special ones."""
    grammar = [*OPENINGS, *PLOTS.values(), *CLOSINGS]
    texts = [re.sub(r"\{[^}]*\}|[\[\]|]", " ", text) for text in grammar]
    texts += [f"{place.name} {' '.join(place.spots)} {place.high} {place.animal}" for place in PLACES]
    texts += [f"{person.name} {person.he} {person.him} {person.his}" for person in PEOPLE]
    texts += [*TOYS, *COLOURS, *REPAIRS.values()]
    return Vocabulary((*SPECIAL, *sorted({word for text in texts for word in tokens_of(text)})), LENGTH, "story-lm")


_WORDS = _vocabulary()
VOCABULARY: list[str] = list(_WORDS.words)
PAD = _WORDS.pad
UNKNOWN = _WORDS.unknown
END = _WORDS.ids["<end>"]


@lru_cache
def load(split: str) -> Examples:
    """One split: inputs [stories, 84] word ids, targets [stories, 84] the id of the next word (-100 after the end).

    Slices: one for each plot ("lost", "stuck" ...).
    """
    if split == "calibration":
        return load("training").take(slice(0, SIZES["calibration"]))
    told = stories(split)
    ids = _WORDS.encode([[*text.split(), "<end>"] for text, _ in told])  # (stories, LENGTH)
    targets = torch.full_like(ids, -100)
    targets[:, :-1] = ids[:, 1:].masked_fill(ids[:, 1:] == PAD, -100)
    inputs = ids.masked_fill(ids == END, PAD)
    plots = {name: torch.tensor([plot == name for _, plot in told]) for name in PLOTS}
    return Examples(inputs, targets, slices=plots)


def prepare(sentences: str | list[str]) -> Tensor:
    """Text -> word ids [texts, 84]; lower-cased, unknown words as UNKNOWN, padded. See `Vocabulary.prepare`."""
    return _WORDS.prepare(sentences)


def words(inputs: Tensor) -> list[list[str]]:
    """The words and signs of each text, without padding and end mark."""
    return _WORDS.decode(inputs, leave_out=("<pad>", "<end>"))


def prompt(inputs: Tensor) -> Tensor:
    """The opening of each story, who is where and who has what: [stories, words of the longest opening]."""
    full_stops = (inputs == _WORDS.ids["."]).long()
    before = full_stops.cumsum(dim=1) - full_stops  # full stops before each word
    opening = inputs.masked_fill(before >= 2, PAD)
    return opening[:, : int((opening != PAD).sum(dim=1).max())]
