"""Models as JSON, to be kept with the code and read back.

A file names error classes, but a name in a file never imports anything. The classes of Python and of rio_chain are
known, and all others must be given.
"""

from __future__ import annotations

import builtins
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import fields
from returns.result import Failure

from rio_chain import errors as ours
from rio_chain._core.units import escape_nonprintable, milliseconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.simulation._faults import Error
from rio_chain.simulation._latencies import Latency

if TYPE_CHECKING:
    from rio_chain.simulation._latency_models import LatencyModel

FORMAT, VERSION = "rio_chain.LatencyModel", 1
Classes = Mapping[str, type[Exception]]


def save(models: Mapping[str, LatencyModel], path: str | os.PathLike[str], kind: type[LatencyModel]) -> None:
    """Write models of the class ``kind`` by name; see ``LatencyModel.save``."""
    if not isinstance(cast("object", models), Mapping):
        raise ChainDefinitionError(f"`save` takes a dict of names and models; got {short_repr(models)}")
    data = {"format": FORMAT, "version": VERSION, "models": {name: _data(name, m, kind) for name, m in models.items()}}
    text = json.dumps(data, indent=1, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def load(
    path: str | os.PathLike[str], errors: Iterable[type[Exception]], kind: type[LatencyModel]
) -> dict[str, LatencyModel]:
    """Read models of the class ``kind`` by name; see ``LatencyModel.load``."""
    given = list(errors)
    for cls in given:
        one: Any = cls
        if not isinstance(one, type) or not issubclass(one, Exception):
            raise ChainDefinitionError(f"`errors` takes classes of exceptions; got {short_repr(cls)}")
    classes = {_title(cls): cls for cls in (*_builtin(), *given)}
    try:
        data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also if it is not UTF-8
        raise _refused(path, f"it is not JSON: {escape_nonprintable(str(error))}") from None
    if not isinstance(data, dict) or cast("dict[str, Any]", data).get("format") != FORMAT:
        raise _refused(path, f"its format is not {FORMAT!r}")
    content = cast("dict[str, Any]", data)
    if content.get("version") != VERSION:
        version = short_repr(content.get("version"))
        raise _refused(path, f"its version is {version}, and this rio_chain reads version {VERSION}")
    try:
        _keys(content, {"format", "version", "models"})
        return {name: _model(one, classes, kind) for name, one in _dict(content["models"]).items()}
    except KeyError as error:
        raise _refused(path, f"{short_repr(error.args[0])} is missing") from None
    except (TypeError, ValueError) as error:
        raise _refused(path, escape_nonprintable(str(error))) from None


def _refused(path: str | os.PathLike[str], why: str) -> ChainDefinitionError:
    return ChainDefinitionError(f"{escape_nonprintable(str(path))} holds no models that can be read: {why}")


# --- as data ----------------------------------------------------------------------------------------------------


def _data(name: object, model: object, kind: type[LatencyModel]) -> dict[str, Any]:
    if not isinstance(name, str) or not isinstance(model, kind):
        raise ChainDefinitionError(f"`save` takes names and models; got {short_repr(name)}: {short_repr(model)}")
    data: dict[str, Any] = {"latency": _latency(model.latency)}
    if model.faults:
        data["faults"] = [
            {"rate": f.rate, "error": _error(f.error)} | ({} if f.after is None else {"after_ms": _ms(f.after)})
            for f in model.faults
        ]
    if model.stalls:
        data["stalls"] = [{"rate": stall.rate, "ms": _ms(stall.delay)} for stall in model.stalls]
    if model.outages:
        data["outages"] = [
            {"start_ms": _ms(o.start), "end_ms": _ms(o.end), "error": _error(o.error), "after_ms": _ms(o.after)}
            for o in model.outages
        ]
    if model.value is not None:
        data["value"] = _plain(model.value, f"the value of {name!r}")
    return data


def _latency(latency: Latency) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": type(latency).__name__.lower()}
    for one in fields(type(latency)):
        value: float | tuple[float, ...] = getattr(latency, one.name)
        data[f"{one.name}_ms"] = [_ms(v) for v in value] if isinstance(value, tuple) else _ms(value)
    return data


def _error(error: Error) -> dict[str, Any]:
    if isinstance(error, Failure):
        return {"failure": _plain(error.failure(), "the value of a Failure")}
    if isinstance(error, type):
        return {"class": _title(error)}
    return {"class": _title(type(error)), "args": _plain(list(error.args), f"what {short_repr(error)} was made with")}


def _plain(value: Any, what: str) -> Any:
    """The value, if JSON can store it without a change."""
    try:
        if json.loads(json.dumps(value, allow_nan=False)) == value:
            return value
    except (TypeError, ValueError, RecursionError):
        pass
    raise ChainDefinitionError(f"`save` can't write {what} as JSON: {short_repr(value)}")


def _ms(value: float) -> float:
    """The milliseconds that are exactly these seconds."""
    near = milliseconds(value)
    around = (near, math.nextafter(near, 0), math.nextafter(near, math.inf))
    return next((ms for ms in around if ms / 1000 == value), near)


def _title(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _builtin() -> Iterable[type[Exception]]:
    for home in (builtins, ours):
        for found in vars(home).values():
            if isinstance(found, type) and issubclass(found, Exception):
                yield found


# --- from data --------------------------------------------------------------------------------------------------


def _model(data: Any, classes: Classes, kind: type[LatencyModel]) -> LatencyModel:
    given = _dict(data)
    _keys(given, {"latency", "faults", "stalls", "outages", "value"})
    model = _distribution(_dict(given["latency"]), kind)
    for fault in map(_dict, given.get("faults", ())):
        _keys(fault, {"rate", "error", "after_ms"})
        model = model.failing(fault["rate"], _from(fault["error"], classes), after=fault.get("after_ms"))
    for stall in map(_dict, given.get("stalls", ())):
        _keys(stall, {"rate", "ms"})
        model = model.stalling(stall["rate"], stall["ms"])
    for down in map(_dict, given.get("outages", ())):
        _keys(down, {"start_ms", "end_ms", "error", "after_ms"})
        error = _from(down["error"], classes)
        model = model.outage(down["start_ms"], down["end_ms"], error=error, after=down["after_ms"])
    return model.returning(given.get("value"))


def _distribution(data: dict[str, Any], cls: type[LatencyModel]) -> LatencyModel:
    kinds = {
        "constant": lambda: cls.constant(data["at_ms"]),
        "uniform": lambda: cls.uniform(data["low_ms"], data["high_ms"]),
        "exponential": lambda: cls.exponential(data["mean_ms"]),
        "lognormal": lambda: cls.lognormal(data["median_ms"], p99=data["p99_ms"]),
        "empirical": lambda: cls.empirical(data["samples_ms"]),
    }
    kind = data["kind"]
    if kind not in kinds:
        raise ValueError(f"there is no latency of the kind {short_repr(kind)}")
    model = kinds[kind]()
    _keys(data, _latency(model.latency).keys())
    return model


def _from(data: Any, classes: Classes) -> Error:
    given = _dict(data)
    if "failure" in given:
        _keys(given, {"failure"})
        return Failure(given["failure"])
    _keys(given, {"class", "args"})
    name = given["class"]
    if name not in classes:
        raise ValueError(f"it names the class {short_repr(name)}, which must be given: load(path, errors=[...])")
    return classes[name](*given["args"]) if "args" in given else classes[name]


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"it has {short_repr(value)} where an object must be")
    return cast("dict[str, Any]", value)


def _keys(data: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = data.keys() - set(known)
    if unknown:
        raise ValueError(f"it has unknown keys: {', '.join(map(short_repr, sorted(unknown)))}")
