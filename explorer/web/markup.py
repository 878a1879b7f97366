"""The few pieces of HTML that the pages are made of. What is called text is escaped here; `*_html` is HTML already."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

NAME_LENGTH = 26


def title(text: str, small: str = "") -> str:
    """The heading of a card, with a few quiet words after it."""
    quiet = f"<small>{escape(small)}</small>" if small else ""
    return f'<p class="ce-title">{escape(text)}{quiet}</p>'


def quiet(text: str) -> str:
    """A small grey line."""
    return f'<div class="ce-quiet">{escape(text)}</div>'


def warning(text: str) -> str:
    """A sentence in amber."""
    return f'<span class="ce-warning" role="alert">{escape(sentence(text))}</span>'


def sentence(text: str) -> str:
    """The text as a whole sentence: a capital first, a full stop last."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def facts(pairs: Sequence[tuple[str, str]], *, wide: bool = False, old: Sequence[str] = ()) -> str:
    """Names and values in two columns; the values named in `old` are dimmed: they wait for new ones."""
    rows = "".join(
        f'<span>{escape(name)}</span><b class="{"ce-old" if name in old else ""}">{escape(value)}</b>'
        for name, value in pairs
    )
    return f'<div class="ce-facts{" wide" if wide else ""}">{rows}</div>'


def table(head: Sequence[str], rows: Sequence[str], *, left: int = 1, tall: bool = False) -> str:
    """A table of rows (`<tr>…</tr>`) under its column titles, the first `left` of them aligned left."""
    titles = "".join(
        f'<th class="{"left" if place < left else ""}">{escape(name)}</th>' for place, name in enumerate(head)
    )
    box = "ce-scroll tall" if tall else "ce-scroll"
    return (
        f'<div class="{box}" tabindex="0"><table class="ce-table"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(cells: Sequence[str], *, left: int = 1, flipped: bool = False) -> str:
    """A table row of texts, the first `left` of them aligned left."""
    inside = "".join(
        f'<td class="{"left" if place < left else ""}">{escape(cell)}</td>' for place, cell in enumerate(cells)
    )
    return f'<tr class="flipped">{inside}</tr>' if flipped else f"<tr>{inside}</tr>"


def picture(
    address: str, truth: str, answer_html: str, note_html: str = "", *, flipped: bool = False, caption_html: str = ""
) -> str:
    """An image example with the answer under it; between the two what is asked about it, where something is."""
    asked = f'<div class="question">{caption_html}</div>' if caption_html else ""
    shows = f"about which the answer is {truth}" if caption_html else f"of {truth}"
    return (
        f'<div class="ce-example{" flipped" if flipped else ""}"><span class="picture">'
        f'<img src="{escape(address)}" alt="A picture {escape(shows)}"></span>{asked}'
        f'<div class="answer">{answer_html}</div>{note_html}</div>'
    )


def line(words_html: str, reply_html: str, *, flipped: bool = False, written: bool = False) -> str:
    """A text example with the answer at its right; `written` sign after sign, it stands in letters of one width."""
    kinds = "ce-line" + (" flipped" if flipped else "") + (" written" if written else "")
    return (
        f'<div class="{kinds}"><span class="words">{words_html}</span>'
        f'<span class="reply">{reply_html}&nbsp;</span></div>'
    )


def bar(name: str, shown: str, words: str, width: float, label: str, *, kind: str = "", ground: float = 100.0) -> str:
    """One bar of a list: its short name, a filled width over a pale one, `words` on hovering."""
    tip = f'title="{escape(words or name)}"'
    return (
        f'<span class="layer" {tip}>{escape(shown)}</span><span class="bar" {tip}>'
        f'<b style="width:{ground:.1f}%"></b><i class="{kind}" style="width:{width:.1f}%"></i></span>'
        f'<span class="share" {tip}>{escape(label)}</span>'
    )


def bars(rows: Sequence[str], label: str) -> str:
    """A list of bars, named for screen readers."""
    return f'<div class="ce-bars" tabindex="0" role="list" aria-label="{escape(label)}">{"".join(rows)}</div>'
