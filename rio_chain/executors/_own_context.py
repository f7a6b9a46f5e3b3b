"""A coroutine that runs in the task of its caller and in a context of its own.

The context of a running task can't be replaced, neither on asyncio nor on trio. So each step of the coroutine is made
in the other context. What it yields goes on to the loop, which sees one task. This costs a tenth of a second task.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any, TypeVar

from rio_chain._core.awaited import awaited
from rio_chain.engine._current_run import CURRENT
from rio_chain.engine._runtime_protocol import kind_of

T = TypeVar("T")
MOST = 10
"""Of these, one in the other. Each adds its frames to those of the task, and a chain may call itself to any depth."""


def may_nest() -> bool:
    """Whether one more is not too many. Else it has to be a task of its own."""
    strand = CURRENT.get()
    return strand is None or strand.depth < MOST


@types.coroutine
def in_own_context(work: Callable[[], Awaitable[T]]) -> Generator[Any, Any, T]:
    """Await what ``work`` gives, in a copy of the caller's context: nothing that it sets there is seen outside.

    ``frames_of`` looks for ``driven_coroutine``.
    """
    made: Any = work()
    driven_coroutine: Coroutine[Any, Any, T] = made if kind_of(made) is types.CoroutineType else awaited(made)
    run, send = copy_context().run, driven_coroutine.send
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            what = run(send, value) if error is None else run(driven_coroutine.throw, error)
        except StopIteration as stop:  # no coroutine raises one: this is its end
            got: T = stop.value
            return got
        finally:
            error = value = None  # an error keeps this frame, and trio sends errors as values
        try:
            value = yield what
        except GeneratorExit:
            run(driven_coroutine.close)
            raise
        except BaseException as exc:  # noqa: BLE001 - thrown in, outside of this handler: it is no context of other errors
            error = exc
