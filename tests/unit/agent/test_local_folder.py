"""Sessions that an earlier agent left: garbled ones go, those that cannot be read just now stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.agent.local_folder import LocalFolder
from app.errors import ConfigError


def test_a_record_that_cannot_be_read_ends_no_session(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path, "0123456789abcdef")
    folder.prepare()
    record = tmp_path / "sessions" / "s1" / "record.json"
    record.mkdir(parents=True)  # reading it fails, whoever reads: EISDIR
    with pytest.raises(ConfigError, match="cannot be read"):
        list(folder.known())
    assert record.exists()


def test_a_garbled_record_and_a_missing_one_go(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path, "0123456789abcdef")
    folder.prepare()
    for name, text in (("s1", b"{"), ("s2", None)):
        (tmp_path / "sessions" / name).mkdir()
        if text is not None:
            (tmp_path / "sessions" / name / "record.json").write_bytes(text)
    assert list(folder.known()) == []
    assert list((tmp_path / "sessions").iterdir()) == []
