"""The shop's functions for threads: httpx2 and sqlite3, both blocking."""

from __future__ import annotations

from typing import Any

import httpx2

from examples.shop.chains import BackendDown, Chains
from examples.shop.functions import BlockingFunctions, checked, time_left
from examples.shop.start_backends import Places
from rio_chain import remaining

POOL = httpx2.Limits(max_connections=None, max_keepalive_connections=100)


class BlockingClient:
    """Connections that threads share."""

    def __init__(self, places: Places) -> None:
        self.chains: Chains = BlockingFunctions(places, self.get).chains()
        self._web = httpx2.Client(trust_env=False, limits=POOL)

    def get(self, url: str) -> Any:
        """One call.

        A thread that waits for a socket can't be interrupted. So the client gets a limit as well, that of the attempt:
        without it an abandoned call would keep its thread for as long as the backend stalls.
        """
        try:
            answer = self._web.get(url, headers=time_left(), timeout=remaining() / 1000)
        except httpx2.HTTPError as error:
            raise BackendDown(str(error)) from error
        return checked(answer.status_code, answer.content)

    def close(self) -> None:
        """Close the connections."""
        self._web.close()
