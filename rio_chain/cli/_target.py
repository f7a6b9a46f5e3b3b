"""``module:chain``: finds the chain that a command line names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, cast

from rio_chain._core.units import escape_nonprintable, short_repr
from rio_chain.chain._request import Request
from rio_chain.dsl._chain import Chain

HELP = "module:chain, or path/file.py:chain"


class Refused(Exception):
    """The command can't be carried out."""


class Broken(Exception):
    """A module raised when it was imported. ``text`` is its traceback, without our part of it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.text = "".join(traceback.format_exception(type(error), error, _theirs(error.__traceback__)))


def chain_at(target: str) -> Chain[..., Any]:
    """The chain of that name.

    Raises:
        Refused: there is no such chain.
        Broken: its module raises.
    """
    return found_at(target, several=False)[0][1]


def found_at(target: str, *, several: bool = True) -> list[tuple[str, Chain[..., Any]]]:
    """The chain of that name, with its name. With ``several`` a module alone gives all its chains.

    Raises:
        Refused: there is no such chain.
        Broken: its module raises.
    """
    place, colon, name = target.rpartition(":")
    if not colon or name.endswith(".py"):  # C:\chains.py
        place, name = target, ""
    module = _module(place)
    if name:
        return [(target, _named(module, place, name))]
    names = _chains_in(module)
    if several and names:
        return [(f"{place}:{name}", getattr(module, name)) for name in names]
    example = f"`{escape_nonprintable(place)}:{names[0]}`" if names else "`module:chain`"
    raise Refused(f"name the chain, as in {example}; {_there_is(place, names)}")


def object_at(target: str, kind: str) -> object:
    """The object of that name, which is to be a ``kind``.

    Raises:
        Refused: there is no such object.
        Broken: its module raises.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not name or name.endswith(".py"):
        raise Refused(f"name the {kind}, as in `module:name`; got {short_repr(target)}")
    value: object = _module(place)
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise Refused(f"{escape_nonprintable(place)} has no `{escape_nonprintable(name)}`") from None
    return value


def _named(module: ModuleType, place: str, name: str) -> Chain[..., Any]:
    value: object = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            what = f"{escape_nonprintable(place)} has no `{escape_nonprintable(name)}`"
            raise Refused(f"{what}; {_there_is(place, _chains_in(module))}") from None
    if isinstance(value, Chain):
        return cast("Chain[..., Any]", value)
    what = f"{escape_nonprintable(place)}:{escape_nonprintable(name)}"
    if isinstance(value, Request):
        raise Refused(f"{what} is a Request, a chain with its arguments; name the chain itself")
    if callable(value):
        raise Refused(
            f"{what} is a function or class, not a chain; write `Task({escape_nonprintable(name)})` to make one"
        )
    raise Refused(f"{what} is not a chain; got {short_repr(value)}")


def _chains_in(module: ModuleType) -> list[str]:
    found: list[str] = []
    for name, value in vars(module).items():
        if isinstance(value, Chain) and not name.startswith("_"):
            found.append(name)
    return found


def _there_is(place: str, names: list[str]) -> str:
    where = escape_nonprintable(place)
    return (
        f"the chains in {where}: {', '.join(map(escape_nonprintable, names))}"
        if names
        else f"there is no chain in {where}"
    )


# --- importing --------------------------------------------------------------------------------------------------


def _module(place: str) -> ModuleType:
    if place.endswith(".py") or os.sep in place:
        return _file(Path(place))
    if not all(part.isidentifier() for part in place.split(".")):
        raise Refused(f"{short_repr(place)} is neither a module nor a Python file; write {HELP}")
    _first_on_path(Path.cwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise Broken(error) from None  # the module was found, but something that it imports was not
        head, _, last = place.rpartition(".")
        hint = f"; for the chain `{last}` of a module write `{head}:{last}`" if head and error.name != head else ""
        raise Refused(f"no module named {error.name}{hint}") from None
    except Exception as error:  # noqa: BLE001 - its traceback is shown
        raise Broken(error) from None


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Refused(f"no such file: {escape_nonprintable(str(path))}")
    name = path.stem if path.stem not in sys.modules else f"_{path.stem}"  # a library may have the same name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refused(f"{escape_nonprintable(str(path))} is not a Python file")
    _first_on_path(path.parent)  # as `python path/file.py` does
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - its traceback is shown
        del sys.modules[name]
        raise Broken(error) from None
    return module


def _first_on_path(folder: Path) -> None:
    if (entry := str(folder.resolve())) not in sys.path:
        sys.path.insert(0, entry)


def _theirs(tb: TracebackType | None) -> TracebackType | None:
    """The traceback without the leading lines of rio_chain and of the import system."""
    return next((at for at in _rows(tb) if not _is_ours(at.tb_frame.f_code.co_filename)), None)


def _rows(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _is_ours(file: str) -> bool:
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")
