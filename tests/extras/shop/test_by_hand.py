"""The endpoint by hand, which ours is measured beside, answers as ours does; and the measuring works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

for package in ("uvicorn", "aiohttp", "aiosqlite"):
    pytest.importorskip(package, reason="needs the packages of .[test-extras]")

from extras.shop.shop_process import Answer, ShopProcess  # noqa: E402

from benchmarks import endpoint  # noqa: E402
from examples.shop.start_backends import Places, backends  # noqa: E402

APPS = list(endpoint.APPS)


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    with backends() as found:
        found.set_faults(errors=0, stalls=0)
        yield found


@pytest.fixture(scope="module")
def served(places: Places) -> Iterator[dict[str, int]]:
    with (
        endpoint.server(endpoint.APPS[APPS[0]], places, "asyncio") as first,
        endpoint.server(endpoint.APPS[APPS[1]], places, "asyncio") as other,
    ):
        yield dict(zip(APPS, (first, other), strict=True))


def ask(port: int, path: str, headers: str = "") -> Answer:
    return asyncio.run(ShopProcess(None, port).ask(path, headers))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/products/7", "", 200),
        ("/products/10", "x-deadline-ms: 4000\r\nauthorization: Bearer ada\r\n", 200),
        ("/products/5000", "", 404),
        ("/products/7", "x-deadline-ms: soon\r\n", 400),
        ("/products/7", "x-deadline-ms: 0\r\n", 504),
        ("/products/seven", "", 422),
    ],
)
def test_both_answer_alike(served: dict[str, int], path: str, headers: str, status: int) -> None:
    answers = [ask(port, path, headers) for port in served.values()]
    assert [answer.status for answer in answers] == [status, status]
    if status == 200:
        assert answers[0].json == answers[1].json


@pytest.mark.parametrize("app", APPS)
def test_both_forward_what_is_left_of_the_deadline(served: dict[str, int], places: Places, app: str) -> None:
    assert ask(served[app], "/products/7", "x-deadline-ms: 200\r\n").status == 200
    assert 0 < int(places.stats()["catalogue"]["deadline"]) <= 200


@pytest.mark.parametrize("app", APPS)
def test_both_refuse_while_a_backend_is_down(served: dict[str, int], places: Places, app: str) -> None:
    places.set_faults(errors=1)
    try:
        statuses = [ask(served[app], "/products/7").status for _ in range(4)]
    finally:
        places.set_faults(errors=0)
    assert statuses[0] == 502
    assert statuses[-1] == 503, "its breaker is open"


def test_rounds_are_counted_and_compared(served: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    found = asyncio.run(endpoint.load(served[APPS[0]], 40, 8))
    assert found.statuses.total() == 40
    assert found.cpu > 0
    text = endpoint.table({name: [found, found] for name in APPS})
    assert "1.000x" in text
    assert "processor time" in text
