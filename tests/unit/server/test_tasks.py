from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.server import tasks
from app.server.tasks import TaskTree


@pytest.fixture
async def tree(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TaskTree]:
    monkeypatch.setattr(tasks, "BACK_OFF", (0.0,))
    tree = TaskTree()
    yield tree
    await tree.stop(2.0)
    assert tree.root.children == []


async def forever() -> None:
    await asyncio.Event().wait()


async def test_what_ends_well_leaves_the_tree(tree: TaskTree) -> None:
    async def quick() -> None:
        return

    node = tree.spawn("quick", quick)
    assert node in tree.root.children
    await node.wait()
    assert (node.state, node.done) == ("finished", True)
    assert tree.root.children == []


async def test_what_fails_stays_to_be_seen_within_a_bound(tree: TaskTree) -> None:
    async def fail() -> None:
        raise ValueError("wrong")

    nodes = [tree.spawn("fails", fail) for _ in range(tasks.FAILED_KEPT + 5)]
    for node in nodes:
        await node.wait()
    assert len(tree.root.children) == tasks.FAILED_KEPT
    assert nodes[-1].state == "failed"
    assert nodes[-1].last_error == "ValueError: wrong"


async def test_a_failing_node_is_started_again(tree: TaskTree) -> None:
    lives, well = [], asyncio.Event()

    async def flaky() -> None:
        lives.append(1)
        if len(lives) < 3:
            raise OSError("away")
        well.set()
        await forever()

    node = tree.spawn("flaky", flaky, restart="on_failure")
    await well.wait()
    assert (node.restarts, node.state, node.last_error) == (2, "running", "OSError: away")
    await node.stop()
    assert node.state == "finished"


async def test_stopping_ends_children_first_and_the_youngest_first(tree: TaskTree) -> None:
    ended: list[str] = []

    def noting(name: str) -> tasks.Factory:
        async def run() -> None:
            try:
                await forever()
            finally:
                ended.append(name)

        return run

    parent = tree.spawn("parent", noting("parent"))
    tree.spawn("older", noting("older"), parent=parent)
    tree.spawn("younger", noting("younger"), parent=parent)
    await asyncio.sleep(0)
    await parent.stop()
    assert ended == ["younger", "older", "parent"]


async def test_restart_really_restarts(tree: TaskTree) -> None:
    lives: list[asyncio.Task[object] | None] = []

    async def run() -> None:
        lives.append(asyncio.current_task())
        await forever()

    node = tree.spawn("node", run)
    await asyncio.sleep(0)
    await node.restart()
    await asyncio.sleep(0)
    assert len(lives) == 2
    assert lives[0] is not None
    assert lives[0].done()
    assert (node.state, node.restarts, tree.root.children) == ("running", 1, [node])


async def test_a_group_restarts_its_children(tree: TaskTree) -> None:
    group = tree.group("group")
    node = tree.spawn("node", forever, parent=group)
    await group.restart()
    assert (node.restarts, node.state, group.children) == (1, "running", [node])
    assert [each.name for each in tree.root.walk()] == ["broker", "group", "node"]
    assert tree.find(node.id) is node
    assert tree.find(10_000) is None


async def test_what_does_not_end_is_left_behind_in_time(tree: TaskTree) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    node = tree.spawn("stubborn", stubborn)
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await node.stop(0.1)
    assert node.state == "stopping"
    release.set()
    await node.wait()


async def test_a_node_may_stop_itself(tree: TaskTree) -> None:
    async def run() -> None:
        await node.stop()

    node = tree.spawn("self", run)
    await node.wait()
    assert node.state == "finished"


async def test_a_coroutine_that_cancels_itself_has_failed(tree: TaskTree) -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError

    node = tree.spawn("gives up", gives_up)
    await node.wait()
    assert (node.state, node.last_error) == ("failed", "CancelledError: ")


async def test_a_child_whose_clean_up_fails_is_not_started_again_by_its_stop(tree: TaskTree) -> None:
    begun = asyncio.Event()
    starts = 0

    async def untidy() -> None:
        nonlocal starts
        starts += 1
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("clean-up failed")

    node = tree.spawn("untidy", untidy, restart="on_failure")
    await begun.wait()
    await node.stop(1.0)
    assert (starts, node.done, tree.root.children) == (1, True, [])
