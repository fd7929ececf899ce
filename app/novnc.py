"""noVNC's modules, read in place from the installed wheel, and the viewer page beside them.

The wheel ``novnc`` holds one zip of noVNC 1.6.0; it is never imported, since importing it unpacks that zip and loads
websockify. Only ``core/`` and ``vendor/`` are given out, and only from the archive whose SHA-256 is known here; a
folder of the operator's (an unpacked npm package) wins over it. The broker serves the files over HTTP
(``dialects/streamspace/viewer_page.py``), the console's window through a scheme of its own (``app/ui/viewer``).

``ViewerFiles`` is what both serve, under the same names, so that the page's relative addresses work in both places:
``index.html``, ``assets/viewer.js``, ``assets/viewer.css`` (``resources/viewer/``) and ``assets/core/rfb.js`` …
(noVNC, with its own relative imports).
"""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path, PurePosixPath
from typing import Protocol

from app.errors import NotFound, Unavailable
from app.paths import resource

SHA256 = "d4200743e432b258f6c0f4066e85bd23b863eccfda7459944e3a9cce5606eaca"
PARTS = ("core", "vendor")
PAGE = "index.html"
ASSETS = "assets/"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    "": "text/plain; charset=utf-8",
}
"""Suffix → type; a file of another suffix is not given out."""


class NoVnc(Protocol):
    """noVNC's files by their path inside its tree."""

    def read(self, path: str) -> bytes:
        """The file at ``core/…`` or ``vendor/…``. Raises ``NotFound``."""


class FromWheel:
    """noVNC out of the zip of the wheel ``novnc``. Raises ``Unavailable`` where it is missing or another."""

    def __init__(self, archive: Path | None = None) -> None:
        path = archive or _archive()
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Unavailable(f"noVNC cannot be read: {error.strerror}: {path}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != SHA256:
            raise Unavailable(f"{path} is not the noVNC that this version knows (SHA-256 {digest})")
        self._zip = zipfile.ZipFile(path)
        self._names = frozenset(self._zip.namelist())

    def read(self, path: str) -> bytes:
        """The file at ``core/…`` or ``vendor/…``. Raises ``NotFound``."""
        name = _inside(path)
        if name not in self._names:
            raise NotFound(f"noVNC has no {path}")
        return self._zip.read(name)

    def close(self) -> None:
        """Let go of the archive."""
        self._zip.close()


class FromFolder:
    """noVNC out of a folder with ``core/rfb.js`` in it. Raises ``Unavailable`` for another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        if not (self._folder / "core" / "rfb.js").is_file():
            raise Unavailable(f"{folder} is no folder of noVNC: it has no core/rfb.js")

    def read(self, path: str) -> bytes:
        """The file at ``core/…`` or ``vendor/…``; links that lead out of the folder are not followed."""
        file = (self._folder / _inside(path)).resolve()
        if not file.is_relative_to(self._folder) or not file.is_file():
            raise NotFound(f"noVNC has no {path}")
        return file.read_bytes()

    def close(self) -> None:
        """Nothing is held open."""


class ViewerFiles:
    """Everything the viewer page is made of: name → content and type. Files are read once and kept."""

    def __init__(self, novnc_folder: Path | None = None, *, page: Path | None = None) -> None:
        self._folder = novnc_folder
        self._page = page or resource("viewer")
        self._novnc: FromWheel | FromFolder | None = None
        self._known: dict[str, tuple[bytes, str]] = {}

    def read(self, name: str) -> tuple[bytes, str]:
        """Content and media type of ``index.html`` or ``assets/…``. Raises ``NotFound``, or ``Unavailable`` where
        noVNC is not installed as expected."""
        known = self._known.get(name)
        if known is not None:
            return known
        suffix = PurePosixPath(name).suffix
        if suffix not in TYPES:
            raise NotFound(f"The viewer has no {name}")
        found = self._known[name] = (self._find(name), TYPES[suffix])
        return found

    def close(self) -> None:
        """Let go of noVNC's archive."""
        if self._novnc is not None:
            self._novnc.close()
            self._novnc = None

    def _find(self, name: str) -> bytes:
        if name == PAGE:
            return self._own(PAGE)
        path = name.removeprefix(ASSETS)
        if path == name:
            raise NotFound(f"The viewer has no {name}")
        if path.startswith(tuple(f"{part}/" for part in PARTS)):
            if self._novnc is None:
                self._novnc = FromFolder(self._folder) if self._folder is not None else FromWheel()
            return self._novnc.read(path)
        return self._own(path)

    def _own(self, path: str) -> bytes:
        if "/" in path or "\\" in path or path.startswith("."):
            raise NotFound(f"The viewer has no {path}")
        try:
            return (self._page / path).read_bytes()
        except (OSError, ValueError) as error:
            raise NotFound(f"The viewer has no {path}") from error


def _archive() -> Path:
    spec = importlib.util.find_spec("novnc")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("noVNC is not installed (package novnc), so desktops cannot be shown")
    return Path(next(iter(spec.submodule_search_locations))) / "resources" / "novnc_server.zip"


def _inside(path: str) -> str:
    """``path`` below ``core/`` or ``vendor/``, and nothing else. Raises ``NotFound``."""
    parts = PurePosixPath(path).parts
    plain = "/".join(parts) == path and ".." not in parts and "\\" not in path and "\0" not in path
    if not plain or not parts or parts[0] not in PARTS:
        raise NotFound(f"noVNC has no {path}")
    return path
