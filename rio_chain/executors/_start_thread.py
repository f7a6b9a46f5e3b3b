"""Starts threads: a daemon thread, or a loop on a thread of its own. No other file starts any."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain.engine._runtime_protocol import Raised


def start_daemon(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a thread that never keeps the process alive.

    Raises:
        RuntimeError: the system has no more threads.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


class OwnLoop(Protocol):
    """A host with a loop on a thread of its own."""

    thread: threading.Thread | None

    def close(self) -> None:
        """End the loop."""

    def ended(self) -> None:
        """The loop has ended, perhaps before it was closed."""


L = TypeVar("L", bound=OwnLoop)


def start_loop(run: Callable[[Callable[[L], bool]], object], name: str) -> L:
    """Run a loop on a thread of its own, and give its host when it is up.

    ``run(up)`` runs the loop to its end. It calls ``up(host)`` on the loop, and returns at once if that gives False.

    Raises:
        RuntimeError: the system has no more threads.
        OSError: the loop can't be made. Other errors that ``run`` raises before the loop is up are raised too.
    """
    answers: SimpleQueue[L | Raised] = SimpleQueue()
    made: list[L] = []
    unwanted = False

    def up(host: L) -> bool:
        made.append(host)
        answers.put(host)
        return not unwanted

    def main() -> None:
        try:
            run(up)
        except BaseException as error:  # noqa: BLE001 - raised below, if the caller still waits
            if made:
                report_unhandled(error)
            else:
                answers.put(Raised(error))
        for host in made:
            surely(host.ended)

    try:
        thread = start_daemon(main, name)
        got = answers.get()
    except BaseException:  # a Ctrl-C: no caller will close the loop
        unwanted = True
        with contextlib.suppress(Empty):
            late = answers.get_nowait()
            if not isinstance(late, Raised):
                late.close()
        raise
    if isinstance(got, Raised):
        raise got.error
    got.thread = thread
    return got
