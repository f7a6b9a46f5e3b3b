"""The policy methods of a chain. Each wraps the chain to its left, so the first one written is the innermost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from inspect import isfunction
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from attrs import frozen
from returns.result import Result

from rio_chain._core.units import Duration
from rio_chain.chain import _compose, _validation
from rio_chain.chain._compose import Composed
from rio_chain.chain._request import NO_KWARGS, Request
from rio_chain.chain._validation import FIRST
from rio_chain.dsl._batch_method import BatchMethod
from rio_chain.policies import (
    DEFAULT_BACKOFF,
    Accept,
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chaos,
    Chooser,
    Gate,
    Limit,
    Policy,
    SingleFlight,
)
from rio_chain.policies._delays import After
from rio_chain.policies._limits_together import limits_together
from rio_chain.policies._match_errors import Match
from rio_chain.policies._retry import On
from rio_chain.policies._timeout import timeout_of

if TYPE_CHECKING:
    from rio_chain.dsl._chain import Chain

P = ParamSpec("P")
Out = TypeVar("Out", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
X = TypeVar("X")


@frozen(init=False, repr=False, eq=False)
class PolicyMethods(BatchMethod, Generic[P, Out]):
    """How every chain is called, and the methods that wrap it in policies."""

    __signature__ = _compose.Signature()

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Request[Out]:
        """Bind the arguments of the first function and return a Request. Nothing runs yet.

        If a chain begins with a fan-out, or with a fallback, every branch must take the same arguments.

        Raises:
            ChainDefinitionError: the arguments don't fit, or the chain is not a valid plan.
        """
        entry = self._entry or _compose.entry(self)
        if kwargs or entry.keywords or not entry.least <= len(args) <= entry.most:
            entry.bind(args, kwargs)
        return Request(self._plan or self.plan(), args, kwargs or NO_KWARGS)

    def _scope(self, policy: Policy) -> Any:
        return _compose.scope(self._wrapped, self, policy)

    # --- timeouts and retries -----------------------------------------------------------------------------------

    def timeout(
        self, ms: Duration | Callable[[Any], Duration | None] | Callable[P, Duration | None], /
    ) -> Chain[P, Out]:
        """Give the chain to the left a timeout.

        ``.timeout(100).retry(3)`` gives each attempt 100 ms. ``.retry(3).timeout(500)`` gives all attempts together 500
        ms. ``(a >> b).timeout(500)`` gives both tasks together 500 ms. When the timeout expires, the chain fails with
        ``TaskTimedOut``.

        Args:
            ms: milliseconds, or a ``timedelta``; more than 0. Or a function of the input that returns one of these, or
                None for no timeout: ``lambda order: 100 + 10 * len(order)``. Its time counts from when it has answered.

        Raises:
            ChainDefinitionError: ``ms`` is neither a finite duration above 0 nor a sync function.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).timeout(100)
            Task(len).timeout(100)
        """
        limited: Chain[P, Out] = self._scope(timeout_of(ms))
        return limited

    def retry(
        self,
        retries: int,
        /,
        *,
        on: On = Exception,
        backoff: Backoff | Callable[[Any], float | timedelta] | None = DEFAULT_BACKOFF,
        accept: Callable[[Out], bool] | None = None,
        retry_after: Callable[[Any], Any] | None = None,
        stop: Callable[[Any], bool] | None = None,
    ) -> Chain[P, Out]:
        """Call the chain to the left again when it has failed.

        Args:
            retries: the number of calls after the first; ``retry(3)`` makes at most 4 calls.
            on: the errors that are retried: an exception class, a tuple of them, a function of the error, or a mapping
                that gives each class a backoff of its own. The default is every error, also the error value of a
                returned ``Failure``.
            backoff: how long to wait before each retry. The default begins with 50 ms and doubles up to 1000 ms, with
                full jitter. With None, it does not wait. A ``tenacity.wait_*`` object is accepted as well.
            accept: a function of the value; if it returns False, the call has failed with ``NotAccepted``.
            retry_after: a function of the error that returns how long the server asks to wait: seconds, a
                ``timedelta``, a ``datetime`` or the text of a ``Retry-After`` header. The default reads
                ``error.retry_after``. If the result is None or can't be read, the backoff alone decides. Else the retry
                waits as long as the server asks, up to ``Backoff.max_retry_after`` (default: the ``cap`` of the
                backoff). If the backoff is longer, it waits for the backoff.
            stop: a ``tenacity.stop_*`` object, or a function of such a state, for a second bound. If it returns True
                after a failure, there is no further attempt. ``retries`` is the bound in any case.

        Raises:
            ChainDefinitionError: an argument is out of its range or of the wrong kind.

        Example:
            >>> from rio_chain import Backoff, Task
            >>> Task(len).retry(3, on=OSError, backoff=None)
            Task(len).retry(3, on=OSError, backoff=None)
        """
        retried: Chain[P, Out] = self._scope(_validation.retry(retries, on, backoff, accept, retry_after, stop))
        return retried

    def accept(self, predicate: Callable[[Out], bool], /) -> Chain[P, Out]:
        """Fail with ``NotAccepted`` if ``predicate`` returns False for the value.

        So a wrong answer can be retried, hedged, counted by a breaker or replaced, as an error can. If a retry or a
        fallback discards a rejected answer, it closes that answer: it calls its ``aclose`` or ``close``.

        Raises:
            ChainDefinitionError: ``predicate`` is not a sync function of one value.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).accept(bool)
            Task(len).accept(bool)
        """
        accepted: Chain[P, Out] = self._scope(Accept(_validation.predicate(predicate)))
        return accepted

    # --- several calls, one winner ------------------------------------------------------------------------------

    @overload
    def replica(self, n: int, /, *, after: After = ..., pick: Chooser = ..., on: Match = ...) -> Chain[P, Out]: ...
    @overload
    def replica(
        self: Callable[[X], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        n: int | None = ...,
        /,
        *,
        after: After = ...,
        to: Iterable[Callable[[X], Request[B]]],
        pick: Chooser = ...,
        on: Match = ...,
    ) -> Chain[[X], A | B]: ...
    @overload
    def replica(
        self: Callable[[X], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        n: int | None = ...,
        /,
        *,
        after: After = ...,
        to: Iterable[Callable[[X], Awaitable[Request[B]]]],
        pick: Chooser = ...,
        on: Match = ...,
    ) -> Chain[[X], A | B]: ...
    @overload
    def replica(
        self: Callable[[X], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        n: int | None = ...,
        /,
        *,
        after: After = ...,
        to: Iterable[Callable[[X], Awaitable[Result[B, Any]]]],
        pick: Chooser = ...,
        on: Match = ...,
    ) -> Chain[[X], A | B]: ...
    @overload
    def replica(
        self: Callable[[X], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        n: int | None = ...,
        /,
        *,
        after: After = ...,
        to: Iterable[Callable[[X], Result[B, Any]]],
        pick: Chooser = ...,
        on: Match = ...,
    ) -> Chain[[X], A | B]: ...
    @overload
    def replica(
        self: Callable[[X], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        n: int | None = ...,
        /,
        *,
        after: After = ...,
        to: Iterable[Callable[[X], Awaitable[B]]],
        pick: Chooser = ...,
        on: Match = ...,
    ) -> Chain[[X], A | B]: ...
    @overload
    def replica(
        self: Callable[[X], Request[A]],  # pyright: ignore[reportGeneralTypeIssues]
        n: int | None = ...,
        /,
        *,
        after: After = ...,
        to: Iterable[Callable[[X], B]],
        pick: Chooser = ...,
        on: Match = ...,
    ) -> Chain[[X], A | B]: ...
    def replica(
        self: Any, n: Any = None, /, *, after: Any = 0, to: Any = (), pick: Any = FIRST, on: Any = Exception
    ) -> Any:
        """Hedge the chain to the left: call it again while earlier calls have not answered, and take one answer.

        The next call begins ``after`` milliseconds after the latest one began, or as soon as one has failed. When an
        answer wins, the other calls are cancelled and awaited; sync functions are abandoned. If all calls fail, the
        chain fails with the error of the first call.

        Args:
            n: the total number of calls, with the first one; from 1 to 1,000. Default: one for each target, if ``to``
                is given.
            after: milliseconds or a ``timedelta``, 0 or more; 0 starts all calls at once. Or a ``Quantile`` of measured
                latencies. With None, the next call begins only when one has failed. A list has a delay for each call
                after the first, and its last one counts for the rest. A function gets the number of the call, 1 for
                the first call beside the first; it is called when the first call begins, and must be quick.
            to: other targets: chains or functions that get the same input. The first call goes to the chain to the
                left, the second one to ``to[0]``, and so on. If there are more calls than targets, the next call goes
                to the chain to the left again.
            pick: which answer wins: ``first()``, ``best(score, within=ms)``, ``quorum(k)`` or a Chooser of your own.
            on: the errors after which the hedge goes on: an exception class, a tuple of them, or a function of the
                error. Any other error ends it: the other calls are cancelled, and the chain fails with that error.
                Default: every error.

        Raises:
            ChainDefinitionError: an argument is out of its range; ``n`` is less than the number of targets, or less
                than ``pick`` needs.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).timeout(80).replica(2, after=20)
            Task(len).timeout(80).replica(2, after=20)
        """
        return _compose.replica(self._wrapped, self, n, after=after, to=to, pick=pick, on=on)

    # --- policies with a shared state ---------------------------------------------------------------------------

    def breaker(self, breaker: Breaker | Gate, /) -> Chain[P, Out]:
        """Refuse calls with ``CircuitOpen`` while the backend keeps failing.

        Put it directly around the attempt and its timeout, as in ``.timeout(100).breaker(b).retry(3)``. Then the
        breaker counts every attempt and every timeout.

        Raises:
            ChainDefinitionError: ``breaker`` is neither a ``Breaker`` nor a ``Gate`` of your own.

        Example:
            >>> from rio_chain import Breaker, Task
            >>> payments = Breaker(failures=3)
            >>> chain = Task(len).timeout(100).breaker(payments).retry(2)
        """
        guarded: Chain[P, Out] = self._scope(_validation.gate(breaker, Breaker, "breaker", "Breaker()"))
        return guarded

    def limit(self, limit: Limit | Gate, /, *more: Limit) -> Chain[P, Out]:
        """Limit how many calls run at once, or how many begin per second. Other calls wait or get ``LimitExceeded``.

        A timeout around the limit includes the wait. A timeout inside the limit does not.

        With several limits, a call gets all of them or none: it waits in the queue of the first one that is short, in
        the order in which the limits were made, and holds nothing meanwhile.

        Args:
            limit: a ``Limit``, or a ``Gate`` of your own.
            more: other ``Limit`` objects that the call needs as well.

        Raises:
            ChainDefinitionError: ``limit`` is neither a ``Limit`` nor a ``Gate`` of your own. Or there are several, and
                one is no ``Limit``, or is there twice.

        Example:
            >>> from rio_chain import Limit, Task
            >>> chain = Task(len).limit(Limit(10)).timeout(500)
            >>> calls, tokens = Limit(rate=500, per=60_000), Limit(rate=90_000, per=60_000, cost=len)
            >>> chain = Task(len).limit(calls, tokens).timeout(5000)
        """
        check = partial(_validation.gate, kind=Limit, method="limit", example="Limit(10)")
        limited: Chain[P, Out] = self._scope(limits_together((limit, *more), check))
        return limited

    def budget(self, budget: Budget, /) -> Chain[P, Out]:
        """Limit the retries and hedges of the chain to the left to a share of its executions.

        An execution is one call of that chain, with all its attempts. With ``Budget(0.2)``, at most 20 retries and
        hedges run at once while 100 executions are in progress.

        Raises:
            ChainDefinitionError: ``budget`` is not a ``Budget``.

        Example:
            >>> from rio_chain import Budget, Task
            >>> chain = Task(len).replica(2, after=20).retry(3).budget(Budget(0.2))
        """
        bounded: Chain[P, Out] = self._scope(_validation.shared(budget, Budget, "budget", "Budget(0.2)"))
        return bounded

    def cache(self, cache: Cache, /) -> Chain[P, Out]:
        """Keep the value of the chain to the left for each input. If the input comes again, use it instead of a call.

        Errors are not kept.

        Raises:
            ChainDefinitionError: ``cache`` is not a ``Cache``.

        Example:
            >>> from rio_chain import Cache, Task
            >>> chain = Task(len).retry(3).cache(Cache(ttl=60_000))
        """
        cached: Chain[P, Out] = self._scope(_validation.shared(cache, Cache, "cache", "Cache(ttl=60_000)"))
        return cached

    def single_flight(self, flights: SingleFlight, /) -> Chain[P, Out]:
        """Make one call for all concurrent requests with the same input. They share its value or its error.

        Raises:
            ChainDefinitionError: ``flights`` is not a ``SingleFlight``.

        Example:
            >>> from rio_chain import SingleFlight, Task
            >>> chain = Task(len).retry(3).single_flight(SingleFlight())
        """
        shared: Chain[P, Out] = self._scope(
            _validation.shared(flights, SingleFlight, "single_flight", "SingleFlight()")
        )
        return shared

    def chaos(self, chaos: Chaos, /) -> Chain[P, Out]:
        """Inject faults: make some of the calls slow, or fail. Put it innermost.

        Set ``on`` of the ``Chaos`` object to switch it on and off.

        Raises:
            ChainDefinitionError: ``chaos`` is not a ``Chaos``.

        Example:
            >>> from rio_chain import Chaos, Task
            >>> chain = Task(len).chaos(Chaos(0.1, latency=200)).timeout(100)
        """
        shaken: Chain[P, Out] = self._scope(_validation.shared(chaos, Chaos, "chaos", "Chaos(0.1, latency=200)"))
        return shaken


def set_wrapped_class(cls: type[Composed]) -> None:
    """Set the class of the chains that the policy methods return.

    It is a subclass of ``PolicyMethods``, so it is defined later than the methods. The ``__qualname__`` of each method
    begins with the name of that class, because users do not know ``PolicyMethods``.
    """
    PolicyMethods._wrapped = cls  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # defined in this file
    for name, call in (*vars(BatchMethod).items(), *vars(PolicyMethods).items()):
        if isfunction(call) and not name.startswith("_"):
            call.__qualname__ = f"{cls.__qualname__}.{name}"  # Python's own errors print it
