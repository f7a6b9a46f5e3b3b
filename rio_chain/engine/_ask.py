"""Calls functions of the user that are no tasks: predicates, keys, waits and hooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rio_chain.engine._blocking_call import call_blocking
from rio_chain.engine._current_run import Strand
from rio_chain.engine._remote_ask import ask_there
from rio_chain.engine._remote_protocol import Remote, holds
from rio_chain.engine._runtime_protocol import Raised
from rio_chain.errors import CallbackFailed


async def predicate_holds(strand: Strand, role: str, fn: Callable[..., Any], *args: Any) -> bool:
    """Ask a user's predicate. If its answer raises in ``bool()``, that is an error of the predicate, too."""
    said: bool = await ask(strand, role, fn, *args, truth=True)
    return said


def _truth(fn: Callable[..., Any], *args: Any) -> bool:
    return bool(fn(*args))


async def ask(strand: Strand, role: str, fn: Callable[..., Any], *args: Any, truth: bool = False) -> Any:
    """Call a user's predicate or hook. Its error becomes a ``CallbackFailed``, which names it and is never retried."""
    remote = strand.rt.remote
    if remote is not None and any(map(holds, args)):
        return await _answer_from(remote, strand, role, fn, *args, truth=truth)
    called = partial(_truth, fn) if truth else fn
    if strand.rt.places:
        try:
            return called(*args)
        except Exception as exc:  # noqa: BLE001 - any error of a callback becomes a `CallbackFailed`
            error: BaseException = exc
    else:
        got = await call_blocking(strand, called, args)
        if not isinstance(got, Raised):  # `Raised` is also the value of a call that was refused
            return got
        error = got.error
        if not isinstance(error, Exception):
            try:
                raise error
            finally:
                del got, error  # its traceback keeps this frame
    raise CallbackFailed(role, getattr(fn, "__name__", type(fn).__name__), error)


async def _answer_from(
    remote: Remote, strand: Strand, role: str, fn: Callable[..., Any], *args: Any, truth: bool
) -> Any:
    """As ``ask``, where only a handle for the value is here."""
    answer = await ask_there(strand, remote, role, fn, *args, truth=truth)
    try:
        if answer.ending == "value":
            return answer.value
        if isinstance(answer.value, CallbackFailed) or answer.ending == "raised":
            raise answer.value
        raise CallbackFailed(role, getattr(fn, "__name__", type(fn).__name__), answer.value)
    finally:
        del answer  # the traceback of its error keeps this frame
