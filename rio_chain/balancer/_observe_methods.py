"""``balancer.stats()``, ``health()`` and ``watch()``: the state of a balancer."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rio_chain._core import hooks
from rio_chain._core.units import Duration, seconds
from rio_chain.balancer._balancer_stream import BalancerStream
from rio_chain.balancer._dropped import snapshot, state
from rio_chain.balancer._health import Health, health_of
from rio_chain.balancer._stats import Stats, WatchedBalancer
from rio_chain.engine._current_run import INF
from rio_chain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from rio_chain._core.deadline import Deadline
    from rio_chain.balancer._lifetime import Lifetime, Settings
    from rio_chain.balancer._posted_request import OnFull
    from rio_chain.chain._request import Request
    from rio_chain.executors._stream import Stream

Out = TypeVar("Out")


class ObserveMethods:
    """The methods of a ``Balancer`` that show what it does."""

    _lifetime: Lifetime
    _settings: Settings

    def stats(self) -> Stats:
        """The present gauges, counters and histograms."""
        return snapshot(self._lifetime.binding, self._lifetime.admission)

    def health(self) -> Health:
        """Whether the balancer would accept a request now, and whether it can recover without a new process.

        You can call this from any thread. It never waits.
        """
        return health_of(self._lifetime)

    def stream(
        self,
        request: Request[Out],
        *,
        priority: float = 0,
        deadline: Deadline | Duration | None = None,
        queue_timeout: Duration | None = None,
        on_full: OnFull = "wait",
        values: bool = False,
        tenant: Hashable = None,
    ) -> Stream[Out]:
        """Run a request and read its events, as ``Request.stream`` does; keywords as for ``arun``.

        The request is posted when you start to iterate. It may wait for a worker before the first event. Leaving the
        ``for`` early cancels the request. Times of events count from the start of the run.

        ``values`` is as for ``Request.stream``. Errors that ``arun`` would raise are raised when you start to iterate.
        After that, the ``outcome`` of the stream raises the same error.

        Example:
            >>> from rio_chain import Balancer, Task
            >>> with Balancer(workers=2) as balancer:
            ...     [event.kind for event in balancer.stream(Task(len)("four"))]
            ['started', 'finished', 'ended']
        """
        options = priority, deadline, queue_timeout, on_full
        return BalancerStream(lambda: self._lifetime, request, options, tenant, values=values)

    def watch(self, *, duration: Duration | None = None) -> None:
        """Show ``stats()`` as a live table until Ctrl-C, or until the balancer is closed and idle. Blocks the caller.

        The table is in the terminal (with the extra ``rio-chain[watch]``) or in the cell of a notebook. If stdout is
        neither, it prints a line every second. Rates and recent quantiles cover the last five seconds.

        Args:
            duration: the longest time to watch, in milliseconds or as a ``timedelta``. Default: no limit.

        Raises:
            UsageError: ``watch`` was called on the thread of the balancer's event loop (call it on another thread, as
                with ``await asyncio.to_thread(balancer.watch)``), or in a process that was forked after the balancer
                was bound.
            ImportError: in a terminal, if rich is not installed.

        Example:
            >>> from rio_chain import Balancer, Task
            >>> with Balancer(workers=2) as balancer:
            ...     outcome = balancer.run(Task(len)("four"))
            >>> balancer.watch()
            Balancer asyncio closed: running 0/2, queued 0/1000, abandoned 0/4, rejected 0, done 1
        """
        lifetime = self._lifetime
        limit = INF if duration is None else seconds(duration, "duration")
        lifetime.binding.bound()
        host = lifetime.binding.host
        if host is not None and host.on_loop_thread():
            raise UsageError("`watch` would block the loop it watches; write `await asyncio.to_thread(balancer.watch)`")
        bounds = self._settings.workers, self._settings.buffer, self._settings.max_abandoned
        hooks.facade.watch(
            WatchedBalancer(
                *bounds,
                lambda: f"Balancer {state(lifetime.binding, lifetime.admission)}",
                lambda: lifetime.admission.closed,
                self.stats,
            ),
            limit,
        )
