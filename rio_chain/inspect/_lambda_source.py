"""The source of a lambda, if it can be read: ``lambda u: u.id`` says more than ``lambda#1``."""

from __future__ import annotations

import linecache
from types import CodeType

from rio_chain._core.source_text import Wrapper
from rio_chain._core.units import escape_nonprintable

MOST = 200
"""The most characters of a source."""


def lambda_source(fn: object) -> str | None:
    """A lambda in one line. None if it is not a lambda, or if its source can't be read.

    The code object has the position of each instruction in its file (PEP 657). The body reaches from the first to the
    last position. The text there may be of another program: the file was changed since, or the lambda comes from
    ``eval`` and has the file name of ``python -c``, whose text Python 3.13 keeps. Then it is None too.
    """
    while isinstance(fn, Wrapper):
        fn = fn.fn
    code = getattr(fn, "__code__", None)
    if not isinstance(code, CodeType) or code.co_name != "<lambda>":
        return None
    places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
    if not places:
        return None
    first = min((line or 0, column or 0) for line, _, column, _ in places)
    last = max((line or 0, column or 0) for _, line, _, column in places)
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first[0], last[0] + 1)]
    if not all(lines):
        return None
    lines[-1] = lines[-1][: last[1]]  # cut the end first: both may be on one line; columns count bytes
    lines[0] = lines[0][first[1] :]
    body = " ".join(b" ".join(lines).decode(errors="replace").split())
    if "lambda" not in linecache.getline(code.co_filename, code.co_firstlineno):
        return None
    if not all(name in body for name in (*code.co_names, *code.co_freevars)):
        return None
    names = ", ".join(code.co_varnames[: code.co_argcount])
    return escape_nonprintable(f"lambda {names}: {body}" if names else f"lambda: {body}")[:MOST] if body else None
