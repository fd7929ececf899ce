"""One broker per data folder: the lock, who holds it, and which version wrote the folder.

Called by ``main.py`` first and last. The lock is the operating system's, so ``kill -9`` leaves nothing stuck;
``broker.json`` tells a console where the broker is and is taken away at a clean stop.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO

import msgspec
import psutil

from app import __version__
from app.errors import ConfigError, PortInUse
from app.paths import BrokerInfo, DataFolder, write_private

LAYOUT = 1
"""Number of the data folder's layout; a broker refuses a folder with a higher one."""

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(1 << 20)  # beyond the text, which others must be able to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


class Layout(msgspec.Struct):
    """``layout.json``."""

    layout: int
    version: str


class Instance:
    """This process as the broker of one data folder."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Become the folder's broker. Raises ``PortInUse`` when another is, ``ConfigError`` for a newer folder."""
        try:
            self._folder.create()
            handle = os.open(self._folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"The data folder {self._folder.path} cannot be used: {error.strerror}.") from error
        self._file = os.fdopen(handle, "r+", encoding="ascii", errors="replace")
        try:
            _lock(self._file)
        except OSError:
            pid = self._file.read(20).strip() or "unknown"
            self._file.close()
            self._file = None
            text = f"The data folder {self._folder.path} is in use by another broker (process {pid})."
            raise PortInUse(text) from None
        try:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
            self._check_layout()
        except OSError as error:
            self.release()
            raise ConfigError(f"The data folder {self._folder.path} cannot be written: {error.strerror}.") from error
        except ConfigError:
            self.release()
            raise

    def announce(self, name: str, host: str, urls: dict[str, str], protocol: int) -> BrokerInfo:
        """Write ``broker.json``."""
        info = BrokerInfo(
            pid=os.getpid(),
            started_at=psutil.Process().create_time(),
            version=__version__,
            protocol=protocol,
            name=name,
            host=host,
            urls=urls,
        )
        write_private(self._folder.broker, msgspec.json.format(msgspec.json.encode(info)))
        return info

    def release(self) -> None:
        """Give the folder up; safe to call twice."""
        if self._file is None:
            return
        file, self._file = self._file, None
        self._folder.broker.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # text that a full disk did not take is flushed again here
            file.truncate(0)
        with contextlib.suppress(OSError):
            file.close()

    def _check_layout(self) -> None:
        path = self._folder.layout
        try:
            known = msgspec.json.decode(path.read_bytes(), type=Layout)
        except FileNotFoundError:
            known = None
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}.") from error
        if known is not None and known.layout > LAYOUT:
            raise ConfigError(
                f"The data folder {self._folder.path} was written by Callboard {known.version}, which is newer than this "
                f"{__version__}: start that version, or choose another folder with --data-dir."
            )
        if known is None or known.layout < LAYOUT:
            write_private(path, msgspec.json.encode(Layout(LAYOUT, __version__)))
