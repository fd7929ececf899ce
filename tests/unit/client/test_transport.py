"""Addresses of brokers, as they are typed."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.transport import base_url_of, feed_url_of, ssl_context_for
from app.errors import ConfigError


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (" HTTP://Stage.Local:8080/ ", "http://stage.local:8080"),
        ("10.0.0.5:8080", "http://10.0.0.5:8080"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("https://house.example/board/?x#y", "https://house.example/board"),
        ("https://house.example/board / ?x", "https://house.example/board"),
    ],
)
def test_addresses(typed: str, url: str) -> None:
    assert base_url_of(typed) == url
    assert base_url_of(url) == url


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "ftp://x",
        "http://",
        "http://x:port",
        "http://x:99999",
        "http://[::1",
        "http://a b",
        "http://ä..b",
        "http://" + "x" * 300,
    ],
)
def test_what_is_no_address(typed: str) -> None:
    with pytest.raises(ConfigError):
        base_url_of(typed)


@given(st.text(max_size=40))
def test_whatever_is_typed_is_an_address_or_one_error(typed: str) -> None:
    try:
        url = base_url_of(typed)
    except ConfigError:
        return
    assert url.startswith(("http://", "https://"))
    assert base_url_of(url) == url


def test_the_feed_is_at_the_same_place() -> None:
    assert feed_url_of("http://x:1") == "ws://x:1/console/v1/feed"
    assert feed_url_of("https://x") == "wss://x/console/v1/feed"


def test_tls_is_checked() -> None:
    context = ssl_context_for("https://x")
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
