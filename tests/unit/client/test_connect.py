"""Connection strings, and commands that no publisher can bend."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.connect import (
    DEFAULT_COMMANDS,
    PLACEHOLDERS,
    Endpoint,
    OpenCommand,
    build,
    check_command,
    connection_string,
    display,
    launch,
)
from app.client.shapes import Offer
from app.contract import PROTOCOLS
from app.errors import Invalid, NotFound


def endpoint(protocol: str = "srt", **changes: Any) -> Endpoint:
    fields = {"address": "192.168.1.50", "port": 9001, "name": "Programme", "config": {}, **changes}
    return Endpoint(protocol, fields["address"], fields["port"], fields["name"], fields["config"])


@pytest.mark.parametrize(
    ("given_endpoint", "text"),
    [
        (endpoint("srt"), "srt://192.168.1.50:9001"),
        (endpoint("srt", config={"streamid": "read:a&b"}), "srt://192.168.1.50:9001?streamid=read%3Aa%26b"),
        (endpoint("udp", address="fe80::1"), "udp://[fe80::1]:9001"),
        (endpoint("tcp", address="td-01.local"), "tcp://td-01.local:9001"),
        (endpoint("ndi", config={"ndi_name": "TD-01 (Camera A)"}), "TD-01 (Camera A)"),
        (endpoint("ndi"), "Programme"),
        (endpoint("spout", config={"sender_name": "Backdrop"}), "Backdrop"),
        (endpoint("syphon", config={"server_name": 7}), "Programme"),
        (endpoint("shared_memory", config={"segment": "/layer"}), "/layer"),
        (endpoint("webrtc", config={"whep_url": "https://10.0.0.5/whep"}), "https://10.0.0.5/whep"),
        (endpoint("webrtc", config={"url": "file:///etc/passwd"}), "webrtc://192.168.1.50:9001"),
        (endpoint("webrtc"), "webrtc://192.168.1.50:9001"),
        (endpoint("ndi", name="two\nlines\x1b[31m"), "two\\x0alines\\x1b[31m"),
    ],
)
def test_connection_strings(given_endpoint: Endpoint, text: str) -> None:
    assert connection_string(given_endpoint) == text


def test_an_offer_speaks_of_its_endpoint() -> None:
    offer = Offer("s", "i", "Camera A", "ndi", "ndi", "192.168.1.50", 5960, {"ndi_name": "TD-01 (Camera A)"})
    assert connection_string(Endpoint.of(offer)) == "TD-01 (Camera A)"


def test_every_protocol_of_the_contract_has_placeholders_and_a_string() -> None:
    assert set(PLACEHOLDERS) == set(PROTOCOLS)
    for protocol in PROTOCOLS:
        assert connection_string(endpoint(protocol))


def test_the_default_commands_are_sound() -> None:
    for command in DEFAULT_COMMANDS:
        check_command(command)
        assert build(command, endpoint(command.protocol))


def test_values_fill_whole_arguments_and_parts_of_them() -> None:
    command = OpenCommand("own", "srt", ("player", "--title={name}", "{url}", "{address}", "{port}", "plain"))
    assert build(command, endpoint(name="a b; rm -rf ~ {port}")) == (
        "player",
        "--title=a b; rm -rf ~ {port}",
        "srt://192.168.1.50:9001",
        "192.168.1.50",
        "9001",
        "plain",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "--exec=rm"}, "for an option"),
        ({"name": "-"}, "for an option"),
        ({"name": ""}, "for an option"),
        ({"name": "/etc/passwd"}, "for a file"),
        ({"name": "../../etc/passwd"}, "for a file"),
        ({"name": "..\\x"}, "for a file"),
        ({"name": "~/.ssh/id_rsa"}, "for a file"),
        ({"name": "C:\\Windows\\x.ini"}, "for a file"),
        ({"name": "file:///etc/passwd"}, "for a file"),
        ({"name": "@arguments.txt"}, "for a file"),
        ({"name": "a\x00b"}, "control characters"),
        ({"name": "a\nb"}, "control characters"),
        ({"address": "10.0.0.1/../x"}, "not the name or number of a machine"),
        ({"address": "-oProxyCommand=x"}, "not the name or number of a machine"),
        ({"address": "host?listen=1"}, "not the name or number of a machine"),
        ({"address": "user@host"}, "not the name or number of a machine"),
        ({"address": "host\n"}, "not the name or number of a machine"),
        ({"address": ""}, "not the name or number of a machine"),
        ({"port": 0}, "cannot be connected to"),
        ({"port": 70000}, "cannot be connected to"),
    ],
)
def test_hostile_values_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        build(OpenCommand("own", "srt", ("player", "{name}", "{url}")), endpoint(**changes))


@pytest.mark.parametrize(
    ("protocol", "config"),
    [("ndi", {"ndi_name": "-x"}), ("ndi", {"ndi_name": "a\x07"}), ("spout", {"sender_name": "--help"})],
)
def test_hostile_source_names_are_refused(protocol: str, config: dict[str, str]) -> None:
    placeholder = "{ndi_name}" if protocol == "ndi" else "{sender_name}"
    with pytest.raises(Invalid):
        build(OpenCommand("own", protocol, ("player", placeholder)), endpoint(protocol, config=config))


@pytest.mark.parametrize("name", ["Cam 1/2", "STAGE (Cam A)", ".hidden", "R&D: left", "a@b"])
def test_names_that_only_look_odd_are_kept(name: str) -> None:
    assert build(OpenCommand("own", "srt", ("player", "{name}")), endpoint(name=name)) == ("player", name)


def test_a_segment_is_a_path_that_does_not_climb() -> None:
    command = OpenCommand("own", "shared_memory", ("viewer", "{segment}"))
    assert build(command, endpoint("shared_memory", config={"segment": "/dev/shm/cam"})) == ("viewer", "/dev/shm/cam")
    with pytest.raises(Invalid, match="for a file"):
        build(command, endpoint("shared_memory", config={"segment": "/dev/shm/../../etc/passwd"}))


@given(st.text(max_size=40), st.text(max_size=40), st.integers(-5, 70000), st.sampled_from(PROTOCOLS))
def test_no_stream_ever_becomes_an_option_or_another_argument(
    name: str, address: str, port: int, protocol: str
) -> None:
    arguments = ("player", *(f"{{{word}}}" for word in PLACEHOLDERS[protocol]))
    key = {"ndi": "ndi_name", "spout": "sender_name", "syphon": "server_name"}.get(protocol, "segment")
    try:
        built = build(OpenCommand("own", protocol, arguments), Endpoint(protocol, address, port, name, {key: name}))
    except Invalid:
        return
    assert len(built) == len(arguments)
    assert built[0] == "player"
    for value in built[1:]:
        assert value
        assert value[0] != "-"
        assert value.isprintable()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (OpenCommand("x", "carrier pigeon", ("player",)), "not a protocol"),
        (OpenCommand("x", "srt", ()), "no program"),
        (OpenCommand("x", "srt", (" ",)), "no program"),
        (OpenCommand("x", "srt", ("{name}",)), "takes no placeholder"),
        (OpenCommand("x", "srt", ("player", "{ndi_name}")), "is not known for srt"),
        (OpenCommand("x", "srt", ("player", "{}")), "is not known for srt"),
        (OpenCommand("x", "srt", ("player", "a\nb")), "control characters"),
    ],
)
def test_commands_that_may_not_be_kept(command: OpenCommand, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_command(command)


def test_a_command_for_another_protocol_is_refused() -> None:
    with pytest.raises(Invalid, match="this stream is udp"):
        build(DEFAULT_COMMANDS[0], endpoint("udp"))


def test_display_shows_each_argument_as_one() -> None:
    assert display(("player", "a b", "$(x)")) == "player 'a b' '$(x)'"


async def test_launch_runs_the_program_without_a_shell(tmp_path: Path) -> None:
    target = tmp_path / "seen"
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    process = launch((sys.executable, "-c", code, str(target), "$(whoami); `id`"))
    assert process > 0
    async with asyncio.timeout(20):
        while not (target.exists() and target.read_text()):
            await asyncio.sleep(0.02)
    assert target.read_text() == "$(whoami); `id`"


async def test_a_packaged_console_keeps_its_libraries_from_the_players(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    target = tmp_path / "seen"
    launch(("sh", "-c", 'echo "libraries: $LD_LIBRARY_PATH" > "$0.part"; mv "$0.part" "$0"', str(target)))
    async with asyncio.timeout(20):
        while not target.exists():
            await asyncio.sleep(0.02)
    assert target.read_text() == "libraries: \n"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="no-such-player is not installed"):
        launch(("no-such-player", "x"))
