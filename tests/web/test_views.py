"""What the pages show of results: exact counts on the chart, escaped words, honest bars, pictures of matrices."""

from __future__ import annotations

from html import escape

import numpy as np
import pytest
import torch

from explorer.compression.order import ScoreIndex
from explorer.evaluation.answers import Answer
from explorer.recipe import Prune, Recipe
from explorer.web import chart, markup
from explorer.web.answers_view import answers_html, marked, signs_marked
from explorer.web.history import visited
from explorer.web.looks import Views, faces_of, sentence
from explorer.web.matrix_picture import matrix_html
from explorer.web.model_view import examples_html
from explorer.web.results import bars_html, bytes_html
from explorer.web.state import Session, changes_nothing
from explorer.web.workbenches import workbench


@pytest.fixture(scope="module")
def session() -> Session:
    found = Session()
    found.dense.wait(60)
    return found


def test_the_chart_holds_the_exact_count_of_every_position(session: Session) -> None:
    scores = session.bench.scores(Recipe([Prune(sparsity=0.5)]), 0)
    data = chart.threshold_data(session, Prune(sparsity=0.5), scores)
    assert len(data["counts"]) == chart.POSITIONS + 1
    for place in (0, 1, 100, 333, chart.POSITIONS):
        assert data["counts"][place] == scores.count_below(data["upper"] * place / chart.POSITIONS)
    assert data["removed"] == round(0.5 * scores.total)
    assert sum(bar[2] for bar in data["bars"]) == scores.total


def test_positions_are_short_numbers_for_links(session: Session) -> None:
    scores = session.bench.scores(Recipe([Prune(sparsity=0.5)]), 0)
    data = chart.threshold_data(session, Prune(sparsity=0.5), scores)
    for place in (1, 7, 211, 640):
        assert len(f"{data['upper'] * place / chart.POSITIONS:.6g}") <= 9


def test_a_chart_of_equal_scores_can_be_drawn(session: Session) -> None:
    data = chart.threshold_data(session, Prune(sparsity=0.5), ScoreIndex([torch.zeros(10)]))
    assert data["total"] == 10 and np.isfinite(data["upper"])


def test_the_curve_has_at_least_24_points(session: Session) -> None:
    scores = session.bench.scores(Recipe([Prune(sparsity=0.5)]), 0)
    step = Prune(sparsity=0.5)
    field, values = chart.curve_values(step, chart.threshold_data(session, step, scores))
    assert field == "threshold" and len(values) >= 24


def test_words_of_data_are_escaped() -> None:
    evil = "<script>alert(1)</script>"
    look = Views("table", [f"<td>{escape(evil)}</td>"], [evil], (evil,))
    answers = [Answer(0, evil, 0.9, False)]
    for kind in ("table", "image", "text", "image+text", "sequence"):
        page = answers_html(Views(kind, look.faces, look.truths, look.header), answers, [Answer(0, "other")])
        assert "<script>" not in page
    assert "<script>" not in marked([evil], ["other"])
    assert "<script>" not in markup.title(evil, evil) + markup.facts([(evil, evil)]) + markup.warning(evil)


def test_answers_that_flipped_are_ringed_and_say_what_they_were() -> None:
    look = Views("image", ["data:,", "data:,"], ["9", "1"])
    page = answers_html(look, [Answer(0, "3", 0.5, False), Answer(1, "1", 0.9, True)], [Answer(0, "9"), Answer(1, "1")])
    assert page.count("flipped") == 1 and "was 9" in page


def test_a_question_stands_under_its_picture_with_the_share_of_the_answer() -> None:
    look = Views("image+text", ["data:,", "data:,"], ["yes", "no"], captions=("is it &lt;a&gt;?", "is it b?"))
    dense = [Answer(0, "yes", 0.9, True, "P(yes) 0.90"), Answer(1, "no", 0.8, True, "P(yes) 0.20")]
    now = [Answer(0, "no", 0.7, False, "P(yes) 0.30"), Answer(1, "no", 0.6, True, "P(yes) 0.40")]
    page = answers_html(look, now, dense)
    assert page.count("flipped") == 1 and "was yes" in page
    assert page.count('class="question"') == 2 and "is it &lt;a&gt;?" in page
    assert "70 %" in page and "60 %" in page and "P(yes)" not in page
    assert answers_html(look, (), ()).count("<img") == 2


def test_questions_are_shown_wherever_examples_are() -> None:
    subject = workbench("scene-vqa").subject
    look = faces_of(subject, [0, 3])
    assert look.kind == "image+text" and len(look.faces) == len(look.captions) == 2
    assert look.captions[1] == sentence(subject.words(subject.split("tune").take(slice(3, 4)).inputs)[0])
    page = examples_html(look)
    assert all(f">{caption}</div>" in page for caption in look.captions) and page.count("<img") == 2


def test_only_the_words_that_differ_are_marked() -> None:
    assert marked(["a", "x", "c"], ["a", "b", "c"]) == "a <mark>x</mark> c"
    assert sentence(["Lily", "was", "happy", "."]) == "Lily was happy."


def test_a_written_answer_marks_its_changed_signs_and_names_the_truth_where_wrong() -> None:
    look = Views("sequence", ["3 &amp; 94", "1/1/01", "2/2/02"], ["1994-03-03", "2001-01-01", "2002-02-02"])
    dense = [Answer(0, "1994-03-03", right=True), Answer(1, "2001-01-09", right=False), Answer(2, "2002-02-03")]
    now = [Answer(0, "1994-03-08", right=False), Answer(1, "2001-01-08", right=False), Answer(2, "2002-02-03")]
    first, second, third = answers_html(look, now, dense).split('<div class="ce-line ')[1:]
    assert "written" in first and "<b>1994-03-0<mark>8</mark></b>" in first
    assert "was 1994-03-03" in first and "truth" not in first
    assert "was 2001-01-09" in second and "truth 2001-01-01" in second  # what it was is no truth either
    assert "<b>2002-02-03</b>" in third and "mark" not in third and "flipped" not in third
    back = answers_html(look, dense, dense, before=now)
    assert "back from 1994-03-08" in back and "flipped" not in back
    assert "<script>" not in signs_marked("<script>", "other")


def test_bars_name_what_is_kept_and_what_it_takes(session: Session) -> None:
    variant = session.bench.compress(Recipe([Prune(sparsity=0.5, scope="matrix")]))
    page = bars_html(variant.size.kept)
    assert page.count("50 % kept") == len(session.bench.matrices())
    entries = variant.storage.entries
    assert max(entries, key=lambda entry: entry.size_bytes).name in bytes_html(entries)


def test_pictures_of_matrices_of_any_form(session: Session) -> None:
    dense = session.bench.dense.forms["blocks.0.mlp.0"]
    thin = session.bench.compress("- step: low-rank\n  rank: 4\n").forms["blocks.0.mlp.0"]
    assert "nothing gone" in matrix_html(dense, "m", dark=False)
    assert matrix_html(thin, "m", dark=True).count("<img") == 2


def test_steps_at_zero_change_nothing() -> None:
    assert changes_nothing(Recipe()) and changes_nothing(Recipe([Prune(sparsity=0.0)]))
    assert not changes_nothing(Recipe([Prune(sparsity=0.0, overrides={"head": 0.5})]))
    assert changes_nothing(Recipe([Prune(sparsity=0.9, enabled=False)]))


def test_history_has_one_dot_for_each_result(session: Session) -> None:
    session.go(Recipe([Prune(sparsity=0.25)]))
    session.go(Recipe([Prune(sparsity=0.25), Prune(sparsity=0.9, enabled=False)]))
    session.job.wait(60)
    dots = visited(session)
    assert len(dots) == 2 and dots[1].current and dots[1].value is not None


TWO_HEADS = Answer(0, "8 · <loop>", right=True, detail="> 99 % · 63 %")
ONE_BROKEN = Answer(0, "8 · none", right=False, detail="97 % · 51 %")


def test_answers_of_several_heads_have_room_and_all_their_probabilities() -> None:
    look = Views("image", ["data:,"], ["8 · <loop>"], wide=True)
    strip = answers_html(look, [TWO_HEADS], [TWO_HEADS])
    assert '<div class="ce-strip wide">' in strip and "8 · &lt;loop&gt;<span>&gt; 99 % · 63 %</span>" in strip
    assert "was 8 · &lt;loop&gt;" in answers_html(look, [ONE_BROKEN], [TWO_HEADS])
    line = answers_html(Views("text", ["words"], ["8 · <loop>"]), [TWO_HEADS], [TWO_HEADS])
    assert "<b>8 · &lt;loop&gt;</b> &gt; 99 % · 63 %" in line
    table = answers_html(Views("table", ["<td>1</td>"], ["8 · <loop>"], ("a",)), [ONE_BROKEN], [TWO_HEADS])
    assert "<td>97 % · 51 %</td>" in table
