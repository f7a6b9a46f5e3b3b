"""What mypy --strict and pyright strict must infer. Both run over this file; nothing here runs."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypedDict, TypeGuard, assert_type

from returns.result import Result

from rio_chain import (
    Backoff,
    Balancer,
    Bounds,
    Breaker,
    Budget,
    Cache,
    Call,
    Chain,
    Chaos,
    Failure,
    FanOut,
    Finding,
    Gate,
    Limit,
    Outcome,
    PendingPermit,
    Permit,
    Quantile,
    Request,
    SingleFlight,
    Stream,
    Success,
    Task,
    TaskTimedOut,
    Ticket,
    at_least,
    best,
    choose,
    each,
    expand,
    fan_out,
    first,
    quorum,
    race,
    reduce,
    settle,
    star,
    when,
)
from rio_chain.testing import LatencyModel, Script, ScriptCall


class User: ...


async def fetch_user(user_id: int, tries: int = 1) -> User:
    raise NotImplementedError


async def fetch_orders(order_q: str) -> list[int]:
    raise NotImplementedError


def fetch_shops(loc: float, limit: int = 3) -> Result[list[str], str]:
    raise NotImplementedError


async def fetch_safely(user: User, /) -> Result[bytes, OSError]:
    raise NotImplementedError


def order_query(u: User) -> str:
    raise NotImplementedError


def to_location(u: User) -> float:
    raise NotImplementedError


async def to_location_async(u: User, /) -> float:
    raise NotImplementedError


def render(t: tuple[list[int], list[str]]) -> str:
    raise NotImplementedError


def render_two(orders: list[int], shops: list[str]) -> str:
    raise NotImplementedError


def of_error(error: Exception) -> bytes:
    raise NotImplementedError


def of_both(error: Exception, user: User) -> bytes:
    raise NotImplementedError


async def of_both_async(error: Exception, user: User) -> int:
    raise NotImplementedError


async def of_both_safely(error: Exception, user: User) -> Result[str, OSError]:
    raise NotImplementedError


def in_a_request(error: Exception, user: User) -> Request[float]:
    raise NotImplementedError


async def fetch_every(user_id: int, tries: int) -> User:
    raise NotImplementedError


async def of_every(error: object, user_id: int, tries: int) -> str:
    raise NotImplementedError


def of_all(error: object, user_id: int, tries: int = 1) -> str:
    raise NotImplementedError


@dataclass
class Page:
    orders: list[int]
    shops: list[str]


class PageTuple(NamedTuple):
    orders: list[int]
    shops: list[str]


class PageDict(TypedDict):
    orders: list[int]
    shops: list[str]


Six = tuple[list[int], list[str], list[int], list[str], list[int], bytes]
Ten = tuple[list[int], list[str], list[int], list[str], list[int], list[str], list[int], list[str], list[int], bytes]


def sizes(text: str) -> dict[str, int]:
    raise NotImplementedError


def letters(text: str) -> set[str]:
    raise NotImplementedError


user = Task(fetch_user).timeout(100).retry(3)
orders = Task(fetch_orders).timeout(200).retry(2)
nearby = Task(fetch_shops).timeout(80)
safely = Task(fetch_safely)

# --- tasks and policies ---------------------------------------------------------------------------------------------

assert_type(Task(fetch_shops)(1.0, limit=2), Request[list[str]])
assert_type(Task(fetch_shops).inline()(1.0), Request[list[str]])
assert_type(Task(fetch_orders)("q"), Request[list[int]])
assert_type(safely, Task[[User], bytes])
assert_type(safely.named("x"), Task[[User], bytes])
assert_type(safely.timeout(timedelta(seconds=1)), Chain[[User], bytes])
assert_type(safely.retry(2, on=(OSError, ValueError), backoff=Backoff(base=10), accept=bool), Chain[[User], bytes])
assert_type(user(42, tries=2), Request[User])
assert_type(user(42).run(), Outcome[User])
assert_type(user(42).run().unwrap(), User)


@Task
async def decorated(x: int) -> str:
    raise NotImplementedError


assert_type(decorated(1), Request[str])


async def awaited() -> None:
    assert_type(await user(42), Outcome[User])


# --- outcomes -------------------------------------------------------------------------------------------------------

outcome = Task(fetch_shops)(1.0).run()
assert_type(outcome.result, Success[list[str]] | Failure[Any])
assert_type(outcome.value, list[str])
assert_type(outcome.ok, bool)


def answer(outcome: Outcome[str]) -> tuple[int, str]:  # a match of the two covers all cases
    match outcome.result:
        case Success(text):
            return 200, text.upper()
        case Failure(TaskTimedOut(name=name)):
            return 504, name
        case Failure(error):
            return 502, str(error)


def as_before(outcome: Outcome[str]) -> Result[str, Exception]:
    return outcome.result


# --- the flagship ---------------------------------------------------------------------------------------------------

page = user >> ((order_query >> orders) & (to_location >> nearby.or_else([]))) >> render
assert_type(page(42, tries=2), Request[str])
assert_type(page(42).run().unwrap(), str)

# --- one after the other --------------------------------------------------------------------------------------------

assert_type((user >> order_query >> orders)(1), Request[list[int]])
assert_type((user >> to_location_async >> nearby)(1), Request[list[str]])
assert_type((to_location_async >> nearby), Chain[[User], list[str]])
assert_type((user >> safely)(1), Request[bytes])
assert_type((user >> fetch_safely)(1), Request[bytes])
assert_type(user.then(lambda u: order_query(u)).then(len)(1), Request[int])  # noqa: PLW0108 - the lambda's type is meant


def chosen(u: User) -> Request[bytes]:  # a chain decided at run time
    return safely(u)


assert_type((user >> Task(chosen))(1), Request[bytes])
assert_type((user >> chosen)(1), Request[bytes])


async def chosen_async(u: User) -> Request[bytes]:  # the same, chosen by what has to be awaited
    raise NotImplementedError


def decode(b: bytes) -> str:
    raise NotImplementedError


async def of_both_in_a_request(error: Exception, user: User) -> Request[int]:
    raise NotImplementedError


assert_type((Task(chosen_async) >> decode)(User()), Request[str])
assert_type((user >> Task(chosen_async))(1), Request[bytes])
assert_type((user >> chosen_async >> decode)(1), Request[str])
assert_type(user.then(chosen_async)(1), Request[bytes])
assert_type((chosen_async >> Task(decode))(User()), Request[str])
assert_type((chosen >> Task(decode))(User()), Request[str])
assert_type((Task(order_query) | chosen_async)(User()), Request[str | bytes])
assert_type((Task(order_query) | of_both_in_a_request)(User()), Request[str | int])
assert_type(Task(order_query).replica(to=[chosen_async])(User()), Request[str | bytes])

# --- side by side ---------------------------------------------------------------------------------------------------

a = order_query >> orders
b = to_location >> nearby
assert_type(a & b, FanOut[[User], list[int], list[str]])
assert_type(a & b & safely, FanOut[[User], list[int], list[str], bytes])
assert_type((a & (b & safely))(User()), Request[tuple[list[int], tuple[list[str], bytes]]])
assert_type(fan_out(a, b, safely), FanOut[[User], list[int], list[str], bytes])
assert_type(fan_out(first=a, second=a), Chain[[User], dict[str, list[int]]])
assert_type(fan_out(a, b, a, b, a, safely), FanOut[[User], *Six])
assert_type(fan_out(a, b, a, b, a, b, a, b, a, safely), FanOut[[User], *Ten])
assert_type(a & b & a & b & a & b & a & b & a & safely, FanOut[[User], *Ten])
assert_type(race(a, b, a, b, a, b, a, b, a, safely), Chain[[User], list[int] | list[str] | bytes])
assert_type(settle(a, a, a, a, a, a, safely)(User()).run().value[6], Result[bytes, Any])
assert_type(fan_out(Page, orders=a, shops=b), Chain[[User], Page])
assert_type(fan_out(PageTuple, orders=a, shops=b).timeout(10)(User()), Request[PageTuple])
assert_type((user >> fan_out(PageDict, orders=a, shops=b))(1), Request[PageDict])
assert_type((user >> (a & b) >> star(Page))(1), Request[Page])
assert_type((user >> (a & b) >> star(PageTuple))(1), Request[PageTuple])
assert_type((a & b).timeout(10)(User()), Request[tuple[list[int], list[str]]])
assert_type(
    settle(a, b)(User()).run().unwrap(),
    tuple[Result[list[int], Any], Result[list[str], Any]],
)
assert_type(star(render_two), Callable[[tuple[list[int], list[str]]], str])
assert_type((user >> (a & b) >> star(render_two))(1), Request[str])

# --- instead --------------------------------------------------------------------------------------------------------

assert_type((nearby.or_else([]))(1.0), Request[list[str]])
assert_type((safely | Task(order_query))(User()), Request[bytes | str])
assert_type(safely.or_else(None), Chain[[User], bytes | None])
assert_type(safely.or_else(of_error), Chain[[User], bytes])
assert_type((safely | 0)(User()), Request[bytes | int])
assert_type(Success(1).unwrap(), int)
assert_type(safely.or_else(of_both), Chain[[User], bytes])
assert_type(safely.or_else(of_both_async, on=OSError), Chain[[User], bytes | int])
assert_type((safely | of_both_safely)(User()), Request[bytes | str])
assert_type((safely | in_a_request)(User()), Request[bytes | float])
assert_type((user >> safely.or_else(of_both_async))(1), Request[bytes | int])
assert_type((user | of_all)(1), Request[User | str])
assert_type(Task(fetch_every).or_else(of_every)(1, 2), Request[User | str])
assert_type(safely.or_else(None, on=OSError), Chain[[User], bytes | None])
assert_type(safely.or_else(of_error, on=(OSError, ValueError))(User()), Request[bytes])

no_shops: list[str] = []
assert_type((safely | no_shops)(User()), Request[bytes | list[str]])  # of another type than what it replaces
assert_type((safely | {"a": 1})(User()), Request[bytes | dict[str, int]])
assert_type((nearby | []).timeout(5)(1.0), Request[list[str]])
assert_type((nearby | ["a"])(1.0), Request[list[str]])
assert_type((nearby | [1])(1.0), Request[list[str] | list[int]])
assert_type(Task(sizes).or_else({}, on=OSError)("a"), Request[dict[str, int]])
assert_type((Task(letters) | set())("a"), Request[set[str]])

# --- several calls, one winner --------------------------------------------------------------------------------------

assert_type(safely.replica(2, after=20), Chain[[User], bytes])
assert_type(user.replica(2, after=timedelta(seconds=1))(42, tries=2), Request[User])
assert_type(safely.replica(2, after=Quantile(0.95), pick=first(accept=bool)), Chain[[User], bytes])
assert_type(safely.replica(3, after=None, pick=quorum(2)), Chain[[User], bytes])
assert_type(safely.replica(3, after=[10, None], on=OSError), Chain[[User], bytes])
assert_type(safely.replica(3, after=lambda n: 10 * n, on=lambda error: error.args != ()), Chain[[User], bytes])
assert_type(safely.timeout(lambda user: 100), Chain[[User], bytes])
assert_type(
    safely.retry(3, backoff=Backoff(step=10), stop=lambda state: state.attempt_number > 2), Chain[[User], bytes]
)
assert_type(Quantile(key=str).state_of("a").value, float | None)
assert_type(safely.replica(to=[safely.timeout(5)], pick=best(len, within=20)), Chain[[User], bytes])
assert_type(safely.replica(to=[Task(order_query)])(User()), Request[bytes | str])
assert_type(safely.replica(3, to=[order_query])(User()), Request[bytes | str])
assert_type(safely.replica(to=[to_location_async])(User()), Request[bytes | float])
assert_type(safely.replica(to=[fetch_safely])(User()), Request[bytes])
assert_type(race(a, b), Chain[[User], list[int] | list[str]])
assert_type(race(a, b, safely, pick=quorum(2))(User()), Request[list[int] | list[str] | bytes])
assert_type((user >> race(a, safely))(1), Request[list[int] | bytes])

# --- policies with state --------------------------------------------------------------------------------------------

for_each_host = Breaker(
    last=20,
    successes=2,
    on=lambda error: error.args != (),
    exclude=KeyError,
    open_for=lambda error, times: 100 * times,
    key=str,
)
assert_type(safely.breaker(for_each_host), Chain[[User], bytes])
assert_type(for_each_host.stats(key="a").failures, int)
assert_type(safely.cache(Cache(5, stale=timedelta(hours=1), when=bool)), Chain[[User], bytes])
fairly = Balancer(fair={"gold": 3, 7: 0.5}, shed=lambda request: len(str(request)), shed_late=True)
assert_type(fairly.post(safely(User()), tenant=("eu", 7)), Ticket[bytes])
assert_type(fairly.map(safely, [User()], tenant="gold"), Iterator[Outcome[bytes]])
tokens = Limit(rate=90_000, per=60_000, cost=len, actual=len, window="sliding", queue=5, aging=100)
tokens.update(concurrency=5, rate=None, wait=20)
assert_type(tokens.has_capacity(3.5, key="tea"), bool)
assert_type(safely.limit(Limit(10), tokens), Chain[[User], bytes])
guarded = safely.chaos(Chaos(0.1, latency=5)).limit(Limit(10)).breaker(Breaker()).accept(bool)
assert_type(guarded, Chain[[User], bytes])
assert_type(
    guarded.retry(2, on={OSError: Backoff(), ValueError: None}, retry_after=lambda error: 2).budget(Budget()),
    Chain[[User], bytes],
)
assert_type(guarded.single_flight(SingleFlight()).cache(Cache(1000)) >> len, Chain[[User], int])

# --- earlier answers, many items, routes -----------------------------------------------------------------------------


def numbers(text: str) -> Iterator[int]:
    raise NotImplementedError


async def async_numbers(text: str) -> AsyncIterator[int]:
    raise NotImplementedError
    yield 1


def about(shops: list[str], user: User) -> str:
    raise NotImplementedError


def summary(*, user: User, shops: list[str]) -> str:
    raise NotImplementedError


def doubled(number: int) -> int:
    raise NotImplementedError


def total(so_far: float, count: int) -> float:
    raise NotImplementedError


def doubled_or(text: str, count: int) -> str:
    raise NotImplementedError


def is_text(value: object) -> TypeGuard[str]:
    raise NotImplementedError


def is_known(user: User) -> bool:
    raise NotImplementedError


def linked(page: str) -> list[str]:
    raise NotImplementedError


of_user = user >> to_location >> nearby >> Task(about).using(user=user)
assert_type(of_user(42, tries=2), Request[str])
assert_type(Task(about).using(user=user), Task[[list[str]], str])
assert_type(Task(summary).using(user=user, shops=nearby), Task[[object], str])
assert_type((nearby >> Task(summary).using(user=user, shops=nearby))(1.0), Request[str])

by_id = Task(fetch_user)
assert_type((Task(numbers) >> each(by_id, limit=5))("1 2"), Request[list[User]])
assert_type((Task(async_numbers) >> each(by_id, on_error="drop"))("1 2"), Request[list[User]])
assert_type(each(by_id, on_error=at_least(2))([1, 2]), Request[list[User]])
assert_type(each(by_id, on_error="keep")([1, 2]), Request[list[Result[User, Any]]])
assert_type(each(by_id, time_limit=timedelta(seconds=1), on_timeout="keep")([1, 2]), Request[list[User]])
assert_type(each(by_id, on_error="keep", time_limit=5)([1]), Request[list[Result[User, Any]]])
assert_type(settle(a, b, time_limit=5), Chain[[User], tuple[Result[list[int], Any], Result[list[str], Any]]])
assert_type(fan_out(a, a, need=1, time_limit=5)(User()), Request[tuple[list[int], ...]])
assert_type(fan_out(x=a, y=a, need=1, time_limit=5)(User()), Request[dict[str, list[int]]])
assert_type((Task(numbers) >> each(Task(doubled)) >> reduce(total, 0.0))("1"), Request[float])
assert_type((Task(numbers) >> each(Task(doubled)) >> reduce(lambda a, b: a + b, initial=0.0))("1"), Request[float])
assert_type(each(Task(doubled)).then(reduce(lambda a, b: a + b, initial=0))([1]), Request[int])
assert_type((Task(numbers) >> each(Task(doubled)) >> reduce(doubled_or, initial=""))("1"), Request[str])
assert_type(expand(Task(linked), limit=3, depth=2)("/"), Request[list[list[str]]])
assert_type(expand(Task(linked), on_error="keep")("/"), Request[list[Result[list[str], Any]]])
assert_type(choose(when(is_known, safely), otherwise=Task(order_query))(User()), Request[bytes | str])
assert_type((user >> choose(when(User, safely), when(is_known, Task(to_location))))(1), Request[bytes | float])
assert_type(
    (user >> to_location >> choose(when(lambda x: x > 9, nearby), otherwise=Task(str)))(1), Request[list[str] | str]
)
assert_type(choose(when(is_text, Task(linked)), otherwise=Task(repr))("a"), Request[list[str] | str])
assert_type(fan_out(safely, safely, safely, need=2)(User()), Request[tuple[bytes, ...]])
assert_type(fan_out(a=safely, b=safely, need=1)(User()), Request[dict[str, bytes]])

# --- other functions -------------------------------------------------------------------------------------------------

script = Script().delays(20, timedelta(milliseconds=30)).then_raises(OSError).then(User(), after=5).forever()
model = LatencyModel.lognormal(20, p99=90).failing(0.1, OSError("no")).failing(0.1, Failure("no")).returning([1])
assert_type(page.with_backends({"fetch_user": script, "fetch_orders": model})(42, tries=2), Request[str])
assert_type(safely.with_backends({"fetch_safely": fetch_safely}, seed=7), Task[[User], bytes])
assert_type((a & b).with_backends({"fetch_orders": model}), FanOut[[User], list[int], list[str]])
assert_type((a & b).with_backends({"fetch_orders": model}) & safely, FanOut[[User], list[int], list[str], bytes])
assert_type((user.with_backends({"fetch_user": fetch_user}) >> order_query)(1, tries=2), Request[str])
backends: dict[str, Script] = {"fetch_user": script}
assert_type(page.with_backends(backends)(42), Request[str])
assert_type(page.with_backends(LatencyModel.from_outcomes([page(42).run()]))(42), Request[str])
assert_type(Task(script)(1, "any", thing=2), Request[Any])
assert_type(script.calls, list[ScriptCall])

# --- looking --------------------------------------------------------------------------------------------------------

assert_type(guarded.bounds(), Bounds)
assert_type(guarded.lint(), tuple[Finding, ...])


class OneOf(Gate):
    """A limit of the user's own, around one of ours."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit

    def enter(self, call: Call) -> Permit | PendingPermit | Exception:
        assert_type(call.priority, float)
        assert_type(call.clock(), float)
        got: Permit | PendingPermit | Exception = self.limit.enter(call)
        return got


assert_type(guarded.limit(OneOf(Limit(1))).breaker(OneOf(Limit(2))) >> len, Chain[[User], int])
assert_type(Call(clock=float).priority, float)

# --- many inputs, and streams ---------------------------------------------------------------------------------------


async def mapped(balancer: Balancer) -> None:
    for outcome in balancer.map(safely, [User()]):
        assert_type(outcome, Outcome[bytes])
    for one, outcome in balancer.map(safely, [User()], with_input=True, as_completed=True):
        assert_type(one, User)
        assert_type(outcome, Outcome[bytes])
    async for two, outcome in balancer.amap(safely, [User()], with_input=True):
        assert_type(two, User)
        assert_type(outcome.value, bytes)
    assert_type(balancer.stream(safely(User()), values=True), Stream[bytes])
    assert_type(safely(User()).stream(values=True).outcome.value, bytes)


assert_type(each(user, on_error="stop", drop=OSError, take=3)([1]), Request[list[User]])
assert_type(each(user, key=str)([1]), Request[list[User]])
assert_type(each(user, key=lambda n: n + 1, on_error="keep")([1]), Request[list[Result[User, Any]]])
assert_type(
    each(user, drop=lambda error: error.args != (), take=lambda found: found != User())([1]), Request[list[User]]
)
