"""A real nats-server with the broker's own configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.paths import DataFolder
from app.server.bus.embedded import EmbeddedNats
from app.server.tasks import TaskTree
from tests.fakes.ports import free_ports
from tests.fakes.tasks import ended


@pytest.fixture
async def tree() -> AsyncIterator[TaskTree]:
    tree = TaskTree()
    yield tree
    await ended(tree)


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


@pytest.fixture
async def server(tree: TaskTree, folder: DataFolder) -> AsyncIterator[EmbeddedNats]:
    """On a port that nobody gets by chance while a test has ended the server, which comes back there."""
    server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", free_ports(1)[0])
    await server.start()
    yield server
    await server.stop()
