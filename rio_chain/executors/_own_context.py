"""Runs a coroutine in the task of its caller, but in a context of its own.

Neither asyncio nor trio can replace the context of a running task. So each step of the coroutine runs in the other
context. What it yields is passed to the loop, which sees one task. This costs a tenth of a second task.
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
"""The most such coroutines inside each other. Each adds its frames to the task, and a chain may call itself."""


def may_nest() -> bool:
    """Whether one more is allowed. If not, the coroutine needs a task of its own."""
    strand = CURRENT.get()
    return strand is None or strand.depth < MOST


@types.coroutine
def in_own_context(work: Callable[[], Awaitable[T]]) -> Generator[Any, Any, T]:
    """Await what ``work`` returns, in a copy of the caller's context, so that what it sets is not seen outside.

    ``frames_of`` looks for the variable ``driven_coroutine``.
    """
    made: Any = work()
    driven_coroutine: Coroutine[Any, Any, T] = made if kind_of(made) is types.CoroutineType else awaited(made)
    run, send = copy_context().run, driven_coroutine.send
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            what = run(send, value) if error is None else run(driven_coroutine.throw, error)
        except StopIteration as stop:  # the end of the coroutine, which can't raise one itself
            got: T = stop.value
            return got
        finally:
            error = value = None  # an error's traceback keeps this frame, and trio sends errors as values
        try:
            value = yield what
        except GeneratorExit:
            run(driven_coroutine.close)
            raise
        except BaseException as exc:  # noqa: BLE001 - thrown in outside of this handler, or it would be a context
            error = exc
