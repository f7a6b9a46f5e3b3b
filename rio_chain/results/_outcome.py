"""The result of a run: an Outcome, with one Response per task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Success

from rio_chain._core import hooks
from rio_chain._core.notebook_repr import Renderable
from rio_chain._core.tracebacks import as_kept
from rio_chain._core.units import escape_nonprintable, flag, milliseconds, short_repr
from rio_chain.chain._plan import hedged
from rio_chain.errors import UnknownTask, describe_error
from rio_chain.policies._wrong_loop_errors import ADVICE, is_advised
from rio_chain.results._attempts_note import note_attempts
from rio_chain.results._failed import Failed as Failed  # noqa: PLC0414 - as others import it from here
from rio_chain.results._nested_run import NestedRun
from rio_chain.results._response import Response
from rio_chain.results._task_record import Log

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan
    from rio_chain.inspect.pictures._svg_string import Svg

Out = TypeVar("Out", covariant=True)
Other = TypeVar("Other")


def _several(counts: Mapping[str, int]) -> str:
    """How many items of a task ended with each status, as text; empty if it has no items."""
    return f"  of {sum(counts.values())} items {', '.join(f'{n} {how}' for how, n in counts.items())}" if counts else ""


def _rows(outcome: Outcome[Any], around: str = "", deep: int = 3) -> Iterator[tuple[str, Response]]:
    """The Responses with their names; each is followed by those of the Request that it returned."""
    for response in outcome:
        name = around + response.name
        yield name, response
        if deep and response.nested is not None:
            yield from _rows(response.nested, f"{name}/", deep - 1)


class Outcome(Renderable, Generic[Out]):
    """The result of a run: ``.result``, and one ``Response`` per task in plan order, also for tasks that did not run.

    ``outcome[0]``, ``outcome["name"]``, ``outcome.only``, ``len(outcome)`` and iteration give Responses.
    Times are milliseconds.

    Example:
        >>> from rio_chain import Task
        >>> outcome = Task(len).named("size")("four").run()
        >>> outcome.unwrap(), outcome["size"].attempts
        (4, 1)
        >>> outcome.ok, outcome.value, outcome.error
        (True, 4, None)
    """

    __slots__ = ("_got", "_log", "_times", "plan")

    def __init__(self, plan: Plan, log: Log, got: Any, times: tuple[float, float, float]) -> None:
        self.plan = plan
        self._log = log
        self._got = got  # the value, or Failed
        self._times = times  # posted, began, ended

    @property
    def _failed(self) -> bool:
        return type(self._got) is Failed

    @property
    def _value(self) -> Any:
        """The value, or the error that ended the run."""
        got = self._got
        return got.error if type(got) is Failed else got

    @property
    def result(self) -> Success[Out] | Failure[Any]:
        """``Success(value)``, or the ``Failure`` that ended the run. A ``match`` of these two covers all cases."""
        got = self._got
        return Failure(got.error) if type(got) is Failed else Success(got)

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return not self._failed

    @property
    def value(self) -> Out:
        """The value. If the run failed, this raises what ``unwrap()`` raises."""
        return self.unwrap()

    @property
    def error(self) -> Any:
        """The error that ended the run; None if it succeeded."""
        return self._value if self._failed else None

    def unwrap(self) -> Out:
        """The value. If the run failed, this raises its error (``UnwrapFailedError`` if that is not an exception).

        The error is the same object that your function raised. After several attempts it has a note: "3 attempts: ...".
        """
        if not self._failed:
            return self._got  # type: ignore[no-any-return]  # a run gives values of any type
        if not isinstance(self._value, BaseException):
            raise UnwrapFailedError(self.result)
        note_attempts(self._value, self)
        try:
            raise as_kept(self._value)
        finally:
            del self  # else the traceback of the error would keep the Outcome alive

    def value_or(self, default: Other) -> Out | Other:
        """The value, or ``default`` if the run failed."""
        return default if self._failed else self._value

    @property
    def elapsed(self) -> float:
        """Milliseconds from the start of the run to its end, without the time in a balancer's queue."""
        return milliseconds(self._times[2] - self._times[1])

    @property
    def queued(self) -> float:
        """Milliseconds that it waited in a balancer's queue before it began."""
        return milliseconds(self._times[1] - self._times[0])

    @property
    def responses(self) -> tuple[Response, ...]:
        """One Response per task, in plan order."""
        return tuple(self)

    def _response(self, index: int) -> Response:
        got = self._got
        cause = got.error if type(got) is Failed else None
        return Response(
            self.plan.tasks[index].name,
            self._log[index],
            cause,
            None,
            self._times[1],
            hedged=index in hedged(self.plan),
        )

    @property
    def only(self) -> Response:
        """The one Response of a run that has exactly one task."""
        if len(self) != 1:
            names = ", ".join(self._names())
            raise UnknownTask(f"`only` needs a chain of one task; this one has {len(self)}: {names}")
        return self._response(0)

    def _names(self) -> list[str]:
        return [task.name for task in self.plan.tasks]

    def _index(self, name: str | int) -> int:
        if not isinstance(name, str):
            try:
                return range(len(self.plan.tasks))[name]
            except IndexError:
                names = self._names()
                raise UnknownTask(
                    f"no task has the index {name}; this run has {len(names)}, from 0: {', '.join(names)}"
                ) from None
        names = self._names()
        name = name if name in names else escape_nonprintable(name)  # names are stored as printable ASCII
        if name in names:
            return names.index(name)
        twins = [n for n in names if n.rpartition("#")[0] == name]
        if twins:
            raise UnknownTask(
                f"{short_repr(name)} is in the chain {len(twins)} times; ask for one of {', '.join(twins)}"
            )
        raise UnknownTask(f"no task is named {short_repr(name)}; this run has {', '.join(names)}")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        from rio_chain.results._outcome_pickle import packed, unpacked  # noqa: PLC0415 - few are pickled

        parts = self.plan, self._log, self._got, self._times
        return unpacked, (type(self), packed(parts, failed=self._failed))

    def __copy__(self) -> Self:
        return self

    def __getitem__(self, key: int | str) -> Response:
        return self._response(self._index(key))

    def __len__(self) -> int:
        return len(self.plan.tasks)

    def __iter__(self) -> Iterator[Response]:
        return map(self._response, range(len(self)))

    def _ipython_key_completions_(self) -> list[str]:
        """The names that a notebook offers after ``outcome["``."""
        return self._names()

    def summary(self) -> str:
        """A table with one line per task (status, attempts and time), and a last line with the result of the run."""
        rows = list(_rows(self))
        width = max(len("task"), *(len(name) for name, _ in rows), 4)
        lines = [f"{'task':{width}}  {'status':9}  attempts  {'elapsed':>10}"]
        lines += [
            f"{name:{width}}  {r.status:9}  {r.attempts:8}  {r.elapsed:7.1f} ms{_several(r.counts)}" for name, r in rows
        ]
        lines.append(f"{'failed' if self._failed else 'succeeded'} in {self.elapsed:.1f} ms: {self._short()}")
        lines += [ADVICE] if self._failed and is_advised(self._value) else []
        return "\n".join(lines)

    def to_dict(self, *, values: bool = False) -> dict[str, Any]:
        """The Outcome as plain data for ``json.dumps``, for logs, tables and reports.

        It has ``ok``, ``error``, ``elapsed_ms``, ``queued_ms``, and ``tasks``: a dict for each Response, with its
        status, attempts, errors and spans. An error is given by its class and its text. ``version`` (now 1) grows when
        a key is renamed or removed.

        Args:
            values: also give the values of the tasks and of the run, unchanged, under ``value``. Default False, as
                values may be large or secret.

        Example:
            >>> from rio_chain import Task
            >>> data = Task(len).named("size")("four").run().to_dict(values=True)
            >>> data["ok"], data["value"], data["tasks"][0]["attempts"]
            (True, 4, 1)
        """
        from rio_chain.results._outcome_data import to_dict  # noqa: PLC0415 - few ask for it

        return to_dict(self, values=flag(values, "values"))

    def timeline(self) -> Svg:
        """A picture of where the time went: a row for each task, with a bar for each call.

        Calls made at once are below each other. A dotted line between two bars is a backoff. The wait before the run
        began is left of 0. The *critical path* is marked: the run would have been faster if one of its tasks had been.
        A chain for many items has one bar for all of them. There are at most 60 rows, for the tasks that took longest.

        Example:
            >>> from rio_chain import Task
            >>> str(Task(len)("four").run().timeline())[:4]
            '<svg'
        """
        return hooks.facade.timeline(self)

    def _short(self) -> str:
        if self._failed and isinstance(self._value, Exception):
            return escape_nonprintable(f"{type(self._value).__name__}: {describe_error(self._value, str)}")
        return short_repr(self._value)

    def __repr__(self) -> str:
        kind = "failed" if self._failed else "succeeded"
        # values may be large or secret
        error = f" ({escape_nonprintable(type(self._value).__name__)})" if self._failed else ""
        return f"<Outcome {kind}{error} in {self.elapsed:.1f} ms, {len(self)} tasks>"


NestedRun.kind = Outcome
