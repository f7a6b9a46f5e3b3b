"""Whether a balancer can serve. A load balancer or an orchestrator asks this of each process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from rio_chain.balancer._lifetime import Lifetime


@frozen
class Health:
    """Whether a balancer can serve.

    Attributes:
        ready: whether it would accept a request now. False while it is closed, while too many abandoned calls run, and
            while its buffer is full.
        live: whether it can recover without a new process. False when its event loop has ended, and in a process that
            was forked after it was bound.
        reason: why it is not ready; "" if it is ready.

    Example:
        >>> from rio_chain import Balancer
        >>> Balancer(workers=2).health()
        Health(ready=True, live=True, reason='')
    """

    ready: bool
    live: bool
    reason: str


def health_of(lifetime: Lifetime) -> Health:
    """The present health of a balancer."""
    settings, admission, binding = lifetime.settings, lifetime.admission, lifetime.binding
    host, queue = binding.host, admission.queue
    if binding.forked:
        return Health(ready=False, live=False, reason="it was bound before the fork, in the parent")
    if lifetime.dispatcher.gone:
        return Health(ready=False, live=False, reason="its loop has ended")
    if admission.closed:
        return Health(ready=False, live=True, reason="it is closed")
    if host is not None and host.pool.saturated:
        return Health(ready=False, live=True, reason="too many abandoned calls still run")
    if queue.running >= settings.workers and queue.waiting >= settings.buffer:
        return Health(ready=False, live=True, reason="its buffer is full")
    return Health(ready=True, live=True, reason="")
