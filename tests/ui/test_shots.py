"""Every scene can be rendered, in each theme, and what is on a picture is not blank."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from app.ui.shot_client import audit_rows, history_rows
from app.ui.shot_scenes import SCENES

PARTS = 8
"""Processes that share the scenes, so that none takes long."""
ROOT = Path(__file__).resolve().parents[2]


def render(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "app.ui.shots", "--out", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def colours(path: Path) -> tuple[QImage, int]:
    image = QImage(str(path))
    seen = {image.pixel(x, y) for x in range(0, image.width(), 7) for y in range(0, image.height(), 7)}
    return image, len(seen)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_scene_gives_a_picture(tmp_path: Path, part: int) -> None:
    names = list(SCENES)[part::PARTS]
    done = render(tmp_path, "--only", *names)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert [Path(line).stem for line in done.stdout.split()] == names
    for name in names:
        image, seen = colours(tmp_path / f"{name}.png")
        assert (image.width(), image.height()) == (1600, 1000)
        assert seen > 15, name


def test_theme_and_scale(tmp_path: Path) -> None:
    done = render(tmp_path, "--theme", "blackout", "--scale", "2", "--only", "sessions")
    assert done.returncode == 0, done.stderr
    image, _seen = colours(tmp_path / "sessions.png")
    assert (image.width(), image.height()) == (3200, 2000)
    assert image.pixelColor(1600, 1500).lightness() < 20


def test_the_same_picture_twice(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert render(tmp_path / folder, "--only", "history-audit", "settings-access").returncode == 0
    for name in ("history-audit", "settings-access"):
        assert (tmp_path / "one" / f"{name}.png").read_bytes() == (tmp_path / "two" / f"{name}.png").read_bytes()


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    done = render(tmp_path, "--only", "nonsense")
    assert done.returncode == 2
    assert "no such picture: nonsense" in done.stderr


def test_the_past_of_the_pictures_is_believable() -> None:
    rows = history_rows()
    assert [row.time for row in rows] == sorted((row.time for row in rows), reverse=True)
    assert all(row.ended_at is None or row.ended_at >= row.time for row in rows)
    acts = audit_rows()
    assert [row.at for row in acts] == sorted((row.at for row in acts), reverse=True)
