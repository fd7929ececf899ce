"""Tokens of remote brokers and passwords of logins there, in the operating system's keyring.

Called by the Settings page, by ``--broker`` (window and one-line verbs) and by ``login.py``. A keyring may ask its user and may hang,
so every call has a time-out and a thread of its own, for which nobody waits at the end. ``CredentialsError`` carries one sentence for the operator, also for a
machine that has no keyring at all. No Qt; keyring is imported in that thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from app.client.transport import base_url_of
from app.errors import Unavailable

SERVICE = "callboard"
ANSWER_TIMEOUT = 60.0
"""Seconds that the keyring, or the person it asks, may take."""

NO_KEYRING = (
    "This machine has no keyring, so Callboard cannot keep the token: it lasts until the console closes. "
    "Install a keyring service (GNOME Keyring, KWallet), or give the token as CALLBOARD_TOKEN."
)

T = TypeVar("T")


class CredentialsError(Unavailable):
    """The keyring is not there, is locked or said no."""

    default_code = "no_keyring"


class Credentials:
    """Tokens by broker address, passwords by broker address and user."""

    def __init__(self, timeout: float = ANSWER_TIMEOUT) -> None:
        self._timeout = timeout

    async def get(self, url: str) -> str | None:
        """The token kept for a broker; None where none is."""
        key = base_url_of(url)
        return await self._ask(lambda: _keyring_get(key))

    async def set(self, url: str, token: str) -> None:
        """Keep a token."""
        key = base_url_of(url)
        await self._ask(lambda: _keyring_set(key, token))

    async def delete(self, url: str) -> None:
        """Forget a token; one that is not kept is forgotten already."""
        key = base_url_of(url)
        await self._ask(lambda: _keyring_delete(key))

    async def password(self, url: str, username: str) -> str | None:
        """The password kept for a user of a broker; None where none is."""
        key = _login_key(url, username)
        return await self._ask(lambda: _keyring_get(key))

    async def set_password(self, url: str, username: str, password: str) -> None:
        """Keep a password."""
        key = _login_key(url, username)
        await self._ask(lambda: _keyring_set(key, password))

    async def delete_password(self, url: str, username: str) -> None:
        """Forget a password; one that is not kept is forgotten already."""
        key = _login_key(url, username)
        await self._ask(lambda: _keyring_delete(key))

    async def missing(self) -> str:
        """Why nothing can be kept on this machine; empty when it can."""
        try:
            await self._ask(_keyring_check)
        except CredentialsError as error:
            return error.message
        return ""

    async def _ask(self, question: Callable[[], T]) -> T:
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()

        def ask() -> None:
            try:
                answer.set_result(_translated(question))
            except CredentialsError as error:
                answer.set_exception(error)

        threading.Thread(target=ask, name="keyring", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.wrap_future(answer)
        except TimeoutError as error:
            raise CredentialsError(f"The keyring did not answer within {self._timeout:g} s.") from error


def _login_key(url: str, username: str) -> str:
    """Under which name a password is kept: no token is kept under a name with a user in it."""
    return f"{username} at {base_url_of(url)}"


def _translated(question: Callable[[], T]) -> T:
    """Ask in this thread; what keyring raises becomes one error with one sentence."""
    from keyring.errors import KeyringLocked, NoKeyringError

    try:
        return question()
    except NoKeyringError as error:
        raise CredentialsError(NO_KEYRING) from error
    except KeyringLocked as error:
        raise CredentialsError(f"The keyring is locked: {error}", code="keyring_locked") from error
    except Exception as error:  # each back end has errors of its own besides KeyringError
        raise CredentialsError(f"The keyring failed: {error}", code="keyring_failed") from error


def _keyring_get(key: str) -> str | None:
    import keyring

    token: str | None = keyring.get_password(SERVICE, key)
    return token


def _keyring_set(key: str, token: str) -> None:
    import keyring

    _keyring_check()
    keyring.set_password(SERVICE, key, token)


def _keyring_delete(key: str) -> None:
    import keyring
    from keyring.errors import PasswordDeleteError

    try:
        keyring.delete_password(SERVICE, key)
    except PasswordDeleteError:
        return


def _keyring_check() -> None:
    """Raise ``NoKeyringError`` where no back end can keep anything."""
    import keyring
    from keyring.backends import fail, null

    if isinstance(keyring.get_keyring(), fail.Keyring | null.Keyring):
        raise keyring.errors.NoKeyringError("no back end")
