"""Text: a string of several lines that a prompt or a notebook shows without quotes and escapes."""

from __future__ import annotations


class Text(str):
    """A ``str`` whose repr is the text itself, so you need no ``print`` to read it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
