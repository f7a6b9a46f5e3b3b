"""Schedules: cron lines in time zones, the changes of the clocks, what is missed, and bad input."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from refusals import refused

from rio_chain import Balancer, Task
from rio_chain.balancer import ScheduleCounts, _schedule
from rio_chain.schedule._decisions import LATE, MOST, ScheduleState
from rio_chain.schedule._ticks import Period, checked_when
from rio_chain.testing import VirtualExecutor, sleep

pytest.importorskip("cronsim")

BERLIN = ZoneInfo("Europe/Berlin")
DAY = 86_400_000


def ticks_of(when: Any, start: datetime, days: float, *, tz: str = "Europe/Berlin", **options: Any) -> list[datetime]:
    """The times at which a schedule ran, from ``start`` on for so many days of virtual time."""
    ticks: list[datetime] = []

    def note(tick: datetime) -> None:
        ticks.append(tick)

    async def wait() -> None:
        await sleep(days * DAY)

    with Balancer(VirtualExecutor(start=start), abandon_after=1e12) as balancer:
        balancer.every(when, note, tz=tz, **options)
        balancer.run(Task(wait)())
    return ticks


def texts(ticks: list[datetime]) -> list[str]:
    return [tick.isoformat(timespec="minutes") for tick in ticks]


class TestTheClocksGoForward:
    """In Berlin, the hour from 2:00 to 3:00 of 29 March 2026 did not exist."""

    start = datetime(2026, 3, 28, 12, tzinfo=BERLIN)

    def test_a_daily_line_in_the_hour_that_is_left_out_runs_right_after_it(self) -> None:
        assert texts(ticks_of("30 2 * * *", self.start, 2)) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]

    def test_two_lines_of_that_hour_run_once(self) -> None:
        assert texts(ticks_of("10,40 2 * * *", self.start, 1)) == ["2026-03-29T03:00+02:00"]

    def test_a_line_of_every_half_hour_goes_on_without_a_gap(self) -> None:
        start = datetime(2026, 3, 29, 1, 10, tzinfo=BERLIN)
        assert texts(ticks_of("*/30 * * * *", start, 2 / 24)) == [
            "2026-03-29T01:30+01:00",
            "2026-03-29T03:00+02:00",
            "2026-03-29T03:30+02:00",
            "2026-03-29T04:00+02:00",
        ]

    def test_a_period_is_not_concerned(self) -> None:
        ticks = ticks_of(timedelta(hours=6), self.start, 1)
        assert [tick.astimezone(UTC).hour for tick in ticks] == [17, 23, 5, 11]


class TestTheClocksGoBack:
    """In Berlin, the hour from 2:00 to 3:00 of 25 October 2026 came twice."""

    start = datetime(2026, 10, 24, 12, tzinfo=BERLIN)

    def test_a_daily_line_in_the_repeated_hour_runs_once(self) -> None:
        assert texts(ticks_of("30 2 * * *", self.start, 2)) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]

    def test_a_line_of_every_half_hour_runs_in_both(self) -> None:
        start = datetime(2026, 10, 25, 1, 50, tzinfo=BERLIN)
        assert texts(ticks_of("*/30 * * * *", start, 2 / 24)) == [
            "2026-10-25T02:00+02:00",
            "2026-10-25T02:30+02:00",
            "2026-10-25T02:00+01:00",
            "2026-10-25T02:30+01:00",
        ]

    def test_a_schedule_that_begins_in_the_second_pass_has_no_tick_of_the_first(self) -> None:
        start = datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN, fold=1)
        assert texts(ticks_of("30 2 * * *", start, 1.5)) == ["2026-10-26T02:30+01:00"]


def test_the_time_zone_of_the_line_counts_and_not_that_of_the_machine() -> None:
    start = datetime(2026, 7, 1, tzinfo=UTC)
    assert texts(ticks_of("0 9 * * *", start, 1, tz="Asia/Kolkata")) == ["2026-07-01T09:00+05:30"]
    assert texts(ticks_of("0 9 * * *", start, 1, tz="UTC")) == ["2026-07-01T09:00+00:00"]


def test_a_line_with_seconds() -> None:
    start = datetime(2026, 7, 1, tzinfo=UTC)
    ticks = ticks_of("*/20 * * * * *", start, 1 / 1440, tz="UTC")
    assert [tick.second for tick in ticks] == [20, 40, 0]


def test_jitter_moves_a_start_but_not_to_the_next_tick() -> None:
    starts: list[float] = []
    executor = VirtualExecutor(seed=3)

    def note() -> None:
        starts.append(executor.now)

    async def wait() -> None:
        await sleep(100_000)

    with Balancer(executor, abandon_after=1e9) as balancer:
        balancer.every(1_000, note, jitter=timedelta(hours=1))
        balancer.run(Task(wait)())
    late = [start - 1_000 * number for number, start in enumerate(starts, 1)]
    assert len(starts) in {99, 100}
    assert all(0 <= one < 1_000 for one in late)
    assert max(late) > 900
    assert min(late) < 100


def run_with_clock(monkeypatch: pytest.MonkeyPatch, jumps: dict[float, float], **options: Any) -> list[float]:
    """Run a line of every minute for ten minutes, where the clock is set by some seconds at some instants."""
    executor = VirtualExecutor(start=datetime(2026, 7, 1, tzinfo=UTC))
    ticks: list[float] = []

    class SetClock(_schedule.WorldClock):
        def __call__(self) -> float:
            return super().__call__() + sum(by for at, by in jumps.items() if executor.now >= at * 1000)

    monkeypatch.setattr("rio_chain.balancer._every_method.WorldClock", SetClock)

    def note(tick: datetime) -> None:
        ticks.append((tick - datetime(2026, 7, 1, tzinfo=UTC)).total_seconds() / 60)

    async def wait() -> None:
        await sleep(10.5 * 60_000)

    with Balancer(executor, abandon_after=1e9) as balancer:
        schedule = balancer.every("* * * * *", note, **options)
        balancer.run(Task(wait)())
        ticks.append(-schedule.counts.missed)
    return ticks


def test_ticks_that_a_sleeping_machine_missed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    got = run_with_clock(monkeypatch, {150: 3600})  # from 00:02:30 to 01:02:30, seen at most a minute later
    assert got == [1, 2, *range(63, 71), -60]


def test_missed_ticks_are_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with_clock(monkeypatch, {150: 3600}, missed="run once") == [1, 2, *range(63, 71), -60]


def test_missed_ticks_are_all_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with_clock(monkeypatch, {150: 3600}, missed="all") == [*range(1, 63), *range(63, 71), 0]


def test_a_clock_that_is_set_back_a_little_repeats_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with_clock(monkeypatch, {210: -120}) == [*range(1, 9), 0]


def test_a_clock_that_is_set_back_by_hours_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    got = run_with_clock(monkeypatch, {210: -4 * 3600})
    assert got == [1, 2, 3, *range(-235, -229), 0]


def test_one_run_makes_up_for_a_day_that_was_missed() -> None:
    state = ScheduleState(Period(86_400), 86_400, missed="run once")
    assert state.advance(86_400 * 3 + LATE + 1).starts == [86_400 * 3]
    assert state.ended().starts == []


def test_a_clock_that_is_set_forward_by_years_takes_no_time() -> None:
    for missed in ("skip", "run once", "all"):
        state = ScheduleState(Period(1), 1, missed=missed)  # type: ignore[arg-type]
        due = state.advance(2e9 + 0.5)
        assert len(due.starts) + len(due.left_out) <= 2 * MOST
        assert state.next == 2e9 + 1


def test_the_queue_of_ticks_is_bounded() -> None:
    state = ScheduleState(Period(1), 1, overlap="queue")
    left_out = [one for second in range(1, MOST + 12) for one in state.advance(second).left_out]
    assert left_out == [(MOST + 2.0 + number, "overlap") for number in range(10)]
    assert state.ended().starts == [2]


def nothing() -> None: ...


def needs_two(_: object, __: object) -> None: ...


def every(when: object = 1_000, work: object = nothing, **options: Any) -> Any:
    with Balancer("virtual") as balancer:
        given: Any = when, work
        return balancer.every(*given, **options)


CRON = "`when` must be a cron line: minute, hour, day, month and weekday"


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("", CRON),
        ("* * * *", "wrong number of fields"),
        ("61 * * * *", "bad minute"),
        ("* * * * * * *", CRON),
        ("0 0 30 2 *", "bad day-of-month"),
        ("9" * 5000 + " * * * *", "it is too long"),
        ("9" * 200 + " * * * *", CRON),
        ("\n", CRON),
        ("@daily", "`when` has five fields, so write \"0 0 * * *\"; got '@daily'"),
        (None, '`when` must be a cron line such as "0 3 * * *", a timedelta, or a number of milliseconds; got None'),
        (True, "got True"),
        (b"* * * * *", "got b'* * * * *'"),
        (0, "`when` must be a finite number of milliseconds (or a timedelta), more than 0; got 0"),
        (-1, "got -1"),
        (math.nan, "got nan"),
        (timedelta(0), "got datetime.timedelta(0)"),
        (0.5, "`when` must be at least 1 ms; got 0.5"),
    ],
)
def test_what_is_no_time_is_refused(when: object, text: str) -> None:
    refused(lambda: every(when), text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tz": "Berlin"}, "`tz` must be the name of a time zone"),
        ({"tz": ""}, "got ''"),
        ({"tz": "../etc/passwd"}, "`tz` must be the name of a time zone"),
        ({"tz": None}, "got None"),
        ({"overlap": "drop"}, '`overlap` must be "skip" or "queue" or "parallel"; got \'drop\''),
        ({"missed": True}, '`missed` must be "skip" or "run once" or "all"; got True'),
        ({"jitter": -1}, "`jitter` must be a finite number of milliseconds (or a timedelta), 0 or more; got -1"),
        ({"name": ""}, "`name`"),
        ({"priority": "high"}, "`priority` must be a finite number; got 'high'"),
        ({"work": 7}, "`every` takes a request, a chain or a function"),
        ({"work": needs_two}, "and this one needs more: write balancer.every(..., page(42)) with its arguments"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], text: str) -> None:
    refused(lambda: every(**options), text)


def test_the_start_of_virtual_time_has_a_time_zone() -> None:
    given: Any = datetime(2026, 3, 29)  # noqa: DTZ001 - that is what is refused
    refused(lambda: VirtualExecutor(start=given), "`start` must be a datetime with a time zone")


def test_a_cron_line_without_cronsim_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(ImportError, match=r"pip install 'rio-chain\[cron\]'`; a timedelta needs nothing"):
        checked_when("* * * * *", "UTC", 0.0)
    assert isinstance(checked_when(timedelta(seconds=1), "UTC", 0.0), Period)


def test_the_repr_says_when_it_runs_next() -> None:
    with Balancer(VirtualExecutor(start=datetime(2026, 3, 28, tzinfo=UTC))) as balancer:
        schedule = balancer.every("30 2 * * *", nothing, tz="Europe/Berlin", name="report")
        assert repr(schedule) == (
            "<Schedule 'report' '30 2 * * *' in Europe/Berlin: next at 2026-03-28T02:30:00+01:00, 0 started>"
        )
        schedule.cancel()
        assert repr(schedule) == "<Schedule 'report' '30 2 * * *' in Europe/Berlin: ended, 0 started>"
        assert schedule.counts == ScheduleCounts()
