"""What is special about `negation-text`: held-out templates, a known rationale, and one head that carries negation."""

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from explorer.errors import ExplorerError
from explorer.subjects.cards import Card
from explorer.subjects.examples import Examples
from explorer.subjects.samples import sample_cards, sample_folder, sample_module

NAME = "negation-text"


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


def right(model: nn.Module, examples: Examples) -> Tensor:
    """[examples] of 1 where the model's answer is right, 0 where it is not."""
    with torch.no_grad():
        return (model(examples.inputs).argmax(dim=1) == examples.targets).double()


def test_accuracy_is_what_the_card_says_and_leaves_room(trained: Any, data: ModuleType, card: Card) -> None:
    tune = data.load("tune")
    accuracy = right(trained, tune).mean().item()
    assert 0.95 <= accuracy <= 0.999
    assert card.metrics
    assert abs(accuracy - card.metrics["accuracy"]) <= 1 / len(tune) + 1e-6


def test_switching_off_the_best_head_costs_ten_points_on_negated_sentences(trained: Any, data: ModuleType) -> None:
    tune = data.load("tune")
    negated = tune.take(torch.nonzero(tune.slices["has negation"]).flatten())
    losses = []
    for place, layer in enumerate(trained.encoder.layers):
        heads, width = layer.self_attn.num_heads, layer.self_attn.head_dim
        for head in range(heads):
            without = copy.deepcopy(trained)
            with torch.no_grad():
                out = without.encoder.layers[place].self_attn.out_proj
                out.weight[:, head * width : (head + 1) * width] = 0  # the head's slice of W_O
            losses.append((right(trained, negated).mean() - right(without, negated).mean()).item())
    assert max(losses) >= 0.10, losses


def test_the_splits_are_large_and_share_no_template_and_no_sentence(data: ModuleType, card: Card) -> None:
    templates: dict[str, set[tuple[int, int]]] = {}
    sentences: dict[str, set[tuple[str, ...]]] = {}
    for split in ("training", "tune", "test"):
        reviews = data.reviews(split)
        assert len(reviews) == len(data.load(split)) == card.splits[split]
        templates[split] = {(review.frame, review.form) for review in reviews}
        sentences[split] = {review.words for review in reviews}
    assert card.splits["tune"] >= 2000
    for one, other in (("training", "tune"), ("training", "test"), ("tune", "test")):
        assert not templates[one] & templates[other]
        assert not sentences[one] & sentences[other]
    # What is held out is the combination: every form and every frame stands in training somewhere.
    assert {form for _, form in templates["training"]} == set(range(len(data.FORMS)))
    assert {frame for frame, _ in templates["training"]} == set(range(len(data.FRAMES)))


def test_there_are_sixty_content_words(data: ModuleType, trained: Any) -> None:
    verbs = {word for tone in (0, 1) for both in data.VERBS[tone] for word in both}
    content = {*data.NOUNS, *data.UNCOUNTABLE, *data.ADJECTIVES[0], *data.ADJECTIVES[1], *verbs}
    assert len(content) >= 60
    assert content <= set(data.VOCABULARY)
    assert trained.word_embedding.weight.shape[0] == len(data.VOCABULARY)
    assert sample_module(NAME, "model").PAD == data.PAD


def test_the_rationale_alone_tells_the_sentiment(data: ModuleType) -> None:
    """Read only the marked words: the tone of the sentiment word, turned round if a negator is marked with it."""
    tone = {word: sign for sign in (0, 1) for word in data.ADJECTIVES[sign]}
    tone |= {word: sign for sign in (0, 1) for both in data.VERBS[sign] for word in both}
    negators = {word[1:] for form in data.NEGATED for word in form.split() if word.startswith("*") and "{" not in word}
    tune = data.load("tune")
    for sentence, marks, target, negated in zip(
        data.words(tune.inputs), tune.rationale, tune.targets, tune.slices["has negation"], strict=True
    ):
        assert not marks[len(sentence) :].any()
        marked = [word if mark or word == "and" else "" for word, mark in zip(sentence, marks, strict=False)]
        clauses = " ".join(marked).split(" and ")
        decisive = clauses[0].split() if "," not in sentence or len(clauses) == 1 else clauses[-1].split()
        assert any(word in negators for word in decisive) == bool(negated)
        for clause in clauses:  # "x and y": both say the same, and both are marked
            signs = [tone[word] for word in clause.split() if word in tone]
            assert len(signs) == 1
            flipped = any(word in negators for word in clause.split())
            assert signs[0] ^ flipped == target
    assert 0.45 < tune.targets.double().mean() < 0.55


@pytest.mark.parametrize(
    ("sentence", "answer"),
    [
        ("Not bad at all", "positive"),
        ("Good plot but the ending is awful", "negative"),
        ("The plot is good", "positive"),
        ("The plot is not good", "negative"),
        ("Although the music is lovely, I did not enjoy the film.", "negative"),
        ("My friend said that the acting is terrible. The acting was superb", "positive"),
    ],
)
def test_it_reads_a_visitors_sentence(trained: Any, data: ModuleType, card: Card, sentence: str, answer: str) -> None:
    with torch.no_grad():
        logits = trained(data.prepare(sentence))
    assert card.classes[int(logits.argmax())] == answer


def test_padding_does_not_change_an_answer(trained: Any, data: ModuleType) -> None:
    ids = data.prepare(["the plot is not bad at all", "i hated the film"])
    with torch.no_grad():
        assert torch.allclose(trained(ids), trained(ids[:, :8]), atol=1e-5)


def test_a_training_batch_hides_a_few_words_outside_the_rationale(data: ModuleType) -> None:
    before = torch.get_rng_state()
    draw = torch.Generator().manual_seed(5)
    batch, following = data.training_batch(2000, draw), data.training_batch(2000, draw)
    assert torch.equal(torch.get_rng_state(), before)
    again = data.training_batch(2000, torch.Generator().manual_seed(5))
    assert torch.equal(batch.inputs, again.inputs) and torch.equal(batch.targets, again.targets)
    assert not torch.equal(batch.inputs, following.inputs)
    known = data.load("training")
    stored = known.take(torch.randint(len(known), (2000,), generator=torch.Generator().manual_seed(5)))
    assert torch.equal(batch.targets, stored.targets) and torch.equal(batch.rationale, stored.rationale)
    assert set(batch.slices) == set(stored.slices)
    hidden = batch.inputs != stored.inputs
    assert (batch.inputs[hidden] == data.UNKNOWN).all()
    may_hide = (stored.inputs != data.PAD) & ~stored.rationale
    assert not (hidden & ~may_hide).any()
    assert hidden.sum().item() / may_hide.sum().item() == pytest.approx(data.HIDDEN, abs=0.005)
    assert not (known.inputs == data.UNKNOWN).any()  # the kept examples stay whole


def test_prepare_and_words(data: ModuleType) -> None:
    ids = data.prepare("The trailer isn't bad")
    assert ids[0, 1] == data.UNKNOWN
    assert data.words(ids) == [["the", "<unknown>", "isn't", "bad"]]
    with pytest.raises(ExplorerError, match="more than the 24"):
        data.prepare("bad " * 25)


def test_it_trains() -> None:
    before = torch.random.get_rng_state()
    train = sample_module(NAME, "train").train
    first, second = (train(steps=2, progress=False).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), before)
