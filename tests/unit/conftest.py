"""The fixtures that several unit files use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from screens import Kept
from strands import make, shut

from rio_chain import Balancer
from rio_chain.executors._thread import ThreadRuntime
from rio_chain.inspect.live import _screen


class Gate:
    """A sync function that says when it begins, and returns when it is opened."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Semaphore(0), threading.Event()

    def stay(self, x: Any) -> Any:
        self.begun.release()
        assert self.open.wait(20)
        return x

    def wait_begun(self) -> None:
        assert self.begun.acquire(timeout=20)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open at the end of the test."""
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """The screen on which live views are shown; it keeps what it is shown."""
    kept = Kept()
    monkeypatch.setattr(_screen, "screen_here", lambda: kept)
    return kept


@pytest.fixture
def rt() -> Iterator[ThreadRuntime]:
    """A thread runtime with two threads."""
    made = make()
    yield made
    shut(made)


@pytest.fixture(scope="module")
def with_a_lane() -> Iterator[Balancer]:
    """A balancer with one process in the lane "cpu"."""
    with Balancer("asyncio", lanes={"cpu": 1}) as balancer:
        yield balancer
