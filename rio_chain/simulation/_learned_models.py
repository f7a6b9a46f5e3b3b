"""Models learned from real runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from returns.result import Failure

from rio_chain._core.units import short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.results._error_summary import class_of
from rio_chain.results._outcome import Outcome
from rio_chain.results._response import Response, Span
from rio_chain.simulation._faults import Error

if TYPE_CHECKING:
    from rio_chain.simulation._latency_models import LatencyModel

KEPT = 10_000
"""How many latencies a model keeps. If there are more, it keeps this many quantiles."""
LONGER = 1.01
"""Calls that were cut off after all others had ended are assumed to take this much longer."""
NS = 6
"""Latencies are rounded to this many places of a millisecond, to hide rounding errors of sums."""


def learned(outcomes: Iterable[Outcome[Any]], kind: type[LatencyModel]) -> dict[str, LatencyModel]:
    """A model of the class ``kind`` for each task that was called; see ``LatencyModel.from_outcomes``."""
    rule = "`from_outcomes` takes a list of Outcomes"
    given: Any = outcomes
    if isinstance(given, Outcome) or not isinstance(given, Iterable):
        raise ChainDefinitionError(f"{rule}; got {short_repr(outcomes)}")
    seen: dict[str, list[Span]] = {}
    for outcome in outcomes:
        one: Any = outcome
        if not isinstance(one, Outcome):
            raise ChainDefinitionError(f"{rule}; got {short_repr(one)} in it")
        in_place = {task.name for task in outcome.plan.tasks if task.call.inline}  # these call no backend
        for response in outcome:
            if response.name in in_place:
                continue
            seen.setdefault(response.name, []).extend(_spans(response))
    return {name: _model(spans, kind) for name, spans in seen.items() if spans}


def _spans(response: Response) -> Iterator[Span]:
    """The calls of a task, with those for its items."""
    yield from response.spans
    for item in response.items:
        yield from _spans(item)


def _model(spans: list[Span], cls: type[LatencyModel]) -> LatencyModel:
    failed = [span for span in spans if span.status == "failed"]
    answered = [_rounded(span) for span in spans if span.status == "succeeded"]
    cut_off = [_rounded(span) for span in spans if span.status not in ("succeeded", "failed")]
    samples, beyond = distribution(answered, cut_off)
    model = cls.empirical(samples or [_rounded(span) for span in failed] or [LONGER * max(cut_off)])
    for kind, same in groupby(sorted(failed, key=_kind), key=_kind):
        those = list(same)
        late = median(_rounded(span) for span in those)
        model = model.failing(len(those) / len(spans), _example(those[0], kind), after=late)
    stalled = beyond * (1 - len(failed) / len(spans))
    return model.stalling(stalled, LONGER * max(cut_off)) if stalled > 0 else model


def distribution(answered: list[float], cut_off: list[float]) -> tuple[list[float], float]:
    """The latencies of all calls, some of which were cut off; and the share that is beyond all measured latencies.

    The product-limit estimate (Kaplan and Meier, 1958): a call that was cut off would have lasted longer, so its share
    is divided equally among the calls that lasted longer.
    """
    if not cut_off:
        return _thinned([(one, 1.0) for one in answered], len(answered)), 0.0
    ends = sorted([(one, False) for one in answered] + [(one, True) for one in cut_off])
    weights: list[tuple[float, float]] = []
    survive = 1.0
    for place, (at, cut) in enumerate(ends):
        if not cut:
            share = survive / (len(ends) - place)
            survive -= share
            weights.append((at, share))
    if not ends[-1][1]:
        survive = 0.0  # the rest is a rounding error
    return _thinned(weights, len(ends)), max(0.0, survive)


def _thinned(weights: list[tuple[float, float]], count: int) -> list[float]:
    """Equally likely latencies that have the quantiles of the weighted ones."""
    weights = sorted(weights)
    if len({share for _, share in weights}) <= 1 and len(weights) <= KEPT:
        return [at for at, _ in weights]
    total = sum(share for _, share in weights)
    points = min(count, KEPT)
    found: list[float] = []
    passed = 0.0
    for at, share in weights:
        passed += share
        while len(found) < points and (len(found) + 0.5) / points <= passed / total:
            found.append(at)
    return found + [weights[-1][0]] * (points - len(found))


def _rounded(span: Span) -> float:
    return round(max(0.0, span.elapsed), NS)


def _kind(span: Span) -> str:
    kind = class_of(span.error)
    return f"{kind.__module__}.{kind.__qualname__}"


def _example(span: Span, kind: str) -> Error:
    """The error of such calls: only the class, as the error may hold frames and answers of production."""
    error = class_of(span.error)
    if issubclass(error, Exception):
        return error
    return Failure(kind)  # a returned Failure may hold any value: use the name of its class
