"""The rounds: callers begin, end, and all must be as before. What to say of a request that is not answered."""

from __future__ import annotations

import contextlib
import faulthandler
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TextIO

from attrs import field, frozen

from benchmarks.soak.asking import Asker
from benchmarks.soak.callers import Crowd
from benchmarks.soak.chains import Made, Shared, chains
from benchmarks.soak.gauge import Sample, sample, verdict
from benchmarks.soak.hearing import switching, told_to
from benchmarks.soak.homes import Home, home, where
from benchmarks.soak.ledger import Ledger
from rio_chain import Task
from rio_chain.testing import Leaked, leak_guard

CHAINS = 60
"""Different chains in each round."""
SPARE = 60
"""Seconds more in which there must have been as many requests as were wanted."""
OUTCOMES = (
    "succeeded",
    "failed",
    "timed out",
    "cancelled",
    "interrupted",
    "raised",
    "queue full",
    "saturated",
    "mapped",
)


class Hang(Exception):
    """Something did not end in time."""


@frozen
class Soak:
    """What one soak is: which executors, which mix, how many rounds of which length."""

    executors: Sequence[str]
    seed: int
    rounds: int
    seconds: float
    """Of a round."""
    least: int = 0
    """Requests in a round, however long that takes."""
    warm: int = 3
    """Rounds that are not compared with the others."""
    patience: float = 30.0
    """Seconds after the last call of a round in which all must be answered and idle."""
    out: TextIO = field(factory=lambda: sys.stdout)
    home: Callable[[str], Home] = home

    def run(self) -> int:
        """0: all as promised; 1: something is not; 2: something hangs."""
        ledger, shared = Ledger(), Shared()
        for name in self.executors:
            Task(nothing)(1).run(executor=name)  # makes the loops that the process keeps, before anybody counts
        with told_to(ledger), switching():
            homes = [self.home(name) for name in self.executors]
            try:
                samples = [self.round(number, homes, ledger, shared) for number in range(self.rounds)]
            except Hang as hang:
                self.explain(hang, homes, ledger)
                return 2
            for one in homes:
                one.close()
        return self.judge(ledger, samples)

    def say(self, line: str) -> None:
        """One line more."""
        print(line, file=self.out, flush=True)

    # --- a round ------------------------------------------------------------------------------------------------

    def round(self, number: int, homes: list[Home], ledger: Ledger, shared: Shared) -> Sample:
        """One round; gives what the process holds after it."""
        before, began = Counter(ledger.counts), time.monotonic()
        asked = ledger.asked
        try:
            with leak_guard(*(one.balancer for one in homes), patience=1000 * self.patience):
                self.crowds(number, homes, ledger, shared)
        except Leaked as leaked:
            ledger.found("left over after a round", f"round {number + 1}: {leaked}")
        lasted = time.monotonic() - began
        for line in shared.idle():
            ledger.found("held after a round", f"round {number + 1}: {line}")
        found = sample(sum(len(one.tasks()) for one in homes))
        counts, many = ledger.counts - before, ledger.asked - asked
        ends = ", ".join(f"{counts[kind]} {kind}" for kind in OUTCOMES)
        answered = sum(counts[kind] for kind in OUTCOMES)
        if many != answered:
            ledger.found("requests and answers differ", f"round {number + 1}: {many} and {answered}")
        self.say(f"round {number + 1:3}: {many} requests ({many / lasted:.0f}/s): {ends}; {found.line()}")
        return found

    def crowds(self, number: int, homes: list[Home], ledger: Ledger, shared: Shared) -> None:
        """All callers of a round, until they have ended and nothing runs."""
        made: list[Made] = chains(random.Random(f"{self.seed}/{number}"), ledger, shared, CHAINS)  # noqa: S311
        stop, enough = time.monotonic() + self.seconds, ledger.asked + self.least

        def more() -> bool:
            return time.monotonic() < stop or ledger.asked < enough

        threads: list[threading.Thread] = []
        for one in homes:
            crowd = Crowd(Asker(one, made, ledger, self.patience), one, more)
            threads += crowd.start(f"{self.seed}/{number}/{one.executor}")
        ended(lambda: not more(), stop + SPARE, "nobody asks any more")
        until = time.monotonic() + self.patience
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        ended(lambda: not any(thread.is_alive() for thread in threads), until, "a caller does not come back")
        ended(lambda: all(map(idle, homes)), until, "a balancer does not become idle")
        if ledger.unanswered():
            raise Hang("a request is not answered")
        ledger.drained()

    # --- the end ------------------------------------------------------------------------------------------------

    def judge(self, ledger: Ledger, samples: Sequence[Sample]) -> int:
        """Say what came of it."""
        settled = samples[self.warm :] or samples[-1:]
        grown, findings = verdict(settled), ledger.counts["findings"]
        self.say(f"in all {ledger.asked} requests, {findings} findings")
        self.tell(ledger)
        for line in grown:
            self.say(f"  not flat: {line}")
        if not grown:
            first, last = settled[0].resident, settled[-1].resident
            self.say(f"flat over {len(settled)} rounds: RSS {first:.1f} MiB at first, {last:.1f} MiB in the end")
        return 1 if grown or findings else 0

    def tell(self, ledger: Ledger) -> None:
        """What must not have happened, with some examples of each kind."""
        for kind, examples in ledger.findings.items():
            self.say(f"  {kind}")
            for example in filter(None, examples):
                self.say(f"    {example}")

    def explain(self, hang: Hang, homes: Sequence[Home], ledger: Ledger) -> None:
        """Say what is known of that which hangs."""
        self.say(f"hangs: {hang}")
        self.tell(ledger)
        for one in homes:
            self.say(f"{one.balancer!r}")
        for entry in ledger.unanswered()[:5]:
            age = time.monotonic() - entry.began
            self.say(f"{ledger.name(entry)}, asked {age:.1f} s ago, {entry.ticket!r}\n{entry.made.chain.explain()}")
        for one in homes:
            for name, coroutine in tasks_of(one):
                self.say(where(name, coroutine))
        with contextlib.suppress(OSError, ValueError):  # what is no real file has no number
            faulthandler.dump_traceback(self.out, all_threads=True)


async def nothing(value: int) -> int:
    return value


def idle(one: Home) -> bool:
    """Whether nothing waits or runs there, abandoned calls included."""
    stats = one.balancer.stats()
    return not (stats.running or stats.queued or stats.abandoned)


def ended(truth: Callable[[], bool], until: float, what: str) -> None:
    """Wait until it is true, or raise ``Hang``."""
    while not truth():
        if time.monotonic() >= until:
            raise Hang(what)
        time.sleep(0.005)


def tasks_of(one: Home) -> list[tuple[str, object]]:
    """The tasks of its loop; none when that does not answer any more."""
    found: list[tuple[str, object]] = []
    thread = threading.Thread(target=lambda: found.extend(one.tasks().values()), daemon=True)
    thread.start()
    thread.join(1)
    return found
