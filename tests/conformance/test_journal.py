"""A run with a journal that was interrupted goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.harness import World

from rio_chain import (
    ArgumentsChanged,
    CallbackFailed,
    Chain,
    Journal,
    JournalFull,
    NotStorable,
    PlanChanged,
    Request,
    RunInUse,
    Task,
    TaskTimedOut,
    at_least,
    choose,
    current_attempt,
    each,
    expand,
    fan_out,
    race,
    reduce,
    settle,
    when,
)


class Backend:
    """Notes its calls. ``down``: the names of the functions that fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.down: set[str] = set()
        self.keys: dict[str, list[str]] = {}

    def task(self, name: str, answer: Callable[[Any], Any] | None = None) -> Chain[[Any], Any]:
        async def call(value: Any) -> Any:
            self.calls.append(name)
            self.keys.setdefault(name, []).append(current_attempt().key)
            if name in self.down:
                raise OSError(name)
            return f"{name}({value})" if answer is None else answer(value)

        call.__qualname__ = name
        return Task(call).named(name)

    def taken(self) -> list[str]:
        """The calls since this was asked last, sorted: those made at once have no order."""
        calls, self.calls = self.calls, []
        return sorted(calls)


@pytest.fixture
def backend() -> Backend:
    return Backend()


async def interrupted(world: World, backend: Backend, journal: Journal, chain: Any, value: Any = "x") -> list[str]:
    """Run a chain whose last task ``end`` is down, then again when it is up. Returns the calls of the second run."""
    backend.down.add("end")
    first = await world.run((chain >> backend.task("end"))(value), journal=journal, run_id="one")
    assert str(first.error) == "end"
    backend.taken()
    backend.down.discard("end")
    undisturbed = await world.run((chain >> backend.task("end"))(value))
    expected = backend.taken()
    second = await world.run((chain >> backend.task("end"))(value), journal=journal, run_id="one")
    calls = backend.taken()
    assert second.value == undisturbed.value
    assert [r.status for r in second] == [r.status for r in undisturbed]
    assert set(calls) <= set(expected)
    third = await world.run((chain >> backend.task("end"))(value), journal=journal, run_id="one")
    assert backend.taken() == []
    assert third.value == second.value
    assert [r.status for r in third] == [r.status for r in second]
    assert [r.attempts for r in third] == [r.attempts for r in second]
    assert all(r.recalled for r in third if r.status == "succeeded")
    return calls


async def test_recorded_answers_are_recalled(world: World, backend: Backend, journal: Journal) -> None:
    assert await interrupted(world, backend, journal, backend.task("a") >> backend.task("b")) == ["end"]


async def test_a_recalled_answer_says_so_and_its_status_stays(world: World, backend: Backend, journal: Journal) -> None:
    backend.down.add("b")
    chain = backend.task("a") >> backend.task("b")
    first = await world.run(chain("x"), journal=journal, run_id="one")
    backend.down.clear()
    second = await world.run(chain("x"), journal=journal, run_id="one")
    assert [(r.name, r.status, r.recalled) for r in first] == [("a", "succeeded", False), ("b", "failed", False)]
    assert [(r.name, r.status, r.recalled) for r in second] == [("a", "succeeded", True), ("b", "succeeded", False)]
    assert second["a"].attempts == 1
    assert second["a"].result == first["a"].result


async def test_a_failure_is_called_again(world: World, backend: Backend, journal: Journal) -> None:
    backend.down.add("a")
    for _ in range(2):
        outcome = await world.run(backend.task("a")("x"), journal=journal, run_id="one")
        assert str(outcome.error) == "a"
        assert backend.taken() == ["a"]


async def test_a_failed_run_comes_back_if_failures_are_asked_for(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    backend.down.add("a")
    with Journal(tmp_path / "runs.db", failures=True) as journal:
        for calls in ["a", "a"], []:
            outcome = await world.run(backend.task("a").retry(1, backoff=None)("x"), journal=journal, run_id="one")
            assert "OSError" in repr(type(outcome.error)) + str(outcome.error)
            assert (outcome["a"].status, outcome["a"].attempts, len(outcome["a"].errors)) == ("failed", 2, 2)
            assert backend.taken() == calls


async def test_items_are_recalled_one_by_one(world: World, backend: Backend, journal: Journal) -> None:
    items, square = backend.task("items", lambda n: list(range(n))), backend.task("square", lambda n: n * n)
    assert await interrupted(world, backend, journal, items >> each(square, limit=2), 6) == ["end"]


async def keyed(
    world: World, backend: Backend, journal: Journal, inner: Any, key: Any, *orders: list[Any]
) -> list[Any]:
    """The results of runs with one id, in which the items come in these orders."""
    left, found = list(orders), list[Any]()
    items = each(inner, limit=2, key=key, on_error="drop")
    chain = backend.task("begin") >> (lambda _: left.pop(0)) >> items >> backend.task("end", list)
    backend.down.add("end")
    for _ in orders:
        if len(left) == 1:
            backend.down.discard("end")
        found.append(await world.run(chain("x"), journal=journal, run_id="one"))
    return found


@pytest.mark.real_time
async def test_items_with_keys_are_recalled_in_another_order(world: World, backend: Backend, journal: Journal) -> None:
    inner = backend.task("a") >> backend.task("b")
    first, second = [3, 1, 2, 4], [4, 3, 0, 2, 1]
    _, outcome = await keyed(world, backend, journal, inner, lambda n: f"order {n}", first, second)
    assert outcome.unwrap() == [f"b(a({n}))" for n in second]
    assert backend.taken() == ["a"] * 5 + ["b"] * 5 + ["begin"] + ["end"] * 2
    assert len(set(backend.keys["a"])) == 5


@pytest.mark.real_time
async def test_the_idempotency_key_of_an_item_follows_its_key(world: World, backend: Backend, journal: Journal) -> None:
    keys: dict[int, list[str]] = {}

    async def fails(n: int) -> None:
        keys.setdefault(n, []).append(current_attempt().key)
        raise OSError

    await keyed(world, backend, journal, Task(fails), lambda n: n, [1, 2, 3], [3, 2, 1])
    assert {n: len(several) for n, several in keys.items()} == {1: 2, 2: 2, 3: 2}
    assert {n: len(set(several)) for n, several in keys.items()} == {1: 1, 2: 1, 3: 1}
    assert len({several[0] for several in keys.values()}) == 3


@pytest.mark.real_time
async def test_two_items_with_one_key_are_an_error(world: World, backend: Backend, journal: Journal) -> None:
    def halved(n: int) -> int:
        return n // 2

    [outcome] = await keyed(world, backend, journal, backend.task("a"), halved, [1, 2, 4, 5, 6])
    assert isinstance(outcome.error, CallbackFailed)
    assert "halved" in str(outcome.error)
    assert "two items have the key 2: item 2 and item 3" in str(outcome.error)
    assert backend.taken().count("a") <= 3


@pytest.mark.parametrize("key", [None, 1.5, True, ("a", 1), b"a"])
@pytest.mark.real_time
async def test_a_key_of_an_item_is_a_str_or_an_int(world: World, backend: Backend, journal: Journal, key: Any) -> None:
    [outcome] = await keyed(world, backend, journal, backend.task("a"), lambda _: key, [7])
    assert f"a key of an item must be a str or an int; got {key!r} for item 0" in str(outcome.error)
    assert backend.taken() == ["begin"]


async def test_without_a_journal_the_key_of_an_item_changes_nothing(world: World, backend: Backend) -> None:
    asked = list[Any]()
    outcome = await world.run(each(backend.task("a"), key=asked.append)([1, 1]))
    assert (outcome.unwrap(), asked) == (["a(1)", "a(1)"], [])


@pytest.mark.real_time
async def test_another_key_function_is_another_chain(world: World, backend: Backend, journal: Journal) -> None:
    await keyed(world, backend, journal, backend.task("a"), str, [1])
    with pytest.raises(PlanChanged):
        await keyed(world, backend, journal, backend.task("a"), int, [1])


async def test_only_the_items_that_failed_are_called_again(world: World, backend: Backend, journal: Journal) -> None:
    down = {3}

    def answer(item: int) -> int:
        if item in down:
            raise OSError(item)
        return item * item

    chain = backend.task("items", lambda n: list(range(n))) >> each(backend.task("square", answer), limit=1)
    outcome = await world.run(chain(4), journal=journal, run_id="one")
    assert str(outcome.error) == "3"
    assert backend.taken() == ["items", *["square"] * 4]
    down.clear()
    outcome = await world.run(chain(4), journal=journal, run_id="one")
    assert outcome.value == [0, 1, 4, 9]
    assert backend.taken() == ["square"]
    assert [item.recalled for item in outcome["square"].items] == [True, True, True, False]
    assert not outcome["square"].recalled


async def test_pieces_are_recalled_by_their_key(world: World, backend: Backend, journal: Journal) -> None:
    walk = expand(
        backend.task("visit", lambda n: n), limit=2, more=lambda n: [2 * n, 2 * n + 1] if n < 4 else [], key=lambda n: n
    )
    assert await interrupted(world, backend, journal, walk, 1) == ["end"]


async def test_a_piece_that_is_found_on_another_way_keeps_its_idempotency_key(
    world: World, backend: Backend, journal: Journal
) -> None:
    found = {"root": ["a", "b"], "a": ["shared"], "b": ["shared"]}
    slow, keys = "a", list[str]()

    async def links(page: str) -> list[str]:
        await world.pause(20 if page == slow else 1)
        if page == "shared":
            keys.append(current_attempt().key)
        if page in ("shared", slow):
            raise OSError
        return found[page]

    crawl = expand(Task(links), limit=2, on_error="drop") >> backend.task("end")
    backend.down.add("end")
    for page in ("a", "b", ""):
        slow = page
        await world.run(crawl("root"), journal=journal, run_id="one")
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_branches_are_recalled(world: World, backend: Backend, journal: Journal) -> None:
    a, b, c = (backend.task(name) for name in "abc")
    assert await interrupted(world, backend, journal, fan_out(a >> b, c)) == ["end"]


async def test_a_settled_branch_that_failed_is_called_again(world: World, backend: Backend, journal: Journal) -> None:
    backend.down.add("b")
    chain = settle(backend.task("a"), backend.task("b")) >> (lambda both: [str(one) for one in both])
    assert await interrupted(world, backend, journal, chain) == ["b", "end"]


async def test_the_branch_of_a_choose_is_recalled(world: World, backend: Backend, journal: Journal) -> None:
    asked: list[str] = []

    def first_time(_: str) -> bool:
        asked.append("when")
        return len(asked) != 2  # the second answer is of the undisturbed run

    a, b = backend.task("a"), backend.task("b")
    backend.down.add("end")
    chain = choose(when(first_time, a), otherwise=b) >> backend.task("end")
    await world.run(chain("x"), journal=journal, run_id="one")
    backend.down.clear()
    outcome = await world.run(chain("x"), journal=journal, run_id="one")
    assert outcome.value == "end(a(x))"
    assert backend.taken() == ["a", "end", "end"]
    assert asked == ["when"]


async def test_a_fallback_that_was_taken_is_taken_again(world: World, backend: Backend, journal: Journal) -> None:
    backend.down.add("a")
    assert await interrupted(world, backend, journal, backend.task("a") | backend.task("b")) == ["end"]


async def test_the_answer_of_a_function_of_the_error_is_recalled(
    world: World, backend: Backend, journal: Journal
) -> None:
    backend.down.add("a")
    asked: list[str] = []

    def handled(error: OSError) -> str:
        asked.append(str(error))
        return "handled"

    assert await interrupted(world, backend, journal, backend.task("a").or_else(handled)) == ["end"]
    assert asked == ["a", "a"]  # of the first run and of the undisturbed one


async def test_the_winner_of_a_race_is_recalled(world: World, backend: Backend, journal: Journal) -> None:
    backend.down.add("a")
    for chain in (
        race(backend.task("a"), backend.task("b") >> backend.task("c")),
        backend.task("b").replica(2),
        fan_out(backend.task("a"), backend.task("b"), backend.task("c"), need=1),
    ):
        world_id = str(len(journal.runs()))
        backend.down.add("end")
        await world.run((chain >> backend.task("end"))("x"), journal=journal, run_id=world_id)
        backend.down.discard("end")
        backend.taken()
        outcome = await world.run((chain >> backend.task("end"))("x"), journal=journal, run_id=world_id)
        assert outcome.ok
        assert backend.taken() == ["end"]


async def test_each_round_of_a_retry_has_its_own_records(world: World, backend: Backend, journal: Journal) -> None:
    left = [True]

    def answer(value: str) -> str:
        if left:
            raise OSError(left.pop())
        return value

    chain = (backend.task("a") >> backend.task("b", answer)).retry(2, backoff=None)
    backend.down.add("end")
    await world.run((chain >> backend.task("end"))("x"), journal=journal, run_id="one")
    assert backend.taken() == ["a", "a", "b", "b", "end"]  # the second round calls `a` again
    backend.down.clear()
    outcome = await world.run((chain >> backend.task("end"))("x"), journal=journal, run_id="one")
    assert outcome.value == "end(a(x))"
    assert backend.taken() == ["b", "end"]  # the failure of the first round was not recorded


async def test_a_nested_request_is_recalled_and_its_function_called(
    world: World, backend: Backend, journal: Journal
) -> None:
    inner = backend.task("a") >> backend.task("b")

    def route(value: str) -> Request[str]:
        backend.calls.append("route")
        return inner(value)

    assert await interrupted(world, backend, journal, Task(route).inline()) == ["end", "route"]
    assert await bridged(world, backend, journal, inner) == ["end"]


async def bridged(world: World, backend: Backend, journal: Journal, inner: Chain[[str], str]) -> list[str]:
    def bridge(value: str) -> Request[str]:
        return inner(value)

    chain = backend.task("c") >> bridge >> backend.task("end")
    backend.down.add("end")
    await world.run(chain("x"), journal=journal, run_id="bridge")
    backend.down.clear()
    backend.taken()
    await world.run(chain("x"), journal=journal, run_id="bridge")
    return backend.taken()


async def test_what_depends_on_another_input_is_not_recalled(world: World, backend: Backend, journal: Journal) -> None:
    """The bridge gives another value in the second run: what is after it is called, what is beside it is not."""
    values = iter(["first", "second"])
    a, b, c, d = (backend.task(name, lambda _, n=name: n) for name in "abcd")
    chain = fan_out(a >> (lambda _: next(values)) >> b >> c, d) >> "/".join >> backend.task("end")
    backend.down.add("end")
    await world.run(chain("x"), journal=journal, run_id="one")
    backend.down.clear()
    backend.taken()
    await world.run(chain("x"), journal=journal, run_id="one")
    assert backend.taken() == ["b", "c", "end"]


async def test_an_input_that_cannot_be_stored_is_trusted_by_its_place(
    world: World, backend: Backend, journal: Journal
) -> None:
    chain = backend.task("a") >> (lambda value: object()) >> backend.task("b", lambda _: "b")
    assert await interrupted(world, backend, journal, chain) == ["end"]


async def test_an_answer_that_cannot_be_stored_ends_the_run_with_the_name_of_its_task(
    world: World, backend: Backend, journal: Journal
) -> None:
    chain = backend.task("a") >> (backend.task("b", lambda _: object()).retry(3) | "a fallback") >> backend.task("end")
    outcome = await world.run(chain("x"), journal=journal, run_id="one")
    assert isinstance(outcome.error, NotStorable)
    assert outcome.error.name == "b"
    assert "object" in str(outcome.error)
    assert backend.taken() == ["a", "b"]


async def test_another_chain_or_other_arguments_are_refused(world: World, backend: Backend, journal: Journal) -> None:
    chain = backend.task("a") >> backend.task("b")
    first = await world.run(chain("x"), journal=journal, run_id="one")
    with pytest.raises(ArgumentsChanged, match="'one'"):
        await world.run(chain("y"), journal=journal, run_id="one")
    with pytest.raises(PlanChanged) as caught:
        await world.run((backend.task("a") >> backend.task("c"))("x"), journal=journal, run_id="one")
    assert [line.split(" (")[0] for line in caught.value.difference] == ["- task b", "+ task c"]
    again = await world.run(chain("x"), journal=journal, run_id="one")  # nothing was overwritten
    assert again.value == first.value
    assert again["b"].recalled


async def test_limits_retries_and_names_may_change(world: World, backend: Backend, journal: Journal) -> None:
    a, b, end = backend.task("a"), backend.task("b"), backend.task("end")
    backend.down.add("end")
    await world.run((a >> b.named("b2") >> end)("x"), journal=journal, run_id="one")
    backend.down.clear()
    backend.taken()
    changed = (a.timeout(1_000).retry(2) >> b.replica(2)).timeout(60_000).retry(1) >> end.retry(1)
    outcome = await world.run(changed("x"), journal=journal, run_id="one")
    assert outcome.ok
    assert backend.taken() == ["end"]


async def test_rerun_drops_what_has_changed_and_what_depends_on_it(
    world: World, backend: Backend, tmp_path: Path
) -> None:
    a, b, c, d, e = (backend.task(name) for name in "abcde")
    with Journal(tmp_path / "runs.db", on_change="rerun") as journal:
        await world.run(fan_out(a >> b >> c, d)("x"), journal=journal, run_id="one")
        backend.taken()
        outcome = await world.run(fan_out(a >> e >> c, d)("x"), journal=journal, run_id="one")
        assert outcome.value == ("c(e(a(x)))", "d(x)")
        assert backend.taken() == ["c", "e"]


async def test_one_run_runs_in_one_place_at_a_time(world: World, backend: Backend, journal: Journal) -> None:
    begun, go_on = world.gate(), world.gate()

    async def waits(value: str) -> str:
        begun.open()
        await go_on.passed()
        return value

    first = world.start(lambda: world.run(Task(waits)("x"), journal=journal, run_id="one"))
    await begun.passed()
    with pytest.raises(RunInUse):
        await world.run(Task(waits)("x"), journal=journal, run_id="one")
    go_on.open()
    assert (await first.result()).value == "x"


async def test_a_cancelled_run_gives_back_its_lease(world: World, backend: Backend, journal: Journal) -> None:
    begun = world.gate()

    async def waits(value: str) -> str:
        begun.open()
        await world.pause(20_000)
        return value

    chain = backend.task("a") >> Task(waits)
    child = world.start(lambda: world.run(chain("x"), journal=journal, run_id="one"))
    await begun.passed()
    child.stop()
    await child.ended()
    await world.until(lambda: getattr(journal.status("one"), "status", None) == "interrupted")
    assert backend.taken() == ["a"]
    outcome = await world.run(
        (backend.task("a") >> Task(waits))("x"), journal=journal, run_id="one", deadline=world.short
    )
    assert not outcome.ok
    assert outcome["a"].recalled


async def test_a_timeout_is_no_record(world: World, backend: Backend, journal: Journal) -> None:
    slow = [True]

    async def sleeps(value: str) -> str:
        if slow:
            await world.pause(20_000)
        return value

    chain = backend.task("a") >> Task(sleeps).timeout(world.short)
    outcome = await world.run(chain("x"), journal=journal, run_id="one")
    assert isinstance(outcome.error, TaskTimedOut)
    slow.clear()
    assert (await world.run(chain("x"), journal=journal, run_id="one")).value == "a(x)"
    assert backend.taken() == ["a"]


async def test_the_idempotency_key_is_the_same_in_the_next_run(
    world: World, backend: Backend, journal: Journal
) -> None:
    items = backend.task("items", lambda n: list(range(n)))
    chain = items >> each(backend.task("a"), limit=1) >> backend.task("end")
    backend.down.add("end")
    for _ in range(2):
        await world.run(chain(2), journal=journal, run_id="one")
    keys = backend.keys
    assert len(set(keys["end"])) == 1
    assert len(set(keys["a"])) == 2
    await world.run(chain(2), journal=journal, run_id="two")
    assert len(set(keys["end"])) == 2


@pytest.mark.real_time
async def test_sync_functions_are_recalled_too(world: World, backend: Backend, journal: Journal) -> None:
    calls: list[str] = []

    def upper(text: str) -> str:
        calls.append(text)
        return text.upper()

    backend.down.add("end")
    chain = Task(upper) >> backend.task("end")
    await world.run(chain("x"), journal=journal, run_id="one")
    backend.down.clear()
    outcome = await world.run(chain("x"), journal=journal, run_id="one")
    assert outcome.value == "end(X)"
    assert calls == ["x"]


async def test_a_map_runs_only_what_has_not_ended(world: World, backend: Backend, journal: Journal) -> None:
    backend.down.add("a")
    async with world.balancer(workers=2) as balancer:

        async def mapped(inputs: str) -> list[tuple[bool, bool]]:
            found = balancer.amap(backend.task("a"), inputs, journal=journal, key=str.upper)
            return [(outcome.ok, outcome.only.recalled) async for outcome in found]

        assert await mapped("xy") == [(False, False)] * 2
        backend.down.clear()
        assert await mapped("xyz") == [(True, False)] * 3
        backend.taken()
        assert await mapped("xyz") == [(True, True)] * 3
        assert backend.taken() == []
    assert sorted(run.id for run in journal.runs()) == ["X", "Y", "Z"]


# --- items whose worker does not wait for their commit; in virtual time there is no other thread that writes --------


@pytest.mark.real_time
async def test_items_are_folded_in_their_order_when_they_are_committed(
    world: World, backend: Backend, journal: Journal
) -> None:
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)

    square = backend.task("square", lambda n: n * n)
    chain = Task(numbers) >> each(square, limit=3) >> reduce(lambda found, n: (*found, n), initial=())
    assert await interrupted(world, backend, journal, chain, 50) == ["end"]
    assert (await world.run(chain(50))).value == tuple(n * n for n in range(50))


@pytest.mark.real_time
async def test_items_that_fail_are_dropped_and_the_others_are_recorded(
    world: World, backend: Backend, journal: Journal
) -> None:
    def odd(n: int) -> int:
        if n % 2 == 0:
            raise OSError(n)
        return n

    chain = backend.task("items", lambda n: list(range(n))) >> each(
        backend.task("odd", odd), limit=3, on_error=at_least(2)
    )
    outcome = await world.run(chain(20), journal=journal, run_id="one")
    assert outcome.value == list(range(1, 20, 2))
    assert outcome["odd"].counts == {"succeeded": 10, "failed": 10}
    found = journal.status("one")
    assert found is not None
    assert found.records == 11


@pytest.mark.real_time
async def test_an_item_that_cannot_be_stored_ends_the_run(world: World, backend: Backend, journal: Journal) -> None:
    answers = backend.task("answer", lambda n: object() if n == 7 else n)
    chain = backend.task("items", lambda n: list(range(n))) >> each(answers, limit=2, on_error="drop")
    outcome = await world.run(chain(1_000), journal=journal, run_id="one")
    assert isinstance(outcome.error, NotStorable)
    assert len(backend.taken()) < 1_000


@pytest.mark.real_time
async def test_items_are_left_when_the_run_is_cancelled(world: World, backend: Backend, journal: Journal) -> None:
    some = world.gate()

    async def slow(n: int) -> int:
        backend.calls.append("slow")
        if n == 20:
            some.open()
        await world.pause(1)
        return n

    chain = backend.task("items", lambda n: list(range(n))) >> each(Task(slow), limit=3)
    child = world.start(lambda: world.run(chain(100_000), journal=journal, run_id="one"))
    await some.passed()
    child.stop()
    await child.ended()
    calls = len(backend.taken()) - 1
    await world.until(lambda: getattr(journal.status("one"), "status", None) == "interrupted")
    found = journal.status("one")
    assert found is not None
    assert calls - 6 <= found.records - 1 <= calls


@pytest.mark.real_time
async def test_a_write_that_fails_ends_the_run(
    world: World, backend: Backend, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Any = journal._writer.store
    commit = store.commit

    def fails_later() -> None:
        if len(backend.calls) > 30:
            raise JournalFull("the disk is full")
        commit()

    monkeypatch.setattr(store, "commit", fails_later)
    chain = backend.task("items", lambda n: list(range(n))) >> each(backend.task("a"), limit=4) | "a fallback"
    outcome = await world.run(chain(1_000), journal=journal, run_id="one")
    assert isinstance(outcome.error, JournalFull)
    assert 30 < len(backend.taken()) < 1_000
