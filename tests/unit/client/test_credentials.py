"""Tokens of remote brokers, with a keyring of the test's own and without any."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import keyring
import keyring.errors
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null

from app.client.credentials import NO_KEYRING, Credentials, CredentialsError


class Memory(KeyringBackend):
    """A keyring that keeps for the length of a test, and may be told to fail."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.threads: set[int] = set()
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def _meet(self) -> None:
        self.threads.add(threading.get_ident())
        self.gate.wait(20)
        if self.error is not None:
            raise self.error

    def get_password(self, service: str, username: str) -> str | None:
        self._meet()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._meet()
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._meet()
        if (service, username) not in self.kept:
            raise keyring.errors.PasswordDeleteError("nothing there")
        del self.kept[service, username]


@pytest.fixture
def own() -> Iterator[Memory]:
    before = keyring.get_keyring()
    backend = Memory()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


async def test_a_token_is_kept_by_address(own: Memory) -> None:
    credentials = Credentials()
    assert await credentials.missing() == ""
    assert await credentials.get("http://stage:8080") is None
    await credentials.set("stage:8080/", "secret")
    assert await credentials.get("http://STAGE:8080") == "secret"
    assert own.kept == {("callboard", "http://stage:8080"): "secret"}
    await credentials.delete("stage:8080")
    await credentials.delete("stage:8080")
    assert own.kept == {}
    assert threading.get_ident() not in own.threads


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring])
async def test_a_machine_without_a_keyring_says_so(own: Memory, backend: type[KeyringBackend]) -> None:
    keyring.set_keyring(backend())
    credentials = Credentials()
    assert await credentials.missing() == NO_KEYRING
    with pytest.raises(CredentialsError, match="has no keyring"):
        await credentials.set("stage:8080", "secret")


async def test_reading_without_a_keyring_says_so(own: Memory) -> None:
    keyring.set_keyring(fail.Keyring())
    with pytest.raises(CredentialsError, match="has no keyring"):
        await Credentials().get("stage:8080")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (keyring.errors.KeyringLocked("locked"), "keyring_locked"),
        (keyring.errors.KeyringError("broken"), "keyring_failed"),
        (ConnectionRefusedError("no bus"), "keyring_failed"),
        (LookupError("a back end's own"), "keyring_failed"),
    ],
)
async def test_a_keyring_that_fails_is_one_sentence(own: Memory, error: Exception, code: str) -> None:
    own.error = error
    with pytest.raises(CredentialsError) as caught:
        await Credentials().get("stage:8080")
    assert caught.value.code == code


def test_a_keyring_that_hangs_does_not_keep_a_one_line_verb(own: Memory) -> None:
    own.gate.clear()
    ended = threading.Event()

    def verb() -> None:
        with pytest.raises(CredentialsError):
            asyncio.run(Credentials(timeout=0.1).get("stage:8080"))
        ended.set()

    threading.Thread(target=verb, daemon=True).start()
    try:
        assert ended.wait(5.0)
    finally:
        own.gate.set()


async def test_a_keyring_that_hangs_does_not_hang_the_console(own: Memory) -> None:
    own.gate.clear()
    with pytest.raises(CredentialsError, match=r"did not answer within 0\.1 s"):
        await Credentials(timeout=0.1).get("stage:8080")
    own.gate.set()
