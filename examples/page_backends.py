"""The backends of ``page.py``: accounts, recommendations, and three replicas of the stock. Each goes wrong in its way.

Every answer takes its time, and what goes wrong follows from the seed, the path and the attempt.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from local_server import Answer, LocalServer, Reply, drawn

NAMES = ("Ada", "Grace", "Edsger", "Barbara", "Tony", "Radia")
TOWNS = ("Lisbon", "Oslo", "Porto", "Ghent", "Turin")
ARTICLES = ("tea", "bread", "honey", "olives", "cheese", "plums", "coffee")
REPLICAS = 3


def article(number: int) -> str:
    """One of the articles."""
    return ARTICLES[number % len(ARTICLES)]


def answered(path: str) -> Any:
    """What is right. ``/users/7``, ``/orders/7`` (of that user), ``/items/701`` (of that order), and so on."""
    _, what, key = path.split("/")
    number = int(key) if key.isdigit() else 0
    match what:
        case "users":
            town = TOWNS[number % len(TOWNS)]
            return {"id": number, "name": NAMES[number % len(NAMES)], "town": town, "favourite": article(number)}
        case "orders":
            return [{"id": 100 * number + i} for i in range(1, 3 + number % 4)]
        case "items":
            return [{"article": article(number + 3 * i), "euros": 3 + (7 * number + 5 * i) % 40} for i in range(2)]
        case "recommendations":
            return [article(number + i) for i in (2, 4, 5)]
        case _:
            return {"article": key, "version": 8, "count": 10 * (1 + ARTICLES.index(key))}


class Backends:
    """All of them, running from ``with`` to its end."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def accounts(self, path: str, attempt: int) -> Reply:
        """Users are never wrong; orders and their items are flaky."""
        flaky = not path.startswith("/users/") and drawn(self.seed, path, attempt) < 0.3
        return self.reply(answered(path), path, attempt, status=503 if flaky else 200)

    def recommendations(self, path: str, attempt: int) -> Reply:
        """Is down now and then, or hangs."""
        fault = drawn(self.seed, path, attempt)
        return self.reply(
            answered(path), path, attempt, status=503 if fault < 0.3 else 200, late=5_000 if fault > 0.9 else 0
        )

    def stock(self, replica: int, path: str, attempt: int) -> Reply:
        """Is down or slow now and then. A write is done when two replicas have it: the third one is behind."""
        fault = drawn(self.seed, replica, path, attempt)
        body = answered(path)
        if ARTICLES.index(body["article"]) % REPLICAS == replica:
            body = {**body, "version": body["version"] - 1, "count": body["count"] + 1}
        return self.reply(
            body, replica, path, attempt, status=503 if fault < 0.2 else 200, late=300 if fault > 0.8 else 0
        )

    def reply(self, body: Any, *call: object, status: int = 200, late: float = 0) -> Reply:
        """An answer to a call, after 5 to 30 ms and what it is late."""
        after = 5 + 25 * drawn(self.seed, "latency", *call) + late
        return Reply(json.dumps(body if status < 400 else {"error": "try again"}), status, after)

    def __enter__(self) -> Self:
        with ExitStack() as stack:

            def started(answer: Answer) -> str:
                return stack.enter_context(LocalServer(answer)).url

            self.accounts_url = started(self.accounts)
            self.recommendations_url = started(self.recommendations)
            self.stock_urls = [started(partial(self.stock, replica)) for replica in range(REPLICAS)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
