"""What is special about scene-vqa: balanced questions, answers that follow from the scene, words that find patches."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import explorer as ex
from explorer.errors import ExplorerError
from explorer.subjects.cards import Card, read_card
from explorer.subjects.examples import Examples
from explorer.subjects.samples import sample_folder, sample_module
from explorer.subjects.scenes import Scenes, draw_scenes

NAME = "scene-vqa"
BLANK = torch.zeros(32, 32)


@pytest.fixture(scope="module")
def data() -> ModuleType:
    return sample_module(NAME, "data")


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(sample_folder(NAME) / "card.toml")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model: nn.Module = sample_module(NAME, "model").build()
    model.load_state_dict(load_file(sample_folder(NAME) / "model.safetensors"))
    return model.eval()


@pytest.fixture(scope="module")
def scenes(data: ModuleType) -> Scenes:
    return draw_scenes(*data.pool("tune"), 1500, torch.Generator().manual_seed(1))  # type: ignore[call-arg]


def right(trained: nn.Module, examples: Examples) -> Tensor:
    """[N], where the model's answer is the target."""
    with torch.no_grad():
        logits = [trained(**examples.take(part).inputs) for part in torch.arange(len(examples)).split(200)]
    return torch.cat(logits).argmax(dim=1) == examples.targets


def told(data: ModuleType, scenes: Scenes, at: int, question: str) -> tuple[bool, list[int]]:
    """The answer to a question about a scene and the digits it is about, worked out from its words one by one."""
    digits = [int(digit) for digit in scenes.labels[at] if digit >= 0]
    number = next((data.NAMES.index(word) for word in question.split() if word in data.NAMES), None)
    everything = list(range(len(digits)))
    if question.endswith("digits ?") or "only one" in question:
        return len(digits) == number, everything
    if question.startswith("is there"):
        found = [place for place in everything if digits[place] == number]
        return bool(found), found or everything
    one = 0
    if "leftmost" in question:
        columns = [int(column) for column in scenes.places[at, : len(digits), 1]]
        one = columns.index(min(columns))
        assert sorted(columns)[1] - columns[one] >= 4  # clear to the eye
    if number is None:
        return digits[one] % 2 == ("odd" in question), [one]
    if "larger" in question:
        return digits[one] > number, [one]
    return (digits[one] < number) if "smaller" in question else (digits[one] == number), [one]


def test_every_answer_and_its_digits_follow_from_the_scene(data: ModuleType, scenes: Scenes) -> None:
    asked = data.ask(scenes, torch.Generator().manual_seed(2))
    for at, words in enumerate(data.words({"question": asked.ids})):
        answer, about = told(data, scenes, at, " ".join(words))
        assert bool(asked.answers[at]) == answer
        assert asked.about[at].nonzero().flatten().tolist() == about


def test_no_question_can_be_answered_without_the_scene(data: ModuleType) -> None:
    """Of each of the thirty questions about half of the answers are yes: what is left is chance."""
    draw = torch.Generator().manual_seed(3)
    scenes = draw_scenes(*data.pool("tune"), 20000, draw)  # type: ignore[call-arg]
    asked = data.ask(scenes, draw)
    texts, which = asked.ids.unique(dim=0, return_inverse=True)
    assert len(texts) == sum(len(family) for family in data.FAMILIES.values())
    for question in range(len(texts)):
        answers = asked.answers[which == question].double()
        assert len(answers) > 150
        assert abs(answers.mean() - 0.5) < 4 * 0.5 / len(answers) ** 0.5 + 0.02, question


def test_no_words_tell_of_what_is_not_there(data: ModuleType, scenes: Scenes) -> None:
    """A question about the leftmost digit comes only where there are others, or it would be the framed one."""
    asked = data.ask(scenes, torch.Generator().manual_seed(4))
    assert scenes.digits[asked.families == data.LEFTMOST].min() == 2
    framed = asked.about[asked.families == data.LEFTMOST][:, 0].double().mean()
    assert 0.2 < framed < 0.6  # neither always the framed digit nor never


def test_tune_and_test_are_made_of_digits_never_seen_in_training(data: ModuleType) -> None:
    pools = {split: {digit.numpy().tobytes() for digit in data.pool(split)[0]} for split in data.SPLITS}
    assert pools["training"] == pools["calibration"]
    assert not pools["training"] & pools["tune"]
    assert not pools["training"] & pools["test"]
    assert not pools["tune"] & pools["test"]


def test_splits_are_balanced_and_as_large_as_the_card_says(data: ModuleType, card: Card) -> None:
    for split in ("calibration", "tune", "test"):
        examples = data.load(split)
        assert len(examples) == card.splits[split]
        assert examples.inputs["image"].shape == (len(examples), 1, 32, 32)
        assert examples.inputs["question"].shape == (len(examples), data.LENGTH)
        assert examples.rationale.shape == (len(examples), 64) and examples.rationale.any(dim=1).all()
    assert card.splits["tune"] >= 4000 and card.splits["test"] >= 4000
    tune = data.load("tune")
    families = torch.stack([tune.slices[name] for name in data.FAMILIES])
    assert (families.sum(dim=0) == 1).all() and (families.sum(dim=1) > 500).all()
    for family in families:
        assert abs(tune.targets[family].double().mean() - 0.5) < 0.06
    assert tune.slices["digits in the scene"].unique().tolist() == [1, 2, 3, 4]


def test_loading_twice_gives_the_same(data: ModuleType) -> None:
    kept = data.load("calibration")
    data.load.cache_clear()
    again = data.load("calibration")
    assert torch.equal(kept.inputs["image"], again.inputs["image"])
    assert torch.equal(kept.inputs["question"], again.inputs["question"])
    assert torch.equal(kept.targets, again.targets) and torch.equal(kept.rationale, again.rationale)
    with pytest.raises(ExplorerError, match="training, calibration, tune, test"):
        data.load("validation")


def test_a_training_batch_is_seeded_and_new_each_time(data: ModuleType) -> None:
    before = torch.get_rng_state()
    draw = torch.Generator().manual_seed(5)
    batch, following = data.training_batch(40, draw), data.training_batch(40, draw)
    again = data.training_batch(40, torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(batch.inputs[name], again.inputs[name]) for name in ("image", "question"))
    assert torch.equal(batch.targets, again.targets)
    assert not torch.equal(batch.inputs["image"], following.inputs["image"])
    assert set(batch.slices) == set(data.load("calibration").slices)
    plain = draw_scenes(*data.pool("training"), 40, torch.Generator().manual_seed(5))  # type: ignore[call-arg]
    assert not torch.equal(batch.inputs["image"], plain.images)  # the same digits, by another hand


def test_prepare_undoes_words_and_picture(data: ModuleType) -> None:
    inputs = data.load("calibration").take(slice(0, 4)).inputs
    pictures, questions = 1 - data.picture(inputs), [" ".join(words) for words in data.words(inputs)]
    again = data.prepare(list(zip(pictures.numpy(), questions, strict=True)))
    assert torch.equal(again["question"], inputs["question"])
    torch.testing.assert_close(again["image"], inputs["image"])
    one = data.prepare((pictures[0].tolist(), "Is the framed digit EVEN?"))
    assert data.words(one) == [["is", "the", "framed", "digit", "even", "?"]]


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ((BLANK, "is the framed digit prime ?"), "prime.*even"),
        ((BLANK, "  "), "empty"),
        ((BLANK, "is " * 9), "9 words"),
        ((torch.zeros(8, 8), "is there a two ?"), "32 x 32"),
        ((BLANK + 255, "is there a two ?"), "0 to 1"),
        ([(BLANK, "is there a two ?"), (BLANK, "<pad>")], "question 2.*<"),
        ([(BLANK, "is there a two ?"), BLANK], "question 2"),
        ("is there a two ?", "scene with a question"),
        ([], "no scene"),
        (3, "no scene"),
    ],
)
def test_bad_pairs_are_told_in_one_sentence(data: ModuleType, pairs: object, says: str) -> None:
    with pytest.raises(ExplorerError, match=says):
        data.prepare(pairs)


def test_axes_name_patches_and_words(data: ModuleType) -> None:
    inputs = data.load("calibration").take(slice(0, 3)).inputs
    patches, words = data.axes(inputs)
    assert (patches.name, patches.length, patches.grid) == ("patches", 64, (8, 8))
    assert patches.labels[0][0] == "row 1, column 1" and patches.labels[2][8] == "row 2, column 1"
    assert (words.name, words.length) == ("words", data.LENGTH)
    assert [[word for word in asked if word] for asked in words.labels] == data.words(inputs)


def test_padding_changes_no_answer(data: ModuleType, trained: nn.Module) -> None:
    inputs = data.prepare([(data.load("tune").inputs["image"][at, 0], "is there a seven ?") for at in range(20)])
    with torch.no_grad():
        padded = trained(**inputs)
        trained.word_positions.data, kept = trained.word_positions.data.clone(), trained.word_positions.data  # type: ignore[operator]
        trained.word_positions.data[:, 5:] += 3.0  # what stands behind the last word
        other = trained(**inputs)
        trained.word_positions.data = kept
    torch.testing.assert_close(padded, other)


def test_several_questions_about_one_scene_are_those_one_by_one(data: ModuleType, trained: nn.Module) -> None:
    tune = data.load("tune").take(slice(0, 6)).inputs
    questions = tune["question"].repeat(2, 1)  # two questions about each of six scenes
    with torch.no_grad():
        together = trained(tune["image"], questions)
        alone = trained(tune["image"].repeat_interleave(2, dim=0), questions)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_saved_weights_give_the_reference_outputs(data: ModuleType, card: Card, trained: nn.Module) -> None:
    assert card.metrics is not None and card.reference is not None
    assert card.metrics["accuracy"] >= 0.9
    with torch.no_grad():
        logits = trained(**data.load("tune").take(torch.tensor(card.reference["indices"])).inputs)
    torch.testing.assert_close(logits, torch.tensor(card.reference["outputs"]), atol=2e-3, rtol=0)


def test_every_family_is_answered_far_better_than_by_chance(data: ModuleType, trained: nn.Module) -> None:
    tune = data.load("tune")
    hits = right(trained, tune)
    for name in data.FAMILIES:
        assert hits[tune.slices[name]].double().mean() > 0.8, name


def test_the_answer_rests_on_the_rationale_and_on_the_words(data: ModuleType, trained: nn.Module) -> None:
    """Wiping the patches that a question is about must cost nearly all, wiping as many others little."""
    tune = data.load("tune").take(slice(0, 1200))
    tune = tune.take(~tune.slices["asks how many"] & ~tune.slices["asks for any digit"])  # about one digit each
    order = torch.rand(tune.rationale.shape, generator=torch.Generator().manual_seed(0))
    others = order.masked_fill(tune.rationale, 2.0).argsort(dim=1).argsort(dim=1) < tune.rationale.sum(1, keepdim=True)

    def accuracy(wiped: Tensor, question: Tensor = tune.inputs["question"]) -> float:
        pixels = wiped.view(-1, 1, 8, 8).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
        inputs = {"image": tune.inputs["image"] * ~pixels, "question": question}
        return right(trained, Examples(inputs, tune.targets)).double().mean().item()

    nothing = torch.zeros_like(tune.rationale)
    assert accuracy(tune.rationale) < 0.65
    assert accuracy(others) > 0.8
    assert accuracy(nothing, tune.inputs["question"].roll(1, dims=0)) < 0.65


def test_counting_suffers_more_from_a_thin_cross_attention_than_reading_the_framed_digit(data: ModuleType) -> None:
    """What the card tells: seven of ten weights of the cross-attention are gone."""
    bench = ex.load(NAME)
    tune = bench.subject.split("tune")
    model = bench.compress(ex.Prune(sparsity=0.7, layers="*cross*")).model
    before, after = right(bench.subject.model, tune), right(model, tune)

    def loss(family: str) -> float:
        chosen = tune.slices[family]
        return (before[chosen].double().mean() - after[chosen].double().mean()).item()

    for family in ("asks for even or odd", "asks for the size of the framed digit", "asks which digit is framed"):
        assert loss(family) < 0.04
    assert loss("asks how many") > 0.15


def test_words_of_questions_about_the_framed_digit_look_at_it(data: ModuleType) -> None:
    """In the first word block, far more than the share of patches that it covers."""
    bench = ex.load(NAME)
    tune = bench.subject.split("tune").take(slice(0, 600))
    framed = tune.take(tune.slices["asks for even or odd"] | tune.slices["asks which digit is framed"])
    weights = bench.dense.attention(framed.inputs).weights["word_blocks.0.cross"]  # (B, heads, words, patches)
    there = (framed.inputs["question"] != data.PAD)[:, None, :].expand(weights.shape[:3])
    on_digit = (weights * framed.rationale[:, None, None, :]).sum(dim=3)[there].mean()  # type: ignore[index]
    assert on_digit > 4 * framed.rationale.double().mean()  # type: ignore[union-attr]


def test_training_for_a_few_steps_is_seeded_and_leaves_the_random_state_alone() -> None:
    training = sample_module(NAME, "train")
    before = torch.get_rng_state()
    first = training.train(steps=2, progress=False).state_dict()
    again = training.train(steps=2, progress=False).state_dict()
    other = training.train(steps=2, seed=1, progress=False).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_raw_pairs_go_through_a_workbench(data: ModuleType) -> None:
    bench = ex.load(NAME)
    scene = np.zeros((32, 32), dtype=np.float32)
    outputs = bench.dense.outputs([(scene, "is there only one digit?"), (scene, "is there a two?")])
    assert outputs.shape == (2, 2)
