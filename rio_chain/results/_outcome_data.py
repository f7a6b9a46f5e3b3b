"""An Outcome as plain data for ``json.dumps``, for logs, tables and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rio_chain._core.units import escape_nonprintable
from rio_chain.errors import describe_error
from rio_chain.policies._plain_data import Data, qualified
from rio_chain.results._error_summary import ErrorSummary, class_of

if TYPE_CHECKING:
    from rio_chain.results._outcome import Outcome
    from rio_chain.results._response import Response, Span

VERSION = 1
"""The version of the data format: increase it when a key is renamed or removed."""


def to_dict(outcome: Outcome[Any], *, values: bool) -> Data:
    """The Outcome as data. See ``Outcome.to_dict``."""
    data: Data = {
        "version": VERSION,
        "chain": outcome.plan.title,
        "ok": outcome.ok,
        "error": None if outcome.ok else _error(outcome.error),
        "elapsed_ms": outcome.elapsed,
        "queued_ms": outcome.queued,
        "tasks": [_response(response, values=values) for response in outcome],
    }
    return {**data, "value": outcome.value} if values and outcome.ok else data


def _response(response: Response, *, values: bool) -> Data:
    succeeded = response.status == "succeeded"
    data: Data = {
        "name": response.name,
        "status": response.status,
        "attempts": response.attempts,
        "began_ms": response.began,
        "elapsed_ms": response.elapsed,
        "error": None if succeeded else _error(response.error),
        "errors": [_error(error) for error in response.errors],
        "gave_up": response.gave_up,
        "winner": response.winner,
        "started": response.started,
        "wasted": response.wasted,
        "denied": response.denied,
        "spans": [_span(span) for span in response.spans],
    }
    if response.nested is not None:
        data["nested"] = to_dict(response.nested, values=values)
    if response.index is not None:
        data["index"] = response.index
    if response.counts:
        data["counts"] = dict(response.counts)
        data["items"] = [_response(item, values=values) for item in response.items]
    elif values and succeeded:
        data["value"] = response.result.unwrap()
    return data


def _span(span: Span) -> Data:
    return {
        "began_ms": span.began,
        "ended_ms": span.ended,
        "attempt": span.attempt,
        "replica": span.replica,
        "status": span.status,
    }


def _error(error: Any) -> Data:
    text = error.text if isinstance(error, ErrorSummary) else describe_error(error, str)
    return {"type": qualified(class_of(error)), "text": escape_nonprintable(text)}
