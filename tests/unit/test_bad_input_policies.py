"""What is written wrongly about a policy is refused at that call: name, rule, value, and the right code."""

from typing import Any

import pytest
from refusals import refused

from rio_chain import (
    Backoff,
    Breaker,
    Budget,
    Cache,
    Chaos,
    Limit,
    Quantile,
    SingleFlight,
    Task,
    first,
    quorum,
    race,
)
from rio_chain import best as best_of
from rio_chain.chain._nodes import Bridge, RaceNode, Scope, Seq
from rio_chain.chain._plan import compile_plan


def one(x: Any) -> Any:
    return x


def two(x: Any, y: Any) -> Any:
    return x, y


async def later(x: Any) -> Any:
    return x


task: Any = Task(one)  # wrong calls are the point here, and type checkers would refuse them
wrong: Any = race


class TestState:
    """Each method takes the object that keeps its state, and nothing else."""

    @pytest.mark.parametrize(
        ("method", "kind", "example"),
        [
            ("breaker", Breaker, "Breaker()"),
            ("limit", Limit, "Limit(10)"),
            ("budget", Budget, "Budget(0.2)"),
            ("cache", Cache, "Cache(ttl=60_000)"),
            ("single_flight", SingleFlight, "SingleFlight()"),
            ("chaos", Chaos, "Chaos(0.1, latency=200)"),
        ],
    )
    def test_anything_else_is_refused_with_the_right_code(self, method: str, kind: type, example: str) -> None:
        call = getattr(task, method)
        other = " or a Gate of your own" if kind in (Breaker, Limit) else ""
        rule = f"`.{method}` takes a {kind.__name__}{other}, as in .{method}({example}); got "
        refused(lambda: call(10), rule + "10")
        refused(lambda: call(None), rule + "None")
        refused(lambda: call(Quantile()), rule + "<Quantile")
        refused(lambda: call(kind), rule + f"the class itself; make one that you keep: `state = {example}`")

    def test_accept(self) -> None:
        rule = "`predicate` must be a function of the value that returns True or False"
        refused(lambda: task.accept(3), rule + "; got 3")
        refused(lambda: task.accept(later), rule + "; got the async function `later`")
        refused(lambda: task.accept(two), rule + ", and `two(x, y)` can't be called with just one argument")


class TestTimeout:
    def test_what_is_no_duration_and_no_function(self) -> None:
        refused(
            lambda: task.timeout("soon"), "`ms` must be a finite number of milliseconds (or a timedelta), more than 0"
        )
        refused(lambda: task.timeout(later), "`ms` must be milliseconds, or a function of the input; got the async fu")
        refused(lambda: task.timeout(Task(one)), "`ms` must be milliseconds, or a function of the input")


class TestReplica:
    def test_how_many(self) -> None:
        for n in (0, -1, True, 1.5, "2"):
            refused(lambda n=n: task.replica(n), f"`n` must be a whole number, 1 or more; got {n!r}")
        refused(task.replica, "`replica` needs `n`, the total number of calls, as in .replica(2, after=20)")
        refused(
            lambda: task.replica(2, to=[one, one]), "`n` must be 3 or more, or a target of `to` is never called; got 2"
        )

    @pytest.mark.parametrize("after", [-1, float("nan"), float("inf"), "20", True])
    def test_after(self, after: Any) -> None:
        refused(
            lambda: task.replica(2, after=after),
            "`after` must be a finite number of milliseconds (or a timedelta), 0 or more, a Quantile(0.95), or None "
            f"for one call at a time; got {after!r}",
        )

    def test_after_of_several_calls(self) -> None:
        refused(lambda: task.replica(2, after=[]), "a list of `after` needs at least one delay; got an empty one")
        refused(lambda: task.replica(3, after=[1, -2]), "`after` must be a finite number of milliseconds")
        refused(
            lambda: task.replica(2, after=[1, 2]),
            "`after` must have at most 1 delays, one for each call after the first; got 2",
        )
        refused(lambda: task.replica(2, after=Quantile), "`after` must be a finite number of milliseconds")
        refused(lambda: task.replica(2, after=later), "`after` must be a function of the number of the call, or a fin")
        refused(lambda: task.replica(2, after=two), "`after` must be a function of the number of the call, or a finit")

    def test_on(self) -> None:
        rule = "`on` must be an exception class, a tuple of them, or a function of the error"
        for on in (3, (), None, int):
            refused(lambda on=on: task.replica(2, on=on), rule)

    def test_a_quantile_with_and_without_a_key(self) -> None:
        refused(lambda: Quantile(key=3), "`key` must be a function of the input that returns something hashable, or")
        refused(lambda: Quantile(key=str, keys=0), "`keys` must be a whole number, 1 or more; got 0")
        refused(lambda: Quantile(key=str, idle=-1), "`idle` must be a finite number of milliseconds")
        refused(Quantile(key=str).value, "this quantile has a `key`, so each key has its own value: use state_of(key)")
        refused(lambda: Quantile(key=str).add(1), "this quantile has a `key`")
        refused(lambda: Quantile().state_of("a"), "this quantile has no `key`, so it has one value for all calls; got")

    def test_other_places(self) -> None:
        rule = "`to` takes a list of Tasks, Chains or functions; got "
        for alone in (task, one):
            refused(lambda alone=alone: task.replica(to=alone), rule + "just one of them: write to=[...] around it")
        refused(lambda: task.replica(2, to=3), rule + "3")
        refused(lambda: task.replica(2, to="eu"), rule + "'eu'")
        refused(lambda: task.replica(2, to={"a": task}), rule + "{'a': ")
        refused(lambda: task.replica(to=[3]), rule + "3")
        refused(lambda: task.replica(to=[task(1)]), rule + "<Request of one: await it")
        refused(lambda: task.replica(to=[later(1)]), rule + "a coroutine, as `later` was called: write Task(later)")
        refused(lambda: task.named("x").replica(to=[Task(str).named("x")]), "`.named('x')` is used twice in one chain")

    def test_pick(self) -> None:
        rule = "`pick` must be a Chooser: first(), best(score, within=ms) or quorum(k); got "
        for make in (lambda pick: task.replica(2, pick=pick), lambda pick: wrong(task, task, pick=pick)):
            refused(lambda make=make: make(3), rule + "3")
            refused(lambda make=make: make(len), rule + "<built-in function len>")
            refused(lambda make=make: make(type(first())), rule)
            for chooser in (first, best_of, quorum):
                refused(
                    lambda make=make, chooser=chooser: make(chooser), rule + f"`{chooser.__name__}` itself: call it"
                )

    def test_a_quorum_of_more_than_there_are_calls(self) -> None:
        refused(
            lambda: task.replica(2, pick=quorum(3)),
            "`pick` must not need more than 2 answers, as no more calls are made; got quorum(3)",
        )
        refused(lambda: race(task, task, pick=quorum(3)), "`pick` must not need more than 2 answers")


class TestRace:
    def test_what_is_no_branch(self) -> None:
        refused(race, "`race` needs at least one Task or Chain; got none")
        refused(lambda: wrong(task, one), "`race` takes Tasks and Chains; got the function `one`: write Task(one)")
        refused(lambda: wrong(task, task(1)), "`race` takes Tasks and Chains; got a Request")


class TestOn:
    @pytest.mark.parametrize("on", [int, "OSError", (), None, {OSError: None}])
    def test_of_a_fallback(self, on: Any) -> None:
        refused(lambda: task.or_else(1, on=on), "`on` must be an exception class, a tuple of them, or a function")

    def test_of_a_retry_by_class(self) -> None:
        refused(lambda: task.retry(1, on={}), "`on` must be an exception class or a tuple of them; got ()")
        refused(lambda: task.retry(1, on={int: None}), "`on` must be an exception class or a tuple of them; got ")
        refused(lambda: task.retry(1, on={OSError: 5}), "`backoff` must be a Backoff, such as Backoff(base=50)")

    def test_a_stop(self) -> None:
        rule = "`stop` must be a tenacity stop, or a function of such a state that returns True or False"
        refused(lambda: task.retry(1, stop=3), rule + "; got 3")
        refused(lambda: task.retry(1, stop=later), rule + "; got the async function `later`")
        refused(lambda: task.retry(1, stop=two), rule + ", and `two` can't be called with just one argument")

    def test_a_backoff_that_contradicts_itself(self) -> None:
        refused(
            lambda: Backoff(base=1, factor=3, step=5), "give `factor` or `step`, not both: a wait grows by a factor"
        )
        refused(lambda: Backoff(step=5, jitter="decorrelated"), "`step` has no effect with jitter='decorrelated'")
        refused(lambda: Backoff(step=-1), "`step` must be a finite number of milliseconds (or a timedelta), 0 or more")
        refused(
            lambda: Backoff(jitter="half"), "`jitter` must be 'full', 'equal', 'none' or 'decorrelated'; got 'half'"
        )  # type: ignore[arg-type]

    def test_what_the_server_says(self) -> None:
        rule = "`retry_after` must be a function of the error that returns how long to wait"
        refused(lambda: task.retry(1, retry_after=3), rule + "; got 3")
        refused(lambda: task.retry(1, retry_after=later), rule + "; got the async function `later`")


class TestBridges:
    """A bridge has no Response, so nothing could tell what a policy around it did."""

    bridge = Bridge(one, "one", is_async=False)

    @pytest.mark.parametrize(
        "policy", [Cache(1000), Limit(1), Breaker(), Budget(), SingleFlight(), Chaos(0.1, latency=1)]
    )
    def test_have_no_policies(self, policy: Any) -> None:
        plan = Seq((task.node, Scope(policy, self.bridge)))
        refused(lambda: compile_plan(plan), f"`{policy}` needs a task to its left; got only bridges: write Task(fn)")

    def test_are_not_raced(self) -> None:
        plan = RaceNode((task.node, self.bridge), 2, 0.0, first(), hedge=False)
        refused(lambda: compile_plan(plan), "`race` takes tasks; got a bridge: write Task(fn)")


def test_what_python_itself_refuses_names_a_class_that_users_know() -> None:
    chain: Any = Task(len)
    with pytest.raises(TypeError, match=r"^Chain\.retry\(\) got an unexpected keyword argument 'times'$"):
        chain.retry(times=3)
