"""Callbacks of users that raise: the error is reported once, and nobody else notices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import define
from conformance.harness import World
from returns.result import Success

from rio_chain import Call, CallbackFailed, Gate, PendingPermit, Permit, Task, TaskTimedOut, TicketCancelled
from rio_chain.policies._chooser import Arrival, Ask, Decision


class Odd(BaseException):
    pass


ERRORS = [ValueError("v"), Odd("o"), SystemExit(3), KeyboardInterrupt("k"), StopIteration("s"), GeneratorExit("g")]


def raising(error: BaseException) -> Callable[[], None]:
    def callback() -> None:
        raise error

    return callback


async def echo(x: object) -> object:
    return x


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_a_callback_that_raises_harms_no_other(
    world: World, error: BaseException, reported: list[BaseException | None]
) -> None:
    gate = world.gate()
    called: list[str] = []

    async def waits(x: object) -> object:
        await gate.passed()
        return x

    async with world.balancer(workers=1) as balancer:
        ticket, following = balancer.post(Task(waits)(7)), balancer.post(Task(echo)(8))
        ticket.on_done(lambda: called.append("first"))
        ticket.on_done(raising(error))
        ticket.on_done(lambda: called.append("last"))

        async def wait() -> object:
            return await ticket

        children = [world.start(wait) for _ in range(2)]
        await world.pause(1)
        assert called == []
        gate.open()
        assert [(await child.result()).result for child in children] == [Success(7)] * 2
        assert (await following).result == Success(8)
        await world.until(lambda: balancer.stats().running == 0)
        assert called == ["first", "last"]
        assert reported == [error]
        ticket.on_done(raising(error))
        assert reported == [error, error], "that it comes late is no difference"
        assert (await balancer.arun(Task(echo)(9))).result == Success(9)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_one_that_a_cancellation_calls(
    world: World, error: BaseException, reported: list[BaseException | None]
) -> None:
    async def stays(_: object) -> None:
        await world.pause(10_000)

    async with world.balancer(workers=1) as balancer:
        running = balancer.post(Task(stays)(7))
        queued = [balancer.post(Task(stays)(8), queue_timeout=limit) for limit in (None, 10_000)]
        for ticket in (running, *queued):
            ticket.on_done(raising(error))
            ticket.cancel()
        for ticket in (running, *queued):
            assert type((await ticket).result.failure()) is TicketCancelled
        await world.until(lambda: len(reported) == 3)
        assert reported == [error] * 3
        assert (await balancer.arun(Task(echo)(9))).result == Success(9)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_one_that_closing_calls(world: World, error: BaseException, reported: list[BaseException | None]) -> None:
    async def stays(_: object) -> None:
        await world.pause(10_000)

    async with world.balancer(workers=1) as balancer:
        tickets = [balancer.post(Task(stays)(n)) for n in range(3)]
        for ticket in tickets:
            ticket.on_done(raising(error))
        await balancer.aclose(grace=1)
        assert [type((await ticket).result.failure()) for ticket in tickets] == [TicketCancelled] * 3
        assert reported == [error] * 3


async def test_a_hook_that_fails_as_well_is_no_matter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(threading, "excepthook", hook)
    async with world.balancer() as balancer:
        ticket = balancer.post(Task(echo)(7))
        ticket.on_done(raising(ValueError("v")))
        assert (await ticket).result == Success(7)
        assert (await balancer.arun(Task(echo)(8))).result == Success(8)


async def test_a_callback_may_use_the_balancer(world: World) -> None:
    async with world.balancer(workers=1) as balancer:
        tickets = [balancer.post(Task(echo)(0))]

        def goes_on() -> None:
            if len(tickets) < 5:
                tickets.append(balancer.post(Task(echo)(len(tickets))))
                tickets[-1].on_done(goes_on)

        tickets[0].on_done(goes_on)
        await world.until(lambda: len(tickets) == 5)
        assert [(await ticket).result for ticket in tickets] == [Success(n) for n in range(5)]


# --- gates and choosers of a user's own ---------------------------------------------------------------------------


@define
class Place(Permit):
    """It fails to take note of how its call ended."""

    def dropped(self) -> None:
        raise ValueError("dropped")


class Waits(PendingPermit):
    """It fails to leave its line."""

    def quit(self) -> None:
        raise ValueError("quit")


class Own(Gate):
    def __init__(self, gives: Callable[[], Permit | PendingPermit]) -> None:
        self.gives = gives
        self.entered = 0

    def enter(self, call: Call) -> Permit | PendingPermit:
        self.entered += 1
        return self.gives()


@pytest.mark.parametrize("gives", [Place, Waits])
async def test_a_gate_that_fails_when_a_call_is_given_up(
    world: World, gives: Callable[[], Permit | PendingPermit], reported: list[BaseException | None]
) -> None:
    async def stays(_: object) -> None:
        await world.pause(10_000)

    gate = Own(gives)
    chain = Task(stays).limit(gate)
    async with world.balancer() as balancer:
        late = await balancer.arun(chain.timeout(world.short)(7))
        assert type(late.result.failure()) is TaskTimedOut
        ticket = balancer.post(chain(7))
        await world.until(lambda: gate.entered == 2)
        await world.pause(2)
        ticket.cancel()
        assert type((await ticket).result.failure()) is TicketCancelled
        assert [str(error) for error in reported] == ["dropped" if gives is Place else "quit"] * 2


class Learns(Permit):
    """It raises when it learns how its call ended."""

    def failed(self, error: Any, /) -> None:
        raise ValueError(f"failed {error}")


async def test_what_a_permit_raises_goes_to_the_retry_and_the_fallback_around_it(world: World) -> None:
    calls: list[int] = []

    async def odd(x: int) -> int:
        calls.append(x)
        raise OSError("odd")

    guarded = Task(odd).limit(Own(Learns))
    assert str((await world.run(guarded(3))).result.failure()) == "failed odd"
    assert (await world.run(guarded.or_else(0)(3))).unwrap() == 0
    calls.clear()
    assert (await world.run(guarded.retry(1, on=ValueError, backoff=None).or_else(0)(3))).unwrap() == 0
    assert calls == [3, 3]


class Asked(PendingPermit):
    def __init__(self, then: Callable[[PendingPermit], None]) -> None:
        super().__init__()
        self.after = 0.0
        self.then = then

    def ask(self, _: object) -> None:
        self.then(self)

    def quit(self) -> None: ...


def raises(_: PendingPermit) -> None:
    raise ValueError("ask")


def forgets_the_permit(pending: PendingPermit) -> None:
    pending.state = "granted"


def grants_a_number(pending: Any) -> None:
    pending.state, pending.permit = "granted", 3


@pytest.mark.parametrize(
    ("then", "name", "text"),
    [
        (raises, "ask", "ask"),
        (forgets_the_permit, "Asked", "a PendingPermit became 'granted' without a permit and without an answer"),
        (grants_a_number, "Asked", "a PendingPermit became 'granted' without a permit and without an answer"),
    ],
)
@pytest.mark.parametrize("method", ["limit", "breaker"])
async def test_an_error_of_a_pending_permit_names_it_and_is_not_retried(
    world: World, method: str, then: Callable[[PendingPermit], None], name: str, text: str
) -> None:
    made: list[int] = []

    def gives() -> PendingPermit:
        made.append(1)
        return Asked(then)

    outcome = await world.run(getattr(Task(echo), method)(Own(gives)).retry(2, backoff=None)(7))
    error = outcome.result.failure()
    assert isinstance(error, CallbackFailed)
    assert (error.role, error.callback, str(error.error), len(made)) == (method, name, text, 1)


class Unsure:
    """Neither true nor false."""

    def __bool__(self) -> bool:
        raise ValueError("unsure")


@define
class Chooses:
    """A chooser of a user's own."""

    decides: Callable[[], Any]
    ask: Ask | None = None
    least: int = 1

    def good(self, _: object) -> bool:
        return True

    def decide(self, arrived: Sequence[Arrival], *, left: int, now: float) -> Any:
        return self.decides()


@pytest.mark.parametrize(
    "decides",
    [lambda: None, lambda: Decision(hopeless=Unsure()), lambda: Decision(missing="none")],  # type: ignore[arg-type]
    ids=["None", "unsure", "a wrong type"],
)
async def test_a_chooser_that_gives_nonsense_ends_its_run_alone(world: World, decides: Callable[[], Any]) -> None:
    chain = Task(echo).replica(2, after=5, pick=Chooses(decides))
    async with world.balancer() as balancer:
        assert isinstance((await balancer.arun(chain.timeout(5_000)(7))).result.failure(), Exception)
        assert (await balancer.arun(Task(echo)(8))).result == Success(8)
