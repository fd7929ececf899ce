"""Addresses and TLS of a broker, the same for HTTP and for the feed.

Used by ``calls.py`` and ``feed.py``; ``cli.py`` and the Settings page call ``base_url_of`` to check what was typed.
"""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit, urlunsplit

from app.errors import ConfigError
from app.trust import client_context

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104 - nothing binds to it
"""Where a broker that listens everywhere is reached from its own machine."""
PATH_END = re.compile(r"[/\s]+\Z")


def base_url_of(text: str) -> str:
    """A broker's address in canonical form; ``ConfigError`` says what is wrong with it."""
    text = text.strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a broker's address: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise ConfigError(f"{text!r} is not a broker's address: it begins with http:// or https://")
    if not host or any(character.isspace() or ord(character) < 32 for character in host):
        raise ConfigError(f"{text!r} is not a broker's address: the host is missing")
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ConfigError(f"{text!r} is not a broker's address: no machine can be called {host!r}") from error
    host = WILDCARDS.get(host, host)
    place = f"[{host}]" if ":" in host else host
    if port is not None:
        place = f"{place}:{port}"
    return urlunsplit((parts.scheme, place, PATH_END.sub("", parts.path), "", ""))


def feed_url_of(base_url: str) -> str:
    """The feed's WebSocket address of a broker."""
    base = base_url_of(base_url)
    return "ws" + base.removeprefix("http") + "/console/v1/feed"


def ssl_context_for(base_url: str) -> ssl.SSLContext:
    """TLS with what ``app/trust.py`` trusts; for plain HTTP an empty context, which costs nothing to make."""
    if base_url.startswith("https:"):
        return client_context(base_url)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
