"""One page from several HTTP backends, as a GraphQL server would put it together.

    python examples/page.py [--executor asyncio|trio|thread] [--requests N] [--seed N]

A user has orders, an order has items; beside them are recommendations, and the stock of the user's favourite item.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pprint import pp
from typing import Any

import httpx2
from attrs import asdict, frozen
from page_backends import Backends
from returns.result import Failure, Result, Success

from rio_chain import Balancer, Chain, Event, Outcome, Request, Task, current_attempt, each, fan_out

EXECUTORS = ("asyncio", "trio", "thread")
BESTSELLERS = ["tea", "bread"]
SEED = 379  # under which a little of everything goes wrong

# --- what comes back --------------------------------------------------------------------------------------------


@frozen
class User:
    """Who visits."""

    id: int
    name: str
    town: str
    favourite: str


@frozen
class Order:
    """One order; what is in it is asked for separately."""

    id: int


@frozen
class Item:
    """One line of an order."""

    article: str
    euros: int


@frozen
class Stock:
    """How many there are, as one replica knows it."""

    article: str
    version: int
    count: int


# --- one function per endpoint ----------------------------------------------------------------------------------


class Api:
    """The open connections. An async client belongs to one loop."""

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self.web = httpx2.AsyncClient(trust_env=False, timeout=10)
        self.wire = httpx2.Client(trust_env=False, timeout=10)

    async def get(self, url: str) -> Any:
        """The servers misbehave by attempt, so the request says which attempt it is."""
        answer = await self.web.get(url, headers={"x-attempt": str(current_attempt())})
        return answer.raise_for_status().json()

    async def fetch_user(self, user_id: int) -> User:
        """GET /users/7."""
        return User(**await self.get(f"{self.backends.accounts_url}/users/{user_id}"))

    async def fetch_orders(self, user: User) -> list[Order]:
        """GET /orders/7."""
        return [Order(**row) for row in await self.get(f"{self.backends.accounts_url}/orders/{user.id}")]

    def fetch_items(self, order: Order) -> list[Item]:
        """GET /items/701, by a blocking call: it runs on a thread, whatever the executor."""
        url = f"{self.backends.accounts_url}/items/{order.id}"
        answer = self.wire.get(url, headers={"x-attempt": str(current_attempt())})
        return [Item(**row) for row in answer.raise_for_status().json()]

    async def fetch_recommendations(self, user: User) -> list[str]:
        """GET /recommendations/7."""
        found: list[str] = await self.get(f"{self.backends.recommendations_url}/recommendations/{user.id}")
        return found

    async def fetch_stock(self, replica: str, article: str) -> Stock:
        """GET /stock/tea, from one replica."""
        return Stock(**await self.get(f"{replica}/stock/{article}"))

    async def aclose(self) -> None:
        """Close both clients; to be run on the loop that used the async one."""
        self.wire.close()
        await self.web.aclose()


# --- the chain --------------------------------------------------------------------------------------------------


def favourite(user: User) -> str:
    """Bridge: whose stock is asked for."""
    return user.favourite


def newest(found: tuple[Stock, ...]) -> Stock:
    """Bridge: a write is on two of the three replicas, so any two of them have it at least once."""
    return max(found, key=lambda stock: stock.version)


Parts = tuple[list[Result[list[Item], Any]], list[str], Stock | None]


def render(found: Parts, user: User, orders: list[Order]) -> dict[str, Any]:
    """The page. Items that could not be fetched are null, and are listed under "errors", as in GraphQL."""
    items, recommended, stock = found
    shown = [
        {"id": order.id, "items": [asdict(item) for item in its.unwrap()] if isinstance(its, Success) else None}
        for order, its in zip(orders, items, strict=True)
    ]
    data = {
        "user": {**asdict(user), "orders": shown},
        "recommended": recommended,
        "stock": asdict(stock) if stock else None,
    }
    return {"data": data, "errors": [f"no items of order {row['id']}" for row in shown if row["items"] is None]}


def page_of(api: Api) -> Chain[[int], dict[str, Any]]:
    """The page of a user, by number. Nothing is asked before ``page(7)`` is run."""
    user = Task(api.fetch_user).timeout(2_000).retry(2)
    orders = Task(api.fetch_orders).timeout(2_000).retry(3)
    items = each(Task(api.fetch_items).timeout(2_000).retry(2), limit=5, on_error="keep")
    recommended = Task(api.fetch_recommendations).timeout(2_000) | BESTSELLERS
    replicas = [
        Task(partial(api.fetch_stock, url)).named(f"stock {number}").timeout(2_000)
        for number, url in enumerate(api.backends.stock_urls)
    ]
    stock = (fan_out(*replicas, need=2) >> newest) | None
    parts = (orders >> items) & recommended & (favourite >> stock)
    return (user >> parts >> Task(render).using(user=user, orders=orders)).timeout(10_000)


# --- run it -----------------------------------------------------------------------------------------------------


def connect(backends: Backends) -> Api:
    """Open connections; a plain function, as reading certificates would hold the loop."""
    return Api(backends)


@contextmanager
def connected(backends: Backends, run: Callable[[Request[Any]], Outcome[Any]]) -> Generator[Api, None, None]:
    """An Api that is closed in the end; opened and closed by ``run``, on the loop that will use it."""
    api = run(Task(connect)(backends)).unwrap()
    try:
        yield api
    finally:
        run(Task(api.aclose)())


def line_of(event: Event) -> str:
    """One line of progress."""
    item = "" if event.item is None else f"[{event.item}]"
    what = f"failed: {type(event.error).__name__}" if event.kind == "attempt_failed" else f"finished: {event.status}"
    return f"{event.at:6.0f} ms  {event.task}{item} {what}"


def one(backends: Backends, executor: str, user_id: int = 1) -> Outcome[dict[str, Any]]:
    """One page, with what happens while it is made."""
    with connected(backends, lambda request: request.run(executor=executor)) as api:
        page = page_of(api)
        print(page.explain(), end="\n\n")
        with page(user_id).stream(executor=executor) as events:
            for event in events:
                if event.kind in ("finished", "attempt_failed"):
                    print(line_of(event))
        return events.outcome


def many(backends: Backends, executor: str, requests: int) -> list[Outcome[dict[str, Any]]]:
    """The pages of many users, ten at a time, in order."""
    with Balancer(executor, workers=10) as balancer, connected(backends, balancer.run) as api:
        return list(balancer.map(page_of(api), range(1, requests + 1)))


def show(options: argparse.Namespace) -> None:
    """Run and print what the command line asks for."""
    with Backends(options.seed) as backends:
        outcome = one(backends, options.executor)
        print()
        match outcome.result:
            case Success(page):
                pp(page, width=100, sort_dicts=False)
            case Failure(error):
                print(f"no page: {error}")
        print("", outcome.summary(), sep="\n")
        if options.requests > 1:
            print("", census(many(backends, options.executor, options.requests)), sep="\n")


def census(outcomes: list[Outcome[dict[str, Any]]]) -> str:
    """What became of many pages."""
    pages = [outcome.unwrap() for outcome in outcomes if isinstance(outcome.result, Success)]
    failed, partly = len(outcomes) - len(pages), sum(bool(page["errors"]) for page in pages)
    return f"{len(outcomes)} more pages: {len(pages) - partly} whole, {partly} partly, {failed} failed"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; the exit code is 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description="One page from several HTTP backends.")
    parser.add_argument("--executor", choices=EXECUTORS, default="asyncio")
    parser.add_argument("--requests", type=int, default=1, metavar="N", help="more than 1: so many more, at once")
    parser.add_argument("--seed", type=int, default=SEED, help="decides every fault (default: %(default)s)")
    try:
        show(parser.parse_args(argv))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
