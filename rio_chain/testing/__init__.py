"""Helpers for tests of chains."""

from rio_chain.executors.virtual._deadlock import Deadlock
from rio_chain.executors.virtual._executor import VirtualExecutor
from rio_chain.simulation._latency_models import LatencyModel
from rio_chain.simulation._script import Script, ScriptEnded
from rio_chain.simulation._script_calls import ScriptCall
from rio_chain.testing._assert_timeline import assert_timeline, timeline
from rio_chain.testing._leak_guard import Leaked, leak_guard
from rio_chain.testing._no_backoff import no_backoff
from rio_chain.testing._run_virtual import run_virtual
from rio_chain.testing._sleep import sleep

__all__ = [
    "Deadlock",
    "LatencyModel",
    "Leaked",
    "Script",
    "ScriptCall",
    "ScriptEnded",
    "VirtualExecutor",
    "assert_timeline",
    "leak_guard",
    "no_backoff",
    "run_virtual",
    "sleep",
    "timeline",
]
