"""What mypy --strict and pyright strict must infer of runs with a journal. Both run over this file."""

from pathlib import Path
from typing import Any, assert_type

from rio_chain import Balancer, Journal, Outcome, Task, Ticket
from rio_chain.journal import JSON, Pickle, RunInfo


class User: ...


async def fetch_user(user_id: int) -> User:
    raise NotImplementedError


class Own:
    def dumps(self, value: Any, /) -> bytes:
        raise NotImplementedError

    def loads(self, data: bytes, /) -> Any:
        raise NotImplementedError


page = Task(fetch_user)


async def journaled(balancer: Balancer) -> None:
    journal = Journal("runs.db")
    assert_type(page(7).run(journal=journal, run_id="order-7"), Outcome[User])
    assert_type(await page(7).arun(journal=journal, run_id="order-7", deadline=300), Outcome[User])
    assert_type(balancer.run(page(7), journal=journal, run_id="order-7"), Outcome[User])
    assert_type(await balancer.arun(page(7), journal=journal, run_id="order-7"), Outcome[User])
    assert_type(balancer.post(page(7), journal=journal, run_id="order-7"), Ticket[User])
    for outcome in balancer.map(page, [1, 2], journal=journal, key=str):
        assert_type(outcome, Outcome[User])
    for user_id, outcome in balancer.map(page, [1, 2], with_input=True, journal=journal, key=lambda n: f"user {n}"):
        assert_type(user_id, int)
        assert_type(outcome, Outcome[User])
    async for outcome in balancer.amap(page, [1, 2], journal=journal, key=lambda n: n):
        assert_type(outcome, Outcome[User])
    assert_type(journal.runs(), list[RunInfo])
    assert_type(journal.status("order-7"), RunInfo | None)
    assert_type(journal.forget(older_than=1_000), int)
    assert_type(journal.resume(balancer, page), dict[str, Ticket[Any]])
    with Journal(Path("runs.db"), serializer=Own(), on_change="rerun", synchronous="full", lease=5_000) as one:
        assert_type(one, Journal)
    Journal("runs.db", serializer=JSON(), failures=True)
    Journal("runs.db", serializer=Pickle())
