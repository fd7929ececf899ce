"""The agent's own configuration file: what it says, and what is wrong with it in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.agent.config import AgentConfig, DockerSettings, Target, default_file, load_agent_config
from app.errors import ConfigError

WHOLE = """
[[target]]
name = "media-server-1"
title = "Media server, stage left"
host = "10.0.0.21"
port = 5901

[[target]]
name = "graphics"
unix = "/run/graphics/rfb.sock"

[docker]
socket = "unix:///run/podman/podman.sock"
pull = "missing"
drop = ["NET_RAW"]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "agent.toml"
    file.write_text(text)
    return file


def test_the_whole_file_is_read(tmp_path: Path) -> None:
    config = load_agent_config(written(tmp_path, WHOLE))
    assert config.target == (
        Target(name="media-server-1", title="Media server, stage left", host="10.0.0.21", port=5901),
        Target(name="graphics", unix="/run/graphics/rfb.sock"),
    )
    assert config.docker.socket == "unix:///run/podman/podman.sock"
    assert config.docker.pull == "missing"
    assert config.docker.drop == ("NET_RAW",)
    assert [target.place for target in config.target] == ["10.0.0.21:5901", "/run/graphics/rfb.sock"]


def test_without_a_file_containers_are_shut_off_and_nothing_is_attached() -> None:
    assert load_agent_config(None) == AgentConfig()
    assert AgentConfig().docker == DockerSettings(network="none", pull="never", no_new_privileges=True)


def test_the_file_in_the_users_folder_is_found() -> None:
    default_file().parent.mkdir(parents=True)
    default_file().write_text('[docker]\nnetwork = "stage"\n')
    assert load_agent_config(None).docker.network == "stage"


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist"):
        load_agent_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[target", "not valid TOML"),
        ("[[targets]]\n", "no section 'targets'; did you mean 'target'"),
        ('[docker]\nnetwrok = "x"\n', r"\[docker\] has no setting 'netwrok'; did you mean 'network'"),
        ('[[target]]\nname = "a"\nhost = "b"\nzzz = 1\n', "no setting 'zzz'; leave it out"),
        ('[docker]\npull = "often"\n', "pull"),
        ('[[target]]\nhost = "b"\n', "name"),
        ('[[target]]\nname = "Über"\nhost = "b"\n', "not made of small letters"),
        ('[[target]]\nname = "a"\nhost = "b"\n[[target]]\nname = "a"\nhost = "c"\n', "two targets are called 'a'"),
        ('[[target]]\nname = "a"\n', "needs either a host or a unix socket"),
        ('[[target]]\nname = "a"\nhost = "b"\nunix = "/c"\n', "needs either a host or a unix socket"),
        ('[[target]]\nname = "a"\nhost = "b"\nport = 70000\n', "has the port 70000"),
        ('target = "a"\n', "target"),
        ('[docker]\nnetwork = "host"\n', "desktops on this machine's own addresses"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as wrong:
        load_agent_config(written(tmp_path, text))
    assert "\n" not in wrong.value.message


def test_an_address_of_version_six_is_readable() -> None:
    assert Target(name="a", host="::1").place == "[::1]:5900"
