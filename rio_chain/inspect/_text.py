"""Text: a string of several lines that a prompt or a notebook shows as it is."""

from __future__ import annotations


class Text(str):
    """A ``str`` whose repr is itself, so that looking at it needs no ``print``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
