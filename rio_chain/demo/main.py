"""Runs the demo: fresh servers and fresh connections for each executor, the same chain for all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from rio_chain import Balancer, Request, Task
from rio_chain.demo import report
from rio_chain.demo.chain import page
from rio_chain.demo.client import Api, Visit, http_library
from rio_chain.demo.servers import Servers

EXECUTORS = ("asyncio", "trio", "thread")


@frozen
class Options:
    """The options of the command line."""

    executors: Sequence[str] = EXECUTORS
    seed: int = 437
    requests: int = 1
    kill: bool = False


@contextmanager
def connected(servers: Servers, seed: int, run: Callable[[Request[None]], Any]) -> Generator[Api, None, None]:
    """Open connections. ``run`` closes them, on the loop that used them."""
    api = Api(servers, seed)
    try:
        yield api
    finally:
        run(Task(api.aclose)())


def one(executor: str, seed: int) -> report.Page:
    """One request on the executor, without a balancer."""

    def run(request: Request[Any]) -> Any:
        return request.run(executor=executor)

    with Servers() as servers, connected(servers, seed, run) as api:
        return page(Visit(1, api)).run(executor=executor)


def many(executor: str, options: Options) -> list[report.Page]:
    """Many requests through a balancer with 10 workers. With ``kill`` the orders server stops half-way."""
    outcomes: list[report.Page] = []
    with (
        Servers() as servers,
        Balancer(executor, workers=10, buffer=50) as balancer,
        connected(servers, options.seed, balancer.run) as api,
    ):
        for outcome in balancer.map(page, (Visit(number, api) for number in range(1, options.requests + 1))):
            outcomes.append(outcome)
            progress(len(outcomes), options.requests)
            if options.kill and len(outcomes) == options.requests // 2:
                servers.orders.close()
    return outcomes


def progress(done: int, total: int) -> None:
    """Print a counter to the terminal, if the output goes there."""
    if sys.stdout.isatty():
        print(f"\r  {done} of {total}", end="\n" if done == total else "", flush=True)


def show_one(executor: str, options: Options) -> list[report.Page]:
    """Run and print one request."""
    outcome = one(executor, options.seed)
    print(report.table(outcome), report.ending(outcome), sep="\n")
    return [outcome]


def show_many(executor: str, options: Options) -> list[report.Page]:
    """Run and print many requests."""
    began = time.perf_counter()
    outcomes = many(executor, options)
    print(report.figures(outcomes, time.perf_counter() - began))
    lost = options.requests - len(outcomes)
    print(f"  {lost} lost" + (", the orders server was killed half-way" if options.kill else ""))
    return outcomes


def demo(options: Options) -> int:
    """Run the demo. The exit code is 0, or 1 if a request was lost or the executors disagree."""
    http_library()
    print(report.intro(options.seed), "", page.explain(), sep="\n")
    runs: dict[str, list[report.Page]] = {}
    for executor in options.executors:
        print(f"\n{executor}")
        runs[executor] = (show_one if options.requests == 1 else show_many)(executor, options)
    complete = all(len(outcomes) == options.requests for outcomes in runs.values())
    comparable = complete and len(runs) > 1 and not options.kill  # which requests a killed server hits depends on time
    if comparable:
        print(f"\n{report.verdict(runs)}")
    return 0 if complete and not (comparable and report.differences(runs)) else 1
