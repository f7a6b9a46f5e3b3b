"""Which observers a run has, and how they are called with an Event."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from itertools import count
from types import BuiltinMethodType, MethodType

from rio_chain.results._events import Event
from rio_chain.results._observers import OBSERVERS, Observe, Observer, PausingObserver

ENDS: frozenset[str] = frozenset({"attempt_ended", "request_ended"})
"""Kinds whose observers are called in reverse, so that what each has attached to the context is detached in order."""
_METHODS = (MethodType, BuiltinMethodType)
_numbers = count(1)


class _Mark:
    """An observer is called, or was called by the code that began what has this in its context."""

    __slots__ = ("calling", "outer", "owner")

    def __init__(self, owner: object, outer: _Mark | None) -> None:
        self.owner = owner
        self.outer = outer
        self.calling = True  # the call goes on


AGE: ContextVar[float | None] = ContextVar("rio_chain_event_age", default=None)
"""While an event is delivered later than it happened: how many seconds later. It then comes from another process."""
_MARK: ContextVar[_Mark | None] = ContextVar("rio_chain_observing", default=None)
_BLOCK = _Mark(None, None)
"""That of ``unobserved``, in which no observer is called."""
_BLOCK.calling = False


def begun_unobserved() -> bool:
    """Whether runs that begin here are not observed, because an observer begins them, maybe in a task of its own."""
    return _MARK.get() is not None


def observers_now(own: Sequence[Observer] = ()) -> tuple[Observer, ...]:
    """Those of a run that begins here, each once. None for one that an observer begins, or it would observe that."""
    if _MARK.get() is not None:
        return ()
    found = (*OBSERVERS, *own) if own else tuple(OBSERVERS)
    if len(found) > 1:
        found = _once(found)
    return tuple([one for one in found if not (isinstance(one.fn, PausingObserver) and one.fn.idle())])


def _once(observers: Sequence[Observer]) -> tuple[Observer, ...]:
    same: list[list[Observer]] = []
    for one in observers:
        group = next((group for group in same if _same(group[0].fn, one.fn)), None)
        if group is None:
            same.append([one])
        else:
            group.append(one)
    return tuple([group[0] if len(group) == 1 else _joined(group) for group in same])


def _same(fn: Observe, other: Observe) -> bool:
    """Whether it is one object, or one method of one object: a method is made anew each time that it is asked for.

    No other objects are compared: they may be equal and still be two.
    """
    return fn is other or (type(fn) in _METHODS and type(other) is type(fn) and fn == other)


def _joined(observers: Sequence[Observer]) -> Observer:
    """The first of them, which sees what any of them may see."""
    first = observers[0]
    errors, values = any(one.errors for one in observers), any(one.values for one in observers)
    if (errors, values) == (first.errors, first.values):
        return first
    both = copy(first)  # an error in it is still reported once
    both.errors, both.values = errors, values
    return both


def next_number() -> int:
    """The number of one more run."""
    return next(_numbers)


def calling() -> bool:
    """Whether the code that asks was called by an observer, which waits for it."""
    mark = _MARK.get()
    return mark is not None and mark.calling


def calling_for(owner: object) -> bool:
    """Whether it was called by an observer with an event of a run of this owner, such as a balancer."""
    mark = _MARK.get()
    while mark is not None:
        if mark.calling and mark.owner is owner:
            return True
        mark = mark.outer
    return False


@contextmanager
def unobserved() -> Generator[None]:
    """Runs that begin in this block are not observed, such as those of an exporter or of a simulation.

    Runs that an observer begins itself, or in a task that it starts, are not observed anyway. But a thread that an
    observer starts, or that reads a queue of events, has a context of its own. It needs this block. Otherwise each run
    that it begins is observed too, and may cause another run, without end.

    Example:
        >>> from rio_chain import Task, add_observer
        >>> from rio_chain.observers import unobserved
        >>> seen = []
        >>> with add_observer(seen.append), unobserved():
        ...     outcome = Task(len)("four").run()
        >>> seen
        []
    """
    token = _MARK.set(_BLOCK)
    try:
        yield
    finally:
        _MARK.reset(token)


def deliver(observers: Sequence[Observer], event: Event, owner: object = None) -> None:
    """Call the observers with an event, in the thread and context of the code that calls this.

    Args:
        observers: whom to call.
        event: with what.
        owner: to what the run belongs, for ``calling_for``.

    Raises:
        KeyboardInterrupt: Ctrl-C in one of them, the first. All were called.
    """
    interrupt: KeyboardInterrupt | None = None
    mark = _Mark(owner, _MARK.get())
    token = _MARK.set(mark)
    try:
        for observer in reversed(observers) if event.kind in ENDS else observers:
            try:
                observer(event)
            except KeyboardInterrupt as error:
                interrupt = interrupt or error
    finally:
        mark.calling = False
        mark.owner = mark.outer = None  # a task that an observer has started may keep the mark for long
        _MARK.reset(token)
    if interrupt is not None:
        raise interrupt
