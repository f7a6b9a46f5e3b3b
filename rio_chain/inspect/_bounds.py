"""bounds(): the most that a chain can cost, computed from its policies: time, calls, and what a timeout cuts off.

These count as no time: functions between tasks, tasks that are ``.inline()``, predicates, and the work of rio_chain.
These are not counted: tasks of a Request that a function returns, and functions that ignore cancellation. A wait that a
server asks for is counted if the retry says that servers do so, with ``retry_after=`` or
``Backoff(max_retry_after=)``. The number of items of an ``each`` is unknown. So only a timeout around it bounds its
time, and nothing bounds its calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from attrs import field, frozen

from rio_chain._core.units import milliseconds
from rio_chain.chain._nodes import Choose, Each, Expand, FanOutNode, Node, RaceNode, Scope, TaskNode, call_of, parts
from rio_chain.chain._plan import Plan
from rio_chain.policies._delays import DelayList
from rio_chain.policies._policy import repeated

INF = math.inf


@frozen
class Cut:
    """Attempts that an enclosing limit leaves no time for.

    Attributes:
        kind: ``"retry"`` or ``"replica"``.
        where: the names of the tasks that it wraps.
        limit: the timeout around them, in milliseconds.
        calls: the most calls that it may make, with the first one.
        slowest: how many of them begin if each takes as long as it may. A call without a timeout of its own
            takes for ever.
        fastest: how many of them begin if each fails at once and each wait is as short as possible.
    """

    kind: str
    where: tuple[str, ...]
    limit: float
    calls: int
    slowest: int
    fastest: int

    def __str__(self) -> str:
        most = f", and {self.fastest} when they fail at once" if self.fastest < self.calls else ""
        return (
            f"{self.kind} of {some(self.where)}: {self.slowest} of {self.calls} calls begin within "
            f"{self.limit:.10g} ms when they are slow{most}"
        )


@frozen
class Bounds:
    """The result of ``chain.bounds()``. Times are milliseconds; ``inf`` means that only ``abandon_after`` ends it.

    "Without hedges" means without all calls of a ``.replica`` but the first.

    Attributes:
        time: the longest time that the chain can take.
        time_without_hedges: the same, without hedges.
        calls: for each task by name, how often it can be called in one run: a whole number, or ``inf`` for a task in
            an ``each``. Nested retries multiply. Tasks that are ``.inline()`` call no backend and are left out.
        calls_without_hedges: the same, without hedges.
        cuts: retries and hedges whose calls can't all begin before a timeout around them expires.
        unlimited: what makes ``time`` infinite: the names of tasks without a timeout around them; also policies that
            may wait for ever, and each ``each``, with the tasks inside, such as ``"limit of fetch"``.

    Example:
        >>> from rio_chain import Task
        >>> Task(len).timeout(100).replica(2, after=20).retry(1, backoff=None).timeout(300).bounds()
        at most 240 ms, without hedges 200 ms
        len: at most 4 calls, without hedges 2
    """

    time: float
    time_without_hedges: float
    calls: Mapping[str, float] = field(hash=False)
    calls_without_hedges: Mapping[str, float] = field(hash=False)
    cuts: tuple[Cut, ...] = ()
    unlimited: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _lines(self) -> Iterator[str]:
        time, without = _most(self.time), _most(self.time_without_hedges)
        yield time + (f", without hedges {without.removeprefix('at most ')}" if time != without else "")
        if self.unlimited:
            yield f"nothing limits {some(self.unlimited)}"
        for name, most in self.calls.items():
            less = self.calls_without_hedges[name]
            yield f"{name}: {_calls(most)}" + (f", without hedges {less}" * (most != less))
        yield from map(str, self.cuts)


def _most(ms: float) -> str:
    return f"at most {ms:.10g} ms" if ms < INF else "no limit but abandon_after"


def _calls(most: float) -> str:
    return f"at most {most} call{'s' * (most != 1)}" if most < INF else "any number of calls"


def some(names: tuple[str, ...], few: int = 3) -> str:
    """Names of tasks as short text: at most ``few`` names, and how many more there are."""
    return ", ".join(names[:few]) + (f" and {len(names) - few} more" if len(names) > few else "")


def bounds(plan: Plan) -> Bounds:
    """The bounds of a plan."""
    root = measured(plan.root)
    names = [task.name for task in plan.tasks]
    hedged: list[float] = [0] * len(names)
    plain = hedged.copy()
    cuts: list[Cut] = []
    stack: list[tuple[Part, float, float, float]] = [(root, 1, 1, INF)]
    while stack:
        part, times, first, limit = stack.pop()
        if isinstance(part.node, TaskNode) and not part.node.inline:
            hedged[part.low], plain[part.low] = times, first
        found = cut(part, limit, tuple(names[part.low : part.high]))
        cuts += [found] if found is not None else []
        more, fewer, limit = *_factors(part.node), _within(part.node, limit)
        inner = zip(part.parts, more, fewer, strict=True)
        stack.extend(reversed([(p, _product(times, m), _product(first, f), limit) for p, m, f in inner]))
    return Bounds(
        milliseconds(root.slowest),
        milliseconds(root.unhedged),
        {name: most for name, most, task in zip(names, hedged, plan.tasks, strict=True) if not task.call.inline},
        {name: most for name, most, task in zip(names, plain, plan.tasks, strict=True) if not task.call.inline},
        tuple(cuts),
        tuple(dict.fromkeys(_unlimited(root, names))),
    )


# --- time -------------------------------------------------------------------------------------------------------


@frozen(eq=False)
class Part:
    """A node, its tasks ``low`` up to ``high``, and the most seconds that it can take, with and without hedges."""

    node: Node
    low: int
    high: int
    parts: tuple[Part, ...]
    slowest: float
    unhedged: float


def _unlimited(root: Part, names: list[str]) -> Iterator[str]:
    """Names of the innermost parts whose time is unlimited."""
    stack = [root]
    while stack:
        part = stack.pop()
        if part.slowest < INF:
            continue
        inner = [each for each in part.parts if each.slowest == INF]
        if inner:
            stack.extend(reversed(inner))
        elif isinstance(part.node, TaskNode):
            yield names[part.low]
        else:
            node: Any = part.node  # a policy, an `each`, or a node with branches
            call = node.policy.builder_call if isinstance(node, Scope) else call_of(node)
            yield f"{call} of {some(tuple(names[part.low : part.high]))}"


def measured(node: Node, low: int = 0) -> Part:
    """The tree of a plan, with the longest time of each part."""
    inner: list[Part] = []
    high = low
    for child in parts(node):
        inner.append(measured(child, high))
        high = inner[-1].high
    if isinstance(node, TaskNode):
        high += 1
    slowest = _time(node, [part.slowest for part in inner], hedges=True)
    unhedged = _time(node, [part.unhedged for part in inner], hedges=False)
    return Part(node, low, high, tuple(inner), slowest, unhedged)


def _time(node: Node, inner: list[float], *, hedges: bool) -> float:
    if isinstance(node, (TaskNode, Each)):
        return 0.0 if isinstance(node, TaskNode) and node.inline else limit_of(node)  # inline calls no backend
    if isinstance(node, (FanOutNode, Choose)):
        return min(max(inner), limit_of(node))
    if isinstance(node, Expand):
        return repeated(inner[0], node.total)  # each item may be found only in the result of the one before
    if isinstance(node, RaceNode):
        count = node.count if hedges or not node.hedge else 1
        start = starts(node, inner)
        last = range(max(0, count - len(inner)), count)  # the last call to each target
        return max(start(i) + inner[i % len(inner)] for i in last)
    if isinstance(node, Scope):
        return node.policy.bounds(inner[0]).time
    return sum(inner)  # steps; a primary and its fallback; a kept node; a bridge takes no time


def starts(race: RaceNode, inner: list[float]) -> Callable[[int], float]:
    """A function that gives the latest start of call ``i`` of a race.

    The next call waits for ``after``, or until the last one has failed. As many calls as the chooser needs begin at
    once. With three or more calls in sequence the true latest start may be a little earlier, because an early failure
    of an older call also starts the next one. Finding it exactly would take a search through all possible runs.
    """
    after = race.after if isinstance(race.after, float) else INF  # a quantile without data starts no call
    after = max(race.after.given) if isinstance(race.after, DelayList) else after
    first, width = race.pick.least - 1, len(inner)
    waited = [0.0, *accumulate(min(after, inner[(first + k) % width]) for k in range(width))]

    def start(i: int) -> float:
        turns, rest = divmod(max(0, i - first), width)  # the waits repeat, as the targets do
        return (repeated(waited[-1], turns) if turns else 0.0) + waited[rest]

    return start


def begun(race: RaceNode, inner: list[float], limit: float) -> int:
    """How many calls of a race begin before a limit, if they begin as late as possible. Calls begin in order."""
    start = starts(race, inner)
    few, many = 0, race.count
    while few < many:
        middle = (few + many) // 2
        few, many = (middle + 1, many) if start(middle) < limit else (few, middle)
    return few


# --- calls ------------------------------------------------------------------------------------------------------


def _factors(node: Node) -> tuple[list[float], list[float]]:
    """How often each part of a node runs for one run of the node, with and without hedges."""
    width = len(parts(node))
    if isinstance(node, (Each, Expand)):
        many = INF if isinstance(node, Each) else node.total
        return [many], [many]
    if isinstance(node, Scope):
        calls_inside = node.policy.facts().calls
        return [calls_inside], [calls_inside]
    if isinstance(node, RaceNode):
        calls: list[float] = [-((i - node.count) // width) for i in range(width)]  # `len` of a range is bounded
        first: list[float] = [1, *[0] * (width - 1)]
        return calls, (first if node.hedge else calls)
    return [1] * width, [1] * width


def _product(a: float, b: float) -> float:
    """``a * b``, but 0 times infinity is 0. Whole numbers stay whole, however large."""
    if not a or not b:
        return 0
    return INF if INF in {a, b} else a * b


def _within(node: Node, limit: float) -> float:
    return min(limit, limit_of(node))


def limit_of(node: Node) -> float:
    """The most seconds that a node allows for its parts."""
    if isinstance(node, Scope):
        return node.policy.facts().limit
    given = node.time_limit if isinstance(node, (Each, FanOutNode)) else None
    return INF if given is None else given


def cut(part: Part, limit: float, names: tuple[str, ...] = ()) -> Cut | None:
    """The calls of this retry or race that can't begin before the timeout around it expires. None if all can."""
    node = part.node
    if limit == INF:
        return None
    if isinstance(node, Scope):
        kind, calls = node.policy.builder_call, node.policy.facts().calls
        found = node.policy.bounds(part.parts[0].slowest, limit)
        if found.slowest is None:
            return None
        slowest, fastest = found.slowest, calls if found.fastest is None else found.fastest
    elif isinstance(node, RaceNode):
        kind, calls = call_of(node), node.count
        slowest = begun(node, [p.slowest for p in part.parts], limit)
        fastest = calls
    else:
        return None
    return Cut(kind, names, milliseconds(limit), calls, slowest, fastest) if slowest < calls else None
