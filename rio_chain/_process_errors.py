"""Errors of calls in other processes: those of lanes, and the workers of a cluster. They are public in ``errors``."""

from __future__ import annotations

from rio_chain._rio_error import RioError


class ProcessDied(RioError):
    """The process of a lane ended before its call had answered. A new process replaces it.

    ``exitcode`` is the exit code of the process. A negative number is the signal that killed it; None means that it
    could not be started. ``reason`` is why the lane killed the process; None means that the lane did not kill it.
    """

    __module__ = "rio_chain.errors"

    def __init__(self, name: str, lane: str, exitcode: int | None = None, reason: str | None = None) -> None:
        super().__init__(*(name, lane, exitcode), *(() if reason is None else (reason,)))
        self.name = name
        self.lane = lane
        self.exitcode = exitcode
        self.reason = reason

    def __str__(self) -> str:
        if self.reason is not None:
            return f"the process of lane {self.lane!r} was killed in `{self.name}`: {self.reason}"
        if self.exitcode is None:
            return f"`{self.name}` was not called: the process of lane {self.lane!r} could not be started"
        how = f"signal {-self.exitcode}" if self.exitcode < 0 else f"exit code {self.exitcode}"
        return f"the process of lane {self.lane!r} died in `{self.name}` ({how})"


class NotPicklable(RioError, TypeError):
    """A function, argument or answer could not be pickled to go to another process or come back from it.

    The other process is that of a lane or a Dask worker.

    ``what`` is "function", "argument" or "answer"; ``reason`` is the error of pickle.
    """

    __module__ = "rio_chain.errors"

    def __init__(self, name: str, what: str, reason: str) -> None:
        super().__init__(name, what, reason)
        self.name = name
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"the {self.what} of `{self.name}` can't be pickled for another process: {self.reason}"


class _TooLarge(RioError):
    """A message between processes has more bytes than it may have."""

    def __init__(self, name: str, what: str, most: int) -> None:
        super().__init__(name, what, most)
        self.name = name
        self.what = what
        self.most = most


class LaneMessageTooLarge(_TooLarge):
    """A message to or from the process of a lane is larger than ``Balancer(lane_bytes=...)`` allows.

    ``what`` is "function", "argument", "answer" or "error". ``most`` is the number of bytes that it may have, pickled.
    """

    __module__ = "rio_chain.errors"

    def __str__(self) -> str:
        return (
            f"the {self.what} of `{self.name}` takes more than {self.most:,} bytes, the most that a lane carries; send "
            "less, such as the name of a file, or write Balancer(lane_bytes=...) with a larger number"
        )


class WorkerLost(RioError):
    """A part of a chain that ran on a Dask cluster has no answer: its worker, or the scheduler, was lost.

    ``reason`` says what is known of it, and what to do.
    """

    __module__ = "rio_chain.errors"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"`{self.name}` has no answer: {self.reason}"


class MessageTooLarge(_TooLarge):
    """What goes to or comes from a Dask worker is larger than ``DaskExecutor(message_bytes=...)`` allows.

    ``what`` is "argument" or "answer"; ``most`` is the number of bytes that it may have, pickled. A "chain" that takes
    more than 16 MiB closes over large data, and is refused.
    """

    __module__ = "rio_chain.errors"

    def __str__(self) -> str:
        if self.what == "chain":
            return (
                f"the chain `{self.name}` takes more than {self.most:,} bytes, and it is sent with each piece: one of "
                "its functions closes over large data; pass the data as an argument"
            )
        return (
            f"the {self.what} of `{self.name}` takes more than {self.most:,} bytes, the most of a message to or from a "
            "worker; pass the place where the data is stored, such as a path, or write DaskExecutor(message_bytes=...)"
        )
