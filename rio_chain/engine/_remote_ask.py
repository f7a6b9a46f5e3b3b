"""Calls a user's predicate or score on the worker that has the value, because only a handle for it is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rio_chain._core.lane_wrapper import packed_wrapper
from rio_chain._core.source_text import name_of
from rio_chain.engine._current_run import Strand
from rio_chain.engine._remote_protocol import ASKED, PieceAnswer, PieceCall, PieceInput, Question, Remote


async def ask_there(
    strand: Strand, remote: Remote, role: str, fn: Callable[..., Any], *args: Any, truth: bool
) -> PieceAnswer:
    """Ask it there. As for ``Remote.send``, there is an answer in any case."""
    rt, run = strand.rt, strand.run
    given = PieceInput(
        number=ASKED,
        spread=False,
        value=tuple(Question(role, fn, args, truth)),
        kept=(),
        seconds_left=strand.deadline - rt.now(),
        rounds=0,
        calls=(),
        replica=0,
        way=(),
        observed=False,
        values=False,
        context=packed_wrapper(),
        holds=False,
    )
    waiter = rt.waiter()
    call = PieceCall(run.plan, given, f"{role} {name_of(fn)}", run.urgency(), waiter.wake)
    remote.send((call,))
    try:
        await waiter.wait()
    except BaseException:
        remote.cancel(call)  # it is not waited for: a predicate has no clean-up
        raise
    assert call.answer is not None  # noqa: S101 - it was woken
    if call.answer.ending == "stopped":  # a limit was over there a moment before it is here
        await rt.waiter().wait()
    return call.answer
