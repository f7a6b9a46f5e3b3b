"""A headless Chromium, talked to over a pipe: what pages ask for, what they complain about, and how they look."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
NARROW = 600
TRAMPOLINE = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3]]  # either may be 3 or 4 itself
os.dup2(pipes[0], 3), os.dup2(pipes[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
SETTLED = "new Promise(done => setTimeout(() => requestAnimationFrame(() => done(true)), 250))"


def find() -> str | None:
    """The browser of this machine; `CHROMIUM` names another."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page. `events` has all that the browser reported about it, in order."""

    def __init__(self, send: Any, receive: Any) -> None:
        self._send, self._receive = send, receive
        self._asked = 0
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol, and wait for its answer."""
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": params, **self._session})
        while True:
            message = self._receive()
            if message.get("id") != self._asked:
                self.events.append(message)
            elif "error" in message:
                raise RuntimeError(f"{method}: {message['error']}")
            else:
                return message["result"]

    def open(self, url: str, *, width: int, dark: bool) -> None:
        """Open a page anew in a window of this width, and wait until it has come to rest."""
        self.ask("Page.navigate", url="about:blank")  # else the page before would note the colours that it is left with
        self.ask("Storage.clearDataForOrigin", origin="/".join(url.split("/")[:3]), storageTypes="local_storage")
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < NARROW
        )
        wanted = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        self.ask("Emulation.setEmulatedMedia", features=[{"name": key, "value": wanted[key]} for key in wanted])
        self.events.clear()
        self.ask("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())
        self.value(SETTLED)

    def value(self, expression: str) -> Any:
        """What an expression gives in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def picture(self, path: Path, *, limit: int = 6000) -> None:
        """Save the whole page, down to `limit` pixels."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], limit), "scale": 1}
        shot = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def requests(self) -> list[str]:
        """What the page asked for."""
        return [event["params"]["request"]["url"] for event in self._all("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """The errors in the console, and what was thrown."""
        logged = [event["params"]["entry"] for event in self._all("Log.entryAdded")]
        said = [event["params"] for event in self._all("Runtime.consoleAPICalled")]
        return [
            *(f"{entry['text']} {entry.get('url', '')}" for entry in logged if entry["level"] == "error"),
            *(str(call["args"]) for call in said if call["type"] == "error"),
            *(str(event["params"]["exceptionDetails"]) for event in self._all("Runtime.exceptionThrown")),
        ]

    def _all(self, method: str) -> Iterator[dict[str, Any]]:
        return (event for event in self.events if event.get("method") == method)


@contextmanager
def tab(program: str) -> Iterator[Tab]:
    """A page of a browser of its own, that ends with the block."""
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()
    options = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe --disable-sync"
    quiet = "--no-first-run --disable-background-networking --disable-component-update --disable-default-apps"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(  # noqa: S603 - a browser, whose pipe is to be descriptors 3 and 4
            [sys.executable, "-c", TRAMPOLINE, str(to_browser), str(from_browser), program, *options.split(),
             *quiet.split(), f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        with os.fdopen(from_us, "wb", buffering=0) as out, os.fdopen(to_us, "rb", buffering=1 << 20) as pipe:

            def receive() -> dict[str, Any]:
                received = b""
                while not received.endswith(b"\0"):
                    here = pipe.peek()
                    if not here:
                        raise RuntimeError("the browser has ended")
                    received += pipe.read(here.find(b"\0") + 1 or len(here))
                return json.loads(received[:-1])

            try:
                yield Tab(lambda message: out.write(json.dumps(message).encode() + b"\0"), receive)
            finally:
                process.terminate()
                process.wait(10)
