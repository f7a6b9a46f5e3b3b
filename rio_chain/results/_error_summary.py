"""The errors that a Response keeps: the first and the last unchanged, of the others only class and text."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from rio_chain.errors import Skipped, describe_error

KEPT = 10
"""This many of the first errors are kept unchanged, and as many of the last."""
_LONGEST = 200
"""The most characters of the text of a summary."""
Class = type[Any]


@frozen(repr=False)
class ErrorSummary:
    """What a Response keeps of an error if there are many: its class, and its text, which is cut if it is long.

    The error itself is not kept, as it may hold the answer of a server or other large objects.

    Attributes:
        type: the class of the error.
        text: ``str(error)``, of which at most 200 characters are kept.

    Example:
        >>> from rio_chain import Task
        >>> errors = Task(int).retry(30, backoff=None)("no number").run().only.errors
        >>> len(errors), type(errors[9]), type(errors[10]), type(errors[-10])
        (31, <class 'ValueError'>, <class 'rio_chain.results._error_summary.ErrorSummary'>, <class 'ValueError'>)
        >>> errors[10]
        ErrorSummary(ValueError, "invalid literal for int() with base 10: 'no number'")
    """

    type: Class
    text: str

    def __str__(self) -> str:
        return f"{self.type.__name__}: {self.text}" if self.text else self.type.__name__

    def __repr__(self) -> str:
        return f"ErrorSummary({self.type.__name__}, {self.text!r})"


def summary_of(error: object) -> Any:
    """The summary of an error. A Skipped stays a Skipped, with the summary of its cause."""
    if isinstance(error, ErrorSummary) or error is None:
        return error
    if isinstance(error, Skipped):
        return Skipped(summary_of(error.cause))
    return ErrorSummary(type(error), describe_error(error, str, _LONGEST))


def class_of(error: object) -> type[Any]:
    """The class of an error, or of the error that a summary describes."""
    return error.type if isinstance(error, ErrorSummary) else type(error)


def add_error(errors: list[Any], error: Any) -> tuple[Any, Any] | None:
    """Add an error to a list of errors. If it makes another one a summary, gives that error and its summary."""
    errors.append(error)
    place = len(errors) - KEPT - 1
    if place < KEPT:
        return None
    old = errors[place]
    if isinstance(old, ErrorSummary):
        return None
    new, before = summary_of(old), errors[place - 1]
    if isinstance(before, ErrorSummary) and new == before:
        new = before  # equal summaries in sequence share one object
    errors[place] = new
    return old, new
