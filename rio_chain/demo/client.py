"""An HTTP client and one function per endpoint: what any program that uses the three backends has.

httpx2 works with asyncio, with trio and with blocking calls. ``fetch_orders`` is a blocking function on purpose, as
older code often is: it runs on a worker thread, whatever the executor.
"""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from rio_chain.engine._current_run import current_attempt

if TYPE_CHECKING:
    import httpx2

    from rio_chain.demo.servers import Servers


def http_library() -> Any:
    """The httpx2 module, which the ``demo`` extra installs."""
    try:
        return importlib.import_module("httpx2")
    except ImportError as error:
        raise ImportError("the demo needs an HTTP client; install it with: pip install 'rio-chain[demo]'") from error


class Wire:
    """A blocking client that its last user closes: a call on a thread may outlast the Api that made it."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client
        self._users = 1
        self._lock = threading.RLock()

    def get(self, url: str, params: dict[str, int]) -> httpx2.Response:
        """Send a request, and wait for the answer."""
        with self._lock:
            self._users += 1
        try:
            return self._client.get(url, params=params)
        finally:
            self.close()

    def close(self) -> None:
        """One user less; the last one closes the client."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self._client.close()


class Api:
    """The open connections to the three servers. An async client belongs to one loop, so each executor gets an Api."""

    def __init__(self, servers: Servers, seed: int) -> None:
        http = http_library()
        self.seed = seed
        self.users_url, self.orders_url, self.shops_url = servers.users.url, servers.orders.url, servers.shops.url
        self.web: httpx2.AsyncClient = http.AsyncClient(trust_env=False, timeout=10)
        self.wire = Wire(http.Client(trust_env=False, timeout=10))

    async def aclose(self) -> None:
        """Close both clients. Run it on the loop that used the async client."""
        self.wire.close()
        await self.web.aclose()


@frozen
class Visit:
    """The input of the chain: the number of this request, and the Api that it uses."""

    number: int
    api: Api = field(eq=False, repr=False)

    def query(self) -> dict[str, int]:
        """What the servers need to choose their faults reproducibly."""
        return {"seed": self.api.seed, "request": self.number, "attempt": current_attempt()}


@frozen
class User:
    """A user."""

    visit: Visit = field(repr=False)
    id: int
    name: str
    town: str


@frozen
class OrderQuery:
    """A request for the orders of a user."""

    user: User


@frozen
class Location:
    """A request for the shops of a town."""

    visit: Visit = field(repr=False)
    town: str


@frozen
class Orders:
    """The orders of a user, in euros."""

    user: User
    euros: list[int]


@frozen
class Shop:
    """One shop."""

    name: str
    town: str
    asked: str  # the town in the request


async def fetch_user(visit: Visit) -> User:
    """Ask the slow server."""
    answer = await visit.api.web.get(f"{visit.api.users_url}/users/{visit.number}", params=visit.query())
    return User(visit, **answer.raise_for_status().json())


def fetch_orders(query: OrderQuery) -> Orders:
    """Ask the flaky server, with a blocking call."""
    visit = query.user.visit
    answer = visit.api.wire.get(f"{visit.api.orders_url}/orders/{query.user.id}", params=visit.query())
    return Orders(query.user, [row["euros"] for row in answer.raise_for_status().json()])


async def fetch_shops(place: Location) -> list[Shop]:
    """Ask the server that is sometimes wrong."""
    api = place.visit.api
    answer = await api.web.get(f"{api.shops_url}/shops/{place.town}", params=place.visit.query())
    return [Shop(asked=place.town, **row) for row in answer.raise_for_status().json()]
