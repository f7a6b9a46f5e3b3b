"""What a process keeps on purpose is made before anything is counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from leaks.baseline import EXECUTORS, Bodies, bodies
from rio_chain import Task


async def _warm(x: int) -> int:
    return x


@pytest.fixture(scope="session", autouse=True)
def shared_threads() -> None:
    """One loop thread per executor serves all blocking runs, and one all async functions of thread executors."""
    for name in EXECUTORS:
        assert Task(_warm)(1).run(executor=name).unwrap() == 1


@pytest.fixture
def body() -> Iterator[Bodies]:
    with bodies() as made:
        yield made
