"""What the broker's HTTP API answers, as plain dataclasses (rows of the feed are in ``app/contract/``).

Used by ``api.py``. Fields that an older or newer broker leaves out have defaults; unknown ones are dropped.
Times of the Streams API (seed 000) stay the RFC 3339 text they are on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stream:
    """One stream as ``GET /streams`` shows it."""

    id: str
    name: str
    stream_type: str
    publisher_id: str
    protocol: str
    address: str
    port: int
    entity_id: str | None = None
    device_id: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    advertised_at: str = ""
    last_heartbeat: str = ""
    active_sessions: int = 0


@dataclass(frozen=True)
class StreamType:
    """One stream type."""

    id: str
    name: str
    display_name: str
    description: str | None = None
    icon: str | None = None
    default_config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: str = ""
    updated_at: str = ""


@dataclass(frozen=True)
class Offer:
    """What the publisher offers: where the data plane is, and the session that was opened."""

    session_id: str
    stream_id: str
    stream_name: str
    stream_type: str
    protocol: str
    publisher_address: str
    publisher_port: int
    transport_config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """One session as ``GET /streams/sessions`` shows it."""

    session_id: str
    stream_id: str
    stream_name: str
    stream_type: str
    publisher_id: str
    publisher_address: str
    consumer_id: str
    consumer_address: str
    protocol: str
    transport_config: dict[str, Any] = field(default_factory=dict)
    started_at: str = ""
    status: str = "active"


@dataclass(frozen=True)
class BrokerView:
    """``GET /console/v1/broker``."""

    pid: int
    version: str = ""
    name: str = ""
    started_at: float = 0.0
    data_dir: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    host: str = ""
    protocol: int = 0


@dataclass(frozen=True)
class ApiKey:
    """An API key that was made once; the key itself is not known any more."""

    id: str
    name: str
    created_at: float = 0.0


@dataclass(frozen=True)
class NewApiKey:
    """A key just made, with the key itself."""

    id: str
    name: str
    key: str


@dataclass(frozen=True)
class AccessView:
    """Who may reach this broker, as settings and in sentences."""

    host: str = ""
    allow_networks: list[str] = field(default_factory=list)
    allow_plain: bool = False
    urls: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    keys: list[ApiKey] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """Which rows of a long list: a span of time, and what comes after the last row of the page before."""

    since: float | None = None
    until: float | None = None
    before: tuple[float, str] | None = None
    limit: int | None = None

    def query(self) -> dict[str, Any]:
        """The query parameters of this page."""
        before = None if self.before is None else f"{self.before[0]!r},{self.before[1]}"
        return {"since": self.since, "until": self.until, "before": before, "limit": self.limit}
