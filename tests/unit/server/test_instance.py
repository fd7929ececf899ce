from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from app import __version__
from app.errors import ConfigError, PortInUse
from app.paths import BrokerInfo, DataFolder
from app.server.instance import LAYOUT, Instance, Layout

HOLDER = """
import sys, time
from pathlib import Path
from app.paths import DataFolder
from app.server.instance import Instance
instance = Instance(DataFolder(Path(sys.argv[1])))
instance.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "data")


def test_a_second_broker_is_refused_and_told_the_pid_and_a_killed_one_leaves_nothing_stuck(folder: DataFolder) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(PortInUse, match=rf"in use by another broker \(process {holder.pid}\)"):
        Instance(folder).acquire()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    instance = Instance(folder)
    instance.acquire()
    assert folder.lock.read_text() == f"{os.getpid()}\n"
    instance.release()


def test_where_the_broker_is_stands_in_a_private_file_until_it_ends(folder: DataFolder) -> None:
    instance = Instance(folder)
    instance.acquire()
    instance.announce("stage", "127.0.0.1", {"main": "http://127.0.0.1:1"}, 1)
    assert stat.S_IMODE(folder.broker.stat().st_mode) == 0o600
    info = msgspec.json.decode(folder.broker.read_bytes(), type=BrokerInfo)
    assert (info.pid, info.version, info.name) == (os.getpid(), __version__, "stage")
    assert info.started_at == psutil.Process().create_time()
    assert info.urls == {"main": "http://127.0.0.1:1"}
    instance.release()
    instance.release()
    assert not folder.broker.exists()
    instance.acquire()
    instance.release()


def test_the_folder_of_a_newer_version_is_refused_and_left_alone(folder: DataFolder) -> None:
    folder.create()
    written = msgspec.json.encode(Layout(LAYOUT + 1, "9.9.9"))
    folder.layout.write_bytes(written)
    with pytest.raises(ConfigError, match=r"written by Callboard 9\.9\.9, which is newer than this"):
        Instance(folder).acquire()
    assert folder.layout.read_bytes() == written
    folder.layout.unlink()
    instance = Instance(folder)
    instance.acquire()
    assert msgspec.json.decode(folder.layout.read_bytes(), type=Layout) == Layout(LAYOUT, __version__)
    instance.release()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_layout_that_cannot_be_read_is_told(folder: DataFolder, content: bytes) -> None:
    folder.create()
    folder.layout.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        Instance(folder).acquire()


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        Instance(DataFolder(tmp_path / "file" / "data")).acquire()
