"""Observers: functions that are called with an ``Event`` for everything that happens in the runs of this process.

``add_observer`` adds one for all runs, ``Balancer(observers=[...])`` those of one balancer.
"""

from __future__ import annotations

import logging

from rio_chain.results._deliver import unobserved
from rio_chain.results._events import Event, error_name
from rio_chain.results._observers import Observe, Observer, Remover, add_observer

__all__ = ["Event", "Observe", "Observer", "Remover", "add_observer", "log_failures", "unobserved"]


def log_failures(logger: logging.Logger | None = None, *, level: int = logging.WARNING) -> Observe:
    """An observer that logs one line for each run that did not succeed, and for each request that was refused.

    The line has the chain, the status, the class of the error and the time. It has no arguments and no values.

    Args:
        logger: where to. Default: the logger ``rio_chain``.
        level: of the line. Default ``logging.WARNING``.

    Example:
        >>> from rio_chain import Balancer, Task
        >>> from rio_chain.observers import log_failures
        >>> with Balancer("thread", observers=[log_failures()]) as balancer:
        ...     balancer.run(Task(len)("four")).unwrap()
        4
    """
    to = logging.getLogger("rio_chain") if logger is None else logger

    def log_failure(event: Event) -> None:
        if event.kind == "request_rejected":
            to.log(level, "%s was refused: %s", event.chain, event.reason)
        elif event.kind == "request_ended" and event.status != "succeeded":
            error = "" if event.error is None else f" ({error_name(event.error)})"
            to.log(level, "%s %s%s after %.1f ms", event.chain, event.status, error, event.elapsed or 0.0)

    return log_failure
