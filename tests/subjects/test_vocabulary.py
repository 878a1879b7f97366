"""Words to ids and back."""

from __future__ import annotations

import pytest
import torch

from explorer.errors import ExplorerError
from explorer.subjects.vocabulary import Vocabulary, tokens_of

WORDS = Vocabulary(("<pad>", "<unknown>", ",", "a", "isn't", "it", "kite"), length=5, where="toy")


def test_tokens_are_lower_case_words_and_single_signs() -> None:
    assert tokens_of("It ISN'T a kite, is it?") == ["it", "isn't", "a", "kite", ",", "is", "it", "?"]
    assert tokens_of("isn’t") == ["isn't"]
    assert tokens_of(" \n") == []


def test_prepare_pads_and_marks_unknown_words() -> None:
    assert WORDS.prepare("a kite").tolist() == [[3, 6, 0, 0, 0]]
    assert WORDS.prepare(["it isn't a duck", "kite"]).tolist() == [[5, 4, 3, 1, 0], [6, 0, 0, 0, 0]]


def test_decode_undoes_encode() -> None:
    sentences = [["it", "isn't", ",", "it", "kite"], ["a"]]
    ids = WORDS.encode(sentences)
    assert ids.dtype == torch.long
    assert WORDS.decode(ids) == sentences
    assert WORDS.decode(ids, leave_out=("<pad>", "it")) == [["isn't", ",", "kite"], ["a"]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "there is no sentence"),
        ("", "sentence 1: the sentence is empty"),
        (["a", "  "], "sentence 2: the sentence is empty"),
        ("a a a a a a", "6 words and signs, more than the 5"),
        (["a", 3], "sentence 2: 3 is not text"),
    ],
)
def test_bad_sentences_are_told_in_one_sentence(given: str | list[str], said: str) -> None:
    with pytest.raises(ExplorerError, match=said):
        WORDS.prepare(given)
