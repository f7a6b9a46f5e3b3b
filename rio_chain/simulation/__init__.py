"""Backends that are written or drawn instead of called: for tests, and to ask what would happen.

latencies, faults  how long a call takes, and how it fails, as distributions
models             LatencyModel: how a backend behaves
script             Script: what a backend does, call by call
backends           chain.with_backends
arrivals           when requests come
draws              random numbers that belong to a place, so that two chains meet the same luck
stage              the chain over backends that are drawn, with policies that remember nothing
settings, play     the load, and one simulation under way
simulating         simulate: plays a chain in virtual time
estimate           a number that knows how sure it is
intervals          how sure a figure is, by numpy and scipy
extra              what says that those are missing
distribution       how long many things took
result, picture    Simulation, and how it looks
comparing          compare: variants side by side
changes, searching, advising  advise: what would help
"""

from rio_chain.simulation._advise import Advice, advise
from rio_chain.simulation._arrivals import Arrivals, poisson, regular, trace
from rio_chain.simulation._compare import Comparison, compare
from rio_chain.simulation._distribution import Distribution
from rio_chain.simulation._estimate import Estimate
from rio_chain.simulation._latency_models import LatencyModel
from rio_chain.simulation._script import Script
from rio_chain.simulation._simulate import simulate
from rio_chain.simulation._simulation_result import BackendLoad, Simulation

__all__ = [
    "Advice",
    "Arrivals",
    "BackendLoad",
    "Comparison",
    "Distribution",
    "Estimate",
    "LatencyModel",
    "Script",
    "Simulation",
    "advise",
    "compare",
    "poisson",
    "regular",
    "simulate",
    "trace",
]
