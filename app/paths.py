"""Where Callboard keeps what: the user's folders, the files of one data folder, and packaged resources.

Imported by every role. Nothing here creates a file but ``DataFolder.create``; the contents belong to whoever
writes them (``app/server/instance.py`` writes ``broker.json``, which the console reads).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from app.packaged import packed_files

APP = "callboard"


def data_dir() -> Path:
    """The user's data folder: the default of ``--data-dir``."""
    return platformdirs.user_data_path(APP, appauthor=False)


def config_dir() -> Path:
    """The user's configuration folder."""
    return platformdirs.user_config_path(APP, appauthor=False)


def config_file() -> Path:
    """The default of ``--config``; it need not exist."""
    return config_dir() / "callboard.toml"


def log_dir(data_dir: Path) -> Path:
    """Log files of the programs that work on one data folder."""
    return data_dir / "logs"


def resource(*parts: str) -> Path:
    """A file of ``resources/``: beside the source, in the wheel, or in the packaged application."""
    package = Path(__file__).resolve().parent
    homes = (packed_files() or package, package, package.parent)
    base = next((home / "resources" for home in homes if (home / "resources").is_dir()), homes[-1] / "resources")
    return base.joinpath(*parts)


class BrokerInfo(msgspec.Struct, kw_only=True):
    """``broker.json``: the broker that runs on a data folder.

    ``started_at`` is the start of its process as the system tells it, which guards against a reused pid.
    """

    pid: int
    started_at: float
    version: str
    protocol: int
    name: str
    host: str
    urls: dict[str, str]


@dataclass(frozen=True)
class DataFolder:
    """The names inside one data folder."""

    path: Path

    @property
    def lock(self) -> Path:
        """Held by the broker that runs here; its text is that broker's pid."""
        return self.path / "broker.lock"

    @property
    def broker(self) -> Path:
        """``BrokerInfo`` of the broker that runs here; absent after a clean stop."""
        return self.path / "broker.json"

    @property
    def token(self) -> Path:
        """The console's own token."""
        return self.path / "console.token"

    @property
    def token_secret(self) -> Path:
        """The key that signs the tokens of users."""
        return self.path / "jwt.secret"

    @property
    def agent_key(self) -> Path:
        """The key that agents on this machine use."""
        return self.path / "agent.key"

    @property
    def certificate(self) -> Path:
        """The certificate of a broker with TLS; absent without."""
        return self.path / "broker.crt"

    @property
    def layout(self) -> Path:
        """Which version of Callboard wrote this folder."""
        return self.path / "layout.json"

    @property
    def journal(self) -> Path:
        """Live state that survives ``kill -9``."""
        return self.path / "journal.sqlite"

    @property
    def database(self) -> Path:
        """Durable rows: history, presets, audit, settings, the fleet, users."""
        return self.path / "callboard.sqlite"

    @property
    def nats(self) -> Path:
        """Configuration and ports file of the embedded nats-server."""
        return self.path / "nats"

    @property
    def logs(self) -> Path:
        """Log files."""
        return log_dir(self.path)

    def create(self) -> None:
        """Make the folder and its sub-folders, readable by their owner alone."""
        for folder in (self.path, self.nats, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file in one step; only its owner can read it, at no moment anyone else."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
