"""The one error family: what was asked, where, and what to do instead."""

from __future__ import annotations


class ExplorerError(Exception):
    """Something that the person at the keyboard can put right.

    Parameters
    ----------
    what: what is wrong, as one plain clause ("sparsity is 1.4, outside 0 to 1").
    where: of which step, layer, file or argument ("step 2, Prune").
    instead: what to do about it ("give a share between 0 and 1").
    """

    def __init__(self, what: str, *, where: str | None = None, instead: str | None = None) -> None:
        self.what = what
        self.where = where
        self.instead = instead
        super().__init__(str(self))

    def __str__(self) -> str:
        sentence = f"{self.where}: {self.what}" if self.where else self.what
        sentence = sentence.rstrip(". ")
        return f"{sentence}. {_capitalised(self.instead)}." if self.instead else f"{sentence}."

    def at(self, where: str) -> ExplorerError:
        """The same error, told from further out (`where` is put in front of the place)."""
        place = f"{where}, {self.where}" if self.where else where
        return type(self)(self.what, where=place, instead=self.instead)


def _capitalised(sentence: str) -> str:
    sentence = sentence.strip().rstrip(".")
    return sentence[:1].upper() + sentence[1:]
