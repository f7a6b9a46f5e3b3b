"""What ``current_attempt()`` gives, and the idempotency key of a task in a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self

from rio_chain._core.forks import after_fork

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Run

KEY_BYTES = 16
Way = tuple[bytes | int | str, ...]


def _never() -> bool:
    return False


def always() -> bool:
    """Of the call of an ``Attempt`` that was abandoned."""
    return True


class Attempt(int):
    """A number: which call of its task this is, 1 for the first. It can be pickled; the copy is not cancelled.

    Attributes:
        replica: which of the calls made at once this is, 0 for the first.
    """

    replica: int
    _key: str | Way | None
    _cancelled: Callable[[], bool]

    def __new__(
        cls, number: int, replica: int = 0, key: str | Way | None = None, cancelled: Callable[[], bool] = _never
    ) -> Self:
        """As ``int``. ``key``: it, or what it is made of; None: a new one."""
        self = super().__new__(cls, number)
        self.replica, self._key, self._cancelled = replica, key, cancelled
        return self

    @property
    def key(self) -> str:
        """An idempotency key: 32 hexadecimal digits, the same for all attempts and hedges of one task in one run.

        Each item of an ``each`` or ``expand`` has its own, and each run has others. In a bridge it is that of the task
        before. Outside of any run it is a new one each time.
        """
        key = self._key
        if not isinstance(key, str):  # made when it is asked for: most bodies ask for the number alone
            key = self._key = os.urandom(KEY_BYTES).hex() if key is None else _digest(key)
        return key

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this call any more: a limit around it has passed, or its run was cancelled.

        A sync function can't be interrupted. A long one looks at this from time to time, from any thread, and stops
        by itself.
        """
        return self._cancelled()

    def __reduce__(self) -> tuple[type[Attempt], tuple[int, int, str]]:
        return Attempt, (int(self), self.replica, self.key)


def way_to(run: Run, index: int) -> Way:
    """The way from the outermost run to this task: the random number of that run, and then items, Requests, the task.

    Its digest is the idempotency key. So that needs no memory, and what is done again has the same key again.
    """
    way, task, plan, here = list[str](), index, run.plan, run
    while here.around is not None and here.step is not None and not isinstance(here.step, bytes):
        if not isinstance(here.step, int):
            way.append(str(here.step))
        elif here.plan is plan:  # a hedge, which may be the same call at another place
            task -= here.step
        here = here.around
    return _number(here), task, *reversed(way)


def _digest(way: Way) -> str:
    number, *others = way
    text = "/".join(map(str, others)).encode()
    return blake2b(text, digest_size=KEY_BYTES, key=number if isinstance(number, bytes) else b"").hexdigest()


def _number(run: Run) -> bytes:
    """The random number of a run, made when the first body asks. On threads several may ask at once."""
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
