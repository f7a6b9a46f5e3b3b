"""Errors that pickle can't carry as they are, each for a reason of its own, and functions that raise them in a lane."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, NoReturn

from returns.result import Failure


class Two(Exception):
    """Hands on one argument, and takes two."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


class Wrapped(Exception):
    """Can be made again, with another text."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no {name}")


@dataclass(frozen=True)
class Frozen(Exception):
    """Refuses its attributes, and a note."""

    code: int


class Locked(Exception):
    """Holds what can't be pickled."""

    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()
        self.code = 423


class Needs(Exception):
    """Its text is made of what can't be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def __str__(self) -> str:
        return f"held: {self.lock.locked()}"


class Slotted(Exception):
    """Keeps what it knows in a slot."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"slot {self.code}"


class DiskFull(OSError):
    """One of Python's own, with arguments of its own."""

    def __init__(self, disk: str) -> None:
        super().__init__(28, "no space", disk)


class Unkind(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise TypeError("no text")


class Hostile(Exception):
    """Refuses to be pickled, and ends whoever tries."""

    def __reduce__(self) -> NoReturn:
        raise SystemExit(7)


class Stop(BaseException):
    """No Exception, and it can't be made again."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


def two() -> Exception:
    return Two(507, "the disk is full")


def local() -> Exception:
    class Local(ValueError):
        def __init__(self, code: int, text: str) -> None:
            super().__init__(f"{code} {text}")
            self.lock = threading.Lock()

    return Local(507, "of a class that only the process has")


def group() -> Exception:
    return ExceptionGroup("several", [two(), ExceptionGroup("inner", [Frozen(7), ValueError("plain")])])


def unicode() -> Exception:
    class Lost(UnicodeDecodeError):
        def __init__(self) -> None:
            super().__init__("ascii", b"\xff", 0, 1, "not here")

    return Lost()


MAKERS: dict[str, Any] = {
    "two": two,
    "wrapped": lambda: Wrapped("room"),
    "frozen": lambda: Frozen(7),
    "locked": Locked,
    "needs": Needs,
    "slotted": lambda: Slotted(3),
    "disk": lambda: DiskFull("sda"),
    "unkind": Unkind,
    "hostile": lambda: Hostile("let me be"),
    "local": local,
    "unicode": unicode,
    "group": group,
    "stop": lambda: Stop(why="at once"),
    "plain": lambda: ValueError("plain"),
}
"""How each is made."""


def fail(which: str) -> NoReturn:
    """Raise it."""
    error = MAKERS[which]()
    raise error


def give(which: str) -> Failure[Any]:
    """Return it as a value."""
    return Failure(MAKERS[which]())
