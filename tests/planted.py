"""Plants bugs, one at a time, in a copy of the package; the conformance suite has to turn red at each.

    python tests/planted.py            # all of them; exit code 1 if one survives
    python tests/planted.py cancel     # those with that word in their name

A bug is planted by replacing text that must be in its file exactly once, so a change of the code that moves the
ground under a bug is noticed: ``tests/unit/test_planted.py`` looks at that without running anything.
"""

# ruff: noqa: T201, ISC004 - a command prints; and the texts are written line by line

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).resolve().parents[1]


@frozen
class Bug:
    """What is planted, and which part of the suite ought to notice."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    suite: tuple[str, ...]

    def plant(self, root: Path) -> None:
        """Change the copy of the package under ``root``."""
        path = root / "rio_chain" / self.file
        text = path.read_text()
        for old, new in self.changes:
            found = text.count(old)
            if found != 1:
                raise LookupError(f"{self.name}: its text is {found} times in {self.file}:\n{old}")
            text = text.replace(old, new)
        path.write_text(text)


BUGS = (
    Bug(
        "a stale record that is used",
        "journal/_session.py",
        (("and row.digest != digest", "and row.digest == b'' != digest"),),
        ("test_journal.py",),
    ),
    Bug(
        "a swallowed cancel",
        "engine/_classify_error.py",
        (("        if not ours:\n            raise exc\n", ""),),
        ("test_cancellation.py",),
    ),
    Bug(
        "an off-by-one retry",
        "policies/_retry.py",
        (("return done < self.retries", "return done <= self.retries"),),
        ("test_retry.py",),
    ),
    Bug(
        "a slot lost at hand-over",
        "balancer/_admission.py",
        (
            (
                "        self.runs[turn.run] = None\n        self.after(turn.tell)\n",
                "        self.after(turn.tell)\n",
            ),
        ),
        ("test_balancer.py",),
    ),
    Bug(
        "a loser not awaited",
        "executors/_asyncio_race.py",
        (
            ("        while self.left:\n", "        while self.left and not self.stopping:\n"),
            (
                "if not self.left and self.over is not None",
                "if (self.stopping or not self.left) and self.over is not None",
            ),
        ),
        ("test_fan_out.py",),
    ),
    Bug(
        "a branch that leaks its context",
        "executors/_own_context.py",
        (
            (
                "    run, send = copy_context().run, driven_coroutine.send\n",
                "    run, send = (lambda step, *value: step(*value)), driven_coroutine.send\n",
            ),
        ),
        ("test_fan_out.py",),
    ),
    Bug(
        "an interruption of the last branch that is not taken back",
        "executors/_asyncio_race.py",
        (
            (
                "        if (own.uncancel() if self._interrupted else own.cancelling()) > base:\n",
                "        if own.cancelling() > base + self._interrupted:\n",
            ),
        ),
        ("test_fan_out.py",),
    ),
    Bug(
        "a slot that a map keeps though others wait",
        "balancer/_admission.py",
        (("        if not self.queue.waiting and (self", "        if (self"),),
        ("test_map.py",),
    ),
    Bug(
        "a foreign cancel lost in the tick of an expiry",
        "executors/_asyncio.py",
        (
            (
                "        if (self._task.uncancel() if fired else self._task.cancelling()) > self._base:\n",
                "        if fired:\n"
                "            self._task.uncancel()\n"
                "        elif self._task.cancelling() > self._base:\n",
            ),
        ),
        ("test_cancellation.py",),
    ),
    Bug(
        "a limit that survives its scope",
        "engine/_interpreter.py",
        (
            (
                "deadline = frames[-1].deadline if frames else strand.parent_deadline\n "
                "                   if code == LEAVE:\n",
                "if code == LEAVE:\n",
            ),
        ),
        ("test_timeout.py",),
    ),
    Bug(
        "a late answer that wins",
        "engine/_interpreter.py",
        (
            (
                "warn_blocked_loop(strand, op, t - began)\n                    if t >= "
                "limit:\n                        raise LimitPassed",
                "warn_blocked_loop(strand, op, t - began)\n"
                "                    if t >= limit + 3600:\n"
                "                        raise LimitPassed",
            ),
        ),
        ("test_timeout.py",),
    ),
    Bug(
        "a bridge run twice",
        "engine/_interpreter.py",
        (("got = op[2](value)\n", "got = op[2](value) and op[2](value)\n"),),
        ("test_bridges.py",),
    ),
    Bug(
        "a context lost",
        "engine/_runtime_protocol.py",
        (("return context.run(fn, *args, **kwargs)", "return fn(*args, **kwargs)"),),
        ("test_context.py",),
    ),
    Bug(
        "a waiter never woken",
        "balancer/_admission.py",
        (
            (
                "        self.runs[turn.run] = None\n        self.after(turn.tell)\n",
                "        self.runs[turn.run] = None\n",
            ),
        ),
        ("test_balancer.py",),
    ),
    Bug(
        "a breaker that lets one probe too many through",
        "policies/_breaker.py",
        (("circuit.probes >= self._successes", "circuit.probes > self._successes"),),
        ("policies/test_breaker_options.py",),
    ),
    Bug(
        "an error that a hedge is not for, and that does not end it",
        "engine/_judge_answer.py",
        (("        return error, not found\n", "        return error, False\n"),),
        ("policies/test_replica_options.py",),
    ),
    Bug(
        "an each that begins one item more than it takes",
        "engine/_each.py",
        (("self.taken - self.left_out < self.most", "self.taken - self.left_out <= self.most"),),
        ("test_each_ends.py",),
    ),
    Bug(
        "a linear backoff that is one step ahead",
        "policies/_backoff.py",
        (("self.base + self.step * retry", "self.base + self.step * (retry + 1)"),),
        ("policies/test_backoff.py",),
    ),
    Bug(
        "a hedge that begins though the call has answered",
        "engine/_race_frame.py",
        (
            (
                "self.claim.setdefault(0, None) is None:\n            if self.plan",
                "True:\n            if self.plan",
            ),
            (
                "                self.timer.deadline = INF\n            if strand.given_up",
                "                return True\n            if strand.given_up",
            ),
        ),
        ("policies/test_hedge_in_place.py",),
    ),
    Bug(
        "a first call that wins after it was interrupted",
        "engine/_hedge.py",
        (
            (
                "                self.unneeded(number, value)\n                return\n            # an",
                "                pass\n            # an",
            ),
            ("self.arrived.append(Arrival(", "self.arrived.insert(0, Arrival("),
        ),
        ("policies/test_hedge_in_place.py",),
    ),
    Bug(
        "a permit of a budget that is kept",
        "engine/_side_call.py",
        (("                extra.dropped()\n", "                pass\n"),),
        ("policies/test_hedge_in_place.py",),
    ),
    Bug(
        "users that share a batch",
        "engine/_batch.py",
        (("    scope = None if batch.shared else opened or asked_for.request\n", "    scope = opened\n"),),
        ("policies/test_batch_scopes.py",),
    ),
    Bug(
        "a caller that ends the call of all",
        "engine/_batch.py",
        (("        if last and work is not None", "        if work is not None"),),
        ("policies/test_batch_leaving.py",),
    ),
    Bug(
        "a batch that waits for strands which wait for it",
        "engine/_race.py",
        (("        if race.line is not None and not race.over:\n            race.line.look_at(race)\n", ""),),
        ("policies/test_batch.py",),
    ),
    Bug(
        "a line of a limit without priority",
        "policies/_limit_queue.py",
        (("return -priority if aging is None else", "return 0.0 if aging is None else"),),
        ("policies/test_limit_options.py",),
    ),
    Bug(
        "a call that waits for several limits and keeps one",
        "policies/_limits_together.py",
        (("            raise\n        self._undo(taken)\n", "            raise\n"),),
        ("policies/test_limit_options.py",),
    ),
    Bug(
        "a time limit that fails what has come",
        "engine/_item_runner.py",
        (("        if not self.keeps:\n", "        if True:\n"),),
        ("test_partial.py",),
    ),
    Bug(
        "a time limit that ends no branch",
        "engine/_fan_out.py",
        (("    own = strand.fork(race, until)\n", "    own = strand.fork(race)\n"),),
        ("test_partial.py",),
    ),
    Bug(
        "a call behind for each stale answer",
        "policies/_cache.py",
        (("            if behind is None or behind() is None:\n", "            if True:\n"),),
        ("policies/test_cache_stale.py",),
    ),
    Bug(
        "a tenant that is charged for starts alone",
        "policies/_fair_shares.py",
        (("        self._advance(tenant, lasted - charge)\n", ""),),
        ("test_fair.py",),
    ),
    Bug(
        "a request that is shed and never answered",
        "balancer/_managed_admission.py",
        (("        self.after(worst.tell)\n", ""),),
        ("test_fair.py",),
    ),
    Bug(
        "a request that is begun too late",
        "balancer/_dispatch.py",
        (("            elif self.admission.is_late(turn, now):\n", "            elif False:\n"),),
        ("test_fair.py",),
    ),
    Bug(
        "a cost that is never corrected",
        "engine/_leave.py",
        (("        permit.correct(iter(found))\n", ""),),
        ("policies/test_limit_options.py",),
    ),
)


def copy_of_the_project(to: Path) -> Path:
    """The parts of the project that the conformance suite needs."""
    for part in ("rio_chain", "tests/conformance", "docs/explanation"):
        shutil.copytree(ROOT / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / file, to)
    return to


def run(root: Path, suite: tuple[str, ...]) -> tuple[bool, str]:
    """Whether a part of the suite is green there, and the first that is not. What hangs has noticed as well."""
    files = [f"tests/conformance/{name}" for name in suite]
    options = ["-x", "-v", "-p", "no:cacheprovider", "--tb", "no", "--timeout", "10", "--timeout-method", "thread"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return True, ""
    named = re.findall(r"^tests/conformance/(\S+?\.py::.+?\])(.*)$", done.stdout, re.MULTILINE)
    if done.returncode != 1 or not named:
        raise RuntimeError(f"pytest could not run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    name, rest = named[-1]
    return False, name if "FAILED" in rest else f"{name} (hung)"


def main(words: list[str]) -> int:
    """Plant them, print a table, and say whether all were noticed."""
    bugs = [bug for bug in BUGS if all(word in bug.name for word in words)]
    suites = tuple(sorted({name for bug in bugs for name in bug.suite}))
    with tempfile.TemporaryDirectory() as place:
        green, why = run(copy_of_the_project(Path(place)), suites)
    if not green:
        print(f"the suite is red before anything is planted: {why}")
        return 1
    width = max(len(bug.name) for bug in bugs)
    print(f"{'planted':{width}}  {'the suite':9}  {'took':>6}  first noticed by")
    survivors = 0
    for bug in bugs:
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as place:
            bug.plant(copy_of_the_project(Path(place)))
            green, why = run(Path(place), bug.suite)
        survivors += green
        took = time.perf_counter() - begun
        print(f"{bug.name:{width}}  {'GREEN' if green else 'red':9}  {took:4.1f} s  {why or 'nobody'}", flush=True)
    print(f"{len(bugs) - survivors} of {len(bugs)} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
