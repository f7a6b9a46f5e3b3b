"""The events of a run as a text that a test can compare."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from difflib import ndiff
from itertools import zip_longest
from typing import Any, NamedTuple

from returns.result import Failure

from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.results._error_summary import class_of
from rio_chain.results._outcome import Outcome
from rio_chain.results._response import Response, Span

PLACES = 3
"""Times are rounded to this many places of a millisecond."""


def timeline(outcome: Outcome[Any]) -> str:
    """The events of a run: a line for each task, and one for the run. In virtual time the text is always the same.

    A line has the task, its status, its calls, the start and end in milliseconds since the run began, and the class of
    the error that it ended with. If a task was called more than once, a line for each call follows, in the order in
    which they began. Values are left out.

    Raises:
        ChainDefinitionError: not an Outcome.

    Example:
        >>> from rio_chain import Backoff, Task
        >>> from rio_chain.testing import Script, run_virtual, timeline
        >>> user = Task(Script().delays(20, 30).then_raises(OSError).then("ada")).named("user")
        >>> orders = Task(Script().then_raises(ValueError, after=5)).named("orders")
        >>> page = user.retry(1, backoff=Backoff(base=50, jitter="none")) >> orders >> Task(len)
        >>> print(timeline(run_virtual(page(42))))
        user    succeeded  2 calls    0 -> 100 ms
          call 1  failed      0 ->  20 ms  OSError
          call 2  succeeded  70 -> 100 ms
        orders  failed     1 call   100 -> 105 ms  ValueError
        len     skipped
        failed after 105 ms: ValueError
    """
    _check(outcome)
    tasks = list(outcome)
    lines: list[str] = []
    for line, response in zip(_columns([_row(response) for response in tasks]), tasks, strict=True):
        lines.append(line)
        if len(response.spans) > 1:
            lines += [f"  {call}" for call in _columns([_call(span) for span in response.spans])]
    return "\n".join([*lines, _end(outcome)])


def assert_timeline(outcome: Outcome[Any], expected: str) -> None:
    """Fail unless ``timeline(outcome)`` is this text. Indentation and the width of columns do not matter.

    Args:
        outcome: of a run in virtual time; otherwise the times differ from run to run.
        expected: as ``timeline`` returns it. Begin with ``""``: the error has the text to copy.

    Raises:
        AssertionError: the text differs. The error shows the lines that differ, and the whole text that was found.
        ChainDefinitionError: not an Outcome, or not a string.

    Example:
        >>> from rio_chain import Task
        >>> from rio_chain.testing import Script, assert_timeline, run_virtual
        >>> outcome = run_virtual(Task(Script().then("ada", after=20)).named("user")(42))
        >>> assert_timeline(outcome, '''
        ...     user  succeeded  1 call  0 -> 20 ms
        ...     succeeded after 20 ms
        ... ''')
    """
    given: Any = expected
    if not isinstance(given, str):
        raise ChainDefinitionError(f"`expected` must be a text, as timeline(outcome) gives; got {short_repr(given)}")
    found = timeline(outcome)
    want, got = _plain(expected), _plain(found)
    if want != got:
        difference = "\n".join(line for line in ndiff(want, got) if not line.startswith("?"))
        raise AssertionError(
            f"the run differs (- expected, + happened):\n{textwrap.indent(difference, '    ')}\n"
            f"the whole timeline:\n{textwrap.indent(found, '    ')}"
        )


def _check(outcome: object) -> None:
    if not isinstance(outcome, Outcome):
        raise ChainDefinitionError(
            f"`timeline` takes an Outcome, as run_virtual(page(42)) gives; got {short_repr(outcome)}"
        )


class _Row(NamedTuple):
    """The parts of a line: words, start and end, an error."""

    words: list[str]
    times: tuple[str, str] = ("", "")
    error: str = ""


def _end(outcome: Outcome[Any]) -> str:
    result = outcome.result
    how, error = ("failed", f": {_error(result.failure())}") if isinstance(result, Failure) else ("succeeded", "")
    return f"{how} after {_at(outcome.elapsed)} ms{error}"


def _row(response: Response) -> _Row:
    status: str = response.status
    if response.counts:
        status += f" ({', '.join(f'{n} {how}' for how, n in response.counts.items())})"
    if not response.attempts:
        return _Row([response.name, status])
    calls = "1 call" if response.attempts == 1 else f"{response.attempts} calls"
    times = _at(response.began), _at(response.began + response.elapsed)
    error = "" if response.status == "succeeded" else _error(response.result.failure())
    return _Row([response.name, status, calls], times, error)


def _call(span: Span) -> _Row:
    """The line of one of several calls."""
    number = f"call {span.attempt}" + (f" of replica {span.replica}" if span.replica else "")
    error = "" if span.error is None else _error(span.error)
    return _Row([number, span.status], (_at(span.began), _at(span.ended)), error)


def _at(ms: float) -> str:
    return f"{round(ms, PLACES):.12g}"


def _error(error: object) -> str:
    return escape_nonprintable(class_of(error).__name__)


def _columns(rows: list[_Row]) -> Iterator[str]:
    """The rows with aligned columns; times are aligned right."""
    widths = [max(map(len, column)) for column in zip_longest(*(row.words for row in rows), fillvalue="")]
    began, ended = (max(map(len, column)) for column in zip(*(row.times for row in rows), strict=True))
    for row in rows:
        cells = [word.ljust(width) for word, width in zip(row.words, widths, strict=False)]
        if row.times[0]:
            cells += [f"{row.times[0]:>{began}} -> {row.times[1]:>{ended}} ms", row.error]
        yield "  ".join(cells).rstrip()


def _plain(text: str) -> list[str]:
    """The lines without indentation and padding."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]
