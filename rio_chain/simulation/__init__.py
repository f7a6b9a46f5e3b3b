"""Backends that are written or drawn instead of called: for tests, and to ask what would happen.

_latencies, _faults            how long a call takes, and how it fails, as distributions
_latency_models                LatencyModel: how a backend behaves
_learned_models                LatencyModels of runs that really happened
_stored_models                 LatencyModels as JSON
_script, _script_calls         Script: what a backend does, call by call, and what it notes of each call
_with_backends                 chain.with_backends
_batched_answers               what a model answers for a batch
_arrivals                      when requests come
_random_draws                  random numbers that belong to a place, so that two chains meet the same luck
_stage                         the chain over backends that are drawn, with policies that remember nothing
_settings                      the load, the workers and the limits
_play_arrivals, _call_lifetime one simulation under way, and the blocking calls that it gave up
_simulate                      simulate: plays a chain in virtual time
_estimate                      a number that knows how sure it is
_confidence_intervals          how sure a figure is, by numpy and scipy
_extra                         what is raised where those are not installed
_distribution                  how long many things took
_simulation_result, _charts    Simulation, and how it looks
_compare                       compare: variants side by side
_advise                        advise: what would help
_policy_changes, _search       what advise tries, and in which order
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
