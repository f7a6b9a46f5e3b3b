"""Makes a call in the background: the caller has an old answer already, and no caller waits for the new one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._blocking_call import Correctable
from rio_chain.engine._current_run import CURRENT, Strand
from rio_chain.engine._discarded_results import close_all
from rio_chain.engine._frames import OuterExpired
from rio_chain.engine._instructions import EnterOp, Op
from rio_chain.engine._leave import asked_about
from rio_chain.engine._runtime_protocol import SpawnedStrand
from rio_chain.errors import CallbackFailed
from rio_chain.policies import Policy
from rio_chain.policies._permit import Permit
from rio_chain.results._outcome import Failed

Walk = Callable[..., Any]
"""``interpret``."""


class Behind(NamedTuple):
    """The part of a chain inside one of the layers of an ADMIT."""

    interpret: Walk
    ops: tuple[Op, ...]
    at: int
    """The place of the ADMIT."""
    depth: int
    """The number of its layers inside."""
    value: Any

    async def run(self, strand: Strand) -> Any:
        """Its value, or ``Failed``."""
        leave_at = cast("EnterOp", self.ops[self.at]).leave_at
        now = strand.rt.now()
        return await self.interpret(strand, self.ops, self.at, leave_at + 1, self.value, now, self.depth)


def refresh(strand: Strand, policy: Policy, permit: Permit, behind: Behind) -> None:
    """Begin the call in a strand of its own. An old answer is good enough, so it is no error if it can't be begun."""
    once = [permit]
    try:
        spawned: SpawnedStrand = strand.rt.spawn(partial(_refreshed, policy, once, behind))
    except (MemoryError, RuntimeError):
        _drop(once)
        return
    spawned.add_waker(partial(_drop, once))


def _drop(once: list[Permit]) -> None:
    """The strand has ended; perhaps it never began."""
    try:
        permit = once.pop()
    except IndexError:
        return
    surely(permit.dropped)


async def _refreshed(policy: Policy, once: list[Permit], behind: Behind) -> None:
    root = CURRENT.get()
    assert root is not None  # noqa: S101 - ``spawn`` has set it
    own = root.fork()
    CURRENT.set(own)
    try:
        got = await behind.run(own)
        if type(got) is Failed:
            once.pop().failed(got.error)
            return
        try:
            found = await asked_about(own, policy, got)
        except CallbackFailed as error:
            await close_all(own, (got,))
            once.pop().failed(error)
            return
        permit = once.pop()
        if found:
            cast("Correctable", permit).correct(iter(found))
        permit.succeeded(got)
    except OuterExpired:
        pass  # its time is over, and the old answer stays
    finally:
        own.end()
        _drop(once)
