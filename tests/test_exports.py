"""The public names. One more or one less is a decision: it shows here, in the changelog and in the documentation."""

import inspect
import subprocess
import sys

import pytest

import rio_chain

PUBLIC = [
    "Abandoned",
    "Backoff",
    "Balancer",
    "BalancerClosed",
    "Bounds",
    "Breaker",
    "BridgeFailed",
    "Budget",
    "Cache",
    "CallbackFailed",
    "Chain",
    "ChainDefinitionError",
    "Chaos",
    "Chooser",
    "CircuitOpen",
    "Deadline",
    "DeadlineExceeded",
    "ErrorSummary",
    "Event",
    "FanOut",
    "Finding",
    "SingleFlight",
    "Gate",
    "Permit",
    "LaneMessageTooLarge",
    "Limit",
    "LimitExceeded",
    "NotAccepted",
    "NotPicklable",
    "Outcome",
    "Plan",
    "ProcessDied",
    "Quantile",
    "QueueFull",
    "Request",
    "Response",
    "RioError",
    "Saturated",
    "Simulation",
    "Skipped",
    "Span",
    "Stream",
    "Task",
    "TaskTimedOut",
    "Ticket",
    "TicketCancelled",
    "NotEnoughSuccesses",
    "PendingPermit",
    "UnknownTask",
    "Unstable",
    "UsageError",
    "advise",
    "at_least",
    "best",
    "choose",
    "compare",
    "current_attempt",
    "each",
    "expand",
    "fan_out",
    "first",
    "quorum",
    "race",
    "reduce",
    "remaining",
    "settle",
    "simulate",
    "star",
    "when",
]


def test_the_public_names_are_these() -> None:
    assert sorted(rio_chain.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(rio_chain, name))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_method_is_documented(name: str) -> None:
    public = getattr(rio_chain, name)
    if not inspect.isclass(public) or not public.__module__.startswith("rio_chain"):
        return
    own = {key: value for key, value in vars(public).items() if not key.startswith("_")}
    assert [key for key, value in own.items() if callable(value) and not inspect.getdoc(value)] == []


def test_dir_shows_the_public_names() -> None:
    assert set(PUBLIC) <= set(dir(rio_chain))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rio_chain.no_such_name


def test_importing_the_package_imports_no_executor() -> None:
    code = "import sys, rio_chain; print(sorted({'trio', 'httpx2', 'rio_chain.executors.asyncio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
