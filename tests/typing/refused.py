"""What mypy --strict and pyright strict must refuse. An ignore that is not needed any more is an error in both.

pyright honours ``type: ignore`` as well; a line that only it refuses says ``pyright: ignore``.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false

import time
from dataclasses import dataclass

from rio_chain import (
    Balancer,
    Breaker,
    Call,
    Event,
    Gate,
    Journal,
    Limit,
    Permit,
    Task,
    add_observer,
    choose,
    each,
    fan_out,
    first,
    race,
    reduce,
    settle,
    star,
    when,
)
from rio_chain.testing import LatencyModel, Script


class User: ...


@dataclass
class Page:
    text: str
    count: int


async def fetch_user(user_id: int, tries: int = 1) -> User:
    raise NotImplementedError


async def fetch_orders(order_q: str) -> list[int]:
    raise NotImplementedError


def to_location(u: User) -> float:
    raise NotImplementedError


def two(x: int, y: str) -> str:
    raise NotImplementedError


def texts(count: int) -> list[str]:
    raise NotImplementedError


def is_long(text: str) -> bool:
    raise NotImplementedError


def joined(text: str, more: str) -> str:
    raise NotImplementedError


user = Task(fetch_user).timeout(100).retry(3)
orders = Task(fetch_orders)
location = Task(to_location)

# the next task wants something else
wrong_task = user >> orders  # type: ignore[operator]
# the bridge gives something else
wrong_bridge = user >> to_location >> orders  # type: ignore[operator]
wrong_left = to_location >> orders  # type: ignore[operator]
# the argument is of another type, is missing, is one too many
page = user >> to_location
page("x")  # type: ignore[arg-type]
page()  # type: ignore[call-arg]
page(1, 2, 3)  # type: ignore[call-arg]
page(1, tires=2)  # type: ignore[call-arg]
# the branches want different inputs (mypy makes a call's common input Never, which nobody can give)
wrong_branches = orders & location  # type: ignore[operator]
wrong_fan_out = fan_out(orders, location)  # pyright: ignore[reportCallIssue, reportArgumentType]
wrong_page = fan_out(Page, text=orders, count=location)  # pyright: ignore[reportArgumentType]
wrong_field = (location & location) >> star(Page)  # type: ignore[operator, arg-type, var-annotated]
wrong_settle = settle(orders, location)  # pyright: ignore[reportCallIssue, reportArgumentType]
wrong_wide = (location & location) & orders  # type: ignore[operator]
# a function is no branch
no_branch = location & to_location  # type: ignore[operator, var-annotated]
# the spread values don't fit
wrong_star = (location & location) >> star(two)  # type: ignore[operator, arg-type, var-annotated]
# policies
user.timeout("1s")  # type: ignore[arg-type]
user.retry(1.5)  # type: ignore[arg-type]
user.retry(3, backoff=100)  # type: ignore[arg-type]
user.retry(3, accept=two)  # type: ignore[arg-type]
user.timeout(100).inline()  # type: ignore[attr-defined]
user.accept(two)  # type: ignore[arg-type]
user.breaker(Limit(1))  # type: ignore[arg-type]
user.limit(10)  # type: ignore[arg-type]
fan_out(x=orders, time_limit=5)  # type: ignore[call-overload]
each(user, on_timeout="drop")  # type: ignore[call-overload]
Balancer(shed="newest")  # type: ignore[arg-type]
Balancer(fair=3)  # type: ignore[arg-type]
user.limit(Limit(1), Breaker())  # type: ignore[arg-type]
Limit(1, cost=3)  # type: ignore[arg-type]
Limit(1, window="day")  # type: ignore[arg-type]
Limit(1).update(key=len)  # type: ignore[call-arg]
user.breaker(Breaker)  # type: ignore[arg-type]
Breaker(ratio=0.5, least=5)  # type: ignore[call-arg]
Call("key", time.monotonic, 0)  # type: ignore[call-arg]
user.or_else(1, on=3)  # type: ignore[call-overload]
user.replica()  # type: ignore[call-overload]
user.replica(2, pick=first)  # type: ignore[call-overload]
user.replica(2, after="20")  # type: ignore[call-overload]
wrong_race = race(orders, location)  # pyright: ignore[reportCallIssue, reportArgumentType]
# the items, the routes, what is left for the value
wrong_items = Task(texts) >> each(user)  # type: ignore[operator]
wrong_error = each(user, on_error="ignore")  # type: ignore[call-overload]
wrong_choice = user >> choose(when(is_long, orders), otherwise=orders)  # type: ignore[operator]
wrong_left_over = orders >> Task(two).using(y=user)  # type: ignore[operator]
wrong_fold = each(user) >> reduce(joined, "")  # type: ignore[operator, var-annotated]
orders.timeout(5).using(user=user)  # type: ignore[attr-defined]
# other functions
page.with_backends({"fetch_user": 5})  # type: ignore[dict-item]
page.with_backends([("fetch_user", to_location)])  # type: ignore[arg-type]
page.with_backends({"fetch_user": to_location}, seed="x")  # type: ignore[arg-type]
page.with_backends({"fetch_user": to_location})("x")  # type: ignore[arg-type]
Script().delays("20")  # type: ignore[arg-type]
Script().then_raises(KeyboardInterrupt)  # type: ignore[arg-type]
Script().model(20)  # type: ignore[arg-type]
LatencyModel.lognormal(20)  # type: ignore[call-arg]
LatencyModel.constant(20).failing(0.1, "no")  # type: ignore[arg-type]
orders.run()  # type: ignore[attr-defined]


class OfBefore(Gate):
    def enter(self, key: object, clock: object) -> Permit:  # type: ignore[override]
        return Permit()


async def forgotten() -> None:
    await page  # type: ignore[misc]


# --- observers ------------------------------------------------------------------------------------------------------


def of_a_task(task: Task[..., int]) -> None: ...


def misspelt(event: Event) -> bool:
    return event.kind == "attempt_finished"  # type: ignore[comparison-overlap]


add_observer(of_a_task)  # type: ignore[arg-type]
Balancer(observers=[of_a_task])  # type: ignore[list-item]
Balancer(observers=print)  # type: ignore[arg-type]


def journals(balancer: Balancer) -> None:
    journal = Journal("runs.db")
    Task(len)("four").run(journal="runs.db", run_id="one")  # type: ignore[arg-type]
    Task(len)("four").run(journal=journal, run_id=1)  # type: ignore[arg-type]
    Journal("runs.db", on_change="ignore")  # type: ignore[arg-type]
    balancer.map(Task(len), ["four"], journal=journal, key=list)  # type: ignore[arg-type]
