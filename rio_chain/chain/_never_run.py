"""With ``python -X dev``: a warning for a Request that is never run. Without that option it costs nothing.

A Request has one field, ``given``, and everything that runs a Request reads it. In development mode the field becomes a
property that records the read. ``plan``, ``args`` and ``kwargs`` bypass the property, because a repr or a picture reads
them too.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from rio_chain._core.users_line import Line, users_line

DEV_MODE = sys.flags.dev_mode


def handed_over(request: object) -> None:
    """Record that it was passed to something that runs it. If it does not run, that raises an error of its own."""
    getattr(request, "given", None)


def warn_when_never_run(cls: Any) -> None:
    """Replace attributes of the class Request, so that a Request that is dropped without a run is reported."""
    slot = cls.given
    waiting: dict[int, Line] = {}  # where each Request that was not run yet was made, by id

    def read(request: Any) -> Any:
        waiting.pop(id(request), None)
        return slot.__get__(request)

    def make(request: Any, given: Any) -> None:
        waiting[id(request)] = users_line()
        slot.__set__(request, given)

    def drop(request: Any) -> None:
        made = waiting.pop(id(request), None)
        if made is not None and not sys.is_finalizing():
            text = f"the Request of {request.plan.title} was never run; call .run(), or await it"
            warnings.warn_explicit(text, RuntimeWarning, *made)

    cls.given = property(read, make)
    cls.__del__ = drop
    for index, name in enumerate(("plan", "args", "kwargs")):
        setattr(cls, name, property(_part(slot, index), doc=getattr(cls, name).__doc__))


def _part(slot: Any, index: int) -> Callable[[Any], Any]:
    return lambda request: slot.__get__(request)[index]
