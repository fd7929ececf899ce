"""Where the broker of a data folder is: ``broker.json``, ``console.token`` and whether that process still runs.

Read by ``process.py`` (adopting), ``cli.py`` (take, kick) and the demo; written by ``app/server`` alone. The shape
and the names of the files are in ``app/paths.py``.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from app.client.transport import base_url_of
from app.config import is_loopback
from app.errors import ConfigError
from app.paths import BrokerInfo, DataFolder
from app.trust import VARIABLE

START_TIME_SLACK = 2.0
"""Seconds that two readings of one process's start time may differ (it is counted in ticks)."""


def read_broker_file(data_dir: Path) -> BrokerInfo | None:
    """What ``broker.json`` says; None where there is none or it is not readable as one."""
    try:
        return msgspec.json.decode(DataFolder(data_dir).broker.read_bytes(), type=BrokerInfo)
    except (OSError, msgspec.DecodeError):
        return None


def read_token(data_dir: Path) -> str | None:
    """The console's token of the data folder's broker."""
    try:
        return DataFolder(data_dir).token.read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def read_agent_key(data_dir: Path) -> str | None:
    """The key that agents on this machine use with the data folder's broker."""
    try:
        return DataFolder(data_dir).agent_key.read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def runs_here(url: str) -> bool:
    """Whether an address leads to this machine."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def trust_own_broker(data_dir: Path) -> None:
    """Let this process trust the certificate of the data folder's broker, unless it was told what to trust."""
    certificate = DataFolder(data_dir).certificate
    if VARIABLE not in os.environ and certificate.exists():
        os.environ[VARIABLE] = str(certificate)


def main_url(broker: BrokerInfo) -> str | None:
    """A broker's main address as reached from its own machine; None where it has none that makes sense."""
    try:
        return base_url_of(broker.urls["main"])
    except (KeyError, ConfigError):
        return None


def process_runs(pid: int, started_at: float) -> bool:
    """Whether process ``pid`` is the one that started then; a number used again by another process is not."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        began: float = process.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return abs(began - started_at) <= START_TIME_SLACK


class KnownProcess:
    """A process as it was met: neither mistaken for a later one with its number, nor lost when the clock is stepped."""

    def __init__(self, pid: int) -> None:
        import psutil

        self.pid = pid
        self._process: psutil.Process | None
        try:
            self._process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._process = None

    def runs(self) -> bool:
        """Whether it still runs."""
        import psutil

        try:
            process = self._process
            return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def folder_is_held(data_dir: Path) -> bool:
    """Whether a living process has put its number into ``broker.lock``: a broker that may still be starting."""
    import psutil

    try:
        pid = int(DataFolder(data_dir).lock.read_text("ascii"))
    except (OSError, ValueError):
        return False
    return bool(psutil.pid_exists(pid))


def running_broker(data_dir: Path) -> BrokerInfo | None:
    """The broker of the data folder if its process runs, whether it answers or not; from then on it is trusted."""
    found = read_broker_file(data_dir)
    if found is None or not (process_runs(found.pid, found.started_at) or _has_lock(found.pid, data_dir)):
        return None
    trust_own_broker(data_dir)
    return found


def _has_lock(pid: int, data_dir: Path) -> bool:
    """Whether ``pid`` has the folder's lock open: its start time says nothing once the wall clock has been stepped."""
    import psutil

    lock = DataFolder(data_dir).lock.resolve()
    try:
        return any(Path(file.path) == lock for file in psutil.Process(pid).open_files())
    except (psutil.Error, OSError):
        return False
