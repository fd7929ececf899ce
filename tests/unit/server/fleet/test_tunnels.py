"""Tokens of tunnels: single use, short, of one proxy; and the address that an agent reached us by."""

from __future__ import annotations

import pytest

from app.errors import Unauthorised, Unavailable
from app.server.fleet.tunnels import TOKEN_SECONDS, Tunnels
from tests.fakes.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tunnels(clock: Clock) -> Tunnels:
    made = Tunnels(clock=clock.monotonic)
    made.reached("a", "wss://broker.example:8443")
    return made


def test_a_token_opens_its_tunnel_once(tunnels: Tunnels) -> None:
    url, token = tunnels.expect("proxy-1", "a")
    assert url == "wss://broker.example:8443/agent/tunnel/proxy-1"
    assert len(token) == 32
    tunnels.claim("proxy-1", token)
    with pytest.raises(Unauthorised) as caught:
        tunnels.claim("proxy-1", token)
    assert caught.value.code == "token_invalid"
    assert tunnels.waiting == 0


@pytest.mark.parametrize(("proxy", "change"), [("proxy-2", ""), ("proxy-1", "x"), ("", ""), ("proxy-1", "\u00e9")])
def test_another_token_or_proxy_opens_nothing(tunnels: Tunnels, proxy: str, change: str) -> None:
    _, token = tunnels.expect("proxy-1", "a")
    with pytest.raises(Unauthorised):
        tunnels.claim(proxy, change + token)
    with pytest.raises(Unauthorised):
        tunnels.claim("proxy-1", "")
    tunnels.claim("proxy-1", token)


def test_a_token_runs_out(tunnels: Tunnels, clock: Clock) -> None:
    _, early = tunnels.expect("proxy-1", "a")
    clock.advance(TOKEN_SECONDS - 0.1)
    _, late = tunnels.expect("proxy-2", "a")
    clock.advance(0.2)
    with pytest.raises(Unauthorised):
        tunnels.claim("proxy-1", early)
    tunnels.claim("proxy-2", late)


def test_nobody_waits_for_a_forgotten_one(tunnels: Tunnels) -> None:
    _, token = tunnels.expect("proxy-1", "a")
    tunnels.forget("proxy-1")
    tunnels.forget("proxy-1")
    with pytest.raises(Unauthorised):
        tunnels.claim("proxy-1", token)


def test_tunnels_go_where_the_connection_that_is_asked_came_from(tunnels: Tunnels) -> None:
    gone = tunnels.reached("standby of a", "ws://10.0.0.5:8080")
    assert tunnels.expect("proxy-1", "a")[0].startswith("wss://broker.example:8443/")
    assert tunnels.expect("proxy-2", "standby of a")[0] == "ws://10.0.0.5:8080/agent/tunnel/proxy-2"
    gone()
    for connection_id in ("standby of a", None):
        with pytest.raises(Unavailable):
            tunnels.expect("proxy-3", connection_id)


def test_an_agent_that_is_not_connected_cannot_be_asked(tunnels: Tunnels) -> None:
    gone = tunnels.reached("b", "ws://x")
    gone()
    with pytest.raises(Unavailable) as caught:
        tunnels.expect("proxy-1", "b")
    assert caught.value.code == "agent_offline"
