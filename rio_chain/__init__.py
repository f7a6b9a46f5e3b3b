"""rio_chain: chains of backend calls with timeouts, retries and fallbacks, on asyncio, trio and threads.

The map of the package, from the bottom up. Each file may import only what is above it in this list:

    _renamed     old names, and the errors that give the new ones
    _rio_error   RioError, the root of all errors
    _process_errors  errors of calls in other processes: lanes and clusters
    errors       every public exception, and every value that a Failure of ours holds
    _journal_errors  the same for a journal
    _core/       helpers for every layer: times and checks, locks, forks, deadlines
    schedule/    cron lines and periods: when a schedule ticks, and what it does then; pure decisions
    policies/    one file per policy: frozen data, pure decisions, shared state
    chain/       what a chain is made of and compiles to, all data: nodes, Plan, Request
    results/     Outcome, Response and Event: what one run gives, and the record behind them
    engine/      the one interpreter, over the Runtime Protocol
    executors/   where work runs: asyncio, trio, threads, virtual time, lanes, Dask; tickets
    journal/     what a run has done, in a file, so that it can go on in another process
    balancer/    the priority queue, its slots, and how it shares an executor
    inspect/     shows or checks a chain or a run: explain, bounds, lint, pictures, live tables
    simulation/  scripted and random backends; simulate, compare and advise
    observers    writes every event of every run to the log
    _facade      what .run(), .svg() and similar methods of data call
    dsl/         what a user writes: Task, >>, the policy methods, fan_out, each, choose
    testing/     helpers for users' tests
    contrib/     adapters: ASGI and WSGI; OpenTelemetry and Prometheus, which are extras
    demo/        what `rio-chain demo` runs
    cli/         the command `rio-chain`

dsl describes a chain, chain is data, policies decide, engine waits, balancer queues, executors do the I/O.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from returns.result import Failure, Success

from rio_chain import _facade
from rio_chain._core import hooks
from rio_chain._core.deadline import Deadline
from rio_chain._journal_errors import (
    ArgumentsChanged,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalReadOnly,
    JournalTooNew,
    LeaseLost,
    NotStorable,
    PlanChanged,
    RecalledError,
    RunInUse,
)
from rio_chain._renamed import missing
from rio_chain.chain._plan import Plan
from rio_chain.chain._request import Request
from rio_chain.dsl._chain import Chain, FanOut
from rio_chain.dsl._choose import choose, when
from rio_chain.dsl._each import each, expand, reduce
from rio_chain.dsl._fan_out import fan_out, star
from rio_chain.dsl._settle_and_race import race, settle
from rio_chain.dsl._task import Task
from rio_chain.engine._current_run import current_attempt, remaining
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
from rio_chain.policies import (
    Backoff,
    Batch,
    Breaker,
    Budget,
    Cache,
    Call,
    Chaos,
    Chooser,
    Gate,
    Limit,
    PendingPermit,
    Permit,
    Quantile,
    SingleFlight,
    at_least,
    first,
)

if TYPE_CHECKING:
    from rio_chain.balancer import Balancer, Schedule, Ticket
    from rio_chain.chain._supports import Support
    from rio_chain.executors._stream import Stream
    from rio_chain.executors.dask import DaskExecutor
    from rio_chain.inspect._bounds import Bounds
    from rio_chain.inspect.lint import Finding
    from rio_chain.journal import Journal
    from rio_chain.policies._best_and_quorum import best, quorum
    from rio_chain.results._error_summary import ErrorSummary
    from rio_chain.results._events import Event
    from rio_chain.results._observers import add_observer
    from rio_chain.results._outcome import Outcome
    from rio_chain.results._response import Response, Span
    from rio_chain.simulation import Simulation, advise, compare, simulate

__all__ = [
    "Abandoned",
    "ArgumentsChanged",
    "Backoff",
    "Balancer",
    "BalancerClosed",
    "Batch",
    "BatchMismatch",
    "Bounds",
    "Breaker",
    "BridgeFailed",
    "Budget",
    "Cache",
    "Call",
    "CallbackFailed",
    "Chain",
    "ChainDefinitionError",
    "Chaos",
    "Chooser",
    "CircuitOpen",
    "ClientGone",
    "DaskExecutor",
    "Deadline",
    "DeadlineExceeded",
    "DeadlineHeaderError",
    "ErrorSummary",
    "Event",
    "Failure",
    "FanOut",
    "Finding",
    "Gate",
    "Journal",
    "JournalCorrupt",
    "JournalError",
    "JournalFull",
    "JournalReadOnly",
    "JournalTooNew",
    "LaneMessageTooLarge",
    "LeaseLost",
    "Limit",
    "LimitExceeded",
    "MessageTooLarge",
    "NotAccepted",
    "NotEnoughSuccesses",
    "NotPicklable",
    "NotStorable",
    "Outcome",
    "PendingPermit",
    "Permit",
    "Plan",
    "PlanChanged",
    "ProcessDied",
    "Quantile",
    "QueueFull",
    "RecalledError",
    "Request",
    "RequestShed",
    "Response",
    "RioError",
    "RunInUse",
    "Saturated",
    "Schedule",
    "Simulation",
    "SingleFlight",
    "Skipped",
    "Span",
    "Stream",
    "Success",
    "Support",
    "Task",
    "TaskTimedOut",
    "Ticket",
    "TicketCancelled",
    "UnknownTask",
    "Unstable",
    "UsageError",
    "WorkerLost",
    "add_observer",
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

hooks.install(_facade)

if not TYPE_CHECKING:  # a type checker that sees a __getattr__ accepts every misspelt import
    _LATER = {  # imported on first use: few or no chains need these to be written
        "balancer": ("Balancer", "Schedule", "Ticket"),
        "journal": ("Journal",),
        "inspect._bounds": ("Bounds",),
        "results._events": ("Event",),
        "results._observers": ("add_observer",),
        "executors._stream": ("Stream",),
        "executors.dask": ("DaskExecutor",),
        "chain._supports": ("Support",),
        "results._error_summary": ("ErrorSummary",),
        "inspect.lint": ("Finding",),
        "results._outcome": ("Outcome",),
        "results._response": ("Response", "Span"),
        "policies._best_and_quorum": ("best", "quorum"),
        "simulation": ("Simulation", "advise", "compare", "simulate"),
    }

    _RENAMED = {  # a use of an old name raises an error with the new one
        "Flights": "SingleFlight",
        "Hold": "Permit",
        "TooFew": "NotEnoughSuccesses",
        "Turn": "PendingPermit",
    }

    def __getattr__(name: str) -> Any:
        for module, names in _LATER.items():
            if name in names:
                globals()[name] = value = getattr(import_module(f"{__name__}.{module}"), name)
                return value
        raise missing(__name__, name, _RENAMED)


def __dir__() -> list[str]:
    return sorted({*__all__, "testing", *(name for name in globals() if name.startswith("__"))})  # hides our imports
