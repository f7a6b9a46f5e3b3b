"""The chains of the tests. Each notes in a table what it does, so that a test sees what happened in which process."""

from __future__ import annotations

import asyncio
import os
import time

import psycopg

from rio_chain import Task
from rio_chain.contrib.procrastinate import DurableQueue

WHERE: list[str] = []


def noted(what: str, name: str) -> None:
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        connection.execute("INSERT INTO notes (what, name, pid) VALUES (%s, %s, %s)", (what, name, os.getpid()))


def take_note(name: str, ms: float) -> str:
    noted("begins", name)
    time.sleep(ms / 1000)
    noted("ends", name)
    return name


async def wait_for_long(name: str) -> None:
    noted("begins", name)
    try:
        await asyncio.sleep(60)
    finally:
        noted("cancelled", name)


def nap(ms: float) -> float:
    time.sleep(ms / 1000)
    return ms


def fail(text: str) -> None:
    raise LookupError(text)


def give_set() -> set[int]:
    return {1}


def die(name: str) -> None:
    noted("begins", name)
    os._exit(9)


async def wait_until_free(name: str) -> str:
    """Its first call waits until it is cancelled, or its process ends; a later one returns at once."""
    noted("begins", name)
    if len([one for one, _ in notes("begins") if one == name]) == 1:
        await asyncio.sleep(60)
    return name


note, slow, fails, odd, deadly = Task(take_note), Task(wait_for_long), Task(fail), Task(give_set), Task(die)
naps = Task(nap)


def first_step(name: str) -> str:
    noted("first", name)
    return name


class Size:
    """What JSON has no type for."""


def make_size() -> Size:
    return Size()


def use_size(size: Size) -> str:
    return type(size).__name__


steps = Task(first_step) >> Task(wait_until_free)
sizes = Task(make_size) >> Task(use_size)


def made_queue(dsn: str, *, lease: float) -> DurableQueue:
    WHERE[:] = [dsn]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS notes "
            "(id bigserial, what text, name text, pid int, at timestamptz DEFAULT clock_timestamp())"
        )
    queue = DurableQueue(dsn, lease=lease, deaths=3)
    for chain, name in (
        (naps, "nap"),
        (note, "note"),
        (slow, "slow"),
        (fails, "fails"),
        (odd, "odd"),
        (deadly, "deadly"),
        (steps, "steps"),
        (sizes, "sizes"),
    ):
        queue.register(chain, name=name)
    return queue


def notes(what: str) -> list[tuple[str, int]]:
    with psycopg.connect(WHERE[0], autocommit=True) as connection:
        query = "SELECT name, pid FROM notes WHERE what = %s ORDER BY id"
        return [(name, pid) for name, pid in connection.execute(query, (what,)).fetchall()]
