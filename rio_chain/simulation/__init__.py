"""Simulated backends, for tests and for questions such as "how long would this take under load?".

_latencies, _faults            how long a call takes, and how it fails, as distributions
_latency_models                LatencyModel: how a backend behaves
_learned_models                LatencyModels learned from real runs
_stored_models                 LatencyModels as JSON
_script, _script_calls         Script: what a backend does, call by call, and its record of each call
_with_backends                 chain.with_backends
_batched_answers               what a model answers for a batch
_arrivals                      when requests arrive
_random_draws                  random numbers that depend on a place, so that two chains see the same backends
_stage                         the chain over simulated backends, with new policies
_settings                      the load, the workers and the limits
_play_arrivals, _call_lifetime a running simulation, and the blocking calls that it abandoned
_offered_load                  whether the workers can serve the requests that arrive
_simulate                      simulate: runs a chain in virtual time
_estimate                      a number with its confidence interval
_confidence_intervals          confidence intervals, with numpy and scipy
_extra                         the error if numpy or scipy is not installed
_distribution                  a set of durations, with percentiles
_simulation_result, _charts    Simulation, and its charts
_compare                       compare: variants side by side
_advise                        advise: which policies would help
_search, _policy_changes       what advise tries, and in which order
_changed_source                what it advises, as source
_advice_progress               what it shows while it searches
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
