"""The settings file: a whitelist, defaults for rubbish, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.ui.settings import KEYS, Settings


def test_every_key_has_its_default(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "console.ini")
    for key, default in KEYS.items():
        assert settings.get(key, "x" if key.endswith("/") else "") == default


def test_values_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "console.ini"
    settings = Settings(path)
    settings.set("theme", "blackout")
    settings.set("hold_seconds", 2.5)
    settings.set("columns/", [{"key": "name", "width": 200, "shown": True}], "streams")
    settings.set("filter/", 'cam "stage left" -ndi = % ; ü', "streams")
    settings.sync()
    fresh = Settings(path)
    assert fresh.get("theme") == "blackout"
    assert fresh.get("hold_seconds") == 2.5
    assert fresh.get("columns/", "streams") == [{"key": "name", "width": 200, "shown": True}]
    assert fresh.get("filter/", "streams") == 'cam "stage left" -ndi = % ; ü'
    assert fresh.get("columns/", "sessions") == []


def test_an_undeclared_key_is_a_mistake(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "console.ini")
    with pytest.raises(KeyError):
        settings.get("thème")
    with pytest.raises(KeyError):
        settings.set("columns/", [])
    with pytest.raises(KeyError):
        settings.get("theme", "streams")


def test_a_wrong_kind_is_a_mistake_and_rubbish_counts_as_absent(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "console.ini")
    with pytest.raises(TypeError):
        settings.set("window/details_open", 1)
    path = tmp_path / "rubbish.ini"
    path.write_text('[General]\ntheme=7\nhold_seconds="[1]"\nbrokers=not json\n')
    rubbish = Settings(path)
    assert rubbish.get("theme") == "dark"
    assert rubbish.get("hold_seconds") == 1.5
    assert rubbish.get("brokers") == []
