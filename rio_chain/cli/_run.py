"""``rio-chain run``: runs a chain with arguments in JSON."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, cast

from returns.result import Failure

from rio_chain._core.units import escape_nonprintable
from rio_chain.cli._target import HELP, Refused, chain_at
from rio_chain.errors import describe_error
from rio_chain.executors import NAMES
from rio_chain.executors._base import Executor
from rio_chain.executors.dask import DaskExecutor
from rio_chain.results._error_summary import ErrorSummary, class_of
from rio_chain.results._outcome import Outcome
from rio_chain.results._response import Response

EPILOG = """\
examples:
  rio-chain run shop.pages:page --input 42
  rio-chain run shop.pages:page --input '"Lisbon"'               a string, in JSON quotes
  rio-chain run shop.pages:page --input - < user.json            read from standard input
  rio-chain run shop.pages:page --args '[42, "de"]' --kwargs '{"full": true}'
  rio-chain run shop.pages:page --input 42 --live --json | jq .value
  rio-chain run shop.pages:page --input 42 --executor dask --address tcp://10.0.0.7:8786

The exit status is 0 if the run succeeded, 1 if it failed, 2 if it could not begin.
"""
WIDTH = 60  # of the piece of malformed JSON that is shown


def add(commands: Any) -> None:
    """Add its options to the parser."""
    run = commands.add_parser(
        "run",
        help="run a chain, and print the result of each task",
        description="Run a chain, and print the result of each of its tasks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("chain", metavar="CHAIN", help=HELP)
    one = run.add_mutually_exclusive_group()
    one.add_argument("--input", metavar="JSON", help="the one positional argument; `-` reads it from standard input")
    one.add_argument("--args", metavar="JSON", help="all positional arguments, as a JSON list")
    run.add_argument("--kwargs", metavar="JSON", help="keyword arguments, as a JSON object")
    run.add_argument("--executor", choices=NAMES, help="where it runs (default: $RIO_EXECUTOR, else asyncio)")
    run.add_argument("--address", metavar="ADDRESS", help="of the Dask scheduler, with --executor dask")
    run.add_argument("--deadline", type=float, metavar="MS", help="the most time it may take, in milliseconds")
    run.add_argument("--live", action="store_true", help="show the tasks while they run, on stderr")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object, with values in full")
    run.set_defaults(do=do)


def do(options: argparse.Namespace) -> int:
    """Run the chain."""
    chain = chain_at(options.chain)
    args, kwargs = given(options)
    executor = _executor(options)
    outcome = chain(*args, **kwargs).run(executor=executor, deadline=options.deadline, live=options.live)
    if options.json:
        print(as_json(outcome))
    else:
        print(outcome.summary().splitlines()[-1] if options.live else outcome.summary())  # the live view had the rest
    return 1 if isinstance(outcome.result, Failure) else 0


def _executor(options: argparse.Namespace) -> str | Executor | None:
    """Where it runs."""
    if options.executor == "dask":
        try:
            return DaskExecutor(options.address)
        except ImportError as error:
            raise Refused(str(error)) from error
    if options.address is not None:
        raise Refused("--address is the address of a Dask scheduler; it needs --executor dask")
    executor: str | None = options.executor
    return executor


# --- arguments --------------------------------------------------------------------------------------------------


def given(options: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for the chain."""
    args: Any = []
    if options.input is not None:
        args = [parsed(sys.stdin.read() if options.input == "-" else options.input, "--input")]
    elif options.args is not None:
        args = parsed(options.args, "--args")
        if not isinstance(args, list):
            raise Refused(f"--args takes a JSON list, as in --args '[42, \"de\"]'; got {kind(args)}")
    kwargs: Any = {} if options.kwargs is None else parsed(options.kwargs, "--kwargs")
    if not isinstance(kwargs, dict):
        raise Refused(f"--kwargs takes a JSON object, as in --kwargs '{{\"full\": true}}'; got {kind(kwargs)}")
    return cast("list[Any]", args), cast("dict[str, Any]", kwargs)


def parsed(text: str, option: str) -> Any:
    """Parse a value in JSON.

    Raises:
        Refused: it is not JSON. The text points at the mistake.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        hint = f"; a string is written {option} '\"{text}\"'" if text.isalnum() else ""
        raise Refused(f"{option} is not JSON at {place}: {error.msg}{hint}\n{_pointed(error)}") from None
    except RecursionError:
        raise Refused(f"{option} is nested too deeply") from None


def _pointed(error: json.JSONDecodeError) -> str:
    """The line with the mistake, or the piece of it around the mistake, and a mark below it."""
    line = (error.doc.splitlines() or [""])[error.lineno - 1]
    first = max(0, error.colno - 1 - WIDTH // 2)
    before, after = (
        escape_nonprintable(line[first : error.colno - 1]),
        escape_nonprintable(line[error.colno - 1 : first + WIDTH]),
    )
    return f"  {before}{after}\n  {' ' * len(before)}^"


def kind(value: object) -> str:
    """The name of its type in JSON."""
    if value is None:
        return "null"
    kinds: dict[object, str] = {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


# --- result -----------------------------------------------------------------------------------------------------


def as_json(outcome: Outcome[Any]) -> str:
    """The result for other programs. A value that JSON can't hold is given by its repr."""
    failed = isinstance(outcome.result, Failure)
    ended: dict[str, Any] = {"error": _error(outcome.result.failure())} if failed else {"value": outcome.unwrap()}
    told_of = {
        "status": "failed" if failed else "succeeded",
        **ended,
        "elapsed_ms": round(outcome.elapsed, 3),
        "tasks": [_task(response) for response in outcome],
    }
    try:
        return json.dumps(told_of, default=describe_error, allow_nan=False, indent=2)
    except (TypeError, ValueError, RecursionError):  # a key that is not a string, NaN, a list that contains itself
        return json.dumps(told_of | {"value": describe_error(outcome.value_or(None))}, indent=2)


def _task(response: Response) -> dict[str, Any]:
    items = {"items": dict(response.counts)} if response.counts else {}
    return {
        "name": response.name,
        "status": response.status,
        "attempts": response.attempts,
        "elapsed_ms": round(response.elapsed, 3),
        "errors": [_error(error) for error in response.errors],
        **items,
    }


def _error(error: Any) -> dict[str, str]:
    text = error.text if isinstance(error, ErrorSummary) else describe_error(error, str)
    return {"type": class_of(error).__name__, "text": text}
