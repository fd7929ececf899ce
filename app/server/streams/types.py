"""Stream types: the eleven of the seed, and those that clients create.

The built-in rows live here, with the seed's example for ``ndi`` (D9 in ARCHITECTURE.md); only created types are kept
in the database. A created type can be advertised at once (D4). Called by the registry.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from app.contract import BUILT_IN_TYPES, TypeRow
from app.errors import Conflict, Unavailable
from app.server.events import EventLog

_FIRST_DAY = 1735689600.0
"""2025-01-01T00:00:00Z, the seed's time stamp of a built-in type."""

_VIDEO = {"codec": "h264", "resolution": "1920x1080", "fps": 30}
_BUILT_IN: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "ndi": ("NDI Video", "NDI video stream", "cast", _VIDEO),
    "audio": ("Audio", "Audio stream", "volume-2", {"sample_rate": 48000, "channels": 2, "format": "float32"}),
    "video": ("Video", "Generic video stream", "video", _VIDEO),
    "texture": ("Texture", "GPU texture sharing", "image", {"format": "rgba8", "width": 1920, "height": 1080}),
    "sensor": ("Sensor Data", "Sensor data stream", "activity", {"rate_hz": 60, "format": "json"}),
    "osc": ("OSC", "Open Sound Control messages", "radio", {"rate_hz": 60}),
    "midi": ("MIDI", "MIDI messages", "music", {}),
    "data": ("Data", "Generic data stream", "database", {"format": "json"}),
    "srt": ("SRT Video", "Secure Reliable Transport stream", "cast", {"latency_ms": 120}),
    "spout": ("Spout", "Spout texture sharing (Windows)", "monitor", {"format": "rgba8"}),
    "syphon": ("Syphon", "Syphon texture sharing (macOS)", "monitor", {"format": "rgba8"}),
}
_NDI_ID = "550e8400-e29b-41d4-a716-446655440000"


def _steady_id(name: str) -> str:
    """The same version 4 id for a built-in type in every broker and after every start."""
    if name == "ndi":
        return _NDI_ID
    digest = hashlib.sha256(f"callboard stream type {name}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def built_in_types() -> list[TypeRow]:
    """The eleven built-in rows, in the seed's order."""
    rows = []
    for name in BUILT_IN_TYPES:
        display_name, description, icon, config = _BUILT_IN[name]
        rows.append(
            TypeRow(
                id=_steady_id(name),
                name=name,
                display_name=display_name,
                description=description,
                icon=icon,
                default_config=dict(config),
                created_at=_FIRST_DAY,
                updated_at=_FIRST_DAY,
                built_in=True,
            )
        )
    return rows


class TypeStore(Protocol):
    """What is asked of the database."""

    async def types(self) -> list[TypeRow]:
        """Every created type; raises ``Unavailable``."""

    async def create_type(self, row: TypeRow) -> object:
        """Keep a new type; raises ``Conflict`` when the name is taken, ``Unavailable``."""


class StreamTypes:
    """Every type that may be advertised, by name."""

    def __init__(self, store: TypeStore, events: EventLog, clock: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._rows = {row.name: row for row in built_in_types()}
        self._loaded = False
        self._sort()

    @property
    def rows(self) -> Mapping[str, TypeRow]:
        """Types by name, in the order of their names. Without created ones until the database was there once."""
        return self._rows

    @property
    def expected(self) -> str:
        """The names as pydantic lists the members of an enum: ``'a', 'b' or 'c'``, built-in ones first."""
        return self._expected

    async def load(self) -> None:
        """Fetch created types unless that has succeeded before; raises ``Unavailable``."""
        if self._loaded:
            return
        for row in await self._store.types():
            self._rows.setdefault(row.name, row)
        self._loaded = True
        self._sort()

    async def try_load(self) -> bool:
        """As ``load``, but False while the database is away."""
        try:
            await self.load()
        except Unavailable:
            return False
        return True

    async def create(
        self,
        name: str,
        display_name: str,
        description: str | None = None,
        icon: str | None = None,
        default_config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> TypeRow:
        """Add a type; raises ``Conflict`` for a name in use, ``Unavailable``."""
        await self.load()
        taken = Conflict(f"Stream type '{name}' already exists")
        if name in self._rows:
            raise taken
        now = self._clock()
        row = TypeRow(
            id=str(uuid.uuid4()),
            name=name,
            display_name=display_name,
            description=description,
            icon=icon,
            default_config=default_config or {},
            metadata=metadata or {},
            created_at=now,
            updated_at=now,
        )
        try:
            await self._store.create_type(row)
        except Conflict as exc:
            raise taken from exc
        self._rows[name] = row
        self._sort()
        self._events.publish("type.created", row.id, row)
        return row

    def _sort(self) -> None:
        self._rows = dict(sorted(self._rows.items()))
        created = [name for name, row in self._rows.items() if not row.built_in]
        *most, last = [f"'{name}'" for name in (*BUILT_IN_TYPES, *created)]
        self._expected = f"{', '.join(most)} or {last}"
