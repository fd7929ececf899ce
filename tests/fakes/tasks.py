"""The end of a task tree in a test: one that does not end fails the test that left it so, and not a later one."""

from __future__ import annotations

from app.server.tasks import TaskTree

WITHIN = 30.0


async def ended(tree: TaskTree) -> None:
    """Stop every node; what goes on nevertheless would keep its processes and sockets beyond the loop's end."""
    await tree.stop(WITHIN)
    left = [node.name for node in tree.root.walk() if node.state == "stopping"]
    assert left == [], "these tasks do not end"
