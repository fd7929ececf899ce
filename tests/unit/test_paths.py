from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app import paths


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_the_users(home: Path) -> None:
    assert paths.data_dir().is_relative_to(home)
    assert paths.config_file().parent == paths.config_dir()
    assert paths.log_dir(Path("/x")) == Path("/x/logs")


def test_a_data_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = paths.DataFolder(tmp_path / "a" / "b")
    folder.create()
    folder.create()
    assert [mode(path) for path in (folder.path, folder.nats, folder.logs)] == [0o700] * 3


def test_private_files_are_replaced_in_one_step(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    before = os.umask(0)
    try:
        paths.write_private(file, b"new")
    finally:
        os.umask(before)
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_private_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "none" / "secret"
    with pytest.raises(FileNotFoundError):
        paths.write_private(file, b"new")


def test_resources_are_found_beside_the_source() -> None:
    assert paths.resource("icons", "x.svg").parts[-3:] == ("resources", "icons", "x.svg")
    assert paths.resource().is_dir()
