"""What a process keeps on purpose is made before anything is counted."""

from __future__ import annotations

import pytest
from leaks.baseline import warm_up


@pytest.fixture(scope="session", autouse=True)
def shared_threads() -> None:
    warm_up()
