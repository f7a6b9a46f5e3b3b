"""The page of ``examples/shop``, by hand: FastAPI, aiohttp, TaskGroup, ``asyncio.timeout``, a queue, breakers.

It was written before the one over chains, to be as fast as it can be, and it keeps the same promises:

- 32 requests run at once and 200 wait, those of members first; the next is refused at once, with 503 and Retry-After;
  so is what has waited for 500 ms. A slot is handed to the next in line;
- the caller's ``x-deadline-ms`` holds, up to 30 s, for the waiting as well; what is left goes on to the backends;
- each attempt has a limit and up to two retries, with a backoff, as long as there is time; each backend has a breaker;
- a stock that does not answer in 60 ms is asked a second time; without stock or reviews there is a page all the same;
- the first failure stops the other calls, and so does a client that leaves.

``SHOP_PLACES=... python -m uvicorn benchmarks.by_hand.endpoint:app``, which ``python -m benchmarks.endpoint`` does.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
import aiosqlite
from fastapi import FastAPI, Request, Response

WORKERS, BUFFER = 32, 200
QUEUE_TIMEOUT = float(os.environ.get("SHOP_QUEUE_TIMEOUT", "500")) / 1000
DEADLINE, MOST, PAGE = 5.0, 30.0, 2.0
BACKOFF, LONGEST_BACKOFF = 0.02, 0.2
ATTEMPT = float(os.environ.get("SHOP_ATTEMPT", "300")) / 1000
MEMBERS = frozenset({"Bearer ada", "Bearer grace"})
DIGITS = 15
RETRIES, FAILURES, OPEN_FOR = 2, 5, 2.0


class Refused(Exception):
    """It got no slot."""


class OutOfTime(Exception):
    """The deadline of the request has passed."""


class Open(Exception):
    """A breaker is open."""


class Missing(Exception):
    """There is no such product."""


class Broken(Exception):
    """A backend answered with an error."""


Get = Callable[[int, float], Awaitable[Any]]


class Breaker:
    """Five failures in a row open it for two seconds; then one call at a time is let in as a probe."""

    __slots__ = ("failed", "probing", "until")

    def __init__(self) -> None:
        self.failed, self.until, self.probing = 0, 0.0, False

    def enter(self, now: float) -> bool:
        """Whether the call is the probe."""
        if not self.until:
            return False
        if now < self.until or self.probing:
            raise Open
        self.probing = True
        return True

    def succeeded(self) -> None:
        self.failed, self.until, self.probing = 0, 0.0, False

    def failure(self, now: float, probe: bool) -> None:  # noqa: FBT001
        self.failed += 1
        if probe or self.failed >= FAILURES:
            self.until, self.probing = now + OPEN_FOR, False


class Slots:
    """So many requests at once, and a bounded line of others: the highest priority first, then arrival."""

    def __init__(self, workers: int, buffer: int) -> None:
        self.free, self.buffer = workers, buffer
        self.line: list[tuple[int, int, asyncio.Future[None]]] = []
        self.waiting = self.arrivals = 0
        self.loop: asyncio.AbstractEventLoop

    async def take(self, priority: int, until: float) -> None:
        if self.free:
            self.free -= 1
            return
        if self.waiting >= self.buffer:
            raise Refused
        mine = self.loop.create_future()
        self.arrivals += 1
        heapq.heappush(self.line, (-priority, self.arrivals, mine))
        self.waiting += 1
        timer = self.loop.call_at(until, self.expire, mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self.leave()  # it was handed a slot in the moment in which it was cancelled
            elif mine.cancelled():
                self.waiting -= 1
            raise
        finally:
            timer.cancel()

    def expire(self, mine: asyncio.Future[None]) -> None:
        if not mine.done():
            self.waiting -= 1
            mine.set_exception(Refused())

    def leave(self) -> None:
        while self.line:
            _, _, following = heapq.heappop(self.line)
            if not following.done():
                self.waiting -= 1
                following.set_result(None)
                return
        self.free += 1


class Shop:
    """The open connections, and the calls with their guards."""

    def __init__(self, places: dict[str, str]) -> None:
        self.places = places
        self.slots = Slots(WORKERS, BUFFER)
        self.breakers = {name: Breaker() for name in ("catalogue", "prices", "stock")}
        self.loop: asyncio.AbstractEventLoop
        self.session: aiohttp.ClientSession
        self.database: aiosqlite.Connection

    async def open(self) -> None:
        self.loop = self.slots.loop = asyncio.get_running_loop()
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self.database = await aiosqlite.connect(self.places["database"])

    async def close(self) -> None:
        await self.session.close()
        await self.database.close()

    def getter(self, name: str, path: str) -> Get:
        """A call of a backend, that tells it how long the call has until ``until``."""
        base = f"{self.places[name]}/{path}/"

        async def get(number: int, until: float) -> Any:
            left = str(max(0, int(1000 * (until - self.loop.time()))))
            async with self.session.get(f"{base}{number}", headers={"x-deadline-ms": left}) as answer:
                if answer.status == HTTPStatus.NOT_FOUND:
                    raise Missing
                if answer.status != HTTPStatus.OK:
                    raise Broken(answer.status)
                return json.loads(await answer.read())

        return get

    async def reviews(self, number: int) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(ATTEMPT):
                rows = await self.database.execute_fetchall(
                    "select stars, text from reviews where product = ?", (number,)
                )
        except (TimeoutError, aiosqlite.Error):
            return []
        return [{"stars": stars, "text": text} for stars, text in rows]

    async def guarded(  # noqa: C901 - in one function it is quickest
        self, breaker: Breaker, get: Get, number: int, limit: float, until: float
    ) -> Any:
        """Up to three attempts, each with its limit, through a breaker."""
        now = self.loop.time
        for attempt in range(1 + RETRIES):
            began = now()
            if began >= until:
                raise OutOfTime
            probe = breaker.enter(began)
            at = min(began + limit, until)
            error: Exception
            try:
                async with asyncio.timeout_at(at):
                    found = await get(number, at)
            except Missing:
                breaker.succeeded()
                raise
            except (TimeoutError, Broken, aiohttp.ClientError) as failed:
                if at == until and isinstance(failed, TimeoutError):
                    if probe:
                        breaker.probing = False
                    raise OutOfTime from None
                breaker.failure(now(), probe)
                error = failed
            except BaseException:
                if probe:
                    breaker.probing = False
                raise
            else:
                breaker.succeeded()
                return found
            pause = random.random() * min(LONGEST_BACKOFF, BACKOFF * 2**attempt)  # noqa: S311
            if attempt == RETRIES or now() + pause >= until:
                raise error
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def hedged(self, get: Get, number: int, until: float) -> Any:
        """A second call when the first has not answered in 60 ms or has failed; the first answer wins."""
        tasks = [asyncio.create_task(get(number, until))]
        try:
            await asyncio.wait(tasks, timeout=0.06)
            if tasks[0].done() and tasks[0].exception() is None:
                return tasks[0].result()
            tasks.append(asyncio.create_task(get(number, until)))
            waiting = {task for task in tasks if not task.done()}
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task.exception() is None:
                        return task.result()
            return tasks[-1].result()
        finally:
            running = [task for task in tasks if not task.done()]
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # or asyncio logs that nobody has looked at it

    async def stock(self, get: Get, number: int, until: float) -> Any:
        try:
            return await self.guarded(
                self.breakers["stock"], lambda key, at: self.hedged(get, key, at), number, ATTEMPT, until
            )
        except (TimeoutError, Broken, Open, Missing, aiohttp.ClientError):
            return None

    async def page(self, number: int, until: float) -> bytes:
        product = await self.guarded(self.breakers["catalogue"], get_product, number, ATTEMPT, until)
        async with asyncio.TaskGroup() as group:
            price = group.create_task(self.guarded(self.breakers["prices"], get_price, number, ATTEMPT, until))
            stock = group.create_task(self.stock(get_stock, number, until))
            reviews = group.create_task(self.reviews(number))
        found = stock.result()
        page = {
            "id": product["id"],
            "name": product["name"],
            "maker": product["maker"],
            "cents": price.result()["cents"],
            "stock": None if found is None else found["count"],
            "reviews": reviews.result(),
        }
        return json.dumps(page, separators=(",", ":")).encode()

    async def answer(self, request: Request, number: int) -> Response:
        """The page, or the error that the caller gets."""
        came = self.loop.time()
        try:
            until = came + lasting(request)
        except ValueError as error:
            return failed(400, str(error))
        priority = 1 if request.headers.get("authorization") in MEMBERS else 0
        try:
            await self.slots.take(priority, min(came + QUEUE_TIMEOUT, until))
        except Refused:
            return failed(503, "too many requests wait already", retry=True)
        try:
            limit = min(until, self.loop.time() + PAGE)
            async with asyncio.timeout_at(limit):
                return Response(await self.page(number, limit), media_type="application/json")
        except ExceptionGroup as several:
            return refusal(several.exceptions[0])
        except (TimeoutError, OutOfTime, Missing, Open, Broken, aiohttp.ClientError) as error:
            return refusal(error)
        finally:
            self.slots.leave()


shop = Shop(json.loads(os.environ.get("SHOP_PLACES", '{"catalogue": "", "prices": "", "stock": "", "database": ""}')))
get_product, get_price = shop.getter("catalogue", "products"), shop.getter("prices", "prices")
get_stock = shop.getter("stock", "stock")


def lasting(request: Request) -> float:
    """The seconds that the caller has."""
    sent = request.headers.getlist("x-deadline-ms")
    if not sent:
        return DEADLINE
    if len(sent) > 1 or not (sent[0].isascii() and sent[0].isdigit() and len(sent[0]) <= DIGITS):
        raise ValueError("x-deadline-ms must be a whole number of milliseconds, once")
    return min(int(sent[0]) / 1000, MOST)


def refusal(error: Exception) -> Response:
    if isinstance(error, Missing):
        return failed(404, "no such product")
    if isinstance(error, (TimeoutError, OutOfTime)):  # first: a client's time-out may be both
        return failed(504, "a backend did not answer in time")
    if isinstance(error, Open):
        return failed(503, "a backend is down", retry=True)
    if isinstance(error, (Broken, aiohttp.ClientError)):
        return failed(502, "a backend failed")
    raise error


def failed(status: int, detail: str, *, retry: bool = False) -> Response:
    headers = {"retry-after": str(random.randint(1, 3))} if retry else None  # noqa: S311
    body = json.dumps({"detail": detail}).encode()
    return Response(body, status, headers, media_type="application/json")


class Left:
    """Cancels the task of a request when its client leaves."""

    def __init__(self, request: Request) -> None:
        self.left = False
        self.task = asyncio.current_task()
        self.watch = asyncio.create_task(self.wait(request))

    async def wait(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self.task is not None:
            self.task.cancel()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    await shop.open()
    yield
    await shop.close()


app = FastAPI(lifespan=lifespan)


@app.get("/products/{number}")
async def product(number: int, request: Request) -> Response:
    client = Left(request)
    try:
        return await shop.answer(request, number)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if client.left and task is not None and task.uncancel() == 0:
            return Response(status_code=499)  # nobody reads it
        raise
    finally:
        client.watch.cancel()


@app.get("/cpu")
async def cpu() -> dict[str, float]:
    """Seconds of processor time so far, of this process."""
    return {"seconds": time.process_time()}
