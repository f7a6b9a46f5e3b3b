"""``no_backoff``: retries at once, for tests that run on a real clock."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rio_chain.engine._current_run import RETRIES_WAIT


@contextmanager
def no_backoff() -> Generator[None, None, None]:
    """Make retries not wait in this block, also around an ``await``.

    It holds for every request that is begun or posted inside, on every executor, also where it ends later; and for no
    other one, whatever runs beside it. What a server asks for by ``retry_after`` is no wait either. Limits, hedges and
    what functions do themselves stay as they are: for these there is virtual time.

    Example:
        >>> from rio_chain import Task
        >>> from rio_chain.testing import Script, no_backoff
        >>> script = Script().then_raises(OSError).then_raises(OSError).then("at last")
        >>> with no_backoff():
        ...     outcome = Task(script).retry(2)(42).run()
        >>> outcome.unwrap()
        'at last'
    """
    token = RETRIES_WAIT.set(False)
    try:
        yield
    finally:
        RETRIES_WAIT.reset(token)
