"""The shop at three times its load, before and after: ``python -m benchmarks.overload F.svg --json F.json``.

The shop of ``examples/shop`` is served by uvicorn, in front of its three backends; all are processes of their own.
First a few clients, each of which asks again at once, measure how many pages it can make in a second. Then three times
as many are asked for, at instants that do not depend on the answers. One customer asks for nearly all of them, and
another for a few. This is done twice: with the balancer as it is by default, and with ``fair``, ``shed`` and
``shed_late``. It needs ``.[test-extras]``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import sys
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from attrs import asdict, define

from examples.shop.start_backends import Places, backends, first_line, process
from rio_chain import Outcome
from rio_chain import Request as Wanted

Out = TypeVar("Out")

WORKERS, BUFFER, DEADLINE, LATENCY = 4, 100, 800, 80.0
TIMES, SECONDS, FEW = 3.0, 16.0, 0.06
"""How many times what it can do, for how long, and the share of the customer who asks for a few."""
OPTIONS: dict[str, dict[str, Any]] = {
    "before": {},
    "after": {"fair": True, "shed": "lowest", "shed_late": True},
}

# --- the service ------------------------------------------------------------------------------------------------


def serve(which: str) -> None:
    """The shop, as a process: it prints its address, and ends with its standard input."""
    import uvicorn  # noqa: PLC0415 - the process that asks needs none of these
    from fastapi import Request  # noqa: PLC0415

    from examples.shop import web  # noqa: PLC0415
    from examples.shop.asyncio_client import AsyncioClient  # noqa: PLC0415
    from rio_chain import Balancer  # noqa: PLC0415
    from rio_chain.contrib.asgi import handle  # noqa: PLC0415

    balancer = Balancer(workers=WORKERS, buffer=BUFFER, **OPTIONS[which])

    class Shop(web.Shop):
        """As it is, but it knows its customers."""

        async def run(self, request: Request, wanted: Wanted[Out]) -> Outcome[Out]:
            await request.body()
            tenant = request.headers.get("x-customer") if "fair" in OPTIONS[which] else None
            return await handle(request.receive, self.balancer, wanted, deadline=DEADLINE, tenant=tenant)

    app = web.application(Shop(AsyncioClient(Places.from_env()), balancer))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))

        async def main() -> None:
            loop = asyncio.get_running_loop()
            over = loop.run_in_executor(None, sys.stdin.read)
            over.add_done_callback(lambda _: setattr(server, "should_exit", True))
            print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
            await server.serve(sockets=[listening])

        asyncio.run(main())


@contextlib.contextmanager
def served(which: str, places: Places) -> Iterator[str]:
    """The address of the shop, for as long as a block lasts."""
    with process("benchmarks.overload", "--serve", which, env=places.to_env()) as started:
        yield first_line(started)


# --- the clients ------------------------------------------------------------------------------------------------


@define
class Answer:
    """What one request got: when it was asked, by whom, the status, and how many milliseconds it took."""

    at: float
    customer: str
    status: int
    ms: float


async def ask(session: Any, url: str, customer: str, began: float) -> Answer:
    """Ask for one page."""
    at = time.perf_counter()
    number = random.randrange(1_000)  # noqa: S311 - no secret
    async with session.get(f"{url}/products/{number}", headers={"x-customer": customer}) as answer:
        await answer.read()
    return Answer(at - began, customer, answer.status, 1000 * (time.perf_counter() - at))


async def capacity(session: Any, url: str, seconds: float = 3.0) -> float:
    """How many pages it can make in a second, for twice as many clients as it has workers."""
    began = time.perf_counter()

    async def client() -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            done += (await ask(session, url, "warm", began)).status == 200  # noqa: PLR2004
        return done

    return sum(await asyncio.gather(*(client() for _ in range(2 * WORKERS)))) / (time.perf_counter() - began)


async def flood(session: Any, url: str, rate: float) -> list[Answer]:
    """Ask at a rate, whatever comes back."""
    draw, began, at = random.Random(1), time.perf_counter(), 0.0  # noqa: S311 - no secret
    asked: list[asyncio.Task[Answer]] = []
    while at < SECONDS:
        at += draw.expovariate(rate)
        await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
        customer = "few" if draw.random() < FEW else "many"
        asked.append(asyncio.create_task(ask(session, url, customer, began)))
    return [await one for one in asked]


async def measured(url: str, rate: float) -> tuple[float, list[Answer]]:
    """The capacity, and the answers under load. ``rate``: the capacity that was measured before; 0: none was."""
    import aiohttp  # noqa: PLC0415 - only here

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await capacity(session, url, 1.0)
        able = max(rate, await capacity(session, url, 5.0))  # a busy machine can only measure too little
        return able, await flood(session, url, TIMES * (rate or able))


def run() -> dict[str, Any]:
    """Both, one after the other, over the same backends."""
    found: dict[str, Any] = {"settings": {"workers": WORKERS, "buffer": BUFFER, "deadline_ms": DEADLINE}}
    able = 0.0
    with backends() as places:
        places.set_faults(latency=LATENCY, spread=0.35, errors=0, stalls=0)
        for which in OPTIONS:
            with served(which, places) as url:
                able, answers = asyncio.run(measured(url, able))
            found[which] = [asdict(answer) for answer in answers]
        found["capacity"] = able
    return found


# --- the figures and the picture -------------------------------------------------------------------------------

GOOD = 200
STEP = 1.0
"""Seconds of one point of a line."""


def figures(found: dict[str, Any], which: str) -> dict[str, float]:
    """Shares from 0 to 1: of what it could do, and of what the customer who asks for a few got."""
    answers = found[which]
    few = [answer for answer in answers if answer["customer"] == "few"]
    good = [answer for answer in answers if answer["status"] == GOOD]
    times = sorted(answer["ms"] for answer in few if answer["status"] == GOOD)
    return {
        "goodput": len(good) / (found["capacity"] * SECONDS),
        "few": sum(answer["status"] == GOOD for answer in few) / max(1, len(few)),
        "few_p50": times[len(times) // 2] if times else float("nan"),
    }


def line(found: dict[str, Any], which: str) -> list[float]:
    """Good answers in a second, for each step of time in which they were asked for."""
    counts = [0] * round(SECONDS / STEP)
    for answer in found[which]:
        if answer["status"] == GOOD and answer["at"] < SECONDS:
            counts[int(answer["at"] / STEP)] += 1
    return [count / STEP for count in counts]


WIDTH, HEIGHT, LEFT, TOP, RIGHT, FOOT = 760, 330, 52, 60, 190, 56
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" id="rio-overload" width="{width}" height="{height}"
 viewBox="0 0 {width} {height}" role="img" aria-labelledby="rio-overload-title rio-overload-about">
<title id="rio-overload-title">{title}</title>
<desc id="rio-overload-about">{desc}</desc>
<style>
#rio-overload {{ --i: #1f2328; --f: #6e7781; --grid: #d0d7de; --before: #8c959f; --after: #0969da;
 max-width: 100%; height: auto;
 --ink: var(--md-default-fg-color, var(--i)); --faint: var(--md-default-fg-color--light, var(--f)); }}
@media (prefers-color-scheme: dark) {{
#rio-overload {{ --i: #e6edf3; --f: #9198a1; --grid: #3d444d; --before: #7d8590; --after: #4493f8; }}
}}
[data-md-color-scheme="default"] #rio-overload {{ --grid: #d0d7de; --before: #8c959f; --after: #0969da; }}
[data-md-color-scheme="slate"] #rio-overload {{ --grid: #3d444d; --before: #7d8590; --after: #4493f8; }}
#rio-overload text {{ fill: var(--ink); font: 13px system-ui, sans-serif; }}
#rio-overload .title {{ font-size: 16px; font-weight: 600; }}
#rio-overload .faint {{ fill: var(--faint); font-size: 12px; }}
#rio-overload .line {{ stroke: var(--grid); }}
#rio-overload .able {{ stroke: var(--faint); stroke-dasharray: 5 4; }}
#rio-overload .before, #rio-overload .after {{ fill: none; stroke-width: 2.5; stroke-linejoin: round; }}
#rio-overload .before {{ stroke: var(--before); }}
#rio-overload .after {{ stroke: var(--after); }}
#rio-overload text.word {{ stroke: none; font-weight: 600; }}
#rio-overload text.before {{ fill: var(--before); }}
#rio-overload text.after {{ fill: var(--after); }}
</style>"""


def drawn(found: dict[str, Any]) -> str:
    """Good answers over time, before and after, with the figures beside the lines."""
    able: float = found["capacity"]
    lines = {which: line(found, which) for which in OPTIONS}
    most = 1.25 * max(able, *(value for values in lines.values() for value in values))
    right, bottom = WIDTH - RIGHT, HEIGHT - FOOT

    def x(seconds: float) -> float:
        return LEFT + seconds / SECONDS * (right - LEFT)

    def y(value: float) -> float:
        return bottom - value / most * (bottom - TOP)

    title = f"The shop at {TIMES:g} times its load"
    said = {which: figures(found, which) for which in OPTIONS}
    desc = f"It can make {able:.0f} pages in a second. " + " ".join(
        f"{which}: {100 * one['goodput']:.0f} % of that in time, and {100 * one['few']:.0f} % for the small customer."
        for which, one in said.items()
    )
    who = f"one customer asks for {100 * (1 - FEW):.0f} % of them, another for {100 * FEW:.0f} %"
    parts = [
        HEAD.format(width=WIDTH, height=HEIGHT, title=title, desc=escape(desc)),
        f'<text class="title" x="10" y="24">{title}</text>',
        f'<text class="faint" x="10" y="44">pages in time per second; {who}</text>',
    ]
    parts.extend(
        f'<line class="line" x1="{x(second):.1f}" x2="{x(second):.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text class="faint" x="{x(second):.1f}" y="{bottom + 18}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(SECONDS) + 1, 2)
    )
    parts.append(
        f'<line class="able" x1="{LEFT}" x2="{right}" y1="{y(able):.1f}" y2="{y(able):.1f}"/>'
        f'<text class="faint" x="{LEFT - 6}" y="{y(able) + 4:.1f}" text-anchor="end">{able:.0f}</text>'
        f'<text class="faint" x="{LEFT - 6}" y="{bottom + 4}" text-anchor="end">0</text>'
        f'<text class="faint" x="{LEFT + 6}" y="{y(able) - 6:.1f}">what it can do</text>'
    )
    for which, values in lines.items():
        points = " ".join(f"{x((k + 0.5) * STEP):.1f},{y(value):.1f}" for k, value in enumerate(values))
        parts.append(f'<polyline class="{which}" points="{points}"/>')
    words = {"before": "as it is by default", "after": "fair, shed, shed_late"}
    for number, (which, one) in enumerate(reversed(said.items())):
        top = TOP + 14 + number * 96
        parts += [
            f'<text class="word {which}" x="{right + 16}" y="{top}">{words[which]}</text>',
            f'<text x="{right + 16}" y="{top + 22}">{100 * one["goodput"]:.0f} % of what it can do</text>',
            f'<text x="{right + 16}" y="{top + 42}">small customer: {100 * one["few"]:.0f} %</text>',
            f'<text class="faint" x="{right + 16}" y="{top + 60}">{_p50(one["few_p50"])}</text>',
        ]
    parts.append(
        f'<text class="faint" x="{LEFT}" y="{HEIGHT - 12}">examples/shop on uvicorn, {WORKERS} workers, backends of '
        f"{LATENCY:g} ms, deadline {DEADLINE} ms; both in one run</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _p50(ms: float) -> str:
    return "none in time" if ms != ms else f"half of them within {ms:.0f} ms"  # noqa: PLR0124 - not a number


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=__doc__)
    parser.add_argument("place", type=Path, nargs="?", help="where to write the picture")
    parser.add_argument("--json", type=Path, help="where to write the figures, and each answer")
    parser.add_argument("--serve", choices=OPTIONS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return
    found = run()
    for which in OPTIONS:
        one = figures(found, which)
        print(f"{which}: {100 * one['goodput']:.0f} % of {found['capacity']:.0f} pages per second in time; ", end="")
        print(f"of the small customer {100 * one['few']:.0f} %, half within {one['few_p50']:.0f} ms")
    if asked.json:
        asked.json.write_text(json.dumps(found))
    if asked.place:
        asked.place.write_text(drawn(found))


if __name__ == "__main__":
    main()
