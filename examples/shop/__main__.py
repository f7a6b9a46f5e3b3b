"""``python -m examples.shop``: the backends, and the shop in front of them. Ctrl-C or SIGTERM stops it all."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from attrs import asdict

from examples.shop.backends import SHOWN, Faults, checked_fault
from examples.shop.servers import SERVERS
from examples.shop.start_backends import backends


def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """At SIGTERM, once the server has drained: leave the blocks, so that the backends end as well."""
    raise SystemExit


def fault(name: str) -> Callable[[str], float]:
    """The check of an option."""

    def check(text: str) -> float:
        try:
            return checked_fault(name, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return check


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="uvicorn", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="0: any that is free; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="decides every fault; default: %(default)s")
    for name, value in asdict(Faults()).items():
        if name in SHOWN:
            parser.add_argument(
                f"--{name}", type=fault(name), default=value, help=f"{SHOWN[name]}; default: %(default)s"
            )
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    try:
        listening = socket.create_server(("127.0.0.1", asked.port), backlog=1024)
    except OSError as error:
        parser.exit(1, f"port {asked.port} can't be used: {os.strerror(error.errno or 0)}; another one: --port 0\n")
    with listening, backends(asked.seed) as places:
        places.set_faults(**{name: getattr(asked, name) for name in SHOWN})
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        try:
            with suppress(KeyboardInterrupt):
                SERVERS[asked.server](places, listening)
        finally:  # also at SIGTERM
            print("stopped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
