"""Writes down every public name with its signature: ``python tests/public_api.py`` after a change that is wanted.

A name is public if it is in ``__all__`` of a public module, or has an entry in the reference pages. The result is in
``public_api.txt``; ``test_exports.py`` compares.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    "rio_chain",
    "rio_chain.balancer",
    "rio_chain.contrib.asgi",
    "rio_chain.contrib.wsgi",
    "rio_chain.errors",
    "rio_chain.policies",
    "rio_chain.simulation",
    "rio_chain.testing",
)
HERE = Path(__file__).parent
PINNED = HERE / "public_api.txt"
REFERENCE = HERE.parent / "docs" / "reference"
PLAIN = {*dir(object), "__class_getitem__", "__getstate__", "__setstate__", "__replace__"}
"""Special methods that say nothing, or that attrs makes in some versions of Python only."""


class Bare:
    """An annotation as it is written, without the quotes that a signature puts around it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def bare(annotation: Any) -> Any:
    return Bare(annotation) if isinstance(annotation, str) else annotation


def signature(thing: Any) -> str:
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [one.replace(annotation=bare(one.annotation)) for one in found.parameters.values()]
    text = str(found.replace(parameters=parameters, return_annotation=bare(found.return_annotation)))
    return re.sub(r" at 0x[0-9a-f]+>", ">", text)  # of a default that has no repr of its own


def word(fn: Any) -> str:
    return "async " if inspect.iscoroutinefunction(fn) else ""


def ours(kind: type) -> list[type]:
    return [base for base in kind.__mro__ if base.__module__.split(".")[0] == "rio_chain"]


def members(kind: type, parent: type | None) -> Iterator[str]:
    """Public attributes, methods and operators that we wrote, without those that are as in the public ``parent``."""
    for name in sorted({name for base in ours(kind) for name in vars(base)}):
        special = name.startswith("__") and name.endswith("__")
        value = inspect.getattr_static(kind, name)
        if parent is not None and value is inspect.getattr_static(parent, name, None):
            continue
        if isinstance(value, (classmethod, staticmethod)):
            value = value.__func__
        if isinstance(value, property):
            if not name.startswith("_"):
                yield f"    .{name}: property{signature(value.fget).partition(')')[2]}"
        elif inspect.isfunction(value):
            if not name.startswith("_") or (special and name not in PLAIN and not name.startswith("__attrs")):
                yield f"    {word(value)}.{name}{signature(value)}"
        elif not name.startswith("_"):
            yield f"    .{name}"


def documented() -> Iterator[str]:
    for page in sorted(REFERENCE.glob("*.md")):
        yield from re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)


def names() -> Iterator[tuple[str, Any]]:
    for module in map(importlib.import_module, MODULES):
        for name in sorted(module.__all__):
            yield f"{module.__name__}.{name}", getattr(module, name)
    for path in documented():
        module, _, name = path.rpartition(".")
        yield path, getattr(importlib.import_module(module), name)


def described() -> str:
    """All public names, a line each, with the members of a class below it."""
    lines: list[str] = []
    public = dict(names())
    first: dict[int, str] = {}
    for path, thing in public.items():
        before = first.setdefault(id(thing), path)
        if before != path:
            lines.append(f"{path} is {before}")
        elif inspect.isclass(thing):
            parent = next((base for base in ours(thing)[1:] if base in public.values()), None)
            lines.append(f"{path}{signature(thing)}" + (f", a {parent.__name__}" if parent else ""))
            lines += members(thing, parent)
        else:
            lines.append(f"{word(thing)}{path}{signature(thing)}" if inspect.isfunction(thing) else path)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PINNED.write_text(described(), encoding="utf-8")
