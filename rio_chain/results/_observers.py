"""Observers: functions that are called with every Event, and how one is called."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from itertools import count
from types import TracebackType
from typing import Any, Self

from attrs import evolve

from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain._core.units import flag, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._checks import callback
from rio_chain.results._events import ErrorName, Event, error_name

Observe = Callable[[Event], object]


class PausingObserver:
    """An observer that may have nothing to do. It is asked before each run, and need not observe that."""

    __slots__ = ()

    def idle(self) -> bool:
        """Whether it wants no events of a run that begins now."""
        raise NotImplementedError


class Observer:
    """A function that is called with every Event, and what it may see. ``Balancer(observers=[...])`` takes one.

    Args:
        fn: a plain function of one ``Event``. It is called in place, by whatever thread something happens on, and must
            be quick. An error that it raises goes to ``threading.excepthook`` once, and it goes on being called.
            An ``Observer`` may be given, too: the new one calls the same function, and sees what that one sees as well.
        errors: events have the errors themselves. Default: the names of their classes.
        values: events have the answers of tasks, branches and items. Default: they have none.

    Raises:
        ChainDefinitionError: ``fn`` is no plain function of one argument.

    Example:
        >>> from rio_chain import Balancer, Task
        >>> from rio_chain.observers import Observer
        >>> seen = []
        >>> with Balancer("thread", observers=[Observer(seen.append, values=True)]) as balancer:
        ...     outcome = balancer.run(Task(len)("four"))
        >>> [event.value for event in seen if event.kind == "finished"]
        [4]
    """

    __slots__ = ("_reported", "errors", "fn", "values")

    def __init__(self, fn: Observe | Observer, *, errors: bool = False, values: bool = False) -> None:
        given: Any = fn.fn if isinstance(fn, Observer) else fn
        if inspect.iscoroutinefunction(given) or inspect.iscoroutinefunction(getattr(given, "__call__", None)):  # noqa: B004 - its kind is asked for
            name = getattr(given, "__name__", type(given).__name__)
            raise ChainDefinitionError(
                f"an observer is called in place and can't be awaited; write `def {name}(event): ...` in place of "
                f"`async def`, and let it post to a queue what has to be awaited"
            )
        self.fn: Observe = callback(given, "observer", "a plain function of one Event, as in add_observer(seen.append)")
        self.errors = flag(errors, "errors")
        self.values = flag(values, "values")
        self._reported: list[None] = [None]  # popped by the first error
        if isinstance(fn, Observer):
            self.errors, self.values = self.errors or fn.errors, self.values or fn.values

    def __call__(self, event: Event) -> None:
        """Call it with what it may see of the event. Only Ctrl-C in it goes on."""
        try:
            self.fn(self._visible(event))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - what happens in a run does not depend on its observers
            self._report(error)

    def _visible(self, event: Event) -> Event:
        hidden: dict[str, Any] = {}
        if event.error is not None and not self.errors:
            hidden["error"] = ErrorName(error_name(event.error))
        if event.value is not None and not self.values:
            hidden["value"] = None
        return evolve(event, **hidden) if hidden else event

    def _report(self, error: BaseException) -> None:
        try:
            self._reported.pop()
        except IndexError:
            return
        report_unhandled(error)

    def __repr__(self) -> str:
        return f"<Observer {short_repr(self.fn)}>"


OBSERVERS: list[Observer] = []
"""Those of the whole process. Adding to a list and removing from it are atomic, so there is no lock."""
ENDS: frozenset[str] = frozenset({"attempt_ended", "request_ended"})
"""Kinds whose observers are called in reverse, so that what each has attached to the context is detached in order."""
_numbers = count(1)
_calling = threading.local()


class Remover:
    """What ``add_observer`` gives: call it, or leave the block of its ``with``, and later runs are not observed."""

    __slots__ = ("_observer",)

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __call__(self) -> None:
        """Remove it. A run that has begun is observed to its end. A second call does nothing."""
        with suppress(ValueError):  # it was removed before
            OBSERVERS.remove(self._observer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self()

    def __repr__(self) -> str:
        return f"<Remover of {self._observer!r}{'' if self._observer in OBSERVERS else ', removed'}>"


def add_observer(fn: Observe | Observer, *, errors: bool = False, values: bool = False) -> Remover:
    """Call a function with every ``Event`` of every run that begins in this process from now on.

    Args:
        fn: a plain function of one ``Event``, or an ``Observer``. It is called in place, by whatever thread something
            happens on, and must be quick. An error that it raises goes to ``threading.excepthook`` once, and it goes on
            being called.
        errors: events have the errors themselves. Default: the names of their classes.
        values: events have the answers of tasks, branches and items. Default: they have none.

    Returns:
        What removes it: call it, or use it as a context manager. Runs that have begun are observed to their end.

    Raises:
        ChainDefinitionError: ``fn`` is no plain function of one argument.

    Example:
        >>> from rio_chain import Task, add_observer
        >>> def show(event):
        ...     if event.kind == "attempt_ended":
        ...         print(event.task, event.attempt, event.status)
        >>> with add_observer(show):
        ...     outcome = Task(len)("four").run()
        len 1 succeeded
    """
    observer = Observer(fn, errors=errors, values=values)
    OBSERVERS.append(observer)
    return Remover(observer)


def checked_observers(given: Iterable[Observe | Observer]) -> tuple[Observer, ...]:
    """Those that a balancer was given."""
    got: Any = given
    if isinstance(got, str) or not isinstance(got, Iterable):
        raise ChainDefinitionError(
            f"`observers` must be a list of functions, as in Balancer(observers=[fn]); got {short_repr(got)}"
        )
    return tuple(one if isinstance(one, Observer) else Observer(one) for one in given)


def observers_now(own: Sequence[Observer] = ()) -> tuple[Observer, ...]:
    """Those of a run that begins here. None for one that an observer itself begins, or it would observe that again."""
    if calling():
        return ()
    found = tuple(OBSERVERS)
    if own:
        known = [other.fn for other in found]
        found = (*(_joined(one, own) for one in found), *(one for one in own if not any(one.fn is fn for fn in known)))
    return tuple([one for one in found if not (isinstance(one.fn, PausingObserver) and one.fn.idle())])


def _joined(observer: Observer, own: Sequence[Observer]) -> Observer:
    """Its function is called once for each event, and sees what it may see by any of these."""
    same = [observer, *(one for one in own if one.fn is observer.fn)]
    errors, values = any(one.errors for one in same), any(one.values for one in same)
    if (errors, values) == (observer.errors, observer.values):
        return observer
    both = copy(observer)  # an error in it is still reported once
    both.errors, both.values = errors, values
    return both


def next_number() -> int:
    """The number of one more run."""
    return next(_numbers)


def calling() -> bool:
    """Whether the code that asks was called by an observer."""
    return getattr(_calling, "deep", 0) > 0


@contextmanager
def unobserved() -> Generator[None]:
    """What begins in this block, on this thread, is observed by nobody: the runs of a simulation."""
    deep = getattr(_calling, "deep", 0)
    _calling.deep = deep + 1
    try:
        yield
    finally:
        _calling.deep = deep


def deliver(observers: Sequence[Observer], event: Event) -> None:
    """Call the observers with an event, in the thread and context of the code that calls this.

    Raises:
        KeyboardInterrupt: Ctrl-C in one of them, the first. All were called.
    """
    interrupt: KeyboardInterrupt | None = None
    deep = getattr(_calling, "deep", 0)
    _calling.deep = deep + 1
    try:
        for observer in reversed(observers) if event.kind in ENDS else observers:
            try:
                observer(event)
            except KeyboardInterrupt as error:
                interrupt = interrupt or error
    finally:
        _calling.deep = deep
    if interrupt is not None:
        raise interrupt
