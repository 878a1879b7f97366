"""Short film reviews from a written grammar, in which negation, contrast and distractors turn the sentiment round.

A review is a frame ("although {other} , {decides}") filled with clauses ("the {noun} is hardly {adjective}"). In every
frame it is known which clause decides, and in every clause which word carries the sentiment and which words negate it:
that is the rationale.

A template is a frame together with the form of the clause that decides. Tune and test hold only templates that no
training sentence has: the model has met "hardly" and has met "although", but not the two together.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from explorer.errors import ExplorerError
from explorer.subjects.examples import Examples
from explorer.subjects.vocabulary import Vocabulary, tokens_of

SIZES = {"training": 24000, "calibration": 256, "tune": 2400, "test": 2400}
SEEDS = {"training": 1, "calibration": 1, "tune": 2, "test": 3}
LENGTH = 24
"""Words and signs of a sentence at most."""
TRY = "the lead is superb but the movie is never superb"
"""A sentence to begin with, for whoever wants to type one."""
HIDDEN = 0.02
"""Share of the words outside the rationale that training hides as unknown, so that the model can read new ones."""

NOUNS = tuple(
    tokens_of(
        "actor camera cast dialogue ending film finale hero joke lead movie opening plot romance scene script sequel "
        "show song soundtrack story twist villain"
    )
)
UNCOUNTABLE = tuple(tokens_of("acting humor lighting music pacing scenery"))
ADJECTIVES = {
    1: tuple(
        tokens_of(
            "beautiful brilliant charming clever delightful enjoyable excellent fine fresh funny good great gripping "
            "impressive lovely moving superb touching witty wonderful"
        )
    ),
    0: tuple(
        tokens_of(
            "annoying awful bad bland boring clumsy dreadful dull flat horrible lazy messy poor predictable silly "
            "stupid tedious terrible ugly weak"
        )
    ),
}
# What the writer did, and the same after "did not".
VERBS = {
    1: (("adored", "adore"), ("admired", "admire"), ("enjoyed", "enjoy"), ("liked", "like"), ("loved", "love")),
    0: (
        ("despised", "despise"),
        ("disliked", "dislike"),
        ("endured", "endure"),
        ("hated", "hate"),
        ("regretted", "regret"),
    ),
}
DEGREES = ("quite", "really", "truly", "very")
VERB_DEGREES = ("really", "truly")
OTHERS = ("everyone", "my brother", "my friend", "my neighbour", "the critic", "the poster")

# {n}: a noun, {a}: an adjective, {v}: a verb in the past, {b}: its base form, {d} and {e}: a word of degree for an
# adjective or a verb, or nothing. "*" marks the rationale: the word that carries the sentiment and what negates it.
PLAIN = (
    "the {n} is {d} *{a}",
    "the {n} was {d} *{a}",
    "the {n} feels {d} *{a}",
    "it has a {d} *{a} {n}",
    "a {d} *{a} {n}",
    "*{a} {n}",
    "i {e} *{v} the {n}",
    "i found the {n} {d} *{a}",
)
NEGATED = (
    "the {n} is *not {d} *{a}",
    "the {n} was *not *{a} at all",
    "the {n} *isn't {d} *{a}",
    "the {n} *wasn't {d} *{a}",
    "the {n} is *never {d} *{a}",
    "the {n} was *hardly *{a}",
    "*not {d} *{a} at all",
    "*not a {d} *{a} {n}",
    "i did *not {e} *{b} the {n}",
    "i *didn't {e} *{b} the {n}",
    "i *never *{v} the {n}",
    "the {n} is *far *from *{a}",
    "the {n} was *anything *but *{a}",
    "there is *nothing *{a} about the {n}",
    "*nobody could call the {n} *{a}",
)


@dataclass(frozen=True)
class Frame:
    """How clauses are joined. {decides} gives the sentiment; {other} says the opposite, {same} says the same again."""

    text: str
    contrast: bool = False
    distractor: bool = False


FRAMES = (
    Frame("{decides}"),
    Frame("{decides} and {same}"),
    Frame("{same} , and {decides}"),
    Frame("{other} but {decides}", contrast=True),
    Frame("{other} , yet {decides}", contrast=True),
    Frame("although {other} , {decides}", contrast=True),
    Frame("{decides} although {other}", contrast=True),
    Frame("while {other} , {decides}", contrast=True),
    Frame("{decides} even though {other}", contrast=True),
    Frame("{other} . however , {decides}", contrast=True),
    Frame("despite the {x} {n} , {decides}", contrast=True),
    Frame("{decides} despite the {x} {n}", contrast=True),
    Frame("{who} said that {other} . {decides}", distractor=True),
    Frame("{who} thinks that {other} , but {decides}", contrast=True, distractor=True),
    Frame("i did not read the book . {decides}", distractor=True),
    Frame("{decides} , no doubt about it", distractor=True),
    Frame("i expected a {x} {n} . {decides}", distractor=True),
    Frame("{decides} . nobody told me about this film", distractor=True),
    Frame("i never met the director , but {decides}", contrast=True, distractor=True),
)
AN = re.compile(r"\ba +(\*?[aeiou])")
FORMS = (*PLAIN, *NEGATED)
SPECIAL = ("<pad>", "<unknown>")


@dataclass(frozen=True)
class Review:
    """One sentence: its words, which of them are the rationale, its sentiment (1 positive) and its template."""

    words: tuple[str, ...]
    rationale: tuple[bool, ...]
    positive: int
    frame: int
    form: int


def fold(frame: int, form: int) -> str:
    """The split that has the template made of this frame and this form: one in seven tune, one in seven test."""
    return {0: "tune", 1: "test"}.get((3 * frame + form) % 7, "training")


@lru_cache
def templates(split: str, negated: bool) -> list[tuple[int, int]]:
    """The (frame, form) pairs of a split whose form is negated or not, as places in `FRAMES` and `FORMS`."""
    return [
        (frame, form)
        for frame in range(len(FRAMES))
        for form in range(len(FORMS))
        if fold(frame, form) == split and (FORMS[form] in NEGATED) == negated
    ]


def _clause(dice: random.Random, form: str, positive: int) -> str:
    """`form` filled so that the clause says `positive`; a negated form takes a word of the opposite."""
    tone = 1 - positive if form in NEGATED else positive
    past, base = dice.choice(VERBS[tone])
    degree, verb_degree = (dice.choice(words) if dice.random() < 0.4 else "" for words in (DEGREES, VERB_DEGREES))
    nouns = NOUNS if "a {" in form else NOUNS + UNCOUNTABLE
    return form.format(n=dice.choice(nouns), a=dice.choice(ADJECTIVES[tone]), v=past, b=base, d=degree, e=verb_degree)


def _review(dice: random.Random, split: str) -> Review:
    """One review of `split`."""
    frame, form = dice.choice(templates(split, negated=dice.random() < 0.5))
    positive = dice.randrange(2)
    # What someone else says, or what was expected, is mostly but not always the opposite.
    opposite = 1 - positive if FRAMES[frame].contrast or dice.random() < 0.7 else positive
    seconds = PLAIN if dice.random() < 0.5 else NEGATED
    second = dice.choice([form for form in seconds if "{who}" not in FRAMES[frame].text or form.startswith("the ")])
    text = FRAMES[frame].text.format(
        decides=_clause(dice, FORMS[form], positive),
        same=_clause(dice, second, positive),
        other=_clause(dice, second, opposite).replace("*", ""),
        x=dice.choice(ADJECTIVES[opposite]),
        n=dice.choice(NOUNS),
        who=dice.choice(OTHERS),
    )
    marked = AN.sub(r"an \1", text).split()
    words = tuple(word.removeprefix("*") for word in marked)
    return Review(words, tuple(word.startswith("*") for word in marked), positive, frame, form)


@lru_cache
def reviews(split: str) -> tuple[Review, ...]:
    """The reviews of a split with their templates; no two of tune or test have the same words."""
    if split not in SEEDS:
        raise ExplorerError(
            f'there is no split "{split}"', where="negation-text", instead=f"choose one of {list(SIZES)}"
        )
    dice = random.Random(SEEDS[split])
    found: dict[tuple[str, ...], Review] = {}
    while len(found) < SIZES[split]:
        review = _review(dice, split)
        found.setdefault(review.words, review)
    return tuple(found.values())


def _vocabulary() -> Vocabulary:
    """All words that the grammar can write, in alphabetical order after the special ones."""
    texts = [re.sub(r"\{[^}]*\}|\*", " ", text) for text in (*(frame.text for frame in FRAMES), *FORMS)]
    texts += ["an", *NOUNS, *UNCOUNTABLE, *ADJECTIVES[0], *ADJECTIVES[1], *DEGREES, *VERB_DEGREES, *OTHERS]
    texts += [word for tone in (0, 1) for both in VERBS[tone] for word in both]
    known = sorted({word for text in texts for word in tokens_of(text)})
    return Vocabulary((*SPECIAL, *known), LENGTH, "negation-text")


_WORDS = _vocabulary()
VOCABULARY: list[str] = list(_WORDS.words)
PAD = _WORDS.pad
UNKNOWN = _WORDS.unknown


@lru_cache
def load(split: str) -> Examples:
    """One split: inputs [reviews, 24] word ids, targets [reviews] (0 negative, 1 positive), rationale [reviews, 24].

    Slices: "has negation" (the clause that decides is negated), "has contrast" (but, although, despite ...),
    "has distractor" (someone else's opinion, an expectation, a negation that is beside the point), and by length.
    """
    if split == "calibration":
        return load("training").take(slice(0, SIZES["calibration"]))
    told = reviews(split)
    rationale = torch.tensor([[*review.rationale, *[False] * (LENGTH - len(review.words))] for review in told])
    length = torch.tensor([len(review.words) for review in told])
    return Examples(
        _WORDS.encode([review.words for review in told]),
        torch.tensor([review.positive for review in told]),
        rationale,
        slices={
            "has negation": torch.tensor([FORMS[review.form] in NEGATED for review in told]),
            "has contrast": torch.tensor([FRAMES[review.frame].contrast for review in told]),
            "has distractor": torch.tensor([FRAMES[review.frame].distractor for review in told]),
            "up to 8 words": length <= 8,
            "over 12 words": length > 12,
        },
    )


def training_batch(size: int, draw: torch.Generator) -> Examples:
    """`size` reviews as training meets them: any of "training", with a few words hidden; the rest as for `load`.

    Inputs `[size, 24]`, targets `[size]`. Words of the rationale stay. All random numbers come from `draw`.
    """
    examples = load("training")
    batch = examples.take(torch.randint(len(examples), (size,), generator=draw))
    assert batch.rationale is not None
    may_hide = (batch.inputs != PAD) & ~batch.rationale  # (B, 24)
    hidden = may_hide & (torch.rand(batch.inputs.shape, generator=draw) < HIDDEN)
    return replace(batch, inputs=batch.inputs.masked_fill(hidden, UNKNOWN))


def prepare(sentences: str | list[str]) -> Tensor:
    """Text -> word ids [texts, 24]; lower-cased, unknown words as UNKNOWN, padded. See `Vocabulary.prepare`."""
    return _WORDS.prepare(sentences)


def words(inputs: Tensor) -> list[list[str]]:
    """The words and signs of each sentence, without padding."""
    return _WORDS.decode(inputs)
