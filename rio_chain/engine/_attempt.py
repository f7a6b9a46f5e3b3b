"""What ``current_attempt()`` returns, and the idempotency key of a task in a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from rio_chain._core.forks import after_fork

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Run

KEY_BYTES = 16
Way = tuple[bytes | int | str, ...]


def _never() -> bool:
    return False


def always() -> bool:
    """True. It is the ``cancelled`` of an ``Attempt`` whose call was abandoned."""
    return True


class Attempt(int):
    """An int: which call of its task this is, 1 for the first. It can be pickled; the copy is never cancelled.

    Attributes:
        replica: which of the calls made at the same time this is, 0 for the first.
    """

    replica: int
    _key: str | Way | None
    _cancelled: Callable[[], bool]

    def __new__(
        cls, number: int, replica: int = 0, key: str | Way | None = None, cancelled: Callable[[], bool] = _never
    ) -> Self:
        """As ``int``. ``key`` is the key, or the parts it is made of. If it is None, a new key is made."""
        self = super().__new__(cls, number)
        self.replica, self._key, self._cancelled = replica, key, cancelled
        return self

    @property
    def key(self) -> str:
        """An idempotency key: 32 hexadecimal digits, the same for all attempts and hedges of one task in one run.

        Each item of an ``each`` or ``expand`` has its own key, and each run has other keys. In a bridge it is the key
        of the task before it. Outside of any run it is a new key each time.
        """
        key = self._key
        if not isinstance(key, str):  # made at the first use: most bodies read the number only
            key = self._key = os.urandom(KEY_BYTES).hex() if key is None else _digest(key)
        return key

    @property
    def cancelled(self) -> bool:
        """Whether the result of this call is no longer needed: a timeout around it expired, or its run was cancelled.

        A sync function can't be interrupted. A long one checks this from time to time, from any thread, and stops
        by itself.
        """
        return self._cancelled()

    def __reduce__(self) -> tuple[type[Attempt], tuple[int, int, str]]:
        return Attempt, (int(self), self.replica, self.key)


class RequestAt(NamedTuple):
    """The place of a nested run in the run around it: the instruction whose function returned the Request."""

    pc: int

    def __str__(self) -> str:
        """As a part of an idempotency key."""
        return f"request at {self.pc}"


def way_to(run: Run, index: int) -> Way:
    """The way from the outermost run to this task: that run's random number, then items and Requests, then the task.

    Its digest is the idempotency key. So no key has to be stored, and a repeated call has the same key.
    """
    way, task, plan, here = list[str](), index, run.plan, run
    while here.around is not None and here.step is not None and not isinstance(here.step, bytes):
        if not isinstance(here.step, int):
            way.append(str(here.step))
        elif here.plan is plan:  # a hedge, which may run the same call in another branch
            task -= here.step
        here = here.around
    return _number(here), task, *reversed(way)


def _digest(way: Way) -> str:
    number, *others = way
    text = "/".join(map(str, others)).encode()
    return blake2b(text, digest_size=KEY_BYTES, key=number if isinstance(number, bytes) else b"").hexdigest()


def _number(run: Run) -> bytes:
    """The random number of a run. It is made at the first use; on threads several bodies may ask at once."""
    if not isinstance(run.step, bytes):
        made = os.urandom(KEY_BYTES)
        with _lock:
            if not isinstance(run.step, bytes):
                run.step = made
    return run.step


_lock: Any = threading.RLock()


def _renew() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it when this process was forked
    _lock = threading.RLock()


after_fork(_renew)
