"""Programs that open a stream: kept per protocol, checked, shown before their first use, started without a shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.client.connect import DEFAULT_COMMANDS, Endpoint, OpenCommand
from app.errors import Invalid
from app.ui.open_with import commands_for, mark_seen, restore_defaults, save_commands, start, was_seen
from app.ui.settings import Settings
from tests.ui.desk import Desk

SRT = Endpoint("srt", "10.0.40.30", 9710, "Conductor")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "console.ini")


def test_defaults_until_something_is_kept(settings: Settings) -> None:
    assert commands_for(settings, "srt") == [one for one in DEFAULT_COMMANDS if one.protocol == "srt"]
    assert commands_for(settings, "ndi") == []


def test_kept_commands_survive_a_restart(settings: Settings, tmp_path: Path) -> None:
    mine = OpenCommand("mpv", "srt", ("mpv", "--title={name}", "{url}"))
    save_commands(settings, "srt", [mine])
    settings.sync()
    assert commands_for(Settings(tmp_path / "console.ini"), "srt") == [mine]


def test_removing_the_last_one_does_not_bring_the_defaults_back(settings: Settings) -> None:
    save_commands(settings, "srt", [])
    assert commands_for(settings, "srt") == []
    restore_defaults(settings, "srt")
    assert commands_for(settings, "srt")


@pytest.mark.parametrize("arguments", [(), ("{url}",), ("vlc", "{password}"), ("vlc", "a\nb"), ("vlc", "{ndi_name}")])
def test_a_command_that_may_not_be_is_not_kept(settings: Settings, arguments: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        save_commands(settings, "srt", [OpenCommand("x", "srt", arguments)])
    assert commands_for(settings, "srt") == [one for one in DEFAULT_COMMANDS if one.protocol == "srt"]


def test_rubbish_in_the_settings_file_is_passed_over(settings: Settings) -> None:
    good = {"title": "mpv", "arguments": ["mpv", "{url}"]}
    settings.set(
        "open_with/",
        [good, "x", {"title": "y"}, {"title": "z", "arguments": ["{url}"]}, {"arguments": ["a", 1]}],
        "srt",
    )
    assert commands_for(settings, "srt") == [OpenCommand("mpv", "srt", ("mpv", "{url}"))]


def test_a_changed_command_is_shown_again(settings: Settings) -> None:
    first = OpenCommand("mpv", "srt", ("mpv", "{url}"))
    assert not was_seen(settings, first)
    mark_seen(settings, first)
    assert was_seen(settings, first)
    assert not was_seen(settings, OpenCommand("mpv", "srt", ("mpv", "--fs", "{url}")))
    assert not was_seen(settings, OpenCommand("mpv", "udp", ("mpv", "{url}")))


async def test_a_program_is_really_started_with_its_arguments(qtbot: QtBot, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    qtbot.addWidget(desk)
    pipe = tmp_path / "told"
    os.mkfifo(pipe)
    code = f"import sys; open({str(pipe)!r}, 'w').write('|'.join(sys.argv[1:]))"
    command = OpenCommand("python", "srt", (sys.executable, "-c", code, "{url}", "{name}; $(touch x)"))
    assert await start(desk.context, command, SRT)
    assert pipe.read_text() == "srt://10.0.40.30:9710|Conductor; $(touch x)"
    assert was_seen(desk.context.settings, command)
    assert desk.said[-1].tone == "good"


async def test_an_address_that_is_none_starts_nothing(qtbot: QtBot, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    qtbot.addWidget(desk)
    command = OpenCommand("VLC", "srt", ("vlc", "{url}"))
    assert not await start(desk.context, command, Endpoint("srt", "a b;rm", 1, "x"))
    assert desk.said[-1].tone == "error"
    assert "is not the name or number of a machine" in desk.said[-1].text
    assert not was_seen(desk.context.settings, command)
