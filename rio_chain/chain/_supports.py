"""What of a chain is kept on an executor, part by part. In one process everything is; on a cluster not quite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._nodes import Bridge, Choose, OrElse, Piece, RaceNode, Scope, TaskNode, call_of, walk
from rio_chain.chain._pieces import cut
from rio_chain.chain._plan import Each, Expand, FanOutNode, Plan
from rio_chain.policies import Batch, Limit, Quantile
from rio_chain.policies._shared_state import Shared

How = Literal["kept", "in the client", "per worker", "refused"]


@frozen
class Part:
    """A part of a chain, and what becomes of it.

    Attributes:
        name: the policy with the task that it is around, or the task.
        how: whether it is kept.
        why: what that means here; "" where it is as in one process.
    """

    name: str
    how: How
    why: str = ""


@frozen
class Support:
    """What ``chain.supports(executor)`` gives. It is true if the chain can run there.

    Attributes:
        executor: the name of the executor.
        parts: the tasks and policies of the chain, in the order of ``explain()``.
    """

    executor: str
    parts: tuple[Part, ...]

    @property
    def refused(self) -> tuple[Part, ...]:
        """The parts that keep it from running there."""
        return tuple(part for part in self.parts if part.how == "refused")

    def __bool__(self) -> bool:
        return not self.refused

    def __repr__(self) -> str:
        width = max(len(part.name) for part in self.parts)
        lines = [f"{part.name:{width}}  {part.how}{': ' if part.why else ''}{part.why}" for part in self.parts]
        return "\n".join(lines)


def support(plan: Plan, executor: str) -> Support:
    """What of a plan is kept on this executor."""
    kept = executor != "dask"
    return Support(executor, tuple(Part(part.name, "kept") if kept else part for part in _on_a_cluster(plan)))


def _on_a_cluster(plan: Plan) -> Iterator[Part]:  # noqa: C901 - one for each kind of node
    tasks, bridges = iter(plan.tasks), iter(plan.bridges)
    seen = left = 0  # tasks; nodes to come that are in a piece
    for node in walk(cut(plan).root):
        if isinstance(node, Piece):
            left = sum(1 for _ in walk(node.inner))
            continue
        client, left = left == 0, max(0, left - 1)
        inside = plan.tasks[seen].name if seen < len(plan.tasks) else "the end"
        if isinstance(node, TaskNode):
            seen += 1
            name = next(tasks).name
            yield _task(node, name)
            if node.uses:
                yield Part(f".using({', '.join(use.keyword for use in node.uses)}) of {name}", "kept")
        elif isinstance(node, Bridge):
            name = next(bridges).name
            if node.generator:
                yield _generator(f"bridge {name}")
        elif isinstance(node, Scope):
            policy = node.policy
            yield _policy(policy, f"{escape_nonprintable(policy.source())} around {inside}", client=client)
        elif isinstance(node, RaceNode) and isinstance(node.after, Quantile):
            yield Part(
                f"{call_of(node)} of {inside}", "in the client", "its delay is learned from the calls of this one"
            )
        elif isinstance(node, OrElse):
            yield Part(f"fallback of {inside}", "kept")
        elif isinstance(node, (RaceNode, FanOutNode, Each, Expand, Choose)):
            yield Part(f"{call_of(node)} of {inside}", "kept")


def _task(node: TaskNode, name: str) -> Part:
    if node.lane is not None:
        why = "the workers of Dask are processes already; leave `.lane(...)` out"
        return Part(f"task {name}", "refused", f"{why}, and the balancer's `lanes=` too")
    return _generator(f"task {name}") if node.generator else Part(f"task {name}", "kept")


def _generator(name: str) -> Part:
    why = "a generator can't leave the process that runs it; return a list"
    return Part(name, "refused", why)


def _policy(policy: object, name: str, *, client: bool) -> Part:
    if isinstance(policy, Batch):
        return Part(name, "in the client", "it joins the calls of this process; the one call for all runs on a worker")
    if not isinstance(policy, Shared):
        return Part(name, "kept")
    if client:
        why = "exact for all requests of this process; other clients have their own"
        counts = isinstance(policy, Limit) and policy.concurrency is not None
        return Part(name, "in the client", f"{why}, and `.resources()` is for all" if counts else why)
    return Part(name, "per worker", "each worker process has its own, made as this one was")
