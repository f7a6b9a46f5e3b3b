"""Binds a balancer to its host on entry or first use: to the running loop, or to a thread of its own."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from rio_chain._core.forks import after_fork, renewed
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._lanes import BalancerLanes
from rio_chain.balancer._resources import BalancerResources, PlansWithResources
from rio_chain.errors import UsageError
from rio_chain.executors import DEFAULT, loop_module_of, module_of, running_library

if TYPE_CHECKING:
    from rio_chain.executors._base import Executor, Host, Lost
    from rio_chain.executors._worker_pool import WorkerPool

PATIENCE = 1.0
"""Seconds to wait for another thread that is binding it."""


class HostBinding:
    """The host of a balancer, once it has one.

    Args:
        executor: the executor, or its name. With None, that of the running loop, or else the default.
        admission: knows whether the balancer is closed.
        lanes: opened with the host, and closed with it.
        resources: those that tasks on the host wait for. None: they wait for none.
        threads: the most sync functions at once, not counting abandoned ones.
        max_abandoned: the most abandoned calls.
        abandon_after: seconds, for strands that no caller waits for.
        lost: called if the host's loop ends while it is in use.
        pool_before: the pool of the host before the balancer was last closed. Its abandoned calls still count.
    """

    def __init__(
        self,
        executor: str | Executor | None,
        admission: Admission,
        lanes: BalancerLanes,
        resources: BalancerResources | None = None,
        *,
        threads: int,
        max_abandoned: int,
        abandon_after: float,
        lost: Lost,
        pool_before: WorkerPool | None = None,
    ) -> None:
        if executor is not None:
            module_of(executor)
        self.host: Host | None = None
        self._executor = executor
        self._admission = admission
        self._lanes = lanes
        self._resources = resources
        self._sizes = threads, max_abandoned
        self._abandon_after = abandon_after
        self._lost = lost
        self._pool_before = pool_before
        self._lock = threading.RLock()  # only one thread at a time binds
        self._deciding = threading.RLock()
        self._pid = 0  # the process that bound it
        self.forked = False  # whether this is a child of that process
        after_fork(self._renew)

    @property
    def name(self) -> str:
        """The name of the executor."""
        made = self.host or self._executor or "unbound"
        return made if isinstance(made, str) else made.name

    def get(self, *, here: bool) -> Host:
        """The host.

        It is bound now if necessary: if ``here``, to a running loop of the right kind, else to one of its own.

        Raises:
            BalancerClosed: it was closed before it was ever used.
            UsageError: this process was forked since it was bound.
        """
        host = self.host
        if host is not None and not self.forked:
            return host
        return self.bound() or self._bind(here=here)

    def bound(self) -> Host | None:
        """The host, if there is one. Raises ``UsageError`` as ``get`` does."""
        host = self.host
        if host is not None and self.forked:
            raise UsageError(
                "the balancer was bound before this process was forked: its threads and its loop are in the parent "
                f"(process {self._pid}); make a new balancer here, or bind it after the fork"
            )
        return host

    def _bind(self, *, here: bool) -> Host:
        # The lock is held while a thread starts. A finaliser on that thread may come here, so the wait has a limit.
        locked = self._lock.acquire(timeout=PATIENCE)
        try:
            host = self.host
            if host is None and not self._admission.closed:
                host = self._made(here=here)
                if not self._keep(host):  # a finaliser has bound it meanwhile, or it was closed
                    host.close()
                    host = self.host
        finally:
            if locked:
                self._lock.release()
        if host is None or self._admission.closed:
            raise self._admission.refusal()
        return host

    def _made(self, *, here: bool) -> Host:
        running = running_library() if here else None
        if running is not None and self._executor in (None, running):
            host = loop_module_of(running).attach(*self._sizes)
        else:
            host = module_of(self._executor or DEFAULT).launch(*self._sizes)
        try:
            if self._pool_before is not None:
                host.pool.count_abandoned_of(self._pool_before)
            host.runtime.lanes = self._lanes.open()
            if self._resources is not None:
                before = host.runtime.policies
                host.runtime.policies = PlansWithResources(self._resources, self._admission.runs, before)
            host.spawned.abandon_after = self._abandon_after
            host.on_loss(self._lost)
        except BaseException:
            host.close()
            raise
        return host

    def _keep(self, host: Host) -> bool:
        try:
            with self._deciding:  # sets the host last, as others read it without a lock
                self._pid = os.getpid()
                if self.host is not None or self._admission.closed:
                    return False
                self.host = host
                return True
        except BaseException:  # an interruption: no other code would end its loop
            if self.host is not host:
                host.close(wait=False)
            raise

    def _renew(self) -> None:
        """In a forked child: refuse the host of the parent, and drop a binding that another thread had begun."""
        self._lock, self._deciding = renewed(self._lock), renewed(self._deciding)
        self.forked = self.host is not None
        if not self.forked:
            self._lanes.forget()

    def close(self, *, wait: bool = True) -> None:
        """Free the host and its lanes; with ``wait`` wait for their threads. The balancer is closed already."""
        with self._deciding:
            host = self.host
        if host is not None:
            self._lanes.close(wait=wait)
            host.close(wait=wait)
