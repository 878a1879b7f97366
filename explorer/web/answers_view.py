"""Answers beside the examples they belong to, as HTML: what the variant says, ringed where the dense model differs."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from html import escape

from explorer.evaluation.answers import Answer
from explorer.figures.examples import sign_runs
from explorer.figures.words import share_text
from explorer.web import markup
from explorer.web.looks import Views, sentence


def answers_html(look: Views, answers: Sequence[Answer], dense: Sequence[Answer], before: Sequence[Answer] = ()) -> str:
    """The strip: `answers` of the variant and those of the dense model, empty while they are not there yet.

    before: those before a recovery: what differed then and is the dense model's answer again has come back.
    """
    if look.kind in ("image", "image+text"):
        cells = [_image(look, answers, dense, before, place) for place in range(len(look.faces))]
        kinds = "ce-strip" + (" asked" if look.captions else "") + (" wide" if look.wide else "")
        return f'<div class="{kinds}">{"".join(cells)}</div>'
    if look.kind == "table":
        return _table(look, answers, dense)
    if look.kind == "story":
        return _story(look, answers, dense)
    line = _written_line if look.kind == "sequence" else _line
    lines = [line(look, answers, dense, before, place) for place in range(len(look.faces))]
    return f'<div class="ce-lines">{"".join(lines)}</div>'


def _at(answers: Sequence[Answer], place: int) -> Answer | None:
    return answers[place] if place < len(answers) else None


def _was(answers: Sequence[Answer], dense: Sequence[Answer], place: int) -> str:
    """The dense model's answer where the variant's differs, else ''."""
    now, before = _at(answers, place), _at(dense, place)
    return before.label if now is not None and before is not None and now.label != before.label else ""


def _back(answers: Sequence[Answer], dense: Sequence[Answer], before: Sequence[Answer], place: int) -> str:
    """What the variant said before a recovery, where it now says what the dense model does again, else ''."""
    broken = _was(before, dense, place)
    then = _at(before, place)
    return then.label if broken and then is not None and not _was(answers, dense, place) else ""


def _sure(answer: Answer, look: Views) -> str:
    """How sure the model is, in the words that the task has for it; beside "yes" a share says more than "P(yes)"."""
    if answer.detail and look.kind != "image+text":
        return answer.detail
    return _share(answer)


def _share(answer: Answer) -> str:
    """The probability of the answer; of several heads those of all."""
    return answer.detail if answer.probability is None else share_text(answer.probability, 0)


def _image(
    look: Views, answers: Sequence[Answer], dense: Sequence[Answer], before: Sequence[Answer], place: int
) -> str:
    answer, was, truth = _at(answers, place), _was(answers, dense, place), look.truths[place]
    back = _back(answers, dense, before, place) if answer is not None else ""
    words = "&nbsp;" if answer is None else f"{escape(answer.label)}<span>{escape(_sure(answer, look))}</span>"
    if was:
        note = f'<div class="was">was {escape(was)}</div>'
    elif back:
        note = f'<div class="was back">back from {escape(back)}</div>'
    elif answer is not None and answer.right is False:
        note = f'<div class="was quiet">truth {escape(truth)}</div>'
    else:
        note = '<div class="was">&nbsp;</div>'
    caption = look.captions[place] if look.captions else ""
    return markup.picture(look.faces[place], truth, words, note, flipped=bool(was), caption_html=caption)


def _line(look: Views, answers: Sequence[Answer], dense: Sequence[Answer], before: Sequence[Answer], place: int) -> str:
    answer, was = _at(answers, place), _was(answers, dense, place)
    if answer is None:
        return markup.line(look.faces[place], "")
    # With two classes the probability of the second says it all: "P(positive) 0.93".
    if answer.detail and answer.probability is not None:
        reply = f"<b>{escape(answer.detail)}</b>"
    else:
        reply = f"<b>{escape(answer.label)}</b> {escape(_sure(answer, look))}"
    if was:
        reply += f" <em>was {escape(was)}</em>"
    elif back := _back(answers, dense, before, place):
        reply += f' <em class="back">back from {escape(back)}</em>'
    elif answer.right is False:
        reply += f" · truth {escape(look.truths[place])}"
    return markup.line(look.faces[place], reply, flipped=bool(was))


def _written_line(
    look: Views, answers: Sequence[Answer], dense: Sequence[Answer], before: Sequence[Answer], place: int
) -> str:
    """A text with the answer that was written to it; marked are the signs that the dense model writes otherwise."""
    answer, was = _at(answers, place), _was(answers, dense, place)
    if answer is None:
        return markup.line(look.faces[place], "")
    reply = f"<b>{signs_marked(answer.label, was or answer.label)}</b>"
    if was:
        reply += f" <em>was {escape(was)}</em>"
    elif back := _back(answers, dense, before, place):
        reply += f' <em class="back">back from {escape(back)}</em>'
    if answer.right is False and look.truths[place] != was:
        reply += f" · truth {escape(look.truths[place])}"
    return markup.line(look.faces[place], reply, flipped=bool(was), written=True)


def signs_marked(after: str, before: str) -> str:
    """`after`, escaped, with the signs marked that do not stand at the same place of `before`."""
    return "".join(
        f"<mark>{escape(run)}</mark>" if changed else escape(run) for run, changed in sign_runs(after, before)
    )


def _table(look: Views, answers: Sequence[Answer], dense: Sequence[Answer]) -> str:
    rows = []
    for place, face in enumerate(look.faces):
        answer, was = _at(answers, place), _was(answers, dense, place)
        reply = "&nbsp;" if answer is None else escape(answer.label) + (f" <em>was {escape(was)}</em>" if was else "")
        sure = "" if answer is None else _share(answer)
        cells = f'<td class="left">{reply}</td><td>{escape(sure)}</td><td>{escape(look.truths[place])}</td>{face}'
        rows.append(f'<tr class="{"flipped" if was else ""}">{cells}</tr>')
    return markup.table(("answer", "sure", "truth", *look.header), rows)


def _story(look: Views, answers: Sequence[Answer], dense: Sequence[Answer]) -> str:
    """The first story of the strip, written on by both; marked is what the variant writes otherwise."""
    before, after = _at(dense, 0), _at(answers, 0)
    told = "" if before is None else escape(sentence(before.words))
    retold = "" if after is None else marked(after.words, () if before is None else before.words)
    return (
        f'<div class="ce-story"><div class="prompt">{look.faces[0]} …</div><h4 class="dense">dense</h4>'
        f'<h4 class="variant">this variant</h4><div class="told">{told}</div><div class="told">{retold}</div></div>'
    )


def marked(after: Sequence[str], before: Sequence[str]) -> str:
    """`after` as escaped running text, with the words marked that are not in `before` at their place in the text."""
    same = {
        place
        for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
        for place in range(block.b, block.b + block.size)
    }
    return sentence([escape(w) if place in same else f"<mark>{escape(w)}</mark>" for place, w in enumerate(after)])
