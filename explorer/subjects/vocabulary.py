"""Words as numbers: the vocabulary of a word-level text model, and the way there and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from explorer.errors import ExplorerError

TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


def tokens_of(sentence: str) -> list[str]:
    """The lower-case words and signs of `sentence`: "Isn't it good?" -> isn't, it, good, ?"""
    return [token.replace("’", "'") for token in TOKEN.findall(sentence.lower())]


@dataclass(frozen=True)
class Vocabulary:
    """The words that a text model knows; a word's id is its place.

    Parameters
    ----------
    words: all words, the special ones ("<pad>", "<unknown>" and whatever else the model has) included.
    length: how many tokens the model reads at most.
    where: the name of the sample, for messages.
    """

    words: tuple[str, ...]
    length: int
    where: str

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word -> id."""
        return {word: place for place, word in enumerate(self.words)}

    @property
    def pad(self) -> int:
        """The id that fills up short sentences."""
        return self.ids["<pad>"]

    @property
    def unknown(self) -> int:
        """The id of every word that is not in the vocabulary."""
        return self.ids["<unknown>"]

    def encode(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Tokens of each sentence -> ids [sentences, length], padded at the end. The caller sees to the length."""
        ids, unknown = self.ids, self.unknown
        rows = [[ids.get(token, unknown) for token in tokens] for tokens in sentences]
        return torch.tensor([row + [self.pad] * (self.length - len(row)) for row in rows])

    def prepare(self, sentences: str | Iterable[str]) -> Tensor:
        """Raw sentences -> ids [sentences, length].

        Raises `ExplorerError` for none at all, for one without a word and for one with more tokens than `length`.
        """
        sentences = [sentences] if isinstance(sentences, str) else list(sentences)
        if not sentences:
            raise ExplorerError("there is no sentence", where=self.where, instead="give at least one")
        split = []
        for place, sentence in enumerate(sentences):
            where = f"{self.where}, sentence {place + 1}"
            if not isinstance(sentence, str):
                raise ExplorerError(f"{sentence!r} is not text", where=where, instead="give a sentence")
            tokens = tokens_of(sentence)
            if not tokens:
                raise ExplorerError("the sentence is empty", where=where, instead="write at least one word")
            if len(tokens) > self.length:
                raise ExplorerError(
                    f"the sentence has {len(tokens)} words and signs, more than the {self.length} the model reads",
                    where=where,
                    instead="shorten it",
                )
            split.append(tokens)
        return self.encode(split)

    def decode(self, ids: Tensor, leave_out: Iterable[str] = ("<pad>",)) -> list[list[str]]:
        """Ids [sentences, tokens] -> the words of each sentence, without those in `leave_out`."""
        left_out = set(leave_out)
        return [[word for word in (self.words[place] for place in row) if word not in left_out] for row in ids.tolist()]
