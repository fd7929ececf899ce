"""All settings as one file: what of a console and its broker goes from one machine to another, and what came.

Used by the settings page. In it: theme, guards, brokers' names and addresses, programs that open streams, the viewer's
habits, consumer presets and created stream types, all as they were written. Never in it: the tokens, passwords and keys
that Callboard keeps, the operator's name and the one that logs in at a broker, what belongs to this machine's screen,
and which commands have been read here; a command that came by file is shown before it runs.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from app.client.transport import base_url_of
from app.contract import PresetRow, TypeRow
from app.errors import ConfigError, Invalid
from app.ui.theme import THEMES

if TYPE_CHECKING:
    from app.models.store import Store
    from app.ui.settings import Settings

VERSION = 1
MOST_BYTES = 4 * 1024 * 1024
TRAVELS = (
    "theme", "hold_back_seconds", "hold_seconds", "bounce_milliseconds", "brokers", "open_with/", "logs/wrap",
    "viewer/scale", "viewer/release", "viewer/clipboard",
)  # fmt: skip
"""Keys of ``app/ui/settings.py`` that go into the file; a trailing ``/`` is the whole family."""
RANGES = {"hold_back_seconds": (1.0, 10.0), "hold_seconds": (0.5, 5.0), "bounce_milliseconds": (50, 2000)}
"""A file may shorten a guard no further than the page does."""


class _Preset(PresetRow, kw_only=True):
    id: str = ""


class _Type(TypeRow, kw_only=True):
    id: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0


class SettingsFile(msgspec.Struct, kw_only=True):
    """The contents of one file."""

    callboard_settings: int
    console: dict[str, Any] = {}
    presets: list[_Preset] = []
    types: list[_Type] = []


def collect(settings: Settings, store: Store) -> bytes:
    """Everything that travels, for people to read."""
    rows = {
        "presets": [_without(row, "id") for row in store.presets.values()],
        "types": [
            _without(row, "id", "created_at", "updated_at", "built_in")
            for row in store.types.values()
            if not row.built_in
        ],
    }
    console = console_values(settings)
    if "brokers" in console:
        console["brokers"], _ = _brokers([], console["brokers"])
    whole = {"callboard_settings": VERSION, "console": console, **rows}
    return json.dumps(whole, indent=2, ensure_ascii=False).encode() + b"\n"


def console_values(settings: Settings) -> dict[str, Any]:
    """What was set in this console and travels, by whole key."""
    return {key: value for key, value in settings.stored().items() if _travels(key)}


def write(path: Path, data: bytes) -> None:
    """Write the whole file beside its place, where only its owner can read it, and move it there."""
    handle, name = tempfile.mkstemp(prefix=".callboard-", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read(path: Path) -> SettingsFile:
    """A file that was exported, whole and checked, before anything of it is used. Raises ``Invalid`` and ``OSError``."""
    with path.open("rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Invalid("This is no file of settings: it is larger than 4 MiB")
    try:
        found = msgspec.json.decode(data, type=SettingsFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"This is no file of settings: {error}") from error
    if found.callboard_settings > VERSION:
        raise Invalid("This file was written by a newer Callboard")
    return found


def apply_console(settings: Settings, values: Mapping[str, Any]) -> list[str]:
    """Use what of ``values`` travels and fits; each that does not, in words."""
    refused = []
    for key, value in values.items():
        if key == "brokers" and isinstance(value, list):
            have = settings.get(key)
            brokers, wrong = _brokers(have, value)
            if len(brokers) > len(have):
                settings.put(key, brokers)
            refused += wrong
        elif not (_travels(key) and _in_range(key, value) and settings.put(key, value)):
            refused.append(f"{key} does not fit and was left out")
    return refused


def _brokers(have: list[Any], came: list[Any]) -> tuple[list[Any], list[str]]:
    """What is there with the brokers that are new to it, and what is wrong with the others, in words."""
    known = {entry.get("url") for entry in have if isinstance(entry, dict)}
    brokers, refused = list(have), []
    for entry in came:
        named = entry if isinstance(entry, dict) else {}
        try:
            url = base_url_of(str(named.get("url") or ""))
        except ConfigError as error:
            refused.append(f"A broker was left out: {error.message[:200]}")
            continue
        if url not in known:
            known.add(url)
            brokers.append({"name": str(named.get("name") or ""), "url": url})
    return brokers, refused


def _travels(key: str) -> bool:
    return any(key == one or (one.endswith("/") and key.startswith(one)) for one in TRAVELS)


def _in_range(key: str, value: Any) -> bool:
    if key == "theme":
        return value in THEMES
    if key not in RANGES:
        return True
    least, most = RANGES[key]
    return isinstance(value, int | float) and least <= value <= most


def _without(row: PresetRow | TypeRow, *keys: str) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(row)
    return {key: value for key, value in fields.items() if key not in keys}
