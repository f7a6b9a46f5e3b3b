"""Measures, before a simulation, how much of the workers' time the requests need.

The offered load is the rate of arrivals times the mean time that a request takes, divided by the number of workers
(Harchol-Balter, *Performance Modeling and Design of Computer Systems*, section 6.3). From 1 on the queue grows without
end. Rare stalls make the mean uncertain. So the pilot goes on until its interval does not include 1, or until it has
run ``MOST`` requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from attrs import evolve

from rio_chain.chain._compose import Composed
from rio_chain.errors import Unstable
from rio_chain.simulation._arrivals import rate_of
from rio_chain.simulation._estimate import Estimate
from rio_chain.simulation._play_arrivals import Play
from rio_chain.simulation._settings import Setting

LEAST, MOST = 1_000, 32_000
"""The fewest and the most requests of a pilot. They run one after the other."""
BATCHES = 20
SURE = 3.0
"""Standard errors on each side of the mean. More than usual, as the pilot checks up to six times."""
FAR = 1 << 40
"""The number of its first request. No request of the simulation has the same random numbers."""


def offered_load(chain: Composed, given: Setting) -> Estimate | None:
    """The share of the workers' time that the requests need.

    Returns None if there is no constant rate, or if something bounds the wait.

    If the interval includes 1, the workers may or may not be enough.

    Raises:
        Unstable: the whole interval is 1 or more. The text has the figures, and what to change.
    """
    rate = rate_of(given.arrivals)
    if not rate or given.buffer is not None or given.queue_timeout is not None or given.deadline is not None:
        return None
    took: list[float] = []
    while True:
        took += _pilot(chain, given, len(took), max(LEAST, len(took)))
        service, half = fmean(took), SURE * _standard_error(took)
        scale = rate / (1000 * given.workers)
        load = Estimate(service * scale, max(0.0, service - half) * scale, (service + half) * scale)
        if load.low >= 1:
            raise Unstable(rate, service, given.workers)
        if load.high < 1 or len(took) >= MOST:
            return load


def _pilot(chain: Composed, given: Setting, done: int, requests: int) -> Sequence[float]:
    """The times of further requests, in milliseconds. They run one after the other."""
    inputs = given.inputs
    if inputs is not None:  # continue after the inputs of the earlier requests
        at = done % len(inputs)
        inputs = (*inputs[at:], *inputs[:at])
    alone = evolve(given, requests=requests, arrivals=None, warmup=0, first=FAR + done, workers=1, inputs=inputs)
    return Play(chain, alone).run().latency


def _standard_error(took: Sequence[float]) -> float:
    """The standard error of the mean. Requests that share a breaker or cache are not independent: batches vary more."""
    size = len(took) // BATCHES
    means = [fmean(took[at : at + size]) for at in range(0, size * BATCHES, size)]
    return max(stdev(took) / math.sqrt(len(took)), stdev(means) / math.sqrt(BATCHES))
