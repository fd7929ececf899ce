"""What the console remembers between two shows: one ini file, one whitelist of keys.

Every key that may be stored is declared in ``KEYS`` with its default; reading or writing another one raises,
so no stray setting can appear. Values are JSON in a ``QSettings`` ini file in the configuration folder, so
that a person can read and mend it. Called by the main window (layout), the pages (columns, filters), the
settings page and the dialogs. Secrets never go here: tokens are in the keyring (``app/client/credentials.py``).

Per-table and per-protocol values use one declared key that ends in ``/``: ``settings.get("columns/", "streams")``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings

KEYS: dict[str, Any] = {
    "operator": "",
    "theme": "dark",
    "window/geometry": "",
    "window/page": "Streams",
    "window/details_width": 400,
    "window/details_open": False,
    "window/plots_open": True,
    "sessions/grouping": "",
    "sessions/log_height": 300,
    "logs/wrap": False,
    "agents/plots_open": True,
    "create_session/last": {},
    "columns/": [],
    "filter/": "",
    "sort/": [],
    "brokers": [],
    "open_with/": [],
    "open_with_seen/": "",
    "export/folder": "",
    "hold_back_seconds": 3.0,
    "hold_seconds": 1.5,
    "bounce_milliseconds": 400,
    "add_stream/last": {},
    "viewer/geometry": "",
    "viewer/scale": True,
    "viewer/release": "ControlRight+Escape",
    "viewer/clipboard": True,
    "viewer/novnc": "",
}
"""Every setting with its default. A key with a trailing ``/`` is a family and needs a name."""


class Settings:
    """Typed-by-default settings; a value of the wrong kind in the file counts as absent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store = QSettings(str(path), QSettings.Format.IniFormat)

    def get(self, key: str, name: str = "") -> Any:
        """The stored value of ``key`` (of family member ``name``), or its default."""
        default = KEYS[key]
        raw = self._store.value(self._full(key, name))
        if not isinstance(raw, str):
            return default
        try:
            value = json.loads(raw)
        except ValueError:
            return default
        return value if _same_kind(value, default) else default

    def set(self, key: str, value: Any, name: str = "") -> None:
        """Remember ``value``; written by Qt when the loop is idle and at ``sync``."""
        if not _same_kind(value, KEYS[key]):
            raise TypeError(f"setting {key} takes {type(KEYS[key]).__name__}, not {type(value).__name__}")
        self._store.setValue(self._full(key, name), json.dumps(value))

    def stored(self) -> dict[str, Any]:
        """What has been set and is declared, by whole key (``columns/streams``)."""
        found = {}
        for whole in self._store.allKeys():
            declared = _declared(whole)
            if declared is not None:
                found[whole] = self.get(*declared)
        return found

    def put(self, whole: str, value: Any) -> bool:
        """Remember ``value`` under a whole key; False when no such key is declared, or it takes another kind."""
        declared = _declared(whole)
        if declared is None or not _same_kind(value, KEYS[declared[0]]):
            return False
        self.set(declared[0], value, declared[1])
        return True

    def forget(self, whole: str) -> None:
        """Back to the default."""
        self._store.remove(whole)

    def sync(self) -> None:
        """Write now; called when the window closes."""
        self._store.sync()

    def _full(self, key: str, name: str) -> str:
        if key.endswith("/") != bool(name):
            raise KeyError(f"{key}: a family needs a name, and only a family takes one")
        return key + name


def _declared(whole: str) -> tuple[str, str] | None:
    """A whole key as ``get`` takes it: the declared one, and the member of a family."""
    if whole in KEYS and not whole.endswith("/"):
        return whole, ""
    for key in KEYS:
        if key.endswith("/") and whole.startswith(key) and whole != key:
            return key, whole.removeprefix(key)
    return None


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))
