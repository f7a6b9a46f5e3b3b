"""each, expand, reduce, choose and need=: what is refused where it is written, and how it shows."""

import pickle
import re
from collections.abc import Callable
from operator import add
from typing import Any

import pytest
from refusals import refused

from rio_chain import (
    Cache,
    ChainDefinitionError,
    Task,
    at_least,
    choose,
    each,
    expand,
    fan_out,
    reduce,
    settle,
    star,
    when,
)


def one(x: Any) -> Any:
    return x


def two(x: Any, y: Any) -> Any:
    return x, y


async def later(x: Any, y: Any = 0) -> Any:
    return x, y


def yields(x: Any) -> Any:
    yield x


any_each: Any = each
any_settle: Any = settle
any_fan_out: Any = fan_out
task: Any = Task(one)  # wrong calls are the point here, and type checkers would refuse them
f: Any = one


class TestEach:
    def test_not_a_chain_of_one_value(self) -> None:
        refused(lambda: each(f), "`each` takes Tasks and Chains; got the function `one`: write Task(one)")
        refused(lambda: each(task(1)), "`each` takes Tasks and Chains; got a Request")
        refused(lambda: each(Task(two)), "`each` calls the chain with one value, and `two(x, y)` can't be called")
        refused(lambda: each(Task(yields)), "`yields` is a generator function")

    @pytest.mark.parametrize("limit", [0, -1, True, 2.5, "3", None])
    def test_limit(self, limit: Any) -> None:
        refused(lambda: each(task, limit=limit), "`limit` must be a whole number, 1 or more; got ")
        refused(lambda: expand(task, limit=limit), "`limit` must be a whole number, 1 or more; got ")

    @pytest.mark.parametrize("on_error", ["end", None, True, 3, at_least, OSError])
    def test_on_error(self, on_error: Any) -> None:
        rule = '`on_error` must be "raise", "keep", "drop", "stop" or at_least(n); got '
        refused(lambda: each(task, on_error=on_error), rule)
        refused(lambda: expand(task, on_error=on_error), rule.replace(', "stop"', ""))
        refused(lambda: expand(task, on_error="stop"), rule.replace(', "stop"', ""))  # type: ignore[call-overload]

    def test_drop(self) -> None:
        rule = "`drop` must be an exception class"
        for build in (each, expand):
            make: Any = build
            for drop in (3, (), int, later):
                refused(lambda make=make, drop=drop: make(task, drop=drop), rule)
            rule_of_both = "`drop` leaves out some failures, and on_error='drop' leaves out all of them"
            refused(lambda make=make: make(task, drop=OSError, on_error="drop"), rule_of_both)
            refused(lambda make=make: make(task, drop=OSError, on_error=at_least(2)), rule_of_both[:40])

    def test_take(self) -> None:
        rule = "`take` must be a whole number, 1 or more, or a function of a value that returns True or False; got "
        for take in (0, -1, True, 1.5, "2"):
            refused(lambda take=take: any_each(task, take=take), rule)
        refused(lambda: any_each(task, take=later), "`take` must be a whole number, or a function of a value that re")
        refused(lambda: any_each(task, take=two), "`take` must be a whole number, or a function of a value that retu")
        refused(
            lambda: each(task, on_error=at_least(3), take=2), "`take` ends it after 2 values, and at_least(3) needs"
        )

    def test_key(self) -> None:
        rule = "`key` must be a function of an item that returns a str or an int"
        for key in (0, "id", later, two, task):
            refused(lambda key=key: any_each(task, key=key), rule)
        chain = each(task, key=one)
        assert chain.plan().to_dict()["root"]["key"] == each(task, take=one).plan().to_dict()["root"]["take"]
        assert "key" not in each(task).plan().to_dict()["root"]
        assert "each item, at most 10 at once, in order, in a journal by one" in chain.explain()

    def test_the_other_options(self) -> None:
        refused(lambda: each(task, ordered=1), "`ordered` must be True or False; got 1")
        for n in (0, "2", True, 1.5):
            refused(lambda n=n: at_least(n), "`at_least` must be a whole number, 1 or more; got ")

    def test_how_it_shows(self) -> None:
        for text in (
            "each(Task(one))",
            "each(Task(one), limit=3, ordered=False, on_error='keep')",
            "each(Task(one), on_error=at_least(2)).timeout(100).retry(2)",
            "each(each(Task(one)), limit=1)",
            "each(Task(one), on_error='stop', drop=(OSError, KeyError), take=3)",
            "each(Task(one), drop=OSError, take=one)",
            "each(Task(one), take=2, key=one)",
            "expand(Task(one), on_error='keep', drop=one)",
            "Task(one) >> each(Task(one) >> one) >> reduce(add)",
            "expand(Task(one), depth=2, total=5, more=one, key=one, on_error='drop', on_limit='stop')",
            "choose(when(int, Task(one)), when((str, bytes), Task(one)), otherwise=Task(one))",
            "fan_out(Task(one), Task(one), need=1)",
            "fan_out(a=Task(one), b=Task(one), need=1)",
        ):
            chain = eval(text)  # noqa: S307 - our own source
            assert repr(chain) == text
            assert pickle.loads(pickle.dumps(chain)) == chain  # noqa: S301
            assert hash(pickle.loads(pickle.dumps(chain))) == hash(chain)  # noqa: S301

    def test_equality(self) -> None:
        assert each(task) == each(task, limit=10)
        assert each(task) != each(task, limit=9)
        assert each(task, key=one) == each(task, key=one) != each(task)
        assert each(task, on_error=at_least(1)) != each(task, on_error=at_least(2))
        assert expand(task) != each(task)
        assert fan_out(task, task, need=1) != fan_out(task, task)
        assert fan_out(task, task, need=2) == task & task


class TestExpand:
    def test_options(self) -> None:
        for depth in (-1, 1.5, True, "2"):
            refused(lambda depth=depth: expand(task, depth=depth), "`depth` must be a whole number, 0 or more; got ")
        for total in (0, None, True):
            refused(lambda total=total: expand(task, total=total), "`total` must be a whole number, 1 or more; got ")
        for on_limit in ("drop", None):
            refused(lambda on=on_limit: expand(task, on_limit=on), '`on_limit` must be "raise" or "stop"; got ')

    def test_more_and_key(self) -> None:
        rule = "`more` must be a function of a result that returns the next items"
        refused(lambda: expand(task, more=[1]), f"{rule}; got ")
        refused(lambda: expand(task, more=later), f"{rule}; got the async function `later`")
        refused(lambda: expand(task, more=two), f"{rule}, and `two(x, y)` can't be called")
        refused(lambda: expand(task, key=7), "`key` must be a function of the input")
        for option in ("more", "key"):
            refused(lambda option=option: expand(task, **{option: task}), "got a Chain, and calling a Chain")
        assert expand(task, more=yields)


class TestReduce:
    def test_not_a_function_of_two_values(self) -> None:
        rule = "`reduce` takes a function of the total and a value"
        refused(lambda: reduce(7), f"{rule}; got 7")
        refused(lambda: reduce(f), f"{rule}, and `one(x)` can't be called with just two arguments")
        refused(lambda: reduce(later), f"{rule}; got the async function `later`")
        refused(lambda: reduce(task), f"{rule}; got a Chain, and calling a Chain gives a Request: write a function")

    def test_alone_it_is_a_plain_function(self) -> None:
        assert reduce(add)([1, 2, 3]) == 6
        assert reduce(add, 10)({"a": 1, "b": 2}) == 13
        assert reduce(add, 10)(()) == 10
        with pytest.raises(TypeError, match="without an initial one"):
            reduce(add)([])

    def test_it_is_not_taken_up_across_a_policy_or_a_label(self) -> None:
        for items in (each(task).timeout(50), each(task).named("all"), each(task).or_else([])):
            assert (items >> reduce(add))([1, 2]).run().unwrap() == 3


class TestChoose:
    def test_what_when_takes(self) -> None:
        refused(lambda: when(int, f), "`when` takes Tasks and Chains; got the function `one`: write Task(one)")
        refused(lambda: when(7, task), "`when` must be a function of the value that returns True or False; got 7")
        refused(lambda: when(task, task), "got a Chain, and calling a Chain gives a Request: write a function")
        refused(lambda: when((), task), "a tuple of classes; got ()")
        refused(lambda: when((int, 7), task), "a tuple of classes; got (<class 'int'>, 7)")
        refused(lambda: when(int, Task(two)), "`when` calls the chain with one value")

    def test_classes_with_arguments(self) -> None:
        rule = "`when` can't test for "
        refused(lambda: when(list[int], task), f"{rule}list[int]; write the class alone, or a function")
        refused(lambda: when(int | str, task), f"{rule}int | str; write (int, str), or a function")

    def test_what_choose_takes(self) -> None:
        refused(choose, "`choose` needs at least one when(test, chain); got none")
        refused(lambda: choose(task), "`choose` takes when(test, chain), and otherwise=chain; got Task(one)")
        refused(
            lambda: choose(when(int, task), otherwise=f),
            "`otherwise` takes Tasks and Chains; got the function `one`: write Task(one)",
        )
        refused(lambda: choose(when(int, task), otherwise=Task(two)), "`otherwise` calls the chain with one value")

    def test_it_takes_one_value(self) -> None:
        refused(
            lambda: choose(when(int, task))(1, 2),
            "this chain begins with `choose(...)`, which takes one value; got 2 positional",
        )
        refused(lambda: each(task)(items=[1]), "this chain begins with `each(...)`, which takes one value; got 0")


class TestNeed:
    def test_out_of_its_range(self) -> None:
        for need in (0, -1, True, 1.5, "1"):
            refused(lambda need=need: fan_out(task, task, need=need), "`need` must be a whole number, 1 or more; got ")
        refused(lambda: fan_out(task, need=2), "`need` must be at most 1, as there are no more branches; got 2")
        refused(lambda: fan_out(need=2), "`fan_out` needs at least one Task or Chain; got none")
        refused(lambda: fan_out(a=task, need=task), "`need` is how many branches are enough")


class TestResponses:
    def test_items_of_items(self) -> None:
        outcome = each(each(Task(str)))([[1, 2], [3]]).run()
        assert outcome.only.counts == {"succeeded": 2}
        assert [item.index for item in outcome.only.items] == [0, 1]
        assert [[i.result.unwrap() for i in item.items] for item in outcome.only.items] == [["1", "2"], ["3"]]
        assert outcome.only.attempts == 3

    def test_how_they_show(self) -> None:
        outcome = each(Task(int), on_error="drop")(["1", "x"]).run()
        assert re.fullmatch(
            r"<Response int: succeeded \(1 succeeded, 1 failed\), 2 attempts, \d+\.\d ms>", repr(outcome.only)
        )
        assert re.fullmatch(r"<Response int\[1\]: failed, \d+\.\d ms>", repr(outcome.only.items[1]))
        assert "int" in outcome.summary()

    def test_without_items(self) -> None:
        plain = task(1).run().only
        assert (plain.items, dict(plain.counts), plain.index) == ((), {}, None)

    def test_a_hit_leaves_no_items(self) -> None:
        chain = Task(tuple) >> each(task).cache(Cache(ttl=60_000))
        first, second = (chain([1, 2]).run() for _ in range(2))
        assert (first.unwrap(), second.unwrap()) == ([1, 2], [1, 2])
        assert len(first["one"].items) == 2
        assert (second["one"].items, second["one"].attempts, second["one"].status) == ((), 0, "succeeded")

    def test_a_key_that_fails_is_the_tasks_failure(self) -> None:
        outcome = (Task(list) >> each(task).cache(Cache(ttl=60_000)))("ab").run()
        assert outcome["one"].status == "failed"
        assert outcome["one"].result.failure() is outcome.result.failure()

    def test_a_round_that_does_not_get_there_leaves_none_of_the_one_before(self) -> None:
        rounds: list[int] = []

        def source(x: int) -> list[int]:
            rounds.append(x)
            if len(rounds) > 1:
                raise OSError
            return [x, x]

        def fails(_: int) -> int:
            raise ValueError

        outcome = (Task(source).inline() >> each(Task(fails).inline())).retry(1, backoff=None)(1).run()
        assert [(r.status, dict(r.counts)) for r in outcome] == [("failed", {}), ("skipped", {})]
        assert outcome["fails"].attempts >= 1


def test_the_summary_counts_the_items() -> None:
    def odd(x: int) -> int:
        if x % 2 == 0:
            raise ValueError(x)
        return x

    text = each(Task(odd).named("odd"), on_error="drop", limit=1)(range(5)).run().summary()
    assert text.splitlines()[1].endswith("ms  of 5 items 2 succeeded, 3 failed")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: any_each(Task(len), time_limit=0), "`time_limit` must be a finite number of milliseconds"),
        (lambda: any_each(Task(len), time_limit=float("nan")), "`time_limit` must be a finite number of milliseconds"),
        (lambda: any_each(Task(len), on_timeout="keep"), "`on_timeout` belongs to a `time_limit`"),
        (lambda: any_each(Task(len), time_limit=5, on_timeout="drop"), '`on_timeout` must be "raise" or "keep"'),
        (lambda: any_settle(Task(len), time_limit=-1), "`time_limit` must be a finite number of milliseconds"),
        (
            lambda: any_fan_out(Task(len), time_limit=5),
            "write fan_out(..., need=1, time_limit=5); to fail",
        ),
        (lambda: any_fan_out(x=Task(len), time_limit=Task(len)), "`time_limit` is a duration, and can't be a key"),
        (lambda: any_fan_out(dict, x=Task(len), time_limit=5), "`need` and `time_limit` give only some of the values"),
    ],
)
def test_a_time_limit_that_can_not_be(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        make()


def test_a_time_limit_is_in_the_source_in_the_words_and_in_the_bounds() -> None:
    chain = each(Task(len), time_limit=300, on_timeout="keep")
    assert repr(chain) == "each(Task(len), time_limit=300, on_timeout='keep')"
    assert "within 300 ms or as many as have come by then" in chain.explain()
    assert chain.bounds().time == 300
    assert repr(settle(Task(len), time_limit=7)) == "settle(Task(len), time_limit=7)"
    several = fan_out(Task(len).timeout(5), Task(len).timeout(9), need=1, time_limit=7)
    assert repr(several) == "fan_out(Task(len).timeout(5), Task(len).timeout(9), time_limit=7, need=1)"
    assert "at least 1 of 2 have succeeded, within 7 ms" in several.explain()
    assert several.bounds().time == 7
    assert several.plan().to_dict()["root"]["time_limit_ms"] == 7
    assert pickle.loads(pickle.dumps(several)) == several  # noqa: S301 - our own
    assert several >> star(max) != several
