"""The host of the client: an asyncio loop on a thread of its own, which has the connection to the cluster."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import HostGone, Raised
from rio_chain.executors._asyncio import OwnAsyncioHost
from rio_chain.executors.dask._plans import CutPlans
from rio_chain.executors.dask._sender import Sender

if TYPE_CHECKING:
    from rio_chain.executors._worker_pool import WorkerPool
    from rio_chain.executors.dask._executor import Settings

NAME = "dask"
CLOSE_AFTER = 20.0
"""Seconds that the cluster has to let go of us."""


class DaskHost(OwnAsyncioHost):
    """Strands run here, in the client, and their pieces on the workers."""

    name = NAME

    def __init__(self, pool: WorkerPool, ended: Any) -> None:
        super().__init__(pool, ended)
        self.sender = Sender(self)
        self.runtime.policies = CutPlans()
        self.runtime.remote = self.sender

    def connect(self, given: Settings) -> None:
        """Connect to the cluster, from the thread that made this host.

        Raises:
            UsageError: that is not possible. The text says what to do.
        """
        from rio_chain.executors.dask._cluster import Cluster  # noqa: PLC0415 - it needs the extra

        self.sender.most = given.message_bytes

        async def connected() -> None:
            self.sender.cluster = await Cluster.open(
                given.address,
                given.security,
                given.connect_timeout,
                self.pool.threads,
                given.message_bytes,
                self.sender.began,
            )

        self._do(connected, None)
        atexit.register(self._at_exit)

    def reason_of_loss(self, error: BaseException) -> str:
        """Why there is no answer."""
        from rio_chain.executors.dask._cluster import reason_of_loss  # noqa: PLC0415 - it needs the extra

        return reason_of_loss(error)

    def close(self, *, wait: bool = True) -> None:
        """As ``Host.close``: it leaves nothing on the cluster."""
        atexit.unregister(self._at_exit)
        cluster, self.sender.cluster = self.sender.cluster, None
        if cluster is not None:
            if wait and not self.on_loop_thread():
                surely(lambda: self._do(cluster.close, CLOSE_AFTER))
            else:
                self._close_later(cluster.close)
                return
        super().close(wait=wait)

    def _at_exit(self) -> None:
        """Nobody has closed it, as that of runs without a balancer: its workers must not outlive the process."""
        self.close()

    def _close_later(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Nobody waits: the loop ends when the cluster has let go of us."""

        async def main() -> None:
            try:
                await close()
            finally:
                super(DaskHost, self).close(wait=False)

        try:
            self.spawn(main, Context())
        except HostGone:
            super().close(wait=False)

    def _do(self, work: Callable[[], Coroutine[Any, Any, None]], limit: float | None) -> None:
        """Do this on the loop, and wait for it."""
        answers: list[Raised | None] = []
        gate = threading.Lock()
        gate.acquire()

        async def main() -> None:
            got: Raised | None = None
            try:
                await work()
            except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                got = Raised(error)
            answers.append(got)
            gate.release()

        self.spawn(main, Context())
        if not gate.acquire(timeout=-1 if limit is None else limit):
            return
        answer = answers.pop()
        if answer is not None:
            raise answer.error
