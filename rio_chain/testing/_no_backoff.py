"""``no_backoff``: retries without waiting, for tests on a real clock."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rio_chain.engine._current_run import RETRIES_WAIT


@contextmanager
def no_backoff() -> Generator[None, None, None]:
    """Make retries not wait in this block, also around an ``await``.

    It applies to every request that begins or is posted in the block, on every executor, even if it ends later. It does
    not apply to requests outside that run at the same time. A wait that a server asks for with ``retry_after`` is
    skipped as well. Limits, hedges and sleeps in functions stay as they are: use virtual time for these.

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
