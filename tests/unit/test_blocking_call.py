"""The permits that abandoned blocking calls keep, and races that are over."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rio_chain.engine._blocking_call import HeldCall, SharedPermit
from rio_chain.engine._instructions import CONSTANT, JUMP, LEAVE, TASK
from rio_chain.engine._race import Contender, Race, RaceOver
from rio_chain.policies._permit import Permit


class NotingPermit(Permit):
    """Writes down how it ended."""

    __slots__ = ("ends", "error")

    def __init__(self, error: Exception | None = None) -> None:
        self.ends: list[Any] = []
        self.error = error

    def succeeded(self, value: Any, /) -> None:
        self.ends.append(("succeeded", value))
        if self.error is not None:
            raise self.error

    def failed(self, error: Any, /) -> None:
        self.ends.append(("failed", error))

    def dropped(self) -> None:
        self.ends.append(("dropped",))


@pytest.mark.parametrize("end", [("succeeded", 5), ("failed", "error"), ("dropped",)])
def test_a_hold_without_calls_ends_with_its_frame(end: tuple[Any, ...]) -> None:
    permit_below = NotingPermit()
    permit = SharedPermit(permit_below, None)
    assert permit.open
    getattr(permit, end[0])(*end[1:])
    assert (permit_below.ends, permit.open) == ([end], False)
    permit.dropped()
    assert permit_below.ends == [end], "any later call does nothing"


def test_the_last_call_gives_it_back_and_says_how_the_frame_ended() -> None:
    permit_below = NotingPermit()
    permit = SharedPermit(permit_below, None)
    permit.join()
    permit.join()
    permit.leave()
    permit.succeeded(5)
    assert (permit_below.ends, permit.open) == ([], True)
    permit.leave()
    assert (permit_below.ends, permit.open) == ([("succeeded", 5)], False)


def test_an_error_of_a_hold_is_raised_where_somebody_waits_and_reported_where_nobody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)
    with pytest.raises(LookupError):
        SharedPermit(NotingPermit(LookupError()), None).succeeded(5)
    permit = SharedPermit(NotingPermit(LookupError()), None)
    permit.join()
    permit.succeeded(5)
    permit.leave()
    assert [args.exc_type for args in hooked] == [LookupError]


class TestHeldCall:
    def test_a_call_that_ends_keeps_nothing(self) -> None:
        permit_below = NotingPermit()
        permit = SharedPermit(permit_below, None)
        call = HeldCall(abs)
        assert call(-5) == 5
        call.give_up([permit])
        permit.dropped()
        assert permit_below.ends == [("dropped",)]

    def test_a_call_that_has_not_begun_never_will(self) -> None:
        permit_below, begun = NotingPermit(), list[int]()
        permit = SharedPermit(permit_below, None)
        call = HeldCall(begun.append)
        call.give_up([permit])
        permit.dropped()
        assert permit_below.ends == [("dropped",)]
        assert call(5) is None
        assert begun == []
        assert permit_below.ends == [("dropped",)]

    @pytest.mark.parametrize("error", [None, OSError(), SystemExit()])
    def test_a_call_that_runs_keeps_what_is_open_until_it_returns(self, error: BaseException | None) -> None:
        permit_below, over = NotingPermit(), SharedPermit(NotingPermit(), None)
        permit = SharedPermit(permit_below, None)
        over.dropped()

        def body() -> None:
            call.give_up([over, permit])
            permit.dropped()
            assert permit_below.ends == []
            if error is not None:
                raise error

        call = HeldCall(body)
        if error is None:
            call()
        else:
            with pytest.raises(type(error)):
                call()
        assert permit_below.ends == [("dropped",)]

    def test_of_a_giving_up_and_an_end_at_the_same_moment_one_gives_back(self) -> None:
        for _ in range(300):
            permit_below = NotingPermit()
            permit = SharedPermit(permit_below, None)
            call = HeldCall(int)
            both = threading.Barrier(2)

            def given_up(call: HeldCall = call, permit: SharedPermit = permit, both: threading.Barrier = both) -> None:
                both.wait()
                call.give_up([permit])
                permit.dropped()

            thread = threading.Thread(target=given_up)
            thread.start()
            both.wait()
            call()
            thread.join()
            assert permit_below.ends == [("dropped",)]


class TestRaces:
    def test_a_place_is_kept_until_the_strand_goes_on(self) -> None:
        permit_below, contender = NotingPermit(), Contender(Race(None, 2))
        permit = SharedPermit(permit_below, contender)
        permit.succeeded(5)
        for code in (LEAVE, JUMP, CONSTANT):
            contender.go_on(code)
        assert (permit_below.ends, permit.open) == ([], True)
        contender.go_on(TASK)
        assert (permit_below.ends, permit.open) == ([("succeeded", 5)], False)

    def test_or_until_it_has_ended(self) -> None:
        permit_below, contender = NotingPermit(), Contender(Race(None, 2))
        SharedPermit(permit_below, contender).failed("error")
        contender.ended()
        assert permit_below.ends == [("failed", "error")]

    def test_nothing_begins_when_it_is_decided(self) -> None:
        race = Race(None, 2)
        contender = Contender(race)
        contender.go_on(TASK)
        race.decided = True
        contender.go_on(LEAVE)
        with pytest.raises(RaceOver):
            contender.go_on(TASK)

    def test_nor_when_one_around_it_is(self) -> None:
        around = Race(None, 2)
        inner = Race(Contender(Race(Contender(around), 1)), 2)
        contender = Contender(inner)
        contender.go_on(TASK)
        around.decided = True
        with pytest.raises(RaceOver):
            contender.go_on(TASK)
        assert inner.over
        assert not inner.decided

    @pytest.mark.parametrize("last", [False, True])
    def test_what_ends_a_race_in_a_race_gives_back_later(self, last: bool) -> None:
        around, permit_below = Contender(Race(None, 2)), NotingPermit()
        race = Race(around, 2)
        first, second = Contender(race), Contender(race)
        SharedPermit(permit_below, second if last else first).succeeded(5)
        first.ended()
        assert permit_below.ends == ([] if last else [("succeeded", 5)]), "the other one goes on, so nothing is decided"
        second.ended()
        around.go_on(TASK)
        assert permit_below.ends == [("succeeded", 5)]

    def test_so_does_a_winner(self) -> None:
        around, permit_below = Contender(Race(None, 2)), NotingPermit()
        race = Race(around, 2)
        first = Contender(race)
        SharedPermit(permit_below, first).succeeded(5)
        race.decided = True
        first.ended()
        assert permit_below.ends == []
        around.ended()
        assert permit_below.ends == [("succeeded", 5)]
