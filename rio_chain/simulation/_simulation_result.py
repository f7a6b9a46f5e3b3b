"""Simulation: the result of a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from attrs import frozen

from rio_chain.inspect._text import Text
from rio_chain.simulation import _charts
from rio_chain.simulation._distribution import Distribution, plain_estimate, plain_number
from rio_chain.simulation._estimate import INF, Estimate, short
from rio_chain.simulation._extra import require_statistics


@frozen
class BackendLoad:
    """The load of a backend.

    Attributes:
        name: of the task that calls it.
        calls: how many calls it got, in the whole simulation.
        extra: how many of them were not the first of a request (in an ``each`` or ``expand``: of an item): retries
            and hedges.
        failed: how many failed, or gave an answer that was not accepted.
        timed_out: how many were cut off by a limit.
        in_flight: how many were running at once, on average over the whole time.
    """

    name: str
    calls: int
    extra: int
    failed: int
    timed_out: int
    in_flight: float

    @property
    def extra_load(self) -> float:
        """Calls beyond the first ones, as a share of the first ones: 0.05 is five more for each hundred."""
        return self.extra / (self.calls - self.extra) if self.calls > self.extra else 0.0


@frozen(eq=False, repr=False, slots=False)
class Simulation:
    """The result of ``simulate``: latencies, the load of each backend, and how many requests succeeded.

    A notebook shows a chart and tables; ``print(simulation.summary())`` is the same as text. Times are milliseconds.
    Figures have a 95 % interval, such as ``simulation.latency.p99.low``.

    Attributes:
        chain: the title of the chain.
        latency: from the arrival of a request to its Outcome, success or failure; for all accepted requests.
        wait: the part of that in which they waited for a worker.
        waits: the same by priority, if there are several.
        backends: the load of each backend, by the name of its task.
        requests: how many requests arrived.
        failures: how many failed, by the class of error; the most frequent first.
        workers: how many requests could run at once.
        arrivals: how they arrived, as text; None: one after the other, each when the one before had ended.
        offered_load: the share of the workers' time that the requests need. It is measured before the simulation, with
            other requests, and its interval is wider than 95 %. None if no queue can grow without end: requests came
            one after the other or at given times, or the queue has a bound.
        lasted: milliseconds from the first arrival to the last Outcome, of the requests that count.
        busy: worker-milliseconds in which a request ran.
        seed: repeats the simulation, byte by byte.
    """

    chain: str
    latency: Distribution
    wait: Distribution
    waits: Mapping[float, Distribution]
    backends: Mapping[str, BackendLoad]
    requests: int
    failures: Mapping[str, int]
    workers: int
    arrivals: str | None
    offered_load: Estimate | None
    lasted: float
    busy: float
    seed: int
    ended: Sequence[float]
    """The latency of each request, in the order in which they arrived; infinity for one that failed."""
    calls: Sequence[int]
    """The number of calls of each request."""
    took: Mapping[str, Sequence[float]]
    """For each backend how long its calls took, or were waited for, in seconds."""

    @cached_property
    def succeeded(self) -> Estimate:
        """The share of the requests that succeeded."""
        require_statistics("Simulation.succeeded")
        from rio_chain.simulation._confidence_intervals import share_of  # noqa: PLC0415 - it imports numpy

        return share_of([each < INF for each in self.ended])

    @property
    def undecided(self) -> bool:
        """Whether the workers may or may not be able to serve what comes: the interval of the offered load includes 1.

        If they are not, waits grow with the number of requests, and the figures say little.
        """
        return self.offered_load is not None and self.offered_load.high >= 1

    @property
    def goodput(self) -> float:
        """Requests that succeeded, per second."""
        return (self.requests - sum(self.failures.values())) * 1000 / self.lasted if self.lasted else INF

    @property
    def utilisation(self) -> float | None:
        """The share of the workers' time in which they ran a request; None if requests came one after the other."""
        return None if self.arrivals is None else self.busy / (self.workers * self.lasted) if self.lasted else 1.0

    @property
    def timed_out(self) -> int:
        """Calls of all backends that were cut off by a limit."""
        return sum(each.timed_out for each in self.backends.values())

    @property
    def extra_load(self) -> float:
        """Calls of all backends beyond the first ones, as a share of the first ones."""
        extra = sum(each.extra for each in self.backends.values())
        first = sum(each.calls for each in self.backends.values()) - extra
        return extra / first if first else 0.0

    # --- output -------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``. Times are milliseconds, a figure is ``[value, low, high]``.

        The same seed gives the same data on every run and machine.
        """
        return {
            "chain": self.chain,
            "requests": self.requests,
            "arrivals": self.arrivals,
            "workers": self.workers,
            "seed": self.seed,
            "latency_ms": self.latency.to_dict() if len(self.latency) else None,
            "wait_ms": self.wait.to_dict() if len(self.wait) else None,
            "succeeded": plain_estimate(self.succeeded),
            "failures": dict(self.failures),
            "goodput_per_second": plain_number(self.goodput),
            "offered_load": None if self.offered_load is None else plain_estimate(self.offered_load),
            "undecided": self.undecided,
            "utilisation": None if self.utilisation is None else plain_number(self.utilisation),
            "lasted_ms": plain_number(self.lasted),
            "backends": {
                name: {
                    "calls": each.calls,
                    "extra": each.extra,
                    "extra_load": plain_number(each.extra_load),
                    "failed": each.failed,
                    "timed_out": each.timed_out,
                    "in_flight": plain_number(each.in_flight),
                }
                for name, each in self.backends.items()
            },
        }

    def summary(self) -> Text:
        """The figures as text."""
        lines = [self.chain, self.how, ""]
        heads, rows = self._times()
        lines += columns(heads, [[str(cell) for cell in row] for row in rows])
        heads, loads = self._loads()
        lines += ["", *columns(heads, loads), "", *self._ends()]
        return Text("\n".join(lines))

    @property
    def how(self) -> str:
        """The load of the simulation, in a line."""
        came = "one after the other" if self.arrivals is None else f"{self.arrivals}, {self.workers} workers"
        return f"{self.requests} requests, {came}, seed {self.seed}"

    def _times(self) -> tuple[list[str], list[list[str | Estimate]]]:
        """A table of latency, and of the wait for a worker if there was one."""
        if not len(self.latency):
            return ["ms", "latency"], [["no request was accepted", ""]]
        both = [self.latency] if self.arrivals is None else [self.latency, self.wait]
        rows: list[list[str | Estimate]] = [["mean", *(each.mean for each in both)]]
        rows += [[name, *(each.percentiles[name] for each in both)] for name in self.latency.percentiles]
        rows.append(["max", *(short(each.ordered[-1]) for each in both)])
        return ["ms", "latency", "wait for a worker"][: len(both) + 1], rows

    def _loads(self) -> tuple[list[str], list[list[str]]]:
        heads = ["backend", "calls", "a request", "extra load", "failed", "timed out", "in flight"]
        return heads, [
            [
                each.name,
                str(each.calls),
                f"{each.calls / self.requests:.2f}",
                percent(each.extra_load),
                str(each.failed),
                str(each.timed_out),
                short(each.in_flight),
            ]
            for each in self.backends.values()
        ]

    def _ends(self) -> list[str]:
        share = self.succeeded
        kinds = "; failed: " + ", ".join(f"{n} {kind}" for kind, n in self.failures.items()) if self.failures else ""
        lines = [f"succeeded {percent(share)} ({percent(share.low)} .. {percent(share.high)}){kinds}"]
        busy = "" if self.utilisation is None else f", workers busy {percent(self.utilisation)}"
        lines.append(f"goodput {short(self.goodput)} per second{busy}")
        if self.undecided:
            load = f"the offered load is {self.offered_load}, and from 1 on the queue grows without end"
            lines.append(f"undecided whether {self.workers} workers can serve this: {load}")
        return lines

    def __repr__(self) -> str:
        failed = sum(self.failures.values()) / self.requests
        if not len(self.latency):
            return f"<Simulation of {self.chain}: {self.requests} requests, none accepted>"
        return (
            f"<Simulation of {self.chain}: {self.requests} requests, p50 {short(self.latency.p50)} ms, "
            f"p99 {short(self.latency.p99)} ms, {percent(failed)} failed>"
        )

    def _repr_html_(self) -> str:
        if not len(self.latency):
            return _charts.card(self.chain, self.how, *self._ends_html())
        return _charts.card(
            self.chain,
            self.how,
            _charts.curves([("latency", self.latency)]),
            _charts.tables(_charts.table(*self._times()), _charts.table(*self._loads())),
            *self._ends_html(),
        )

    def _ends_html(self) -> list[str]:
        return [f"<p>{_charts.text(line)}</p>" for line in self._ends()]


def percent(share: float) -> str:
    """A share as text."""
    return f"{short(round(share * 100, 2))} %"


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines: the first column is aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]
