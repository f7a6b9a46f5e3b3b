"""The note on an error that ``unwrap()`` raises after several attempts: their number, and the errors of the others."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from rio_chain._core.forks import after_fork
from rio_chain._core.units import escape_nonprintable
from rio_chain.policies._wrong_loop_errors import is_advised
from rio_chain.results._error_summary import class_of, summary_of

if TYPE_CHECKING:
    from rio_chain.results._response import Response

SHOWN = 3
"""The note has the errors of at most this many attempts."""
NESTED = 10
"""How deep Requests within Requests are searched."""
_LONGEST = 80
"""The most characters of each error in the note."""
_OURS = re.compile(r"\d+ attempts: ")
_WORDS = {
    "exhausted": "no retry is left",
    "no_time": "no time is left for a retry",
    "not_retried": "this error is not retried",
    "stopped": "the stop of the retry says so",
    "budget": "the budget allows no retry",
}

_lock = threading.RLock()


def _renew() -> None:
    global _lock  # noqa: PLW0603 - another thread may hold it when the process forks
    _lock = threading.RLock()


after_fork(_renew)


def note_attempts(error: BaseException, responses: Iterable[Response]) -> None:
    """Add the note, once, because many runs may share the error object. Nothing else of the error is changed."""
    found = next((one for one in _ended(responses) if one.attempts > 1 and one.error is error), None)
    if found is None:
        return
    text = f"{found.attempts} attempts: {_listed(found.errors)} (task {found.name}"
    text += f"; {_WORDS[found.gave_up]})" if found.gave_up is not None else ")"
    with _lock, suppress(Exception):  # a class of errors may refuse notes
        if not is_advised(error) and not _is_noted(error):
            error.add_note(text)


def _ended(responses: Iterable[Response], deep: int = NESTED) -> Iterable[Response]:
    """The Responses, and those inside them, of items or of a returned Request. Each counts its own attempts."""
    for one in responses:
        items = one.items
        if items:
            yield from _ended(items, deep)
            continue
        yield one
        if deep and one.nested is not None:
            yield from _ended(one.nested, deep - 1)


def _listed(errors: Sequence[Any]) -> str:
    """The first errors and the last one, as text."""
    shown = [_short(error) for error in (errors if len(errors) <= SHOWN else (*errors[: SHOWN - 1], errors[-1]))]
    if len(errors) > SHOWN:
        shown.insert(SHOWN - 1, "...")
    return "; ".join(shown)


def _short(error: Any) -> str:
    text = escape_nonprintable(str(summary_of(error)) if isinstance(error, BaseException) else class_of(error).__name__)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _is_noted(error: BaseException) -> bool:
    notes: Any = getattr(error, "__notes__", ())
    return isinstance(notes, list) and any(_OURS.match(str(note)) for note in cast("list[object]", notes))
