"""How a breaker counts calls, and when there are too many failures among them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from rio_chain._core.units import format_duration
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Clock
from rio_chain.policies._plain_data import Data, ms, number

_SLICES = 10


class Counts(ABC):
    """The calls of one breaker, or of one of its keys. ``now`` is called only if the rule needs the time."""

    rule: str
    """What opens the breaker, in words."""

    @abstractmethod
    def add(self, now: Clock, *, failed: bool) -> bool:
        """Count a call. Returns whether the breaker must open."""

    @abstractmethod
    def total(self, now: Clock) -> tuple[int, int]:
        """The number of calls that are counted now, and how many of them failed."""

    @abstractmethod
    def clear(self) -> None:
        """Forget the counts."""

    @abstractmethod
    def mend(self) -> None:
        """Repair the counts in a forked child: the parent may have been adding a call."""

    @abstractmethod
    def to_dict(self) -> Data:
        """The rule as plain data."""

    def text(self, now: Clock) -> str:
        """The counts in words."""
        calls, failures = self.total(now)
        return f"{failures} of {calls} calls failed; {self.rule} open it"


class InARow(Counts):
    """Counts failures with no success between them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.failures = 0
        self.rule = f"{most} failures in a row"

    def add(self, now: Clock, *, failed: bool) -> bool:  # noqa: ARG002 - as the others
        """As ``Counts.add``."""
        self.failures = self.failures + 1 if failed else 0
        return self.failures >= self.most

    def total(self, now: Clock) -> tuple[int, int]:  # noqa: ARG002 - as the others
        """As ``Counts.total``. A call before the latest success is not counted."""
        return self.failures, self.failures

    def clear(self) -> None:
        """As ``Counts.clear``."""
        self.failures = 0

    def mend(self) -> None:
        """As ``Counts.mend``: a failure may have been counted without opening the breaker."""
        self.failures = min(self.failures, self.most - 1)

    def to_dict(self) -> Data:
        """As ``Counts.to_dict``."""
        return {"failures": number(self.most)}

    def text(self, now: Clock) -> str:  # noqa: ARG002 - as the others
        """As ``Counts.text``."""
        return f"{self.failures} of {self.most} failures in a row"


class Within(Counts):
    """Counts failures in the last ``within`` seconds. Successes between them do not matter. It is exact."""

    def __init__(self, most: int, within: float) -> None:
        self.most = most
        self.within = within
        self.times: deque[float] = deque(maxlen=most)  # of the latest failures
        self.rule = f"{most} failures in {format_duration(within)}"

    def add(self, now: Clock, *, failed: bool) -> bool:
        """As ``Counts.add``."""
        if not failed:
            return False
        at = now()
        self.times.append(at)
        return len(self.times) == self.most and at - self.times[0] < self.within

    def total(self, now: Clock) -> tuple[int, int]:
        """As ``Counts.total``. Only failures are counted."""
        at = now()
        failures = sum(at - time < self.within for time in tuple(self.times))
        return failures, failures

    def clear(self) -> None:
        """As ``Counts.clear``."""
        self.times.clear()

    def mend(self) -> None:
        """As ``Counts.mend``: the next failure decides."""

    def to_dict(self) -> Data:
        """As ``Counts.to_dict``."""
        return {"failures": number(self.most), "within_ms": ms(self.within)}

    def text(self, now: Clock) -> str:
        """As ``Counts.text``."""
        return f"{self.total(now)[1]} of {self.most} failures in {format_duration(self.within)}"


class Latest(Counts):
    """Counts the last ``size`` calls. ``enough`` says whether a number of failures of a number of calls is too many."""

    def __init__(self, size: int, enough: Callable[[int, int], bool], rule: str, data: Data) -> None:
        self.size = size
        self.enough = enough
        self.calls: deque[bool] = deque()
        self.failures = 0
        self.rule = rule
        self.data = data

    def add(self, now: Clock, *, failed: bool) -> bool:  # noqa: ARG002 - as the others
        """As ``Counts.add``."""
        if len(self.calls) == self.size:
            self.failures -= self.calls.popleft()
        self.calls.append(failed)
        self.failures += failed
        return failed and self.enough(self.failures, len(self.calls))

    def total(self, now: Clock) -> tuple[int, int]:  # noqa: ARG002 - as the others
        """As ``Counts.total``."""
        return len(self.calls), self.failures

    def clear(self) -> None:
        """As ``Counts.clear``."""
        self.calls.clear()
        self.failures = 0

    def mend(self) -> None:
        """As ``Counts.mend``."""
        self.failures = sum(self.calls)

    def to_dict(self) -> Data:
        """As ``Counts.to_dict``."""
        return {**self.data, "last": number(self.size)}


class Rolling(Counts):
    """Counts calls and failures in slices of the last ``window``."""

    def __init__(self, ratio: float, window: float, min_calls: int) -> None:
        self.ratio = ratio
        self.window = window
        self.width = window / _SLICES
        self.min_calls = min_calls
        self.slices: deque[list[int]] = deque()  # number, calls, failures
        self.calls = self.failures = 0
        self.rule = f"{exact_number(ratio * 100)} % failures of {min_calls} or more calls in {format_duration(window)}"

    def add(self, now: Clock, *, failed: bool) -> bool:
        """As ``Counts.add``."""
        number = self._move(now())
        if not self.slices or self.slices[-1][0] != number:
            self.slices.append([number, 0, 0])
        self.slices[-1][1] += 1
        self.slices[-1][2] += failed
        self.calls += 1
        self.failures += failed
        return failed and self.calls >= self.min_calls and self.failures >= self.ratio * self.calls

    def _move(self, at: float) -> int:
        """Forget the slices that are older than the window. Returns the number of the slice at this time."""
        number = math.floor(at / self.width)
        while self.slices and self.slices[0][0] <= number - _SLICES:
            _, calls, failures = self.slices.popleft()
            self.calls -= calls
            self.failures -= failures
        return number

    def total(self, now: Clock) -> tuple[int, int]:
        """As ``Counts.total``."""
        self._move(now())
        return self.calls, self.failures

    def clear(self) -> None:
        """As ``Counts.clear``."""
        self.slices.clear()
        self.calls = self.failures = 0

    def mend(self) -> None:
        """As ``Counts.mend``: a slice may have a call while the totals do not."""
        self.calls = sum(calls for _, calls, _ in self.slices)
        self.failures = sum(failures for _, _, failures in self.slices)

    def to_dict(self) -> Data:
        """As ``Counts.to_dict``."""
        return {"ratio": self.ratio, "window_ms": ms(self.window), "min_calls": number(self.min_calls)}
