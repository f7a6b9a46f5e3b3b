"""The shop on real servers: what its clients get, and what its backends see, when much goes wrong."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from urllib.request import urlopen

import pytest

for package in ("uvicorn", "hypercorn", "flask", "strawberry", "aiohttp", "aiosqlite", "opentelemetry.sdk"):
    pytest.importorskip(package, reason="needs the packages of .[test-extras]")

from extras.shop.shop_process import ROOT, Answer, ShopProcess, quantile, running, together  # noqa: E402

report = partial(print, file=sys.stderr)  # figures, shown with -s or when a test fails
REQUESTS, CLIENTS = 2_000, 200
WORKERS, BUFFER, QUEUE_TIMEOUT = 32, 200, 500
PRODUCTS = 1_000


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def shop(request: pytest.FixtureRequest) -> Iterator[ShopProcess]:
    with running(request.param) as process:
        yield process


@pytest.fixture(autouse=True)
def calm(request: pytest.FixtureRequest) -> None:
    """The backends are quick and without faults, all breakers are closed, and nothing is under way."""
    if "shop" in request.fixturenames:
        shop = request.getfixturevalue("shop")
        asyncio.run(shop.faults())
        asyncio.run(shop.until("/stats", lambda stats: stats["running"] == stats["queued"] == 0))
        asyncio.run(shop.until("/products/1", lambda page: "id" in page))  # no breaker is open any more


async def backend_calls(shop: ShopProcess, name: str, what: str) -> int:
    seen: int = (await shop.get("/backends"))[name][what]
    return seen


@pytest.mark.timeout(120)
def test_of_2000_requests_at_200_at_once_none_is_lost_and_none_is_answered_twice(shop: ShopProcess) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await storm(stack)

    async def storm(stack: AsyncExitStack) -> None:
        await shop.faults(errors=0.05, stalls=0.01)
        before = await shop.get("/stats")
        connections = [await stack.enter_async_context(shop.connection()) for _ in range(CLIENTS)]

        async def one(number: int) -> Answer:
            connection = connections.pop()
            answer = await connection.ask(f"/products/{number % PRODUCTS}")
            if answer.status == 200:
                assert answer.json["id"] == number % PRODUCTS, "the answer to another request"
            connections.append(connection)
            return answer

        began = time.perf_counter()
        answers = await together(REQUESTS, CLIENTS, one)
        seconds = time.perf_counter() - began
        statuses = Counter(answer.status for answer in answers)
        report(f"\n{REQUESTS} requests in {seconds:.1f} s, p99 {quantile(answers, 0.99):.0f} ms, {dict(statuses)}")
        assert statuses.total() == REQUESTS
        assert set(statuses) <= {200, 502, 503, 504}
        assert statuses[200] > 0
        rests = await asyncio.gather(*(connection.rest() for connection in connections))
        assert set(rests) == {b""}, "a second answer"
        stats = await shop.until("/stats", lambda stats: stats["running"] == stats["queued"] == 0)
        ends = ("succeeded", "failed", "timed_out", "cancelled", "rejected")
        assert sum(stats[name] - before[name] for name in ends) == REQUESTS
        assert stats["succeeded"] - before["succeeded"] == statuses[200]

    asyncio.run(main())


def test_the_backends_see_that_a_client_has_left(shop: ShopProcess) -> None:
    async def main() -> None:
        await shop.faults(latency=1_000)  # an attempt may take 300, and there are up to three
        before, cancelled = await shop.get("/backends"), (await shop.get("/stats"))["cancelled"]
        calls = before["catalogue"]["calls"]
        async with shop.connection() as client:
            client.send("/products/7")
            asked = await shop.until("/backends", lambda seen: seen["catalogue"]["calls"] > calls)
        left = time.perf_counter()
        await shop.until("/stats", lambda stats: stats["cancelled"] == cancelled + 1)
        report(f"\nits run was cancelled {1000 * (time.perf_counter() - left):.0f} ms after it had left")
        seen = await shop.until("/backends", lambda seen: seen["catalogue"]["running"] == 0)
        assert seen["catalogue"]["disconnected"] > before["catalogue"]["disconnected"]
        assert asked["catalogue"]["calls"] <= seen["catalogue"]["calls"] <= asked["catalogue"]["calls"] + 1
        await asyncio.sleep(0.05)
        seen_later = await shop.get("/backends")
        assert seen_later["catalogue"]["calls"] == seen["catalogue"]["calls"], "another attempt was made"
        assert seen_later["prices"]["calls"] == before["prices"]["calls"]

    asyncio.run(main())


def test_a_deadline_in_a_header_shortens_the_attempts_and_is_forwarded(shop: ShopProcess) -> None:
    async def main() -> None:
        await shop.faults(latency=1_000)
        calls = await backend_calls(shop, "catalogue", "calls")
        answer = await shop.ask("/products/7", "x-deadline-ms: 100\r\n")
        assert answer.status == 504
        assert 100 <= answer.took < 300, "an attempt may take 300 ms by itself"
        catalogue = (await shop.get("/backends"))["catalogue"]
        assert catalogue["calls"] == calls + 1, "there was no time for another attempt"
        assert 50 < int(catalogue["deadline"]) <= 100

    asyncio.run(main())


@pytest.mark.parametrize("value", ["-1", "1e9", "soon", "", "9" * 40, "100, 100", "\N{ARABIC-INDIC DIGIT FIVE}"])
def test_a_deadline_that_is_none_is_refused_and_calls_nobody(shop: ShopProcess, value: str) -> None:
    async def main() -> None:
        calls = await backend_calls(shop, "catalogue", "calls")
        assert (await shop.ask("/products/7", f"x-deadline-ms: {value}\r\n")).status == 400
        assert await backend_calls(shop, "catalogue", "calls") == calls

    asyncio.run(main())


def test_an_absurd_deadline_gives_no_more_time_than_the_chain_has(shop: ShopProcess) -> None:
    async def main() -> None:
        answer = await shop.ask("/products/7", "x-deadline-ms: 999999999\r\nx-priority: 99\r\n")
        assert answer.status == 200
        assert int((await shop.get("/backends"))["catalogue"]["deadline"]) <= 300

    asyncio.run(main())


class Overload:
    """More clients than there are slots and places in the line, each of which asks again and again."""

    def __init__(self, shop: ShopProcess) -> None:
        self.shop = shop
        self.accepted: list[Answer] = []
        self.refused: list[Answer] = []
        self.live: list[Answer] = []
        self.over = False

    async def client(self, number: int) -> None:
        async with self.shop.connection() as connection:
            while not self.over:
                answer = await connection.ask(f"/products/{number}")
                if b"requests wait" in answer.body:
                    assert answer.status == 503
                    assert int(answer.headers.partition("retry-after:")[2].partition("\r\n")[0]) >= 1
                    self.refused.append(answer)
                    await asyncio.sleep(0.2)
                else:
                    self.accepted.append(answer)

    async def probe(self) -> None:
        """What the machine and the server need for an answer that takes nothing."""
        async with self.shop.connection() as connection:
            while not self.over:
                self.live.append(await connection.ask("/live"))
                await asyncio.sleep(0.02)

    async def run(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.probe())
            for number in range(WORKERS + BUFFER + 20):
                group.create_task(self.client(number))
            await asyncio.sleep(seconds)
            self.over = True


@pytest.mark.timeout(120)
def test_under_overload_refusals_are_quick_and_what_is_accepted_is_in_time() -> None:
    """A busy machine keeps answers back that take nothing, too. So the bounds are beside such answers."""

    async def tried(shop: ShopProcess) -> tuple[bool, str]:
        async with shop.connection() as connection:
            alone = [await connection.ask(f"/products/{number}") for number in range(40)]
        load = Overload(shop)
        await load.run(3)
        assert {answer.status for answer in load.accepted} <= {200, 503, 504}
        assert load.refused
        unloaded, accepted = quantile(alone, 0.99), quantile(load.accepted, 0.99)
        refused, live = quantile(load.refused, 0.5), quantile(load.live, 0.5)
        figures = (
            f"unloaded p99 {unloaded:.0f} ms; of {len(load.accepted)} accepted p99 {accepted:.0f} ms; "
            f"of {len(load.refused)} refused p50 {refused:.1f} ms, p99 {quantile(load.refused, 0.99):.1f} ms; "
            f"of {len(load.live)} that take nothing p50 {live:.1f} ms, p99 {quantile(load.live, 0.99):.1f} ms"
        )
        report(f"\n{figures}")
        in_time = accepted <= QUEUE_TIMEOUT + 1.5 * unloaded + 2 * quantile(load.live, 0.99)
        return in_time and refused <= 20 + 2 * live, figures

    async def main() -> None:
        with running("uvicorn") as shop:
            await shop.faults(latency=60)
            for _ in range(3):
                good, figures = await tried(shop)
                if good:
                    return
            pytest.fail(figures)

    asyncio.run(main())


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "flask"])
def test_sigterm_drains_and_ends_every_process(server: str) -> None:
    async def main() -> None:
        with running(server, "--latency", "80", "--errors", "0", "--stalls", "0") as shop:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(shop.ask(f"/products/{number}")) for number in range(20)]
                await shop.until("/stats", lambda stats: stats["running"] + stats["done"] == 20)
                code = await asyncio.to_thread(shop.stop)
            assert code == 0
            answers = [task.result() for task in asked]
            assert len(answers) == 20
            failures = {answer.body for answer in answers if answer.status != 200}
            late = {b"A backend did not answer in time.", b"A backend is not called for now"}  # on a busy machine
            assert all(any(text in failure for text in late) for failure in failures), failures
            with pytest.raises(ConnectionRefusedError):
                await shop.ask("/ready")

    asyncio.run(main())


def test_graphql_gives_fields_side_by_side_and_says_what_failed(shop: ShopProcess) -> None:
    async def main() -> None:
        query = b'{"query": "{product(id: 7) {name cents stock reviews {stars}} none: product(id: 5000) {name}}"}'
        answer = await shop.ask("/graphql", body=query)
        if answer.status == 404:
            pytest.skip("Strawberry is served on asyncio alone")
        assert answer.json["data"]["product"] == {
            "name": "tea",
            "cents": 458,
            "stock": 49,
            "reviews": [{"stars": 3}, {"stars": 4}, {"stars": 5}],
        }
        assert answer.json["data"]["none"] is None
        assert [error["extensions"]["status"] for error in answer.json["errors"]] == [404]

    asyncio.run(main())


def command(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.shop", *options], capture_output=True, text=True, timeout=30, check=False,
        cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--errors", "40"], "errors is a share from 0 to 1, such as 0.4 for 40 %; got 40"),
        (["--stalls", "nan"], "stalls is a share from 0 to 1"),
        (["--latency", "-1"], "latency is a number of milliseconds, 0 or more; got -1"),
    ],
)
def test_faults_that_make_no_sense_are_refused(options: list[str], says: str) -> None:
    ended = command(*options)
    assert ended.returncode == 2
    assert says in ended.stderr


def test_a_port_that_is_used_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = command("--port", str(taken.getsockname()[1]))
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "can't be used: Address already in use; another one: --port 0" in line


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "flask"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_that_it_has_stopped(server: str, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "examples.shop", "--server", server, "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        end = time.monotonic() + 20
        while not answers(f"{address}/ready") and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert errors.splitlines()[-1] == "stopped"
    assert "Traceback" not in errors


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except OSError:
        return False
