"""Finds the cancellation of a loop in an error: in its context, or in its group.

``cancelled`` is the exception that a cancelled task of that loop gets.
"""

from __future__ import annotations

from typing import cast


def answers_cancel(error: BaseException, cancelled: type[BaseException]) -> bool:
    """Whether the error was raised while a cancellation was handled, as the errors of clean-ups are.

    The count in ``cancelling`` is not enough. If a task of a TaskGroup fails while the group waits for all of them,
    Python 3.11 cancels the parent and never takes that back. In a group, all errors must be such errors: one that is
    not is the reason why the others were cancelled.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(answers_cancel(part, cancelled) for part in group.exceptions)
    seen = set[int]()
    context: BaseException | None = error
    while context is not None and id(context) not in seen:  # contexts may form a cycle
        if isinstance(context, cancelled):
            return True
        seen.add(id(context))
        context = context.__context__
    return False


def cancelled_part(error: BaseException, cancelled: type[BaseException]) -> BaseException | None:
    """The cancellation in an error: the error itself, or in the group of a nursery, perhaps with clean-up errors."""
    if isinstance(error, cancelled):
        return error
    if isinstance(error, BaseExceptionGroup):
        found, rest = cast("BaseExceptionGroup[BaseException]", error).split(cancelled)
        if rest is None or isinstance(rest, Exception):
            return found
    return None


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in it that is not a group."""
    error = group.exceptions[0]
    if not isinstance(error, BaseExceptionGroup):
        return error
    return first_error(cast("BaseExceptionGroup[BaseException]", error))
