"""A PostgreSQL for a test: a cluster in a temporary folder, reached over a socket there."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

USERS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root, so one of these runs it then."""


def programs() -> Path | None:
    """The folder with ``initdb`` and ``pg_ctl``; on Debian it is not on ``PATH``."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    debian = Path("/usr/lib/postgresql")
    if debian.is_dir():
        folders += [version / "bin" for version in sorted(debian.iterdir(), reverse=True)]
    return next((folder for folder in folders if all((folder / one).exists() for one in ("initdb", "pg_ctl"))), None)


def user() -> str | None:
    """The user that runs it: None for the present one."""
    if os.getuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in USERS if name in known), None)


class Cluster:
    """A running server, which can be stopped, started again and killed."""

    def __init__(self, folder: Path, bin_folder: Path, runs_as: str | None) -> None:
        self.folder, self._bin, self._user = folder, bin_folder, runs_as
        self._data = folder / "data"

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), "-D", str(self._data), *args],
            user=self._user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # a server would hold the pipe open
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        )
        assert done.returncode == 0, f"{program}: {done.stdout} {self.log()}"

    def create(self) -> None:
        """Make the files of the cluster."""
        self._run("initdb", "-U", "test", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")

    def start(self) -> None:
        """Start the server, and wait until it answers. It does not survive a crash of the machine, only of itself."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: ``"fast"``, or ``"immediate"`` as in a crash."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def log(self) -> str:
        """The end of its log."""
        log = self.folder / "log"
        return log.read_text(encoding="utf-8")[-2000:] if log.exists() else ""

    def dsn(self, database: str = "postgres") -> str:
        """Where a database of it is."""
        return f"postgresql:///{database}?host={self.folder}&user=test"


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A running server; everything of it is gone at the end."""
    bin_folder = programs()
    assert bin_folder is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # the path of a socket must be short
    runs_as = user()
    if runs_as is not None:
        shutil.chown(folder, runs_as)
    made = Cluster(folder, bin_folder, runs_as)
    try:
        made.create()
        made.start()
        try:
            yield made
        finally:
            with contextlib.suppress(AssertionError):  # a test has stopped it
                made.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
