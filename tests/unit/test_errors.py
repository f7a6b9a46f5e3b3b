"""Every error: its channel, its class, its text, and that it survives a pickle."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import rio_chain
from rio_chain import errors
from rio_chain.errors import (
    Abandoned,
    BalancerClosed,
    BatchMismatch,
    BridgeFailed,
    CallbackFailed,
    ChainDefinitionError,
    CircuitOpen,
    ClientGone,
    DeadlineExceeded,
    DeadlineHeaderError,
    LaneMessageTooLarge,
    LimitExceeded,
    MessageTooLarge,
    NotAccepted,
    NotEnoughSuccesses,
    NotPicklable,
    ProcessDied,
    QueueFull,
    RequestShed,
    RioError,
    Saturated,
    Skipped,
    TaskTimedOut,
    TicketCancelled,
    UnknownTask,
    Unstable,
    UsageError,
    WorkerLost,
)

CAUSE = ValueError("no\nsuch user")
EXAMPLES: list[tuple[RioError, dict[str, Any], str]] = [
    (ChainDefinitionError("a rule"), {}, "a rule"),
    (UsageError("not here"), {}, "not here"),
    (
        Unstable(250.0, 50.0, 10),
        {"per_second": 250.0, "service": 50.0, "workers": 10, "capacity": 200.0},
        (
            "10 workers serve at most 200 requests a second (one takes 50 ms), and 250 arrive: the queue grows without "
            "end. Write workers=13 or more, a lower rate, or a bound of the queue: buffer=, queue_timeout= or deadline="
        ),
    ),
    (QueueFull("2 wait"), {}, "2 wait"),
    (Saturated("20 run"), {}, "20 run"),
    (BalancerClosed("closed"), {}, "closed"),
    (UnknownTask("no task"), {}, "no task"),
    (
        BatchMismatch("fetch", 3, 2, "list"),
        {"task": "fetch", "keys": 3, "values": 2, "answer": "list", "missing": False},
        "`fetch` returned 2 values for 3 keys; it must return one for each key, in their order, or a dict by key",
    ),
    (
        DeadlineHeaderError("x-deadline-ms", "must be a whole number of milliseconds", "'soon'"),
        {"name": "x-deadline-ms", "rule": "must be a whole number of milliseconds", "value": "'soon'"},
        "`x-deadline-ms` must be a whole number of milliseconds; got 'soon'",
    ),
    (TaskTimedOut("fetch", 100.0), {"name": "fetch", "ms": 100.0}, "`fetch` did not answer within 100 ms"),
    (TaskTimedOut("fetch", 0.25), {"name": "fetch", "ms": 0.25}, "`fetch` did not answer within 0.25 ms"),
    (DeadlineExceeded(), {"where": "while running"}, "the deadline passed while running"),
    (DeadlineExceeded("in the queue"), {"where": "in the queue"}, "the deadline passed in the queue"),
    (
        Abandoned(30_000.0),
        {"ms": 30_000.0},
        "no answer within 30000 ms (abandon_after); set a .timeout(ms) that fits the work",
    ),
    (
        BridgeFailed("to_id", "user", "orders", CAUSE),
        {"bridge": "to_id", "before": "user", "after": "orders"},
        r"bridge `to_id` between `user` and `orders` failed: ValueError('no\nsuch user')",
    ),
    (
        CallbackFailed("accept", "is_fine", CAUSE),
        {"role": "accept", "callback": "is_fine"},
        r"the `accept` callable `is_fine` failed: ValueError('no\nsuch user')",
    ),
    (Skipped(), {"cause": None}, "not needed"),
    (Skipped(CAUSE), {}, r"not run because of ValueError('no\nsuch user')"),
    (ClientGone("it has left"), {}, "it has left"),
    (CircuitOpen("it is open"), {}, "it is open"),
    (LimitExceeded("20 run"), {}, "20 run"),
    (NotAccepted("fetch", [1]), {"name": "fetch", "value": [1]}, "the answer of `fetch` was not accepted"),
    (
        ProcessDied("crunch", "cpu", 3),
        {"name": "crunch", "lane": "cpu", "exitcode": 3},
        "the process of lane 'cpu' died in `crunch` (exit code 3)",
    ),
    (ProcessDied("crunch", "cpu", -9), {"exitcode": -9}, "the process of lane 'cpu' died in `crunch` (signal 9)"),
    (
        ProcessDied("crunch", "cpu"),
        {"exitcode": None},
        "`crunch` was not called: the process of lane 'cpu' could not be started",
    ),
    (
        NotPicklable("crunch", "answer", "no locks"),
        {"name": "crunch", "what": "answer", "reason": "no locks"},
        "the answer of `crunch` can't be pickled for another process: no locks",
    ),
    (
        ProcessDied("crunch", "cpu", -9, "it wrote nonsense"),
        {"exitcode": -9, "reason": "it wrote nonsense"},
        "the process of lane 'cpu' was killed in `crunch`: it wrote nonsense",
    ),
    (
        LaneMessageTooLarge("crunch", "answer", 268_435_456),
        {"name": "crunch", "what": "answer", "most": 268_435_456},
        (
            "the answer of `crunch` takes more than 268,435,456 bytes, the most that a lane carries; send less, "
            "such as the name of a file, or write Balancer(lane_bytes=...) with a larger number"
        ),
    ),
    (
        MessageTooLarge("crunch", "answer", 268_435_456),
        {"name": "crunch", "what": "answer", "most": 268_435_456},
        (
            "the answer of `crunch` takes more than 268,435,456 bytes, the most of a message to or from a worker; pass "
            "the place where the data is stored, such as a path, or write DaskExecutor(message_bytes=...)"
        ),
    ),
    (
        MessageTooLarge("crunch", "chain", 16_777_216),
        {"what": "chain"},
        (
            "the chain `crunch` takes more than 16,777,216 bytes, and it is sent with each piece: one of its functions "
            "closes over large data; pass the data as an argument"
        ),
    ),
    (
        WorkerLost("crunch", "its worker died"),
        {"name": "crunch", "reason": "its worker died"},
        "`crunch` has no answer: its worker died",
    ),
    (TicketCancelled(), {"reason": "its ticket was cancelled"}, "cancelled: its ticket was cancelled"),
    (TicketCancelled("why not"), {"reason": "why not"}, "cancelled: why not"),
    (
        NotEnoughSuccesses(3, 1, (OSError("no"),)),
        {"least": 3, "succeeded": 1},
        "1 items succeeded, fewer than the 3 required; the first error: OSError('no')",
    ),
]
each = pytest.mark.parametrize(("error", "known", "text"), EXAMPLES, ids=lambda value: type(value).__name__)


def test_every_error_has_an_example() -> None:
    assert {type(error).__name__ for error, _, _ in EXAMPLES} | {"RioError"} == set(errors.__all__)


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(rio_chain.__all__)


@each
def test_it_says_what_it_knows(error: RioError, known: dict[str, Any], text: str) -> None:
    assert str(error) == text
    assert {name: getattr(error, name) for name in known} == known


@each
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_it_survives_a_pickle(error: RioError, known: dict[str, Any], text: str, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
    assert type(again) is type(error)
    assert str(again) == text
    assert {name: getattr(again, name) for name in known} == known


@each
def test_it_is_a_rio_error_and_an_exception_only(error: RioError, known: dict[str, Any], text: str) -> None:
    assert isinstance(error, RioError)
    assert isinstance(error, Exception)
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (ChainDefinitionError, (TypeError, ValueError)),
        (UsageError, RuntimeError),
        (BalancerClosed, RuntimeError),
        (UnknownTask, (LookupError, IndexError)),
        (DeadlineHeaderError, ValueError),
        (TaskTimedOut, TimeoutError),
        (DeadlineExceeded, TimeoutError),
        (Abandoned, TimeoutError),
        (NotPicklable, TypeError),
    ],
)
def test_code_that_guards_the_ordinary_way_sees_it(kind: type[RioError], also: Any) -> None:
    assert all(issubclass(kind, base) for base in (also if isinstance(also, tuple) else (also,)))


def test_only_what_another_attempt_may_mend_is_retried() -> None:
    held = {TaskTimedOut, DeadlineExceeded, Abandoned, BridgeFailed, CallbackFailed, Skipped, CircuitOpen}
    held |= {LaneMessageTooLarge, LimitExceeded, MessageTooLarge, NotAccepted, NotPicklable, ProcessDied}
    held |= {RequestShed, TicketCancelled, WorkerLost}
    assert held - set(errors.NEVER_RETRIED) == {TaskTimedOut, NotAccepted, ProcessDied, WorkerLost}
    raised = {ChainDefinitionError, DeadlineHeaderError, UsageError}  # also inside a body
    assert set(errors.NEVER_RETRIED) - raised < held


def test_what_it_holds_is_left_as_it_is() -> None:
    cause = ValueError("shared by all")
    for error in (BridgeFailed("b", "x", "y", cause), CallbackFailed("on", "f", cause)):
        assert error.error is cause
    assert Skipped(cause).cause is cause
    assert (cause.__cause__, cause.__context__, getattr(cause, "__notes__", [])) == (None, None, [])
