"""Passwords: argon2id in threads, a few at a time, and the same work whether or not there is such a user.

Used by ``users.py``. A hash takes 19 MiB and some hundredths of a second; a flood of logins waits in line instead of
taking the machine's memory, and what waits too long is refused.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.errors import Invalid, Unavailable

SHORTEST = 8
LONGEST = 1024
"""Bytes; a longer text costs time and proves nothing."""
AT_ONCE = 2
WAIT_AT_MOST = 10.0

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


def check_password(password: str) -> str:
    """A password as it may be set. Raises ``Invalid`` (``validation_failed``)."""
    if len(password) < SHORTEST:
        raise Invalid(
            f"A password needs at least {SHORTEST} characters", code="validation_failed", detail={"field": "password"}
        )
    if len(_bytes(password)) > LONGEST:
        raise Invalid(
            f"A password may have at most {LONGEST} bytes", code="validation_failed", detail={"field": "password"}
        )
    return password


class Passwords:
    """Makes and checks hashes."""

    def __init__(self, *, time_cost: int = 3, memory_kib: int = 19 * 1024) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """A salted hash of a password."""
        return await self._in_turn(self._hasher.hash, _bytes(password))

    async def fits(self, known: str | None, password: str) -> bool:
        """Whether a password has this hash; with None it takes as long and does not."""
        if self._dummy is None:
            self._dummy = await self.hash(secrets.token_urlsafe(16))
        given = _bytes(password)
        right = await self._in_turn(self._verify, known or self._dummy, given[: LONGEST + 1])
        return right and known is not None and len(given) <= LONGEST

    def outdated(self, known: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(known)

    def _verify(self, known: str, given: bytes) -> bool:
        try:
            return self._hasher.verify(known, given)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_turn(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        try:
            async with asyncio.timeout(WAIT_AT_MOST), self._turns:
                return await asyncio.to_thread(work, *arguments)
        except TimeoutError as error:
            raise Unavailable("Too many logins at once; try again in a moment") from error


def _bytes(password: str) -> bytes:
    """Also of a text that is no proper Unicode."""
    return password.encode("utf-8", "surrogatepass")
