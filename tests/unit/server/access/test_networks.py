from __future__ import annotations

import socket

import pytest

from app.server.access import networks
from app.server.access.networks import Hosts, Networks, Origins


@pytest.mark.parametrize(
    ("client", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.168.1.77", True),
        ("::ffff:192.168.1.77", True),
        ("fd00::5", True),
        ("fe80::1%eth0", False),
        ("192.168.2.1", False),
        ("10.0.0.1", False),
        ("", False),
        ("testclient", False),
    ],
)
def test_this_machine_and_allowed_networks_may(client: str, allowed: bool) -> None:
    rules = Networks(["192.168.1.0/24", "fd00::/8"])
    assert rules.allow(client, "192.168.1.1") is allowed
    assert rules.allow(client, "192.168.1.1") is allowed


def test_a_client_with_the_servers_own_address_is_this_machine() -> None:
    assert Networks([]).allow("10.0.0.7", "10.0.0.7")
    assert not Networks([]).allow("10.0.0.8", "10.0.0.7")


def test_networks_change_at_once() -> None:
    rules = Networks([])
    assert not rules.allow("10.0.0.1", "")
    rules.replace(["10.0.0.0/8"])
    assert rules.allow("10.0.0.1", "")
    rules.replace([])
    assert not rules.allow("10.0.0.1", "")


def test_verdicts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "VERDICTS", 10)
    rules, hosts = Networks([]), Hosts()
    for number in range(100):
        rules.allow(f"10.0.0.{number}", "")
        hosts.allow(f"host{number}".encode())
    assert len(rules._verdicts) <= 10
    assert len(hosts._verdicts) <= 10


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("192.168.1.9", True),
        ("[::1]:8080", True),
        ("[fe80::1]", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("localhost.:1", True),
        ("stage.example:8080", True),
        (socket.gethostname(), True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:evil", False),
        ("localhost@evil.example", False),
        ("::1", False),
        ("", False),
        (":80", False),
        ("[::1", False),
        ("stage\u00e9.example", False),
    ],
)
def test_hosts(host: str, allowed: bool) -> None:
    assert Hosts(["Stage.example"]).allow(host.encode("latin-1")) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8080", True),
        ("https://127.0.0.1:8080", True),
        ("callboard://viewer", True),
        ("http://panel.example", True),
        ("http://127.0.0.1:8081", False),
        ("http://127.0.0.1", False),
        ("null", False),
        ("", False),
        ("http://127.0.0.1:8080.evil.example", False),
    ],
)
def test_origins(origin: str, allowed: bool) -> None:
    assert Origins(["http://panel.example/"]).allow(origin.encode(), b"127.0.0.1:8080") is allowed
