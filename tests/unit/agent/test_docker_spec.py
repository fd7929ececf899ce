"""What a container is made of, from a command and an image's labels; and what an engine's answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from app.agent.config import DockerSettings
from app.agent.docker_spec import (
    Image,
    Order,
    container_name,
    container_of,
    found_of,
    home_volume,
    image_of,
    order_of,
    tcp_port,
)
from app.agent.platform import AgentFailure, FailureCode

SEED = {
    "name": "john-doe-firefox-abc123",
    "namespace": "streamspace",
    "user": "john.doe",
    "template": "firefox-browser",
    "image": "lscr.io/linuxserver/firefox:latest",
    "resources": {"memory": "2Gi", "cpu": "1000m"},
    "vnc": {"port": 3000},
    "persistent_home": True,
    "environment": {"PUID": "1000", "PGID": "1000"},
}
"""The seed's own example of a start."""


def order(**more: Any) -> Order:
    return order_of("7c9e6679", SEED | more, 2)


def made(image: Image | None = None, settings: DockerSettings | None = None, **more: Any) -> dict[str, Any]:
    return container_of(
        order(**more), image or Image("i", {}, ""), settings or DockerSettings(), agent_id="docker-01",
        folder="/state/rfb/0123", processors=4, files=1024,
    )  # fmt: skip


def test_the_seeds_example_is_understood() -> None:
    one = order()
    assert (one.image, one.memory, one.cores, one.vnc_port) == ("lscr.io/linuxserver/firefox:latest", 2**31, 1.0, 3000)
    assert one.environment == {"PUID": "1000", "PGID": "1000"}
    assert (one.geometry, one.depth, one.hibernate) == ("1280x720", 24, "freeze")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"image": ""}, "no image"),
        ({"image": "-v /:/host"}, "no image"),
        ({"image": "a b"}, "no image"),
        ({"resources": {"memory": "2 Gi"}}, "memory"),
        ({"resources": {"cpu": "none"}}, "CPU"),
        ({"vnc": {"resolution": "wide"}}, "size of a screen"),
        ({"vnc": {"resolution": "800x600 -via x"}}, "size of a screen"),
        ({"vnc": {"color_depth": "deep"}}, "deep"),
    ],
)
def test_what_no_container_can_be_made_of_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(AgentFailure, match=words) as refused:
        order(**more)
    assert refused.value.code == FailureCode.TEMPLATE


def test_limits_come_from_the_resources_and_stay_within_the_machine() -> None:
    host = made(resources={"memory": "2Gi", "cpu": "16"})["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (2**31, 2**31, 4_000_000_000)
    assert host["ShmSize"] == 2**29
    assert host["Ulimits"][0] == {"Name": "nofile", "Soft": 1024, "Hard": 1024}
    unlimited = made(resources={})["HostConfig"]
    assert not {"Memory", "MemorySwap", "NanoCpus"} & set(unlimited)
    assert unlimited["ShmSize"] == 2**26


def test_nothing_of_the_machine_is_seen_but_the_socket_and_the_home() -> None:
    host = made()["HostConfig"]
    volume = home_volume(order())
    assert host["Binds"] == ["/state/rfb/0123:/run/callboard:rw", f"{volume}:/home/session:rw"]
    assert host["NetworkMode"] == "none"
    assert "NET_RAW" in host["CapDrop"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not {"Privileged", "PortBindings", "Devices", "CapAdd"} & set(host)


def test_a_template_cannot_change_where_the_desktop_is_served() -> None:
    environment = made(environment={"CALLBOARD_RFB_SOCKET": "/home/other.sock", "LANG": "C"})["Env"]
    assert "CALLBOARD_RFB_SOCKET=/run/callboard/rfb.sock" in environment
    assert "CALLBOARD_RFB_SOCKET=/home/other.sock" not in environment
    assert "LANG=C" in environment
    assert "HOME=/home/session" in environment


@pytest.mark.parametrize(
    ("image", "home", "told"),
    [
        (Image("i", {}, ""), "/home/session", True),
        (Image("i", {}, "/config"), "/config", False),
        (Image("i", {"org.callboard.home": "/data"}, "/config"), "/data", False),
    ],
)
def test_the_home_is_where_the_image_wants_it(image: Image, home: str, told: bool) -> None:
    body = made(image)
    assert body["HostConfig"]["Binds"][1].split(":")[1] == home
    assert any(entry.startswith("HOME=") for entry in body["Env"]) is told


def test_an_image_is_only_read_where_it_says_so_or_the_agent_demands_it() -> None:
    says_so = Image("i", {"org.callboard.read-only": "true"}, "")
    assert made()["HostConfig"]["ReadonlyRootfs"] is False
    assert made(says_so)["HostConfig"]["ReadonlyRootfs"] is True
    assert made(settings=DockerSettings(read_only=True))["HostConfig"]["ReadonlyRootfs"] is True
    assert made(says_so, DockerSettings(read_only=False))["HostConfig"]["ReadonlyRootfs"] is False
    assert "/home/session" in made(says_so, persistent_home=False)["HostConfig"]["Tmpfs"]


def test_homes_of_different_people_never_meet() -> None:
    names = {
        home_volume(order(user=user, template=t))
        for user, t in (("a.b", "x"), ("a-b", "x"), ("a", "b-x"), ("a-b-x", ""))
    }
    assert len(names) == 4
    assert all(name.startswith("callboard-home-") for name in names)
    assert container_name("7c9e/66 79", 2) == "callboard-7c9e-66-79-2"


@pytest.mark.parametrize(
    ("label", "network", "port"),
    [
        (None, "none", None),
        ("socket", "none", None),
        ("socket", "stage", None),
        (None, "stage", 3000),
        ("5901", "stage", 5901),
    ],
)
def test_where_the_desktop_is_served(label: str | None, network: str, port: int | None) -> None:
    image = Image("i", {} if label is None else {"org.callboard.rfb": label}, "")
    assert tcp_port(image, order(), DockerSettings(network=network)) == port


@pytest.mark.parametrize(("label", "network"), [("5901", "none"), ("vnc", "stage"), ("70000", "stage")])
def test_an_image_that_cannot_be_shown_is_refused(label: str, network: str) -> None:
    with pytest.raises(AgentFailure) as refused:
        tcp_port(Image("i", {"org.callboard.rfb": label}, ""), order(), DockerSettings(network=network))
    assert refused.value.code == FailureCode.TEMPLATE


def test_what_docker_says_of_a_container_is_read() -> None:
    found = found_of(
        {
            "Id": "f" * 64,
            "Config": {"Labels": {"org.callboard.session": "s1", "org.callboard.generation": "3", "vendor": "x"}},
            "State": {"Status": "exited", "StartedAt": "2026-11-22T03:19:04.123456789Z", "ExitCode": 137, "OOMKilled": True},
            "HostConfig": {"Memory": 1},
            "NetworkSettings": {"IPAddress": "", "Networks": {"stage": {"IPAddress": "10.89.0.2"}, "x": None}},
        }
    )  # fmt: skip
    assert (found.session_id, found.generation, found.state) == ("s1", 3, "exited")
    assert (found.started_at, found.exit_code, found.out_of_memory) == ("2026-11-22T03:19:04Z", 137, True)
    assert found.address == "10.89.0.2"
    assert found.labels == {"session": "s1", "generation": "3"}


def test_an_engine_that_says_little_is_understood_too() -> None:
    found = found_of({"Id": "a", "Config": {"Labels": None}, "NetworkSettings": None})
    assert (found.session_id, found.generation, found.state, found.started_at) == ("", 0, "", "")
    assert image_of("i", {"Config": {"Env": ["HOME=/config", "A=b=c", "D"], "Labels": None}}).home == "/config"
    assert image_of("i", {}) == Image("i", {}, "")
