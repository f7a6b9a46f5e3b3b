"""What a process keeps on purpose is made before anything is counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from leaks.baseline import Bodies, bodies, warm_up


@pytest.fixture(scope="session", autouse=True)
def shared_threads() -> None:
    warm_up()


@pytest.fixture
def body() -> Iterator[Bodies]:
    with bodies() as made:
        yield made
