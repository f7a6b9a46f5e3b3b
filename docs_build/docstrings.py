"""Griffe extension: what Griffe does not know of our docstrings and classes.

An ``Example:`` of a docstring is code, as the plural is; Griffe would make it a note in Markdown. An attrs class whose
docstring has ``Args:`` takes its fields as arguments; Griffe knows that of dataclasses alone.
"""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Reads the singular as the plural, and gives attrs classes the ``__init__`` that attrs makes."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of each object that was found."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Of each class, when its fields are known."""
        made_by_attrs = any(str(d.callable_path) in {"attrs.frozen", "attrs.define"} for d in cls.decorators)
        if made_by_attrs and cls.docstring and "Args:" in cls.docstring.value and "__init__" not in cls.members:
            parameters = [_parameter(cls, field) for field in cls.attributes.values() if field.annotation is not None]
            cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(*parameters)))


def _parameter(cls: griffe.Class, field: griffe.Attribute) -> griffe.Parameter:
    """The argument for a field: of the type that its converter takes, if it has one."""
    annotation, default = field.annotation, field.value
    kind = griffe.ParameterKind.positional_or_keyword
    call = ast.parse(str(default), mode="eval").body
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "field":
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        default = options.get("default")
        converter = cls.module.members.get(options.get("converter", ""))
        if isinstance(converter, griffe.Function):
            annotation = converter.parameters[0].annotation
        if "kw_only" in options:
            kind = griffe.ParameterKind.keyword_only
    return griffe.Parameter(field.name, annotation=annotation, kind=kind, default=default)
