"""Batch: which calls become one, and how an answer becomes theirs. Nothing here waits."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest
from returns.result import Failure, Success

from rio_chain import Batch, BatchMismatch, Chain, ChainDefinitionError, Task, each, fan_out
from rio_chain.policies._batch_group import BatchedCall, BatchGroup, Ending
from rio_chain.policies._keys import hashed
from rio_chain.policies._permit import Answer


def fetch_many(keys: list[int]) -> list[str]:
    return [str(key) for key in keys]


def join(batch: Batch, key: Any, place: Any = "here", *, now: float = 0.0, deadline: float = 9.0) -> BatchedCall:
    call, _ = batch.join(place, key, key, caller=None, deadline=deadline, now=now)
    return call


class TestJoining:
    def test_calls_of_one_place_join_and_the_first_says_so(self) -> None:
        batch = Batch()
        found = [
            batch.join(place, key, key, caller=None, deadline=1, now=5) for place, key in [(1, "a"), (1, "b"), (2, "a")]
        ]
        assert [first for _, first in found] == [True, False, True]
        groups = [call.group for call, _ in found]
        assert groups[0] is groups[1] is not groups[2]
        assert groups[0].until == 5.002
        assert not groups[0].due

    def test_a_full_group_is_due_and_takes_no_more(self) -> None:
        batch = Batch(size=2)
        calls = [join(batch, key) for key in "aabc"]
        assert calls[0].group is calls[1].group is calls[2].group is not calls[3].group
        assert calls[0].group.due
        assert batch.send(calls[0].group) == ["a", "b"]
        assert batch.send(calls[3].group) == ["c"]

    def test_a_group_that_was_sent_takes_no_more(self) -> None:
        batch = Batch()
        one = join(batch, "a")
        assert batch.send(one.group) == ["a"]
        assert join(batch, "a").group is not one.group

    def test_a_key_that_all_have_left_is_not_asked_for(self) -> None:
        batch = Batch()
        calls = [join(batch, key) for key in "aabb"]
        assert [batch.leave(call) for call in (calls[0], calls[2], calls[3])] == [False] * 3
        assert batch.send(calls[0].group) == ["a"]
        assert not batch.leave(calls[0]), "it had left before"
        assert batch.leave(calls[1]), "the last"

    def test_a_group_that_all_have_left_takes_no_more_and_is_not_sent(self) -> None:
        batch = Batch()
        call = join(batch, "a")
        assert batch.leave(call)
        assert batch.send(call.group) is None
        assert join(batch, "a").group is not call.group

    def test_the_answers_go_to_those_who_wait(self) -> None:
        batch = Batch()
        calls = [join(batch, key) for key in "aba"]
        batch.send(calls[0].group)
        batch.leave(calls[2])
        assert batch.end(calls[0].group, Ending("f", [1, 2])) == calls[:2]
        assert [(call.state, call.answer) for call in calls] == [
            ("answered", Answer(1)),
            ("answered", Answer(2)),
            ("gone", None),
        ]
        assert batch.end(calls[0].group, None) == []
        assert (
            repr(batch) == "<Batch of up to 100 by the input, within 2 ms, of one request: 1 calls for 2 keys, 0 wait>"
        )

    def test_without_an_answer_they_are_lost(self) -> None:
        batch = Batch()
        call = join(batch, "a")
        assert batch.end(call.group, None) == [call]
        assert (call.state, call.answer) == ("lost", None)
        assert join(batch, "a").group is not call.group

    def test_a_fresh_one_has_seen_nothing_and_is_open_where_the_real_one_is(self) -> None:
        batch = Batch(size=7, scope="shared")
        join(batch, "a")
        fresh = batch.fresh()
        assert (
            repr(fresh) == "<Batch of up to 7 by the input, within 2 ms, of all requests: 0 calls for 0 keys, 0 wait>"
        )
        other = Batch()
        with batch.open():
            assert batch.opened() is fresh.opened() is not None
            assert other.opened() is None
            with batch.open(), other.open():
                assert other.opened() is not None
        assert batch.opened() is other.opened() is None


class TestAnswers:
    @pytest.mark.parametrize("value", [["x", ValueError], {1: "x", 2: ValueError, 3: 0}])
    def test_a_value_for_each_key(self, value: Any) -> None:
        assert Ending("f", value).answers([1, 2]) == [Answer("x"), Answer(ValueError)]

    def test_results_are_opened_and_errors_fail(self) -> None:
        error = ValueError("x")
        found = Ending("f", [Success(1), Failure("no"), error, KeyboardInterrupt]).answers("abcd")
        assert found == [Answer(1), Answer("no", failed=True), Answer(error, failed=True), Answer(KeyboardInterrupt)]

    def test_an_error_is_of_all(self) -> None:
        assert Ending("f", "x", failed=True).answers("ab") == [Answer("x", failed=True)] * 2

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ([], "`f` returned 0 values for 2 keys; it must return one for each key, in their order, or a dict by key"),
            ([1] * 3, "`f` returned 3 values for 2 keys; it must return one for each key, in their order, or a dict"),
            ((1, 2), "`f` returned a value of type tuple for 2 keys; a function in a batch must return a list"),
            (None, "`f` returned a value of type NoneType for 2 keys"),
        ],
    )
    def test_what_does_not_fit_fails_all(self, value: Any, text: str) -> None:
        first, second = Ending("f", value).answers("ab")
        assert first.value is second.value
        assert str(first.value).startswith(text)
        copy = pickle.loads(pickle.dumps(first.value))  # noqa: S301 - our own
        assert (type(copy), str(copy)) == (BatchMismatch, str(first.value))

    @pytest.mark.filterwarnings("error")
    def test_a_value_that_has_still_to_be_awaited(self) -> None:
        async def one(key: str) -> str:
            return key

        first, second = Ending("f", {"a": one("a"), "b": 1}).answers("ab")
        assert second == Answer(1)
        assert first.failed
        assert str(first.value).startswith("`f` returned a value of type coroutine for a key, which was not awaited")
        [request] = Ending("f", [Task(len)("x")]).answers("a")
        assert "a value of type Request for a key" in str(request.value)

    def test_a_key_that_a_dict_does_not_have(self) -> None:
        first, second = Ending("f", {"a": 1}).answers("ab")
        assert first == Answer(1)
        assert second.failed
        assert str(second.value).startswith("`f` returned no value for this key: its dict has 1 values for 2 keys")

    def test_hostile_subclasses_and_keys(self) -> None:
        class Evil(list[int]):
            def __len__(self) -> int:
                raise ZeroDivisionError

            __iter__ = copy = __getitem__ = __len__  # type: ignore[assignment]

        class EvilDict(dict[str, int]):
            def get(self, *_: Any) -> Any:
                raise ZeroDivisionError

            __contains__ = __getitem__ = __len__ = get  # type: ignore[assignment]

        class Proxy:
            @property
            def __class__(self) -> Any:  # type: ignore[override]
                raise ZeroDivisionError

        class Key:
            def __init__(self) -> None:
                self.broken = False

            def __hash__(self) -> int:
                return 1

            def __eq__(self, _: object) -> bool:
                raise ZeroDivisionError

        proxy, key, other = Proxy(), hashed(Key()), Key()
        assert Ending("f", Evil([1, 2])).answers("ab") == [Answer(1), Answer(2)]
        assert Ending("f", EvilDict(a=1, b=2)).answers("ab") == [Answer(1), Answer(2)]
        assert Ending("f", [proxy]).answers("a")[0].value is proxy
        assert isinstance(Ending("f", proxy).answers("a")[0].value, BatchMismatch)
        assert isinstance(Ending("f", {other: 1}).answers([key])[0].value, BatchMismatch)


class TestItsText:
    def test_in_a_chain(self) -> None:
        chain = Task(fetch_many).timeout(50).batch(Batch(10, 3, key=str, scope="shared")).retry(1)
        assert repr(chain) == "Task(fetch_many).timeout(50).batch(batch).retry(1)"
        assert "batch of up to 10 by str, within 3 ms, of all requests" in str(chain.explain())
        assert "batch 10" in chain.svg()
        assert "batch of up to 10" in chain.mermaid()

    def test_as_data(self) -> None:
        assert Batch(wait=timedelta(seconds=1), key=str).to_dict() == {
            "kind": "batch",
            "size": 100,
            "wait_ms": 1000,
            "key": "str",
            "scope": "request",
        }

    def test_bounds_have_the_wait(self) -> None:
        chain = Task(fetch_many).timeout(50).batch(Batch(wait=3))
        assert chain.bounds().time == pytest.approx(53)
        assert chain.retry(1, backoff=None).bounds().time == pytest.approx(106)

    def test_it_is_shared(self) -> None:
        with pytest.raises(ChainDefinitionError, match="can't be pickled or copied"):
            pickle.dumps(Batch())


class TestBadInput:
    @pytest.mark.parametrize(
        ("keywords", "text"),
        [
            ({"size": 0}, "`size` must be a whole number, 1 or more; got 0"),
            ({"size": True}, "`size` must be a whole number, 1 or more; got True"),
            ({"size": 2.5}, "`size` must be a whole number, 1 or more; got 2.5"),
            ({"wait": -1}, "`wait` must be a finite number of milliseconds (or a timedelta), 0 or more; got -1"),
            ({"wait": float("inf")}, "`wait` must be a finite number of milliseconds (or a timedelta), 0 or more"),
            ({"wait": "2"}, "`wait` must be a finite number of milliseconds (or a timedelta), 0 or more; got '2'"),
            ({"key": 5}, "`key` must be a function of the input that returns something hashable, or None; got 5"),
            ({"scope": "user"}, "`scope` must be 'request' or 'shared'; got 'user'"),
            ({"scope": ["shared"]}, "`scope` must be 'request' or 'shared'; got ['shared']"),
            ({"scope": None}, "`scope` must be 'request' or 'shared'; got None"),
        ],
    )
    def test_of_a_batch(self, keywords: dict[str, Any], text: str) -> None:
        with pytest.raises(ChainDefinitionError) as caught:
            Batch(**keywords)
        assert str(caught.value).startswith(text)

    def test_an_async_key(self) -> None:
        async def key(_: object) -> int:
            return 1

        with pytest.raises(ChainDefinitionError, match="got the async function `key`"):
            Batch(key=key)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (Batch, "`.batch` takes a Batch, as in .batch(Batch()); got the class itself; make one that you keep"),
            (100, "`.batch` takes a Batch, as in .batch(Batch()); got 100"),
            (None, "`.batch` takes a Batch, as in .batch(Batch()); got None"),
        ],
    )
    def test_of_the_call(self, given: Any, text: str) -> None:
        with pytest.raises(ChainDefinitionError) as caught:
            Task(fetch_many).batch(given)
        assert str(caught.value).startswith(text)

    def test_a_function_that_takes_no_list(self) -> None:
        def two(keys: list[int], more: int) -> list[int]:
            return [*keys, more]

        with pytest.raises(ChainDefinitionError, match=r"`\.batch` calls `two\(keys, more\)` with a list of inputs"):
            Task(two).batch(Batch())  # type: ignore[misc]

    def test_a_generator_function(self) -> None:
        def generated(keys: list[int]) -> Any:
            yield from keys

        with pytest.raises(ChainDefinitionError, match="is a generator function"):
            Task(generated).batch(Batch())  # type: ignore[misc]

    def test_its_chain_takes_one_value_by_place(self) -> None:
        user: Chain[..., Any] = Task(fetch_many).batch(Batch())
        for args, kwargs in (((), {}), ((1, 2), {}), ((), {"keys": 1})):
            with pytest.raises(
                ChainDefinitionError, match=r"this chain begins with `batch\(...\)`, which takes one value"
            ):
                user(*args, **kwargs)
        assert [*fan_out(user, each(user, limit=2)).__signature__.parameters] == ["value"]


class TestInterruptions:
    def test_a_group_that_was_never_begun_takes_no_more_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else they would wait for a call that nobody makes."""
        batch = Batch()
        begun = join(batch, "a", place="begun")
        begun.group.work = object()

        def interrupted(_: BatchGroup, call: BatchedCall) -> None:
            raise KeyboardInterrupt(call)

        with monkeypatch.context() as patched:
            patched.setattr(BatchGroup, "add", interrupted)
            with pytest.raises(KeyboardInterrupt):
                join(batch, "a", place="torn")
        assert join(batch, "b", place="begun").group is begun.group
        _, first = batch.join("torn", "b", "b", caller=None, deadline=1, now=0)
        assert first
