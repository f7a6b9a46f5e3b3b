"""Finds the cancellation of a loop in an error: in its context, or in its group.

``cancelled`` is what a task of that loop gets when it is cancelled.
"""

from __future__ import annotations

from typing import cast


def answers_cancel(error: BaseException, cancelled: type[BaseException]) -> bool:
    """Whether it was raised while a cancellation was handled, as the errors of clean-ups are.

    What a task counts in ``cancelling`` does not tell: where one task of a TaskGroup fails while the group waits for
    all, that of Python 3.11 cancels its parent and never takes it back. Of a group, all must be such errors: one that
    is not, is what the others were cancelled for.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(answers_cancel(part, cancelled) for part in group.exceptions)
    seen = set[int]()
    context: BaseException | None = error
    while context is not None and id(context) not in seen:  # users make cycles of them
        if isinstance(context, cancelled):
            return True
        seen.add(id(context))
        context = context.__context__
    return False


def cancelled_part(error: BaseException, cancelled: type[BaseException]) -> BaseException | None:
    """The cancellation in it: alone, or in a nursery's group, perhaps with errors from the clean-up beside it."""
    if isinstance(error, cancelled):
        return error
    if isinstance(error, BaseExceptionGroup):
        found, rest = cast("BaseExceptionGroup[BaseException]", error).split(cancelled)
        if rest is None or isinstance(rest, Exception):
            return found
    return None


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in it that is no group itself."""
    error = group.exceptions[0]
    if not isinstance(error, BaseExceptionGroup):
        return error
    return first_error(cast("BaseExceptionGroup[BaseException]", error))
