"""One file per library: ``chains()`` gives its cases of the chain of 4 guarded steps that suspend, by name.

Each is written as the library's own pages write it. A peer that can retry does so itself; where it can't, its steps
are those guarded by hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Chains = dict[str, Callable[[], Awaitable[object]]]
