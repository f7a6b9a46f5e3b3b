"""Each server in turn, with the application as it is and below a middleware that wraps ``receive``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(params=["uvicorn", "hypercorn", "hypercorn-trio"])
def serve(request: pytest.FixtureRequest) -> Any:
    from extras.asgi.servers import SERVERS  # noqa: PLC0415 - needs the extras

    return SERVERS[request.param]


@pytest.fixture(params=["plain", "middleware"])
def served(request: pytest.FixtureRequest, serve: Any) -> Iterator[Any]:
    from extras.asgi.servers import Served, Site, serving  # noqa: PLC0415 - as above

    site = Site()
    with serving(serve, site.app(middleware=request.param == "middleware")) as port:
        yield Served(site, port)
    assert site.events[-1][0] == "clients closed"
    assert site.count("clients closed") == 1
