"""Old names of earlier versions. Code and pickles that use one get an error that gives the new name.

There are no aliases, because two names for one thing make code hard to read.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from types import FrameType
from typing import NoReturn

UNPICKLES = ("load", "loads", "find_class")
"""Names of the functions that unpickle: ``pickle.loads``, ``Unpickler.load`` and those of other libraries."""


def names_today(module: str, renamed: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """Make a ``__getattr__`` for a module that has renamed some of its names.

    Args:
        module: the name of the module.
        renamed: the new name for each old one.
    """

    def __getattr__(name: str) -> NoReturn:  # noqa: N807 - the module takes it as its own
        raise missing(module, name, renamed)

    return __getattr__


def missing(module: str, name: str, renamed: Mapping[str, str]) -> Exception:
    """The error for a name that a module does not have. The ``__getattr__`` of the module calls this function.

    It is an AttributeError, except in two places: ``from module import name``, and unpickling. There Python replaces an
    AttributeError by an error of its own, without our text. So there it is an ImportError.
    """
    if name not in renamed:
        return AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
    text = f"`{name}` of {module} is now `{renamed[name]}`"
    asking = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the code that uses the name
    doing = _doing(asking)
    if doing == "IMPORT_FROM":
        return ImportError(text, name=module)
    if doing in UNPICKLES:
        text += ". An earlier version of rio_chain made this pickle: make it again with this one"
        return ImportError(text, name=module)
    return AttributeError(text, name=name)


def _doing(frame: FrameType) -> str:
    """The name of the function that a frame is calling now, or else the name of the instruction that it is at."""
    done = [one for one in dis.get_instructions(frame.f_code) if one.offset <= frame.f_lasti]
    now = done[-1]
    if not now.opname.startswith(("CALL", "PRECALL")) or now.positions is None:  # 3.11 makes a hot call in its PRECALL
        return now.opname
    start = now.positions.lineno, now.positions.col_offset  # the text of a call begins with the function
    loaded = [
        str(one.argval)
        for one in done
        if one.opname.startswith("LOAD") and one.positions and (one.positions.lineno, one.positions.col_offset) == start
    ]
    if not loaded:
        return now.opname
    called = frame.f_locals.get(loaded[-1], frame.f_globals.get(loaded[-1]))  # the local name may be an alias
    return getattr(called, "__name__", loaded[-1])


class _MovedModules:
    """The last finder of modules. It explains why a module of rio_chain is missing."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        """As ``importlib.abc.MetaPathFinder.find_spec``."""
        del target
        if name.startswith("rio_chain.") and PathFinder.find_spec(name, path) is None:  # tools ask each finder
            raise ModuleNotFoundError(
                f"there is no module {name}. If a pickle names it, an earlier version of rio_chain made it: "
                "make it again with this one",
                name=name,
            )


sys.meta_path.append(_MovedModules())  # Python asks it only when no other finder has the module
