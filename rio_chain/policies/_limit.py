"""Limit: how many calls at once, and how many in a time, for all calls or for each key."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any, TypedDict, Unpack

from attrs import asdict, evolve, fields

from rio_chain._core.units import Duration, escape_nonprintable, format_duration, number
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._cost import cost_of
from rio_chain.policies._keys import Key, hashed, key_of
from rio_chain.policies._limit_lines import LimitLines, wake
from rio_chain.policies._limit_queue import QueuedCall
from rio_chain.policies._limit_settings import LimitRules, LimitSettings, WindowKind, checked
from rio_chain.policies._permit import Clock
from rio_chain.policies._plain_data import Data, function, ms
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._plain_data import number as plain_number
from rio_chain.policies._policy import Facts, Policy, PolicyBounds
from rio_chain.policies._shared_clock import clock_here
from rio_chain.policies._shared_state import Shared
from rio_chain.policies._token_bucket import EARLY


class Limit(LimitLines, Shared, Policy):
    """A limit, shared by all chains that use the object: by priority, and among equals first come, first served.

    A call holds one of the ``concurrency`` permits until it ends, however it ends. An abandoned blocking call holds its
    permit until it returns. The rate is a bucket that holds up to ``burst`` tokens and gets ``rate`` new ones in every
    ``per``. A call takes one token and never gives it back. A call that gets no permit or token waits in a queue, or
    fails with ``LimitExceeded``. In the queue the call with the highest ``priority`` of its balancer is next.

    Args:
        concurrency: how many calls may run at once. Default None: no limit.
        rate: how many calls may begin in each ``per``, on average. May be a fraction. Default None: no limit.
        per: milliseconds or a ``timedelta``; default 1000.
        burst: how many calls may begin together after a pause. Default: the rate, and at least 1. So in the first
            second of ``Limit(rate=100)``, 100 calls can begin together, and about 99 more as new tokens arrive.
            ``burst=1`` spaces calls evenly.
        wait: the longest wait, in milliseconds or as a ``timedelta``. 0 refuses at once. Default None: a call waits
            until a timeout around it expires. A call whose token surely comes too late is refused at once.
        key: a function of the input. Calls with different keys, such as customers or hosts, are limited separately.
            Default: all calls together.
        queue: how many calls may wait, with the same key if there is one. More are refused at once. Default None: no
            limit.
        aging: how much waiting one step of priority counts for, in milliseconds or as a ``timedelta``, as the
            ``aging`` of a ``Balancer``. Default None: priority alone decides.
        cost: a function of the input that returns how much of the limit the call uses: a number, 0 or more. It counts
            against ``concurrency`` while the call runs, and takes as many tokens of the ``rate``. A call that costs
            more than the whole limit (``concurrency``, or ``burst``) is refused. Default: each call costs 1.
        actual: a function of the answer that returns how many tokens the call has really used. The difference to the
            cost is taken, or given back. If the call fails, the estimate stays. Default: the cost is right.
        window: ``"sliding"`` lets at most ``rate`` calls, or costs, begin in *any* stretch of ``per``. The default
            ``"bucket"`` allows ``burst`` together with those that new tokens allow meanwhile.

    Attributes:
        concurrency: how many calls may run at once. None if there is no limit.
        key: the ``key`` as the engine calls it. None if there is no ``key``.
        cost: the ``cost`` as the engine calls it. None if there is no ``cost``.
        actual: the ``actual`` as the engine calls it. None if there is no ``actual``.
        window: ``"bucket"`` or ``"sliding"``.
        settings: ``concurrency``, ``rate``, ``per``, ``burst``, ``wait``, ``queue`` and ``aging``, as given here or
            to ``update``.
        patience: ``wait`` in seconds.

    Raises:
        ChainDefinitionError: an argument is out of its range, or there is neither ``concurrency`` nor ``rate``.

    Example:
        >>> Limit(10, rate=100)
        <Limit 10 at once, 100 per 1000 ms: 0 running, 0 waiting>
    """

    builder_call = "limit"
    held = "calls"

    def __init__(
        self,
        concurrency: int | None = None,
        *,
        rate: float | None = None,
        per: Duration = 1000,
        burst: int | None = None,
        wait: Duration | None = None,
        key: Callable[..., Hashable] | None = None,
        queue: int | None = None,
        aging: Duration | None = None,
        cost: Callable[..., float] | None = None,
        actual: Callable[[Any], float] | None = None,
        window: WindowKind = "bucket",
    ) -> None:
        self.cost = cost_of(cost, "cost")
        self.actual = cost_of(actual, "actual")
        self.about_answer = () if self.actual is None else (("actual", self.actual),)
        self.window: WindowKind = window
        self.settings = LimitSettings(
            concurrency=concurrency, rate=rate, per=per, burst=burst, wait=wait, queue=queue, aging=aging
        )
        self._set(self._checked(self.settings))
        self.key: Key | None = None if key is None else key_of(key)
        self._begin()

    def _checked(self, settings: LimitSettings) -> LimitRules:
        rules = checked(settings, self.window, costs=self.cost is not None)
        if self.actual is not None and rules.rate is None:
            raise ChainDefinitionError(
                "`actual` corrects how many tokens of a `rate` a call has used, such as Limit(rate=90_000, per=60_000, "
                "cost=estimate, actual=used); places are given back in any case"
            )
        return rules

    def _set(self, rules: LimitRules) -> None:
        self._rules = rules
        self.concurrency = rules.places
        self.patience = rules.patience
        self._rule = rules.text + ("" if self.cost is None else f" by {self.cost!r}")

    # --- called by users ----------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many calls have a permit. This includes abandoned calls that still run."""
        return self._total.running

    @property
    def waiting(self) -> int:
        """How many calls are in the queue."""
        return self._total.waiting

    def has_capacity(self, cost: float = 1, *, key: Hashable = None) -> bool:
        """Whether a call that comes now would begin at once. It takes nothing.

        Args:
            cost: what the call costs.
            key: the key of the call, as the ``key`` function returns it.

        Raises:
            ChainDefinitionError: ``cost`` is not a number of 0 or more.
        """
        cost = number(cost, "cost", least=0)
        return self._lock.decide(self._has_capacity, hashed(key), cost, clock_here())

    def _has_capacity(self, key: Hashable, cost: float, clock: Clock | None) -> bool:
        line, now = self._lines.get(key), self._time.now(clock)
        if line is None:
            return cost <= self._rules.most
        free = line.bucket is None or line.bucket.wait(now, cost) <= EARLY
        return free and line.room(cost) and not line.waiting

    def update(self, **settings: Unpack[LimitChanges]) -> None:
        """Change settings while calls run and wait. What you do not name stays.

        A lower ``concurrency`` ends no call: new ones begin when fewer run than that. Tokens are neither won nor lost
        by the change. Calls that wait keep their order and their longest wait. A call that waits and costs more than
        the new limit fails with ``LimitExceeded``.

        Args:
            settings: ``concurrency``, ``rate``, ``per``, ``burst``, ``wait``, ``queue`` or ``aging``, as in
                ``Limit(...)``.

        Raises:
            ChainDefinitionError: a setting is out of its range, or has another name. Then nothing changes.

        Example:
            >>> limit = Limit(10, rate=100)
            >>> limit.update(concurrency=20, rate=None)
            >>> limit
            <Limit 20 at once: 0 running, 0 waiting>
        """
        known = {field.name for field in fields(LimitSettings)}
        for name in settings:
            if name not in known:
                can = ", ".join(sorted(known))
                raise ChainDefinitionError(f"`update` of a Limit changes {can}; got `{escape_nonprintable(name)}`")
        changed = evolve(self.settings, **settings)
        rules = self._checked(changed)
        wake(self._lock.decide(self._update, changed, rules, clock_here()))

    def _update(self, settings: LimitSettings, rules: LimitRules, clock: Clock | None) -> list[QueuedCall]:
        now = self._time.now(clock)
        self.settings = settings
        self._set(rules)
        usual, now_given = asdict(LimitSettings(), recurse=False), asdict(settings, recurse=False)
        others = {name: value for name, value in self._made_with[1].items() if name not in usual}
        self._made_with = (), {name: value for name, value in now_given.items() if value != usual[name]} | others
        changed: list[QueuedCall] = []
        for line in self._lines.values():
            changed += line.change(rules, now, lambda place: self._too_large(place.line, place.cost))
        return changed

    # --- its description ----------------------------------------------------------------------------------------

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        rules = self._rules
        rate = rules.rate
        return {
            "kind": "limit",
            "concurrency": plain_number(self.concurrency),
            "interval_ms": None if rate is None else ms(rate.interval),
            "burst": None if rate is None else plain_number(rate.burst),
            "wait_ms": ms(self.patience),
            "key": plain_key(self.key),
            "queue": plain_number(rules.queue),
            "aging_ms": ms(rules.aging),
            "cost": None if self.cost is None else function(self.cost.fn),
            "actual": None if self.actual is None else function(self.actual.fn),
            "window": self.window,
        }

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``."""
        if self._rules.queue == 0:
            return PolicyBounds(inner)
        return PolicyBounds(math.inf if self.patience is None else inner + self.patience)

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        places = self.concurrency if self.cost is None else None
        return Facts(places=places, waits=self.patience is None and self._rules.queue != 0)

    def __repr__(self) -> str:
        each = "" if self.key is None else f" for each {self.key!r}"
        keys = "" if self.key is None else f", {len(self._lines)} keys"
        return f"<Limit {self._rule}{each}: {self.running} running, {self.waiting} waiting{keys}>"

    def __str__(self) -> str:
        rules = self._rules
        text = f"limit {self._rule}" + ("" if self.key is None else f" for each {self.key!r}")
        if self.actual is not None:
            text += f", corrected by {self.actual!r}"
        if rules.aging is not None:
            text += f", aging {format_duration(rules.aging)}"
        if rules.queue == 0 or self.patience == 0:
            return text + ", no waiting"
        if rules.queue is not None:
            text += f", {rules.queue} waiting at most"
        return text if self.patience is None else text + f", waiting {format_duration(self.patience)} at most"


class LimitChanges(TypedDict, total=False):
    """What ``Limit.update`` can change."""

    concurrency: int | None
    rate: float | None
    per: Duration
    burst: int | None
    wait: Duration | None
    queue: int | None
    aging: Duration | None
