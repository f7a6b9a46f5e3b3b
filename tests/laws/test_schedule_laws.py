"""What holds for every schedule: a plain model of the decisions, and cron lines in every time zone."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rio_chain.schedule._decisions import LATE, Missed, Overlap, ScheduleState
from rio_chain.schedule._ticks import Cron, Period

pytest.importorskip("cronsim")

Step = tuple[str, int]
"""What happens to a schedule: the clock goes on by some seconds and it looks, or a run ends."""
steps = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.integers(0, 12)),
        st.tuples(st.just("sleep"), st.integers(60, 300)),
        st.tuples(st.just("end"), st.just(0)),
    ),
    max_size=40,
)


def model(period: int, overlap: Overlap, missed: Missed, happens: list[Step]) -> list[tuple[int, str]]:
    """Each tick with what becomes of it, in the order of the decisions. As simple as it can be written."""
    log: list[tuple[int, str]] = []
    waiting: list[int] = []
    now = running = 0

    def offer(tick: int, *, may_wait: bool) -> None:
        nonlocal running
        if overlap == "parallel" or (running == 0 and not waiting):
            running += 1
            log.append((tick, "starts"))
        elif may_wait:
            waiting.append(tick)
        else:
            log.append((tick, "overlap"))

    for kind, by in happens:
        if kind == "end":
            if running:
                running -= 1
                if waiting and running == 0:
                    running = 1
                    log.append((waiting.pop(0), "starts"))
            continue
        come = [tick for tick in range(period, now + by + 1, period) if tick > now]
        now += by
        in_time = come[-1:] if come and now - come[-1] <= LATE else []
        late = come[: len(come) - len(in_time)]
        again = late if missed == "all" else late[-1:] if missed == "run once" and not in_time else []
        log += [(tick, "missed") for tick in late if tick not in again]
        for tick in again:
            offer(tick, may_wait=True)
        for tick in in_time:
            offer(tick, may_wait=overlap == "queue" or bool(again))
    return log


@given(
    st.integers(1, 90),
    st.sampled_from(["skip", "queue", "parallel"]),
    st.sampled_from(["skip", "run once", "all"]),
    steps,
)
def test_the_decisions_are_those_of_a_plain_model(
    period: int, overlap: Overlap, missed: Missed, happens: list[Step]
) -> None:
    state = ScheduleState(Period(period), float(period), overlap, missed)
    log: list[tuple[int, str]] = []
    now = 0
    for kind, by in happens:
        if kind == "end":
            if not state.running:
                continue
            due = state.ended()
        else:
            now += by
            due = state.advance(now)
            assert state.wake_at() > now
        # the model writes both kinds in one order: within one decision, only their own orders are compared
        log += [(int(tick), reason) for tick, reason in due.left_out]
        log += [(int(tick), "starts") for tick in due.starts]

    expected = model(period, overlap, missed, happens)
    for reason in ("starts", "missed", "overlap"):
        assert [one for one in log if one[1] == reason] == [one for one in expected if one[1] == reason]
    assert len({tick for tick, _ in log}) == len(log), "each tick has one fate"


@given(st.floats(0.001, 1e6), st.floats(-1e6, 1e6), st.floats(-1e9, 1e9))
def test_the_tick_after_an_instant_is_later_and_not_by_more_than_a_period(
    period: float, start: float, instant: float
) -> None:
    tick = Period(period, start).after(instant)
    assert instant < tick <= instant + period * (1 + 1e-9) + 1e-6
    assert Period(period, start).after(tick) > tick


ZONES = sorted(available_timezones())
instants = st.floats(978_307_200, 2_082_758_400)
"""From 2001 to 2036."""


@given(st.sampled_from(ZONES), instants, st.integers(0, 23), st.integers(0, 59))
def test_a_daily_line_ticks_once_on_each_day_that_has_it(zone: str, start: float, hour: int, minute: int) -> None:
    """Also at the changes of the clocks: never twice on a day, and left out on no day that exists."""
    line = Cron(f"{minute} {hour} * * *", ZoneInfo(zone))
    ticks, at = [], start
    for _ in range(5):
        after = line.after(at)
        assert after > at
        at = after
        ticks.append(datetime.fromtimestamp(at, line.zone))
    for before, after in pairwise(ticks):
        days = (after.date() - before.date()).days
        between = [before.date() + timedelta(days=n) for n in range(1, days)]
        assert days >= 1
        assert not [day for day in between if exists(datetime.combine(day, time(12)), line.zone)]
        gap = (after.timestamp() - before.timestamp()) / 3600
        assert days * 24 - 3 <= gap <= days * 24 + 3


def exists(local: datetime, zone: Any) -> bool:
    """Whether the clocks of this zone ever showed that time."""
    aware = local.replace(tzinfo=zone)
    return aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


def shown(instant: float, line: Cron) -> datetime:
    return datetime.fromtimestamp(instant, line.zone)


@given(st.sampled_from(ZONES), instants, st.sampled_from([1, 5, 15, 20, 30]))
def test_a_line_of_some_minutes_ticks_whenever_the_clocks_show_them(zone: str, start: float, step: int) -> None:
    """As a loop over the minutes finds them."""
    line, at = Cron(f"*/{step} * * * *", ZoneInfo(zone)), start
    minute = math.floor(start / 60) * 60
    for _ in range(4):
        at = line.after(at)
        minute += 60
        while (
            datetime.fromtimestamp(minute, line.zone).second or datetime.fromtimestamp(minute, line.zone).minute % step
        ):
            minute += 60
        assert at == minute
