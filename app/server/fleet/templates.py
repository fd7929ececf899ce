"""Templates: what sessions are made of. Built-in ones from ``resources/templates``, others from the database.

One schema checks both. A saved template of a built-in's name stands in its place until it is deleted. Called by the
registry. Serves the StreamSpace document (seed 001, "Template Management"), which only reads templates; writing is ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tomllib
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from app import paths
from app.contract import Gone, TemplateRow
from app.errors import CallboardError, Conflict, Invalid, NotFound
from app.quantities import cpu_cores, duration_seconds, memory_bytes
from app.server.events import EventLog
from app.server.storage.fleet import FleetStore, Put, Remove

_FIRST_DAY = 1735689600.0
"""2025-01-01T00:00:00Z: when built-in templates were made."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_RESOLUTION = re.compile(r"([0-9]{2,5})x([0-9]{2,5})")
_VNC_KEYS = frozenset({"enabled", "port", "resolution", "color_depth"})
_QUANTITIES: dict[str, Callable[[str], object]] = {"memory": memory_bytes, "cpu": cpu_cores, "storage": memory_bytes}
_TEXT_LIMITS = {"display_name": 100, "category": 100, "description": 2000, "base_image": 300, "icon_url": 2000}
_SMALLEST, _LARGEST = 64, 16384


class TemplateFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A built-in template as its file says it."""

    name: str
    display_name: str
    category: str = ""
    description: str = ""
    base_image: str = ""
    command: list[str] = []
    default_resources: dict[str, str] = {}
    vnc: dict[str, Any] = {}
    environment: dict[str, str] = {}
    persistent_home: bool = True
    idle_timeout: str | None = None
    icon_url: str | None = None
    tags: list[str] = []
    hibernate: str = "freeze"
    failover: str = "never"


def built_in_templates(folder: Path | None = None) -> list[TemplateRow]:
    """The templates of ``resources``; raises ``Invalid`` for a file that breaks the schema."""
    rows = []
    for path in sorted((folder or paths.resource("templates")).glob("*.toml")):
        try:
            file = msgspec.convert(tomllib.loads(path.read_text("utf-8")), TemplateFile)
        except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
            raise Invalid(f"{path.name}: {error}", code="template_invalid") from error
        fields = msgspec.structs.asdict(file)
        row = TemplateRow(
            id=_steady_id(f"template {file.name}"),
            built_in=True,
            created_at=_FIRST_DAY,
            updated_at=_FIRST_DAY,
            **fields,
        )
        check_template(row)
        rows.append(row)
    return rows


def check_template(row: TemplateRow) -> None:
    """The schema of a template; raises ``Invalid`` (``template_invalid``) with the field in ``detail``."""
    if not _NAME.fullmatch(row.name):
        raise _bad("name", f"{row.name!r} is not a name; use lower-case letters, digits and dashes, at most 63")
    if not row.display_name.strip():
        raise _bad("display_name", "display_name may not be empty")
    for field, limit in _TEXT_LIMITS.items():
        if len(getattr(row, field) or "") > limit:
            raise _bad(field, f"{field} is longer than {limit} characters")
    if not row.base_image and not row.command:
        raise _bad("base_image", "There is nothing to run: neither base_image nor command")
    _check_command(row.command)
    _check_vnc(row.vnc)
    for name, text in row.default_resources.items():
        if name not in _QUANTITIES:
            raise _bad("default_resources", f"{name!r} is not a resource; resources are memory, cpu and storage")
        _quantity("default_resources", _QUANTITIES[name], text)
    if row.idle_timeout is not None:
        _quantity("idle_timeout", duration_seconds, row.idle_timeout)
    _check_environment(row.environment)
    if len(row.tags) > 32 or any(not tag.strip() or len(tag) > 100 or "," in tag for tag in row.tags):
        raise _bad("tags", "At most 32 tags of 1 to 100 characters, without commas")
    if row.hibernate not in ("freeze", "stop"):
        raise _bad("hibernate", "hibernate is freeze or stop")
    if row.failover not in ("never", "restart"):
        raise _bad("failover", "failover is never or restart")


def _check_environment(environment: Mapping[str, str]) -> None:
    for name, text in environment.items():
        if not _VARIABLE.fullmatch(name) or "\0" in text or len(text) > 4096:
            raise _bad("environment", f"{name!r} is not the name of a variable, or its value does not fit")


def _check_command(command: list[str]) -> None:
    if not command:
        return
    if len(command) > 100 or any("\0" in word or len(word) > 4096 for word in command):
        raise _bad("command", "command has at most 100 arguments of at most 4096 characters")
    if not command[0].strip():
        raise _bad("command", "command begins with the name of a program")


def _check_vnc(vnc: Mapping[str, Any]) -> None:
    for name in vnc:
        if name not in _VNC_KEYS:
            raise _bad("vnc", f"{name!r} is not a setting of vnc")
    port, depth = vnc.get("port", 5900), vnc.get("color_depth", 24)
    if type(port) is not int or not 1 <= port <= 65535:
        raise _bad("vnc", "vnc.port is 1 to 65535")
    if type(depth) is not int or depth not in (16, 24, 32):
        raise _bad("vnc", "vnc.color_depth is 16, 24 or 32")
    if type(vnc.get("enabled", True)) is not bool:
        raise _bad("vnc", "vnc.enabled is true or false")
    match = _RESOLUTION.fullmatch(str(vnc.get("resolution", "1920x1080")))
    if match is None or not all(_SMALLEST <= int(side) <= _LARGEST for side in match.groups()):
        raise _bad("vnc", f"vnc.resolution is written like 1920x1080, each side {_SMALLEST} to {_LARGEST}")


def _quantity(field: str, parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except CallboardError as error:
        raise _bad(field, error.message) from error


def _bad(field: str, text: str) -> Invalid:
    return Invalid(text, code="template_invalid", detail={"field": field})


class Templates:
    """Every template that sessions may name."""

    def __init__(self, store: FleetStore, events: EventLog, clock: Callable[[], float]) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._built_in = {row.name: row for row in built_in_templates()}
        self._saved: dict[str, TemplateRow] = {}
        self._offers: dict[str, dict[str, TemplateRow]] = {}
        self._rows: dict[str, TemplateRow] = dict(self._built_in)
        self._changing = asyncio.Lock()
        self.on_changed: Callable[[], None] = lambda: None
        """Called after a change: agents are asked anew which programs they lack."""

    @property
    def rows(self) -> Mapping[str, TemplateRow]:
        """Templates by name."""
        return MappingProxyType(self._rows)

    def load(self, rows: Iterable[TemplateRow]) -> None:
        """Take over what the database holds."""
        self._saved = {row.name: row for row in rows}
        self._rows = self._merged()

    def get(self, name: str) -> TemplateRow:
        """One template; raises ``NotFound`` (``template_not_found``)."""
        row = self._rows.get(name)
        if row is None:
            raise NotFound(f"Template '{name}' does not exist", code="template_not_found")
        return row

    def programs(self) -> list[str]:
        """What local agents need on their machines, each once."""
        return sorted({row.command[0] for row in self._rows.values() if row.command})

    async def save(self, row: TemplateRow) -> TemplateRow:
        """Add a template, or replace the one of its name. Raises ``Invalid`` (``template_invalid``), ``Unavailable``."""
        check_template(row)
        async with self._changing:
            now = self._clock()
            known = self._saved.get(row.name)
            row = msgspec.structs.replace(
                row,
                id=known.id if known is not None else str(uuid.uuid4()),
                built_in=False,
                created_at=known.created_at if known is not None else now,
                updated_at=now,
            )
            await self._store.commit(Put("template", row), apply=lambda: self._put(row))
        return row

    async def delete(self, name: str) -> None:
        """Remove a template; sessions made from it go on. Raises ``NotFound``, ``Conflict`` for a built-in one."""
        async with self._changing:
            row = self.get(name)
            if row.built_in:
                raise Conflict(f"Template '{name}' is built in and cannot be deleted", code="template_built_in")
            await self._store.commit(Remove("template", row.id), apply=lambda: self._removed(row))

    def offer(self, agent_id: str, targets: object) -> None:
        """What an ``attach`` agent publishes: its targets can be started by their names, on that platform alone."""
        rows: dict[str, TemplateRow] = {}
        for target in targets if isinstance(targets, list) else ():
            row = _offered(agent_id, target) if isinstance(target, dict) else None
            if row is not None:
                rows[row.name] = row
        if rows != self._offers.get(agent_id, {}):
            self._offers[agent_id] = rows
            self._show()

    def _merged(self) -> dict[str, TemplateRow]:
        offered = {name: row for rows in self._offers.values() for name, row in rows.items()}
        return dict(sorted({**offered, **self._built_in, **self._saved}.items()))

    def _put(self, row: TemplateRow) -> None:
        self._saved[row.name] = row
        self._show()
        self.on_changed()

    def _removed(self, row: TemplateRow) -> None:
        self._saved.pop(row.name, None)
        self._show()
        self.on_changed()

    def _show(self) -> None:
        """Bring the rows up to date and tell what changed."""
        before, self._rows = self._rows, self._merged()
        ids = {row.id for row in self._rows.values()}
        for row in before.values():
            if row.id not in ids:
                self._events.publish("template.deleted", row.id, Gone("deleted"))
        for name, row in self._rows.items():
            if before.get(name) != row:
                self._events.publish("template.saved", row.id, row)


def _offered(agent_id: str, target: Mapping[str, Any]) -> TemplateRow | None:
    name, title = target.get("name"), target.get("title")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    return TemplateRow(
        id=_steady_id(f"target {agent_id} {name}"),
        name=name,
        display_name=title[:100] if isinstance(title, str) and title.strip() else name,
        category="Attached",
        description=f"A desktop that runs already, published by agent {agent_id}",
        vnc={"enabled": True},
        persistent_home=False,
        idle_timeout="0",
        tags=["attached"],
        built_in=True,
        created_at=_FIRST_DAY,
        updated_at=_FIRST_DAY,
    )


def _steady_id(what: str) -> str:
    """The same version 4 id in every broker and after every start."""
    digest = hashlib.sha256(f"callboard {what}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))
