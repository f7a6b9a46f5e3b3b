"""Awaits an awaitable in another context than that of the code which awaits it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


def _nothing(*_: Any) -> None:
    pass


class AwaitedInContext:
    """An awaitable that a sync function returned, such as the coroutine of ``lambda url: client.get(url)``.

    Each step of it runs in the context in which the function was called, on whichever thread or task it is awaited.

    Args:
        context: that context.
        awaitable: the awaitable that the function returned.
        ends: called in the context, with the error or None, and with the answer.
    """

    __slots__ = ("_awaitable", "_context", "_ends")

    def __init__(self, context: Context, awaitable: Any, ends: Callable[[Any, Any], None] = _nothing) -> None:
        self._context = context
        self._awaitable = awaitable
        self._ends = ends

    def __await__(self) -> Generator[Any, Any, Any]:
        run = self._context.run
        try:
            steps: Any = run(self._awaitable.__await__)
            asked = run(next, steps)
            while True:
                try:
                    sent = yield asked
                except GeneratorExit:
                    run(getattr(steps, "close", _nothing))
                    raise
                except BaseException as error:
                    if not hasattr(steps, "throw"):
                        raise
                    asked = run(steps.throw, error)
                else:
                    asked = run(next, steps) if sent is None else run(steps.send, sent)
        except StopIteration as over:
            got = over.value
        except BaseException as error:
            run(self._ends, error, None)
            raise
        run(self._ends, None, got)
        return got

    def close(self) -> None:
        """Close it without awaiting it."""
        self._context.run(self._ends, GeneratorExit(), None)
        getattr(self._awaitable, "close", _nothing)()
