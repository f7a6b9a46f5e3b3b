"""Deadline: an instant on a clock, and its way from run to run."""

from __future__ import annotations

import email.message
import io
import itertools
import time
from datetime import timedelta
from typing import Any

import attrs
import pytest
import starlette.datastructures
import trio

from rio_chain import (
    Balancer,
    ChainDefinitionError,
    Deadline,
    DeadlineExceeded,
    DeadlineHeaderError,
    Request,
    Task,
    remaining,
)
from rio_chain._core.deadline import deadline_of


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_it_counts_down_on_its_own_clock() -> None:
    clock = Clock(100)
    deadline = Deadline(101.5, clock)
    assert deadline.remaining() == 1500
    clock.now = 102
    assert deadline.remaining() == -500


def test_it_is_translated_once_for_another_clock() -> None:
    here, there = Clock(100), Clock(7)
    assert Deadline(101.5, here).on(here) == 101.5
    assert Deadline(101.5, here).on(there) == 8.5


@pytest.mark.parametrize("ms", [300, 300.0, timedelta(milliseconds=300)])
def test_after(ms: Any) -> None:
    before = time.monotonic()
    deadline = Deadline.after(ms)
    assert before + 0.3 <= deadline.at <= time.monotonic() + 0.3
    assert deadline.clock is time.monotonic


def test_zero_is_already_over() -> None:
    assert Deadline.after(0).remaining() <= 0


@pytest.mark.parametrize("ms", [-1, "1", None, float("nan"), True])
def test_what_is_no_duration_is_refused(ms: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`ms` must be a finite number of milliseconds"):
        Deadline.after(ms)


def test_what_may_be_written_for_one() -> None:
    deadline = Deadline.after(10)
    assert deadline_of(deadline) is deadline
    assert deadline_of(None) is None
    made = deadline_of(1_000)
    assert made is not None
    assert 0 < made.remaining() <= 1_000
    with pytest.raises(ChainDefinitionError, match="`deadline`"):
        deadline_of("soon")  # type: ignore[arg-type]


def test_it_shows_what_is_left() -> None:
    clock = Clock(100)
    for at, text in (
        (100.25, "Deadline(250 ms left)"),
        (100.0004, "Deadline(0.4 ms left)"),
        (3700.0, "Deadline(3600000 ms left)"),
        (100, "Deadline(passed 0 ms ago)"),
        (99.5, "Deadline(passed 500 ms ago)"),
        (float("inf"), "Deadline(no limit)"),
    ):
        assert repr(Deadline(at, clock)) == text


def test_one_whose_clock_has_ended_still_has_a_repr() -> None:
    def ended() -> float:
        raise RuntimeError("the loop has ended")

    assert repr(Deadline(1.0, ended)) == "Deadline(at=1.0)"


def test_its_repr_names_the_right_code_for_a_number_of_milliseconds() -> None:
    text = "Deadline(passed 9900000 ms ago; write Deadline.after(100) for 100 ms from now)"
    assert repr(Deadline(100, lambda: 10_000.0)) == text


def test_it_is_frozen() -> None:
    deadline = Deadline(1.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        deadline.at = 2  # type: ignore[misc]


def left() -> float:
    return remaining()


async def aleft() -> float:
    return remaining()


@pytest.mark.parametrize("body", [left, aleft])
@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_a_body_sees_the_earliest_limit_around_it(executor: str, body: Any) -> None:
    with Balancer(executor, abandon_after=50_000) as balancer:
        for chain, deadline, most in (
            (Task(body), None, 50_000),
            (Task(body), 40_000, 40_000),
            (Task(body), Deadline.after(30_000), 30_000),
            (Task(body).timeout(20_000), 40_000, 20_000),
            (Task(body).timeout(20_000), 10_000, 10_000),
            (Task(body).timeout(20_000).retry(3).timeout(5_000), 10_000, 5_000),
        ):
            got = balancer.run(chain(), deadline=deadline).unwrap()
            assert most - 5_000 < got <= most


def test_outside_of_a_run_there_is_none() -> None:
    assert remaining() == float("inf")


@pytest.mark.parametrize("outer", ["asyncio", "trio", "thread"])
@pytest.mark.parametrize("inner", ["asyncio", "trio", "thread"])
def test_a_run_begun_in_a_body_inherits_it_whatever_its_clock(outer: str, inner: str) -> None:
    def nested() -> float:
        return inside.run(Task(left)(), deadline=40_000).unwrap()

    def nested_post() -> float:
        return inside.post(Task(left)(), deadline=40_000).wait().unwrap()

    def nested_run() -> float:
        return Task(left)().run(executor=inner, deadline=40_000).unwrap()

    with Balancer(outer) as outside, Balancer(inner) as inside:
        for body in (nested, nested_post, nested_run):
            assert 5_000 < outside.run(Task(body)(), deadline=10_000).unwrap() <= 10_000


def test_the_clock_of_trio_is_not_ours() -> None:
    async def main() -> float:
        return (await Task(aleft)()).unwrap()

    def body() -> float:
        return trio.run(main)

    assert 5_000 < Task(body)().run(deadline=10_000).unwrap() <= 10_000


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_nothing_left_fails_without_a_call(executor: str) -> None:
    called: list[int] = []
    request: Request[None] = Task(called.append)(1)
    with Balancer(executor) as balancer:
        for outcome in (
            balancer.run(request, deadline=0),
            balancer.run(request, deadline=Deadline(time.monotonic() - 1)),
            balancer.post(request, deadline=0).wait(),
            request.run(executor=executor, deadline=0),
        ):
            assert isinstance(outcome.result.failure(), DeadlineExceeded)
            assert (outcome.only.status, outcome.only.attempts) == ("skipped", 0)
    assert not called


# --- headers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "ms"),
    [
        ({"grpc-timeout": "250m"}, 250),
        ({"GRPC-Timeout": "2S"}, 2000),
        ({"grpc-timeout": "1M"}, 60_000),
        ({"grpc-timeout": "1H"}, 3_600_000),
        ({"grpc-timeout": "5000u"}, 5),
        ({"grpc-timeout": "9000000n"}, 9),
        ({"X-Envoy-Expected-Rq-Timeout-Ms": "300"}, 300),
        ({"x-deadline-ms": " 40 "}, 40),
        ({"x-deadline-ms": "400", "grpc-timeout": "1S"}, 400),
        ([(b"x-envoy-expected-rq-timeout-ms", b"70"), (b"host", b"a")], 70),
    ],
)
def test_a_deadline_that_came_in_headers(headers: object, ms: float) -> None:
    deadline = Deadline.from_headers(headers)  # type: ignore[arg-type]
    assert deadline is not None
    assert ms - 50 < deadline.remaining() <= ms


def test_no_header_is_no_deadline() -> None:
    assert Deadline.from_headers({"host": "a"}) is None


def test_a_header_of_ones_own() -> None:
    deadline = Deadline.from_headers({"X-Budget": "80"}, name="x-budget")
    assert deadline is not None
    assert deadline.headers(name="x-budget")["x-budget"].isdigit()


@pytest.mark.parametrize("value", ["", "m", "250", "123456789m", "-1m", "1.5S", "٣m", "1h", "250m\r\n", "\n250m"])
def test_a_grpc_timeout_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(DeadlineHeaderError, match="`grpc-timeout` must be up to 8 digits and one of H M S m u n"):
        Deadline.from_headers({"grpc-timeout": value})


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1e3", "٣", "9" * 16, "250\r\n", "\x0b250", "250\x85"])
def test_milliseconds_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(DeadlineHeaderError, match="`x-deadline-ms` must be a whole number of milliseconds; got '"):
        Deadline.from_headers({"x-deadline-ms": value})


def test_headers_for_the_next_service_say_what_is_left() -> None:
    clock = [5.0]
    deadline = Deadline(7.5, lambda: clock[0])
    assert deadline.headers() == {
        "x-deadline-ms": "2500",
        "x-envoy-expected-rq-timeout-ms": "2500",
        "grpc-timeout": "2500m",
    }
    clock[0] = 9.0
    assert deadline.headers()["grpc-timeout"] == "0m"
    clock[0] = 5.0 - 1_000_000
    assert deadline.headers()["grpc-timeout"] == "1000002S"


def test_without_a_limit_there_is_no_header() -> None:
    assert Deadline(float("inf")).headers() == {}
    assert Deadline(float("inf")).remaining() == float("inf")


class Several(dict[str, str]):
    """As the headers of Starlette and aiohttp: a mapping whose ``items`` has each value that was sent."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        super().__init__(pairs)
        self.pairs = pairs

    def items(self) -> Any:
        return self.pairs


def message(*pairs: tuple[str, str]) -> email.message.Message:
    """As ``http.server`` has them."""
    made = email.message.Message()
    for name, value in pairs:
        made[name] = value
    return made


ONCE: list[Any] = [
    {"X-Deadline-Ms": "300"},
    {"x-deadline-ms": b"300"},
    {"X-Deadline-Ms": ["300"], "Accept": ["a", "b"]},  # AWS Lambda has lists
    [("x-deadline-ms", "300"), ("accept", "a"), ("accept", "b")],
    [[b"x-deadline-ms", b"300"], [b"host", b"a"]],  # ASGI
    Several(("x-deadline-ms", "300"), ("accept", "a"), ("accept", "b")),
    message(("X-Deadline-Ms", "300"), ("Accept", "a")),
    starlette.datastructures.Headers({"X-Deadline-Ms": "300"}),
    {"HTTP_X_DEADLINE_MS": "300", "wsgi.input": io.BytesIO(), "REMOTE_PORT": 8000},  # WSGI, and META of Django
]
TWICE: list[Any] = [
    {"x-deadline-ms": "300, 300"},  # httpx and WSGI servers join them
    {"HTTP_X_DEADLINE_MS": "300,200"},
    {"x-deadline-ms": ["300", "200"]},
    {"x-deadline-ms": "300", "X-Deadline-MS": "300"},
    [("x-deadline-ms", "300"), ("X-Deadline-Ms", "300")],
    [(b"x-deadline-ms", b"300"), (b"x-deadline-ms", b"200")],
    Several(("x-deadline-ms", "300"), ("X-Deadline-Ms", "200")),
    message(("X-Deadline-Ms", "300"), ("X-Deadline-Ms", "200")),
    starlette.datastructures.Headers(raw=[(b"x-deadline-ms", b"300"), (b"x-deadline-ms", b"200")]),
]


@pytest.mark.parametrize("headers", ONCE, ids=lambda headers: type(headers).__name__)
def test_the_headers_of_every_framework_are_read(headers: Any) -> None:
    deadline = Deadline.from_headers(headers)
    assert deadline is not None
    assert 250 < deadline.remaining() <= 300


@pytest.mark.parametrize("headers", TWICE, ids=lambda headers: type(headers).__name__)
def test_a_header_that_is_sent_twice_is_refused(headers: Any) -> None:
    with pytest.raises(DeadlineHeaderError, match="`x-deadline-ms` must be sent at most once; got") as caught:
        Deadline.from_headers(headers, default=1_000)
    assert caught.value.name == "x-deadline-ms"
    assert not isinstance(caught.value, ChainDefinitionError)


@pytest.mark.parametrize("value", [None, 300, 1.5, [None], b"\xff", "\ud800"])
def test_a_value_of_another_type_is_an_error_of_the_header(value: Any) -> None:
    for name in ("x-deadline-ms", "grpc-timeout"):
        with pytest.raises(DeadlineHeaderError, match=f"`{name}` must be"):
            Deadline.from_headers({name: value})


def test_of_different_headers_the_earliest_counts() -> None:
    sent = {"x-deadline-ms": "900", "grpc-timeout": "2S", "x-envoy-expected-rq-timeout-ms": "400"}
    for names in itertools.permutations(sent):
        deadline = Deadline.from_headers([(name, sent[name]) for name in names])
        assert deadline is not None
        assert 350 < deadline.remaining() <= 400
    with pytest.raises(DeadlineHeaderError, match="grpc-timeout"):
        Deadline.from_headers(sent | {"grpc-timeout": "2 S"})


@pytest.mark.parametrize(
    ("headers", "limits", "ms"),
    [
        ({}, {"default": 1_000, "cap": 5_000}, 1_000),
        ({}, {"default": timedelta(seconds=2)}, 2_000),
        ({}, {"default": 5_000, "cap": 5_000}, 5_000),
        ({"x-deadline-ms": "3000"}, {"default": 1_000, "cap": 5_000}, 3_000),
        ({"x-deadline-ms": "9000"}, {"default": 1_000, "cap": 5_000}, 5_000),
        ({"x-deadline-ms": "9000"}, {"cap": timedelta(seconds=4)}, 4_000),
        ({"x-deadline-ms": "999999999999999", "grpc-timeout": "99999999H"}, {"cap": 1_500}, 1_500),
        ({"x-deadline-ms": "0"}, {"default": 1_000, "cap": 5_000}, 0),
    ],
)
def test_a_default_and_a_cap(headers: dict[str, str], limits: dict[str, Any], ms: float) -> None:
    deadline = Deadline.from_headers(headers, **limits)
    assert deadline is not None
    assert ms - 50 < deadline.remaining() <= ms


def test_a_cap_alone_makes_no_deadline() -> None:
    assert Deadline.from_headers({}, cap=5_000) is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"default": 0}, "`default` must be a finite number of milliseconds"),
        ({"default": "1s"}, "`default` must be a finite number of milliseconds"),
        ({"cap": -1}, "`cap` must be a finite number of milliseconds"),
        ({"cap": True}, "`cap` must be a finite number of milliseconds"),
        ({"default": 2_000, "cap": 1_000}, "`default` must be at most `cap`, which is 1000 ms; got 2000 ms"),
        ({"name": ""}, "`name` must be the name of a header; got ''"),
        ({"name": "a b"}, "`name` must be the name of a header; got 'a b'"),
        ({"name": 3}, "`name` must be the name of a header; got 3"),
    ],
)
def test_what_is_written_wrongly_is_refused_without_a_look_at_the_headers(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=text):
        Deadline.from_headers({"x-deadline-ms": "soon"}, **given)


@pytest.mark.parametrize("headers", [None, 3, "x-deadline-ms: 300", ["x"], [1, 2], {1: "300"}])
def test_what_are_no_headers_is_refused(headers: Any) -> None:
    with pytest.raises(ChainDefinitionError, match="`headers` must be the headers of a request"):
        Deadline.from_headers(headers, default=1_000)


def test_a_name_that_is_none_sends_no_headers() -> None:
    with pytest.raises(ChainDefinitionError, match="`name` must be the name of a header"):
        Deadline.after(100).headers(name="x\r\nevil")
