"""Ends a balancer that was dropped without being closed, and warns.

No thread, task or ticket refers to the ``Balancer`` itself, only to its parts. So it may be collected while its
requests run, and then this is called.
"""

from __future__ import annotations

from functools import partial

from rio_chain._core.unhandled_errors import call_once
from rio_chain._core.users_line import Line
from rio_chain.balancer import _warnings
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._dispatch import Dispatcher
from rio_chain.balancer._host_binding import HostBinding
from rio_chain.balancer._stats import Stats, status_line

DROPPED = "it was dropped"


def state(binding: HostBinding, admission: Admission) -> str:
    """The name of its executor, and whether it is open."""
    return f"{binding.name} {'closed' if admission.closed else 'open'}"


def snapshot(binding: HostBinding, admission: Admission) -> Stats:
    """The present counts."""
    host = binding.host
    return admission.stats(0 if host is None else host.pool.abandoned)


def described(binding: HostBinding, admission: Admission) -> str:
    """Its status line."""
    return status_line(
        state(binding, admission), admission.queue.workers, admission.buffer, snapshot(binding, admission)
    )


def dropped(dispatcher: Dispatcher, binding: HostBinding, made: Line) -> None:
    """End its threads and its loop when all tickets are answered. Called on any thread, at any moment.

    It does not warn if tickets are open: their owner still uses the balancer.

    Args:
        dispatcher: knows the open requests.
        binding: what to free.
        made: the user's line that made the balancer.
    """
    host = binding.host
    if host is None or not host.must_close or binding.forked:
        return
    if not dispatcher.admission.defer(partial(call_once, [partial(_end, dispatcher, binding, made)])):
        call_once([partial(_end, dispatcher, binding, made)])


def _end(dispatcher: Dispatcher, binding: HostBinding, made: Line) -> None:
    admission = dispatcher.admission
    forgotten = described(binding, admission) if dispatcher.idle and not admission.closed else None
    dispatcher.shut(DROPPED)
    free = partial(dispatcher.when_schedules_end, partial(call_once, [partial(binding.close, wait=False)]))
    host = binding.host
    # a strand that waits or runs could still spawn another one
    admission.when_idle(free if host is None else partial(host.spawned.when_idle, free))
    if forgotten is not None:
        _warnings.dropped(forgotten, made)
