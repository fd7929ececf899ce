"""The supervised tree of everything long-lived in the broker.

Owned by ``main.py``; domains, storage, bus and feed spawn their nodes here, and nothing in ``app/server`` calls
``create_task`` itself. A node's stop and restart really stop and restart it: children end before their parent,
the youngest first. What ended well leaves the tree; what failed stays visible, within a bound.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal

from app.logs import get_logger

log = get_logger("tasks")

Factory = Callable[[], Coroutine[Any, Any, None]]
Restart = Literal["never", "on_failure"]
State = Literal["running", "stopping", "finished", "failed", "waiting"]

BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before each restart in a row; the last one repeats."""
WELL_AFTER = 60.0
"""A node that ran this long begins the back-off anew."""
FAILED_KEPT = 20
"""Failed children that a node keeps to be looked at."""


class TaskNode:
    """One node: a coroutine under supervision, or a group without one. ``state`` and ``last_error`` tell its life."""

    def __init__(
        self, number: int, name: str, factory: Factory | None, parent: TaskNode | None, restart: Restart, kind: str
    ) -> None:
        self.id = number
        self.name = name
        self.kind = kind
        self.state: State = "running"
        self.started_at = time.time()
        self.restarts = 0
        self.last_error = ""
        self.parent = parent
        self.children: list[TaskNode] = []
        self._factory = factory
        self._policy = restart
        self._task: asyncio.Task[None] | None = None

    def walk(self) -> Iterator[TaskNode]:
        """This node and everything below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def done(self) -> bool:
        """Whether the coroutine has ended for good."""
        return self.state in ("finished", "failed")

    async def wait(self) -> None:
        """Until the node has ended; its failure is in ``last_error``, not raised here."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def stop(self, timeout: float = 5.0) -> None:
        """End the children, then this node; what does not end within ``timeout`` is logged and left behind."""
        if self.state not in ("finished", "failed"):
            self.state = "stopping"
        deadline = time.monotonic() + timeout
        for child in reversed(list(self.children)):
            await child.stop(max(0.1, deadline - time.monotonic()))
        task = self._task
        if task is not None and not task.done() and task is not asyncio.current_task():
            task.cancel()
            _, pending = await asyncio.wait([task], timeout=max(0.1, deadline - time.monotonic()))
            if pending:
                log.error("task does not end", task=self.name, timeout=timeout)
                return
        self._leave("finished")

    async def restart(self, timeout: float = 5.0) -> None:
        """Stop, then start again where it was; a group restarts its children."""
        if self._factory is None:
            for child in list(self.children):
                await child.restart(timeout)
            return
        parent = self.parent
        await self.stop(timeout)
        self.parent = parent
        if parent is not None and self not in parent.children:
            parent.children.append(self)
        self.restarts += 1
        self.start()

    def start(self) -> None:
        """Begin to run; called by the tree."""
        self.state = "running"
        self.started_at = time.time()
        self._task = asyncio.get_running_loop().create_task(self._supervise(), name=self.name)

    async def _supervise(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            error = await self._run_once()
            if error is None or self._policy == "never" or self.state == "stopping":
                self._leave("finished" if error is None else "failed")
                return
            failures = 1 if time.monotonic() - began > WELL_AFTER else failures + 1
            self.state = "waiting"
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF)) - 1])
            self.restarts += 1
            self.state = "running"
            self.started_at = time.time()

    async def _run_once(self) -> BaseException | None:
        """One life; its failure. A cancellation that nobody asked of this node is one too: it came from within."""
        if self._factory is None:
            return None
        task = asyncio.current_task()
        try:
            await self._factory()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self.last_error = f"{type(error).__name__}: {error}"
            log.exception("task failed", task=self.name, restart=self._policy)
            return error
        return None

    def _leave(self, state: State) -> None:
        self.state = state
        if self.parent is None:
            return
        siblings = self.parent.children
        if state == "failed":
            failed = [node for node in siblings if node.state == "failed"]
            for old in failed[: max(0, len(failed) - FAILED_KEPT)]:
                siblings.remove(old)
        elif self in siblings:
            siblings.remove(self)


class TaskTree:
    """The root and the only place where nodes are made."""

    def __init__(self, name: str = "broker") -> None:
        self._numbers = itertools.count(1)
        self.root = TaskNode(next(self._numbers), name, None, None, "never", "root")

    def group(self, name: str, *, parent: TaskNode | None = None) -> TaskNode:
        """A node without a coroutine, to hold others."""
        above = parent or self.root
        node = TaskNode(next(self._numbers), name, None, above, "never", "group")
        above.children.append(node)
        return node

    def spawn(
        self,
        name: str,
        factory: Factory,
        *,
        parent: TaskNode | None = None,
        restart: Restart = "never",
        kind: str = "task",
    ) -> TaskNode:
        """Run ``factory()`` as a node; ``on_failure`` starts it again after an exception, with back-off."""
        above = parent or self.root
        node = TaskNode(next(self._numbers), name, factory, above, restart, kind)
        above.children.append(node)
        node.start()
        return node

    def find(self, number: int) -> TaskNode | None:
        """The node with this id."""
        return next((node for node in self.root.walk() if node.id == number), None)

    async def stop(self, timeout: float = 8.0) -> None:
        """End every node, the youngest first."""
        await self.root.stop(timeout)
