"""``respond_to``: the one table of HTTP statuses, for ASGI and WSGI."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from returns.result import Failure, Success

from rio_chain import (
    Abandoned,
    Balancer,
    BalancerClosed,
    BatchMismatch,
    Breaker,
    BridgeFailed,
    CallbackFailed,
    ChainDefinitionError,
    CircuitOpen,
    ClientGone,
    DeadlineExceeded,
    DeadlineHeaderError,
    LaneMessageTooLarge,
    Limit,
    LimitExceeded,
    MessageTooLarge,
    NotAccepted,
    NotEnoughSuccesses,
    NotPicklable,
    Outcome,
    ProcessDied,
    QueueFull,
    RioError,
    Saturated,
    Skipped,
    Task,
    TaskTimedOut,
    TicketCancelled,
    UnknownTask,
    Unstable,
    UsageError,
    WorkerLost,
    errors,
)
from rio_chain.contrib import asgi, wsgi
from rio_chain.contrib._statuses import LONGEST_WAIT, SPREAD, TABLE, retry_after
from rio_chain.contrib.asgi import Reply, respond_to
from rio_chain.testing import run_virtual, sleep

SECRET = "postgres://admin:hunter2@db"  # noqa: S105 - it stands for one


def keyed() -> LimitExceeded:
    error = LimitExceeded(SECRET)
    error.keyed = True
    return error


EXAMPLES: list[tuple[Any, int]] = [
    (DeadlineHeaderError("x-left", "must be a number", repr(SECRET)), 400),
    (keyed(), 429),
    (ClientGone(SECRET), 499),
    (CallbackFailed("accept", "good", ValueError(SECRET)), 500),
    (BridgeFailed("to_id", "a", "b", ValueError(SECRET)), 500),
    (BridgeFailed("to_id", "a", "b", TaskTimedOut("f", 1)), 500),
    (ChainDefinitionError(SECRET), 500),
    (Unstable(1, 2, 3), 500),
    (UsageError(SECRET), 500),
    (UnknownTask(SECRET), 500),
    (BatchMismatch("f", 2, 1, "list"), 502),
    (Skipped(), 500),
    (ProcessDied("f", SECRET), 500),
    (NotPicklable("f", "answer", SECRET), 500),
    (LaneMessageTooLarge("f", "answer", 1), 500),
    (MessageTooLarge("f", "answer", 1), 500),
    (RioError(SECRET), 500),
    (NotAccepted("f", SECRET), 502),
    (NotEnoughSuccesses(2, 1, (ValueError(SECRET),)), 502),
    (WorkerLost(SECRET, SECRET), 503),
    (QueueFull(SECRET), 503),
    (Saturated(SECRET), 503),
    (BalancerClosed(SECRET), 503),
    (CircuitOpen(SECRET), 503),
    (LimitExceeded(SECRET), 503),
    (TicketCancelled(SECRET), 503),
    (DeadlineExceeded(SECRET), 504),
    (TaskTimedOut(SECRET, 5), 504),
    (Abandoned(30_000), 504),
]
each_error = pytest.mark.parametrize(("error", "status"), EXAMPLES, ids=[type(error).__name__ for error, _ in EXAMPLES])


def failed(error: Any) -> Outcome[Any]:
    def backend() -> Any:
        return Failure(error)

    return Task(backend)().run()


def test_every_error_has_an_example() -> None:
    assert {type(error).__name__ for error, _ in EXAMPLES} == set(errors.__all__)


def test_there_is_one_table() -> None:
    assert wsgi.respond_to is asgi.respond_to
    assert sorted(wsgi.__all__) == ["Reply", "respond_to"]


@each_error
def test_an_error_has_its_status_alone_in_a_failure_and_in_an_outcome(error: Any, status: int) -> None:
    for got in (error, Failure(error), failed(error)):
        reply = respond_to(got)
        assert isinstance(reply, Reply)
        assert reply.status == status
        assert set(reply.headers) == ({"Retry-After"} if status in (429, 503) else set())


@each_error
def test_the_text_has_no_values_unless_that_is_asked_for(error: Any, status: int) -> None:
    plain = respond_to(error).detail
    assert SECRET not in plain
    assert type(error).__name__ not in plain
    assert plain == respond_to(type(error)(*error.args)).detail or error.args == (SECRET,)
    assert respond_to(error, expose=True).detail.startswith(f"{type(error).__name__}: ")


def test_a_text_that_was_asked_for_is_one_printable_line() -> None:
    detail = respond_to(failed(ValueError("a\r\nSet-Cookie: b\x1b[31m\u2028" + "x" * 5_000)), expose=True).detail
    assert detail.startswith(r"ValueError: a\r\nSet-Cookie: b\x1b[31m\u2028xxx")
    assert detail.isascii()
    assert detail.isprintable()
    assert len(detail) < 1_200


def test_an_error_that_cannot_be_shown_is_named() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert respond_to(Broken(), expose=True).detail == "Broken: <Broken>"


def test_success_is_200() -> None:
    for got in (Task(len)("four").run(), Success(4), Success(None)):
        assert respond_to(got) == (200, {}, "OK")


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), OSError(SECRET), TimeoutError(SECRET), KeyError(SECRET), SECRET, None, 5]
)
def test_what_ended_a_run_is_the_error_of_a_backend(error: Any) -> None:
    for got in (failed(error), Failure(error)):
        assert respond_to(got) == (502, {}, "A backend failed.")


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), OSError(SECRET), KeyError(SECRET), TimeoutError(SECRET), SECRET, None, 5]
)
def test_what_comes_alone_is_unknown(error: Any) -> None:
    assert respond_to(error) == (500, {}, "Internal server error.")


@pytest.mark.parametrize("error", [ConnectionError(SECRET), ConnectionResetError(SECRET), BrokenPipeError()])
def test_a_connection_that_failed_is_that_of_a_backend_everywhere(error: Exception) -> None:
    assert respond_to(error).status == respond_to(failed(error)).status == 502


def test_of_a_group_the_first_error_counts() -> None:
    gone = ExceptionGroup("of a TaskGroup", [ExceptionGroup("inner", [ClientGone(SECRET)]), ValueError(SECRET)])
    assert respond_to(gone).status == 499
    assert respond_to(gone, expose=True).detail.startswith("ClientGone: ")
    assert respond_to(failed(gone)).status == 502  # a backend raised it


def test_the_error_of_a_real_task_timeout_deadline_limit_and_breaker() -> None:
    async def slow() -> None:
        await sleep(100)

    def broken() -> None:
        raise ConnectionResetError

    breaker = Breaker(open_for=10_000)
    once = Task(len).limit(Limit(rate=1, per=60_000, wait=0))
    per_key = Task(len).limit(Limit(rate=1, per=60_000, wait=0, key=len))

    async def main() -> None:
        assert respond_to(await Task(slow).timeout(10)()).status == 504
        assert respond_to(await Task(slow)().arun(deadline=10)).status == 504
        assert respond_to(await Task(broken)()).status == 502
        for chain, status in ((once, 503), (per_key, 429)):
            assert respond_to(await chain("four")).status == 200
            refused = respond_to(await chain("four"))
            assert refused.status == status
            assert 60 <= int(refused.headers["Retry-After"]) <= 60 * 1.5 + 1
        for _ in range(20):
            outcome = await Task(broken).breaker(breaker)()
        assert isinstance(outcome.error, CircuitOpen)
        refused = respond_to(outcome)
        assert refused.status == 503
        assert 10 <= int(refused.headers["Retry-After"]) <= 16

    run_virtual(main)


def test_a_task_that_was_skipped_has_the_status_of_its_cause() -> None:
    outcome = (Task(len).named("a").timeout(0.001) >> (lambda x: x) >> Task(str))("x").run()
    assert respond_to(Skipped(Skipped(TaskTimedOut("f", 1)))).status == 504
    assert respond_to(outcome).status in (200, 504)


def test_a_closed_balancer_and_a_ticket_that_it_cancelled() -> None:
    with Balancer("thread", workers=1) as balancer:
        ticket = balancer.post(Task(len)("four"))
        ticket.wait()
        balancer.close()
        with pytest.raises(BalancerClosed) as caught:
            balancer.run(Task(len)("four"))
    assert respond_to(caught.value).status == 503
    assert respond_to(ticket.wait()).status == 200


# --- errors of the application --------------------------------------------------------------------------------------


class NotFound(LookupError):
    pass


class OrderNotFound(NotFound):
    pass


def test_errors_of_the_application_have_the_statuses_that_it_gives() -> None:
    statuses = {NotFound: 404, TaskTimedOut: 503, Exception: 500, OSError: 599}
    assert respond_to(OrderNotFound(), statuses=statuses) == (404, {}, "Not Found")
    assert respond_to(failed(OrderNotFound()), statuses=statuses)[:2] == (404, {})
    assert respond_to(failed(ValueError()), statuses=statuses).status == 500
    assert respond_to(OSError(), statuses=statuses) == (599, {}, "The request failed.")
    timed_out = respond_to(TaskTimedOut("f", 5), statuses=statuses)
    assert timed_out.status == 503
    assert int(timed_out.headers["Retry-After"]) >= 1
    assert respond_to(failed("text"), statuses=statuses).status == 502
    assert respond_to(Task(len)("four").run(), statuses=statuses).status == 200


def test_the_nearest_class_decides() -> None:
    assert respond_to(OrderNotFound(), statuses={LookupError: 410, NotFound: 404}).status == 404
    assert respond_to(OrderNotFound(), statuses={OrderNotFound: 409, NotFound: 404}).status == 409


@pytest.mark.parametrize(
    ("statuses", "text"),
    [
        ([], "`statuses` must be a dict such as {OrderNotFound: 404}; got []"),
        ({404: NotFound}, "`statuses` must have classes of errors as its keys; got 404"),
        ({int: 404}, "`statuses` must have classes of errors as its keys"),
        ({NotFound: 200}, "`statuses` must have statuses from 400 to 599; got 200"),
        ({NotFound: 600}, "`statuses` must have statuses from 400 to 599; got 600"),
        ({NotFound: "404"}, "`statuses` must be a whole number"),
        ({NotFound: True}, "`statuses` must be a whole number"),
    ],
)
def test_wrong_statuses_are_refused(statuses: Any, text: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        respond_to(ValueError(), statuses=statuses)
    assert text in str(caught.value)


def test_expose_is_true_or_false() -> None:
    expose: Any = 1
    with pytest.raises(ChainDefinitionError, match="`expose` must be True or False"):
        respond_to(ValueError(), expose=expose)


# --- Retry-After ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "least", "most"),
    [
        (None, 1, 2),
        (0, 1, 2),
        (0.2, 1, 3),
        (1.0, 1, 3),
        (7.5, 8, 12),
        (100, 100, 150),
        (-5, 1, 2),
        (math.nan, 1, 2),
        (math.inf, 1, 2),
        (1e12, LONGEST_WAIT, LONGEST_WAIT * 1.5),
        ("5", 1, 2),
    ],
)
def test_it_is_in_whole_seconds_at_least_what_is_known_and_spread(known: Any, least: float, most: float) -> None:
    drawn = [retry_after(known) for _ in range(300)]
    assert all(text.isdigit() for text in drawn)
    numbers = {int(text) for text in drawn}
    assert min(numbers) >= max(1, math.floor(least))
    assert max(numbers) <= most
    assert len(numbers) > 1


def test_it_is_at_least_1_whatever_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.0)
    assert retry_after(None) == "1"
    assert retry_after(3.0) == "3"
    monkeypatch.setattr(random, "random", lambda: 0.999)
    assert retry_after(None) == str(int(SPREAD))


def test_what_a_backend_says_is_not_forwarded() -> None:
    class Busy(Exception):
        retry_after = 86_400

    assert respond_to(failed(Busy())) == (502, {}, "A backend failed.")
    assert int(respond_to(failed(Busy()), statuses={Busy: 503}).headers["Retry-After"]) <= SPREAD


def test_it_comes_from_the_queue() -> None:
    full = QueueFull(SECRET)
    full.retry_after = 30.0
    assert 30 <= int(respond_to(full).headers["Retry-After"]) <= 46


def test_the_texts_are_sentences() -> None:
    assert all(detail.endswith(".") and status in range(400, 600) for status, detail in TABLE.values())
