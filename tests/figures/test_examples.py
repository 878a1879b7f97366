"""Examples and answers."""

from __future__ import annotations

import explorer as ex
from explorer.figures.examples import Face, faces_of, flipped, sentence, sign_runs, strip_html
from explorer.figures.palette import EITHER
from tests.figures.standins import Answer

PICTURES = [Face("image", truth="9", picture="data:image/png;base64,x"), Face("image", truth="<8>")]


def test_a_flipped_answer_is_ringed_and_says_what_it_was() -> None:
    strip = strip_html(PICTURES, [Answer("3", 0.47), Answer("8", 0.9)], [Answer("9"), Answer("8")])
    assert strip.count(f"2px solid {EITHER.warning}") == 1
    assert "was 9" in strip and "47 %" in strip


def test_a_question_stands_under_its_picture() -> None:
    faces = [Face("image+text", truth="yes", picture="data:image/png;base64,x", words="is it <even>?")]
    strip = strip_html(faces, [Answer("no", 0.61)], [Answer("yes")])
    assert strip.index("<img") < strip.index("is it &lt;even&gt;?") < strip.index("61 %")
    assert strip.count(f"2px solid {EITHER.warning}") == 1 and "was yes" in strip


def test_faces_of_questions_hold_picture_and_words() -> None:
    subject = ex.load("scene-vqa").subject
    some = subject.split("tune").take(slice(0, 2))
    faces = faces_of(subject, some)
    assert [face.words for face in faces] == [sentence(words) for words in subject.words(some.inputs)]
    assert all(face.picture.startswith("data:image/png") and face.truth in ("no", "yes") for face in faces)


def test_a_wrong_answer_names_the_truth() -> None:
    strip = strip_html(PICTURES, [Answer("3", right=False), Answer("8", right=False)], None)
    assert "truth 9" in strip and "truth &lt;8&gt;" in strip


def test_answers_that_are_not_there_yet_leave_the_faces() -> None:
    for answers in (None, [None, None]):
        strip = strip_html(PICTURES, answers, None)
        assert strip.count("<img") == 2 and "was" not in strip
    assert strip_html([], None) == ""


def test_sentences_are_escaped() -> None:
    strip = strip_html([Face("text", "positive", words="not <script> bad")], [Answer("negative")], [Answer("positive")])
    assert "not &lt;script&gt; bad" in strip and "was positive" in strip


def test_table_rows_show_their_features() -> None:
    faces = [Face("table", "benign", fields=(("mean radius", "12.5"), ("<x>", "1")))]
    strip = strip_html(faces, [Answer("benign", 0.98)], None)
    assert "mean radius" in strip and "&lt;x&gt;" in strip and "98 %" in strip


def test_stories_stand_side_by_side_with_changed_words_marked() -> None:
    faces = [Face("story", words="Lily had a")]
    strip = strip_html(faces, [Answer("duck & cow .")], [Answer("duck & ball .")])
    assert "this variant" in strip and "dense" in strip
    assert strip.count("underline;") == 1 and ">cow</span>" in strip and "&amp;" in strip


def test_signs_are_compared_place_by_place() -> None:
    assert sign_runs("1994", "1994") == [("1994", False)]
    assert sign_runs("2001-03", "1934-03") == [("2001", True), ("-03", False)]
    assert sign_runs("abcd", "ab") == [("ab", False), ("cd", True)]
    assert sign_runs("ab", "abcd") == [("ab", False)] and sign_runs("", "ab") == []


def test_a_written_answer_marks_its_changed_signs_and_says_what_it_was() -> None:
    faces = [Face("sequence", "1994-03-03", words="3 <b> 94")]
    strip = strip_html(faces, [Answer("1994-03-08", right=False)], [Answer("1994-03-03")])
    assert "3 &lt;b&gt; 94" in strip and "was 1994-03-03" in strip and "(wrong)" in strip
    marked = f'<span style="border-bottom:2px solid {EITHER.warning}">'
    assert f"1994-03-0{marked}8</span></b>" in strip
    calm = strip_html(faces, [Answer("1994-03-03", right=True)], [Answer("1994-03-03")])
    assert "1994-03-03</b>" in calm and "monospace" in calm and marked not in calm and "was" not in calm


def test_faces_of_texts_with_written_answers() -> None:
    subject = ex.load("dates-seq2seq").subject
    (face,) = faces_of(subject, subject.split("tune").take(slice(5, 6)))
    assert (face.kind, face.words, face.truth) == ("sequence", "march the 2nd, '15", "2015-03-02")


def test_words_as_running_text() -> None:
    assert sentence(["not", "bad", ",", "really", "."]) == "not bad, really."
    assert not flipped(None, Answer("1")) and flipped(Answer("2"), Answer("1"))
