"""What is special about `story-lm`: held-out combinations, and stories that keep who did what."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import prune

from explorer.subjects.cards import Card
from explorer.subjects.samples import sample_cards, sample_folder, sample_module

NAME = "story-lm"


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model: nn.Module = sample_module(NAME, "model").build()
    model.load_state_dict(load_file(sample_folder(NAME) / "model.safetensors"))
    return model.eval()


@pytest.fixture(scope="module")
def card() -> Card:
    return sample_cards()[NAME]


@pytest.fixture(scope="module")
def data() -> ModuleType:
    return sample_module(NAME, "data")


def continued(model: nn.Module, data: ModuleType, prompts: Tensor) -> list[str]:
    """The stories that the model writes from `prompts`, all of one length, always taking the likeliest next word."""
    ids = prompts
    while ids.shape[1] < data.LENGTH and not (ids == data.END).any(dim=1).all():
        with torch.no_grad():
            following = model(ids)[:, -1].argmax(dim=-1, keepdim=True)
        ids = torch.cat([ids, following], dim=1)
    after_end = (ids == data.END).cumsum(dim=1) > 0
    return [" ".join(words) for words in data.words(ids.masked_fill(after_end, data.PAD))]


def pruned(model: nn.Module, sparsity: float) -> nn.Module:
    """A copy without the smallest weights of all its linear layers together."""
    smaller = copy.deepcopy(model)
    layers = [(module, "weight") for module in smaller.modules() if isinstance(module, nn.Linear)]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=sparsity)
    return smaller


def test_the_metrics_are_what_the_card_says(trained: Any, data: ModuleType, card: Card) -> None:
    measured = sample_module(NAME, "train").measure(trained)
    words = int((data.load("tune").targets != -100).sum())
    assert card.metrics
    assert measured["perplexity"] == pytest.approx(card.metrics["perplexity"], rel=1e-4)
    assert abs(measured["token_accuracy"] - card.metrics["token_accuracy"]) <= 1 / words + 1e-6


def test_it_is_small(trained: Any, data: ModuleType) -> None:
    assert sum(parameter.numel() for parameter in trained.parameters()) < 1_000_000
    assert trained.head.weight.shape[0] == len(data.VOCABULARY)
    assert trained.position_embedding.weight.shape[0] == data.LENGTH


def test_tune_and_test_tell_of_combinations_that_training_never_has(data: ModuleType, card: Card) -> None:
    combinations: dict[str, set[tuple[str, str, str]]] = {}
    for split in ("training", "tune", "test"):
        assert len(data.load(split)) == card.splits[split]
        combinations[split] = set()
        for story, _ in data.stories(split):
            opening = story.split(" . ")[:2]
            place = opening[0].split()[-1]
            hero, *_, toy = opening[1].split()
            combinations[split].add((hero, toy, place))
    assert not combinations["training"] & combinations["tune"]
    assert not combinations["training"] & combinations["test"]
    assert not combinations["tune"] & combinations["test"]
    assert set(data.PLOTS) == {plot for _, plot in data.stories("tune")}


def test_stories_are_forty_to_seventy_words_and_all_known(data: ModuleType) -> None:
    for split in ("training", "tune"):
        for story, _ in data.stories(split):
            assert 40 <= sum(word.isalpha() for word in story.split()) <= 70
        assert not (data.load(split).inputs == data.UNKNOWN).any()


def test_targets_are_the_next_words_and_end_with_the_end(data: ModuleType) -> None:
    tune = data.load("tune")
    for ids, targets in zip(tune.inputs, tune.targets, strict=True):
        length = int((ids != data.PAD).sum())
        assert torch.equal(targets[: length - 1], ids[1:length])
        assert targets[length - 1] == data.END
        assert (targets[length:] == -100).all()


def test_a_prompt_is_the_opening(data: ModuleType) -> None:
    tune = data.load("tune")
    for opening, (story, _) in zip(data.words(data.prompt(tune.inputs)), data.stories("tune"), strict=True):
        assert story.startswith(" ".join(opening))
        assert opening.count(".") == 2
        assert opening[-1] == "."
    assert data.prompt(tune.inputs[:1])[0, -1] == data.prepare(".")[0, 0]  # no padding after a single opening
    typed = data.prepare("Lily, Tom and Ben were at the park. Lily had a red kite.")
    assert data.words(typed)[0][:4] == ["lily", ",", "tom", "and"]


def test_it_writes_stories_that_keep_who_is_who(trained: Any, data: ModuleType) -> None:
    people = {person.name: person for person in data.PEOPLE}
    openings = data.prompt(data.load("tune").inputs[:24])
    wrong = []
    for opening, story in zip(data.words(openings), continued(trained, data, openings), strict=True):
        rest = story.split()[len(opening) :]
        cast = {word for word in opening if word in people}
        hero, toy = opening[opening.index(".") + 1], opening[-2]
        last = story.split(" . ")[-1].split()
        told = [
            {word for word in rest if word in people} <= cast,
            toy in rest,
            story.endswith(" home ."),
            last[0] == hero and last[2] == people[hero].his,
            all(rest[place - 1] != rest[place + 1] for place, word in enumerate(rest) if word == "thanked"),
        ]
        if not all(told):
            wrong.append(story)
    assert not wrong


def test_at_40_percent_the_stories_stand_and_at_60_percent_they_break(
    trained: Any, data: ModuleType, card: Card
) -> None:
    openings = data.prompt(data.load("tune").inputs[list(card.strip)])
    dense = continued(trained, data, openings)
    assert continued(pruned(trained, 0.4), data, openings) == dense
    assert continued(pruned(trained, 0.6), data, openings) != dense


def test_a_text_longer_than_its_window_is_read_from_the_end(trained: Any, data: ModuleType) -> None:
    ids = torch.arange(100).unsqueeze(0) % len(data.VOCABULARY)
    with torch.no_grad():
        assert torch.equal(trained(ids), trained(ids[:, -data.LENGTH :]))


def test_the_reference_is_the_first_word_after_the_opening(trained: Any, card: Card) -> None:
    measured = sample_module(NAME, "train").reference(trained)
    assert card.reference
    assert measured["indices"] == card.reference["indices"]
    assert torch.allclose(torch.tensor(measured["outputs"]), torch.tensor(card.reference["outputs"]), atol=1e-3)


def test_it_trains() -> None:
    before = torch.random.get_rng_state()
    train = sample_module(NAME, "train").train
    first, second = (train(steps=2, progress=False).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), before)
