"""Which errors say that an object belongs to another event loop, and the note that they get."""

import asyncio
from typing import Any

import pytest
import sniffio
import trio

from rio_chain import UsageError
from rio_chain.policies import Retry
from rio_chain.policies._wrong_loop_errors import ADVICE, advise, is_advised, of_another_loop


async def made() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def of_a_closed_loop() -> asyncio.Future[None]:
    return asyncio.run(made())


async def awaited(what: Any) -> None:
    await what


async def timed(what: Any) -> None:
    await asyncio.wait_for(what, 1)


async def asleep(sleep: Any) -> None:
    await sleep(0.001)


def token() -> trio.lowlevel.TrioToken:
    async def main() -> trio.lowlevel.TrioToken:
        return trio.lowlevel.current_trio_token()

    return trio.run(main)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: asyncio.run(awaited(of_a_closed_loop())),
        lambda: asyncio.run(timed(of_a_closed_loop())),
        lambda: asyncio.run(asleep(trio.sleep)),
        lambda: trio.run(asleep, asyncio.sleep),
        lambda: trio.run(awaited, of_a_closed_loop()),
        lambda: of_a_closed_loop().get_loop().call_soon(print),
        lambda: token().run_sync_soon(print),
        sniffio.current_async_library,
    ],
)
def test_what_the_libraries_themselves_raise(mistake: Any) -> None:
    with pytest.raises((RuntimeError, ValueError, TypeError)) as caught:
        mistake()
    assert of_another_loop(caught.value), caught.value
    assert Retry(1, on=BaseException).matches(caught.value) is False


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Cannot use AsyncMongoClient in different event loop."),
        RuntimeError("Session and connector has to use same event loop"),
        RuntimeError("Non-thread-safe operation invoked on an event loop other than the current one"),
        RuntimeError("There is no current event loop in thread 'x'."),
        TypeError("trio.run received unrecognized yield message <Future pending>. Are you trying to use a library"),
    ],
)
def test_what_other_libraries_raise(error: Exception) -> None:
    assert of_another_loop(error)


def test_what_is_none() -> None:
    class Mute(RuntimeError):
        def __str__(self) -> str:
            raise LookupError

    ring = ValueError("ring")
    ring.__cause__ = ring
    for error in (None, "Event loop is closed", OSError("Event loop is closed"), Mute(), ring):
        assert not of_another_loop(error)
        advise(error)
        assert not is_advised(error)
    assert not of_another_loop(UsageError("`run` would block; a different event loop")), "ours say it themselves"
    assert not of_another_loop(KeyboardInterrupt("Event loop is closed"))


def test_one_note_whatever_is_there() -> None:
    error = RuntimeError("Event loop is closed")
    error.add_note("of the user")
    for _ in range(3):
        advise(error)
    assert error.__notes__ == ["of the user", ADVICE]


def test_a_class_that_takes_no_notes_stays_as_it_is() -> None:
    class Stubborn(RuntimeError):
        def add_note(self, note: str) -> None:
            raise AttributeError(note)

    error = Stubborn("Event loop is closed")
    advise(error)
    assert not is_advised(error)
