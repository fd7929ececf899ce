"""Homes of local sessions: one folder for each user and template that stays, or one that goes with its session.

Used by ``session.py``. Names from the broker never lead out of the folder: each becomes one component, and different
names different components. The lock beside a home is held by the session's supervisor, so that it is free exactly when
the session is gone. Serves the StreamSpace document (seed 001, "Session Lifecycle": persistent_home).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path

from app.agent.platform import AgentFailure, FailureCode

SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@")
LONGEST = 100


class Homes:
    """The homes of one state folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, user: str, template: str) -> Path:
        """Where a home is, or would be."""
        return self._root / component(user) / component(template)

    def lock(self, user: str, template: str) -> Path:
        """The file whose lock says that a session uses the home."""
        home = self.path(user, template)
        return home.with_name(f"{home.name}.lock")

    def make(self, user: str, template: str) -> Path:
        """A home for its owner's eyes alone, made or found. Raises ``AgentFailure``."""
        home = self.path(user, template)
        try:
            for folder in (self._root, home.parent, home):
                private(folder)
        except OSError as error:
            raise AgentFailure(f"the home folder cannot be made: {error.strerror}", FailureCode.RESOURCES) from error
        return home

    def delete(self, user: str, template: str) -> None:
        """Remove a home and all that is in it. Raises ``AgentFailure`` while a session uses it."""
        lock = self.lock(user, template)
        home = self.path(user, template)
        if not home.parent.is_dir():
            return
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(home)
            lock.unlink(missing_ok=True)
        except BlockingIOError as error:
            raise AgentFailure("the home folder is in use by a session", FailureCode.HOME_IN_USE) from error
        finally:
            os.close(handle)


def component(name: str) -> str:
    """One path component for any text: safe characters stay, others become ``%xx``; long ones end in a digest.

    It follows ``%%``, which no short one holds.
    """
    text = "".join(
        each if each in SAFE and not (each == "." and at == 0) else "".join(f"%{byte:02x}" for byte in octets(each))
        for at, each in enumerate(name)
    )
    if not text:
        return "%"
    if len(text) <= LONGEST and not text.endswith(".lock"):
        return text
    return f"{text[:60]}%%{hashlib.sha256(octets(name)).hexdigest()[:32]}"


def octets(text: str) -> bytes:
    """Bytes of any text, broken surrogates too."""
    return text.encode("utf-8", "surrogatepass")


def private(folder: Path) -> None:
    """A folder of ours that only we can enter. Raises ``OSError``, also when something else stands in its place."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink():
        raise NotADirectoryError(0, f"{folder.name} is a link")
    folder.chmod(0o700)


def remove(folder: Path) -> None:
    """Remove a folder with everything in it; a link is removed and never followed."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink(missing_ok=True)
        return
    shutil.rmtree(folder, ignore_errors=True)
