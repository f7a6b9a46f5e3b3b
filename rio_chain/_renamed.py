"""Names of earlier versions. Code and pickles that use one get an error with the name of today.

There are no aliases: two names for one thing make code hard to read.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from types import FrameType
from typing import NoReturn

UNPICKLES = ("load", "loads")
"""Names of the functions that unpickle: ``pickle.loads``, ``Unpickler.load`` and those of other libraries."""


def names_today(module: str, renamed: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """A ``__getattr__`` for a module in which names have changed.

    Args:
        module: the name of the module.
        renamed: the new name for each old one.
    """

    def __getattr__(name: str) -> NoReturn:  # noqa: N807 - the module takes it as its own
        raise missing(module, name, renamed)

    return __getattr__


def missing(module: str, name: str, renamed: Mapping[str, str]) -> Exception:
    """The error for a name that a module does not have. The ``__getattr__`` of the module calls this function.

    It is an AttributeError. In two places Python replaces an AttributeError by an error of its own, without our text:
    in ``from module import name``, and while it unpickles. There it is an ImportError.
    """
    if name not in renamed:
        return AttributeError(f"module {module!r} has no attribute {name!r}", name=name)
    text = f"`{name}` of {module} is now `{renamed[name]}`"
    asking = sys._getframe(2)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the one that asks for the name
    doing = _doing(asking)
    if doing == "IMPORT_FROM":
        return ImportError(text, name=module)
    if doing in UNPICKLES:
        text += ". An earlier version of rio_chain made this pickle: make it again with this one"
        return ImportError(text, name=module)
    return AttributeError(text, name=name)


def _doing(frame: FrameType) -> str:
    """What a frame does now: the name of the function that it calls, or else the name of its instruction."""
    done = [one for one in dis.get_instructions(frame.f_code) if one.offset <= frame.f_lasti]
    now = done[-1]
    if not now.opname.startswith("CALL") or now.positions is None:
        return now.opname
    start = now.positions.lineno, now.positions.col_offset  # the text of a call begins with the function
    loaded = [
        str(one.argval)
        for one in done
        if one.opname.startswith("LOAD") and one.positions and (one.positions.lineno, one.positions.col_offset) == start
    ]
    if not loaded:
        return now.opname
    called = frame.f_locals.get(loaded[-1], frame.f_globals.get(loaded[-1]))  # it may have another name here
    return getattr(called, "__name__", loaded[-1])


class _MovedModules:
    """The last finder of modules: it says why a module of ours is not there."""

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


sys.meta_path.append(_MovedModules())  # asked only when nobody else finds it
