"""Observers: functions that are called with every Event, and how they are added and removed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, cast

from attrs import evolve

from rio_chain._core.source_text import name_of
from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain._core.units import flag, short_repr
from rio_chain.chain._functions import is_async
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
        fn: a plain function of one ``Event``. It is called on the thread on which the event happens, and must be quick.
            If it raises, the first error goes to ``threading.excepthook``, and the function is still called for later
            events. ``fn`` may also be an ``Observer``: the new one calls its function, and sees at least as much.
        errors: whether events have the errors themselves. Default: they have the names of the classes.
        values: whether events have the answers of tasks, branches and items. Default: they have none, and there is no
            event ``value``.

    Raises:
        ChainDefinitionError: ``fn`` is not a plain function of one argument.

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
        if callable(given) and (is_async(given) or inspect.iscoroutinefunction(given)):
            raise ChainDefinitionError(
                f"an observer is called in place and can't be awaited; write `def {name_of(given)}(event): ...` "
                f"in place of `async def`, and let it post to a queue what has to be awaited"
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
            if event.error is not None or event.value is not None or event.kind == "value":
                if event.kind == "value" and not self.values:
                    return
                event = self._visible(event)
            got: Any = self.fn(event)
            if got is not None and isinstance(got, Coroutine):
                self._returned(cast("Any", got))
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

    def _returned(self, coroutine: Any) -> None:
        """It is a plain function, and has given a coroutine all the same. Nobody awaits that."""
        coroutine.close()
        raise ChainDefinitionError(
            f"the observer `{name_of(self.fn)}` returned a coroutine, which was closed: an observer is called in place "
            f"and can't be awaited; let it post to a queue what has to be awaited"
        )

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


class Remover:
    """What ``add_observer`` gives: call it, or leave the block of its ``with``, and later runs are not observed."""

    __slots__ = ("_observer",)

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __call__(self) -> None:
        """Remove it. A run that has begun is observed to its end. A second call does nothing.

        A function that was added several times is called until each of them is removed.
        """
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

    A function that is added more than once, here or for a balancer, is called once for each event, with what any of
    these let it see.

    Args:
        fn: a plain function of one ``Event``, or an ``Observer``. It is called in place, by whatever thread something
            happens on, and must be quick. An error that it raises goes to ``threading.excepthook`` once, and it goes on
            being called.
        errors: events have the errors themselves. Default: the names of their classes.
        values: events have the answers of tasks, branches and items. Default: they have none, and there is no event
            ``value``.

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
