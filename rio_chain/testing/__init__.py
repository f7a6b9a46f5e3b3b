"""For the tests of those who use rio_chain."""

from rio_chain.simulation.models import LatencyModel
from rio_chain.simulation.script import Script, ScriptCall, ScriptEnded
from rio_chain.testing.leaks import Leaked, leak_guard

__all__ = ["LatencyModel", "Leaked", "Script", "ScriptCall", "ScriptEnded", "leak_guard"]
