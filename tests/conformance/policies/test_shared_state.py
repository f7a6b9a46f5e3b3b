"""One state object in several chains."""

from __future__ import annotations

from conformance.harness import World

from rio_chain import Breaker, Budget, CircuitOpen, Limit, SingleFlight, Task, TicketCancelled


async def test_several_chains_share_one_object(world: World) -> None:
    limit, breaker = Limit(1), Breaker(2)
    running = most = 0

    async def fetch(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await world.pause(2)
        running -= 1
        raise OSError

    a = Task(fetch).named("a").limit(limit).breaker(breaker)
    b = (Task(fetch).named("b").limit(limit)).breaker(breaker) >> Task(str).inline()
    await world.together(lambda: world.run(a(7)), lambda: world.run(b(7)))
    assert most == 1
    assert breaker.state == "open"
    assert type((await world.run(a(7))).result.failure()) is CircuitOpen
    assert type((await world.run(b(7))).result.failure()) is CircuitOpen


async def test_a_cancelled_ticket_frees_what_it_held(world: World) -> None:
    limit, flights, budget = Limit(1), SingleFlight(), Budget(0, floor=1)

    async def fetch(_: int) -> None:
        await world.pause(10_000)

    chain = Task(fetch).limit(limit).single_flight(flights).budget(budget)
    async with world.balancer(workers=2) as balancer:
        ticket = balancer.post(chain(7))
        await world.until(lambda: limit.running)
        ticket.cancel()
        assert type((await ticket).result.failure()) is TicketCancelled
    await world.until(lambda: (limit.running, budget.executions) == (0, 0))
    assert repr(flights).endswith("0 in flight, 0 follow>")
