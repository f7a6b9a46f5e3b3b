"""compare: variants of a chain side by side, with the same backends call by call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from rio_chain._core.quantiles import quantile
from rio_chain._core.units import short_repr
from rio_chain.chain._compose import Composed
from rio_chain.errors import ChainDefinitionError
from rio_chain.inspect._text import Text
from rio_chain.simulation import _charts
from rio_chain.simulation._distribution import PERCENTILES, Distribution, plain_estimate
from rio_chain.simulation._estimate import INF, Estimate, short
from rio_chain.simulation._extra import require_statistics
from rio_chain.simulation._offered_load import offered_load
from rio_chain.simulation._settings import Setting, setting
from rio_chain.simulation._simulate import checked_chain, played
from rio_chain.simulation._simulation_result import Simulation, columns
from rio_chain.simulation._stage import Backend, names_of

if TYPE_CHECKING:
    from rio_chain.dsl._chain import Chain
    from rio_chain.simulation._confidence_intervals import Floats, Weights

SUCCEEDED, CALLS = "succeeded", "calls"


@frozen(eq=False, repr=False, slots=False)
class Comparison:
    """The result of ``compare``. A notebook shows a chart and a table; ``summary()`` is the same as text.

    Attributes:
        simulations: by the name of the variant, in order.
    """

    simulations: Mapping[str, Simulation]

    @cached_property
    def differences(self) -> dict[str, dict[str, Estimate]]:
        """For each variant but the first: its figures minus those of the first.

        ``p50`` to ``p99.9`` are milliseconds until a request has succeeded; infinite if too many fail. ``succeeded`` is
        a share of the requests, and ``calls`` the number of calls per request. All have a 95 % interval.
        """
        require_statistics("Comparison.differences")
        from rio_chain.simulation._confidence_intervals import bootstrap_weights  # noqa: PLC0415 - it imports numpy

        base, *others = self.simulations
        first = self.simulations[base]
        weights = bootstrap_weights(first.requests, first.seed)
        drawn = _drawn(first, weights)
        return {name: _differences(self.simulations[name], first, weights, drawn) for name in others}

    # --- output -------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data for ``json.dumps``."""
        return {
            "variants": {name: each.to_dict() for name, each in self.simulations.items()},
            "differences": {
                name: {what: plain_estimate(value) for what, value in each.items()}
                for name, each in self.differences.items()
            },
        }

    def summary(self) -> Text:
        """The figures as text."""
        heads, rows = self._rows()
        table = columns(heads, [[str(cell) for cell in row] for row in rows])
        return Text("\n".join([self._what, next(iter(self.simulations.values())).how, "", *table]))

    @property
    def _what(self) -> str:
        return "Until success, in ms"

    def _rows(self) -> tuple[list[str], list[list[str | Estimate]]]:
        rows: list[list[str | Estimate]] = []
        names = list(self.simulations)
        for what in (*PERCENTILES, SUCCEEDED, CALLS):
            row: list[str | Estimate] = [_label(what)]
            row += [_shown(what, figures(each)[what]) for each in self.simulations.values()]
            row += [_scaled(what, self.differences[name][what]) for name in names[1:]]
            rows.append(row)
        return ["", *names, *(f"{name} - {names[0]}" for name in names[1:])], rows

    def __repr__(self) -> str:
        p99 = ", ".join(f"{name} {_charts.time(figures(each)['p99'])}" for name, each in self.simulations.items())
        return f"<Comparison of {len(self.simulations)} variants: p99 until success {p99}>"

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """The chart and the table, for a notebook."""
        curves = _charts.curves([(name, Distribution(each.ended)) for name, each in self.simulations.items()])
        first = next(iter(self.simulations.values()))
        return _charts.card(self._what, first.how, curves, _charts.tables(_charts.table(*self._rows())))


def figures(simulation: Simulation) -> dict[str, float]:
    """The figures of a simulation that are compared."""
    ordered = Distribution(simulation.ended).ordered
    return {
        **{name: quantile(ordered, q) for name, q in PERCENTILES.items()},
        SUCCEEDED: float(simulation.succeeded),
        CALLS: sum(simulation.calls) / simulation.requests,
    }


def _drawn(simulation: Simulation, weights: Weights) -> dict[str, Floats]:
    """The same figures for each draw of blocks."""
    from rio_chain.simulation._confidence_intervals import bootstrap_means, bootstrap_quantiles  # noqa: PLC0415

    percentiles = bootstrap_quantiles(simulation.ended, list(PERCENTILES.values()), weights)
    return {
        **dict(zip(PERCENTILES, percentiles.T, strict=True)),
        SUCCEEDED: bootstrap_means([float(each < INF) for each in simulation.ended], weights),
        CALLS: bootstrap_means(simulation.calls, weights),
    }


def _differences(
    simulation: Simulation, first: Simulation, weights: Weights, drawn: Mapping[str, Floats]
) -> dict[str, Estimate]:
    """The figures of a variant minus those of the first, whose figures were ``drawn`` from the same blocks."""
    from rio_chain.simulation._confidence_intervals import between, difference  # noqa: PLC0415

    mine, base = figures(simulation), figures(first)
    return {
        what: between(float(difference(mine[what], base[what])), difference(again, drawn[what]))
        for what, again in _drawn(simulation, weights).items()
    }


def _label(what: str) -> str:
    return {SUCCEEDED: "succeeded, %", CALLS: "calls a request"}.get(what, what)


def _scaled(what: str, value: Estimate) -> Estimate:
    times = 100 if what == SUCCEEDED else 1
    return Estimate(value * times, value.low * times, value.high * times)


def _shown(what: str, value: float) -> str:
    if what == SUCCEEDED:
        return f"{value * 100:.2f}"
    return f"{value:.3f}" if what == CALLS else "never" if value == INF else short(value)


def compare(
    *chains: Chain[..., Any],
    backends: Mapping[str, Backend],
    names: Sequence[str] | None = None,
    **options: Any,
) -> Comparison:
    """Simulate variants of a chain with the same backends, call by call, so that only the chains differ.

    The nth call of a task in a request takes the same time, or fails in the same way, in each variant.

    Args:
        chains: two or more. The others are compared with the first.
        backends: as for ``simulate``, for the tasks of all chains.
        names: a name for each chain. Default: A, B, C, ...
        options: as for ``simulate``.

    Raises:
        ChainDefinitionError: there are fewer than two chains, the names don't fit, or ``simulate`` refuses an argument.
        ImportError: the extra ``rio-chain[simulate]`` (numpy and scipy) is not installed.

    Example:
        >>> from rio_chain import Task, compare
        >>> from rio_chain.simulation import LatencyModel
        >>> async def fetch(user_id: int) -> str: ...
        >>> slow_at_times = {"fetch": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)}
        >>> plain = Task(fetch)
        >>> found = compare(plain, plain.replica(2, after=60), backends=slow_at_times, requests=2000)
        >>> found.differences["B"]["p99"].high < -100
        True
    """
    require_statistics("compare")
    labels = _names(chains, names)
    known = set[str]().union(*(names_of(chain.plan().tasks) for chain in chains))
    given: Any = backends
    if isinstance(given, Mapping):
        for name in backends:
            if name not in known:
                raise ChainDefinitionError(
                    f"`backends` names {short_repr(name)}, which is not a task of any of these chains"
                )
    options_of = setting(backends, **options)
    return compared(dict(zip(labels, chains, strict=True)), options_of)


def compared(variants: Mapping[str, Composed], given: Setting) -> Comparison:
    """Simulate each variant with the backends of its tasks."""
    settings = {name: evolve(given, backends=_own(chain, given.backends)) for name, chain in variants.items()}
    loads = {name: offered_load(chain, settings[name]) for name, chain in variants.items()}
    return Comparison({name: played(chain, settings[name], loads[name]) for name, chain in variants.items()})


def _own(chain: Composed, backends: Mapping[str, Backend]) -> Mapping[str, Backend]:
    given: Any = backends
    if not isinstance(given, Mapping):
        return backends  # the stage refuses it
    names = names_of(chain.plan().tasks)
    return {name: backend for name, backend in backends.items() if name in names}


def _names(chains: Sequence[object], names: Sequence[str] | None) -> list[str]:
    for chain in chains:
        checked_chain(chain)
    many = len(chains)
    if many <= 1:
        rule = "two chains or more, as in compare(page, hedged, backends=...)"
        raise ChainDefinitionError(f"`compare` takes {rule}; got {many}")
    if names is None:
        return [*ascii_uppercase[:many], *(f"variant {i}" for i in range(len(ascii_uppercase) + 1, many + 1))]
    given: Any = names
    if isinstance(given, str) or len(set(given)) != many or not all(isinstance(name, str) for name in given):
        raise ChainDefinitionError(
            f"`names` must be {many} different names, one for each chain; got {short_repr(names)}"
        )
    return list(names)
