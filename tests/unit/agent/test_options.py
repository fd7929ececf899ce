"""Options of an agent: addresses, defaults, and one readable line for what cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.agent.options import AgentOptions
from app.errors import ConfigError


def options(**more: Any) -> AgentOptions:
    return AgentOptions(**{"broker": "http://10.0.0.5:8080", "agent_id": "a1", **more})


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("http://10.0.0.5:8080", "ws://10.0.0.5:8080/agent/ws?agent_id=a1&platform=local"),
        ("https://show.local/", "wss://show.local/agent/ws?agent_id=a1&platform=local"),
        ("ws://[::1]:80/api/v1", "ws://[::1]:80/api/v1/agent/ws?agent_id=a1&platform=local"),
    ],
)
def test_where_the_agent_connects(broker: str, url: str) -> None:
    assert options(broker=broker).checked().control_url() == url


def test_the_region_is_part_of_the_address() -> None:
    assert options(region="stage left").checked().control_url().endswith("&region=stage+left")


@pytest.mark.parametrize(
    "broker", ["", "10.0.0.5:8080", "ftp://x", "http://", "http://x:99999", "http://user:pass@x", "http://x:0"]
)
def test_what_is_no_broker_is_refused(broker: str) -> None:
    with pytest.raises(ConfigError, match="--broker"):
        options(broker=broker).checked()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"platform": "cloud"}, "--platform"),
        ({"agent_id": "a b"}, "--agent-id"),
        ({"agent_id": "../x"}, "--agent-id"),
        ({"max_sessions": 0}, "--max-sessions"),
        ({"log_level": "loud"}, "--log-level"),
    ],
)
def test_what_cannot_work_is_named(given: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        options(**given).checked()


def test_an_agent_without_a_name_is_called_after_its_platform_and_host(home: Path) -> None:
    checked = AgentOptions(broker="http://x:1", platform="attach").checked()
    assert checked.name.startswith("attach-")
    assert checked.folder.name == checked.name
    assert home in checked.folder.parents


def test_the_key_is_not_shown() -> None:
    assert "hush" not in repr(options(key="hush"))


@pytest.mark.parametrize(
    ("broker", "said", "url"),
    [
        ("http://b:80", "", "ws://b:80/agent/tunnel/p1"),
        ("http://b:80", "/agent/tunnel/x", "ws://b:80/agent/tunnel/x"),
        ("http://b:80", "ws://b:81/t", "ws://b:81/t"),
        ("http://b:80", "wss://Node-2/t", "wss://Node-2/t"),
    ],
)
def test_where_a_tunnel_goes(broker: str, said: str, url: str) -> None:
    assert options(broker=broker, tunnel_hosts=("node-2",)).tunnel_url(said, "p1") == url


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("https://b", "ws://b/t"),
        ("http://b", "http://b/t"),
        ("http://b", "//b/t"),
        ("http://b", "ws:///t"),
        ("http://b", "ws://other/t"),
        ("http://b", "ws://b@other/t"),
        ("http://b", "ws://[b/t"),
        ("http://b", "ws://b:99999/t"),
    ],
)
def test_a_tunnel_that_makes_no_sense_or_is_less_safe_is_refused(broker: str, said: str) -> None:
    with pytest.raises(ConfigError, match="tunnel"):
        options(broker=broker).tunnel_url(said, "p1")


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--ca"):
        options(broker="https://b", ca=tmp_path / "none.pem").tls()
    assert options().tls() is None


@pytest.mark.parametrize(
    ("broker", "bare"),
    [
        ("http://10.0.0.5:1", True),
        ("http://127.0.0.1:1", False),
        ("http://localhost:1", False),
        ("https://10.0.0.5", False),
    ],
)
def test_a_key_that_crosses_the_network_without_tls_is_noticed(broker: str, bare: bool) -> None:
    assert options(broker=broker, key="k").bares_key is bare
