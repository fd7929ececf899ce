"""One change after another of whatever a key names: a session, an agent, a drain.

Held from the decision about a change until it is applied, which is when it is durable. Used by ``state.py`` and
``removal.py``. Knows nothing of rows; no seed section, the StreamSpace document (seed 001) says nothing of order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LOCKED_AT_MOST = 60.0
"""Seconds after which the turn of a caller that went away is over, whatever became of the commit."""


class _Turn:
    """The lock of one key, while anybody wants it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Turns:
    """See the module's docstring. ``abandoned`` is told a key whose caller went away and whose time is over."""

    def __init__(self, abandoned: Callable[[str], None]) -> None:
        self._turns: dict[str, _Turn] = {}
        self._abandoned = abandoned

    def busy(self, key: str) -> bool:
        """Whether anybody changes this now, or waits to."""
        return key in self._turns

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[Callable[[], None]]:
        """Nobody else changes what ``key`` names meanwhile.

        The answer frees it, for the moment when a change is applied, or when there will be none: a caller that goes
        away earlier leaves it held.
        """
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        held = False

        def release() -> None:
            nonlocal held
            if held:
                held = False
                turn.lock.release()
                leave()

        def leave() -> None:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]

        try:
            await turn.lock.acquire()
        except BaseException:
            leave()
            raise
        held = True
        try:
            yield release
        except asyncio.CancelledError:
            if held:
                asyncio.get_running_loop().call_later(LOCKED_AT_MOST, self._over, key, release)
            raise
        except BaseException:
            release()
            raise
        release()

    def _over(self, key: str, release: Callable[[], None]) -> None:
        """The commit of a caller that went away has ended long ago, one way or the other."""
        self._abandoned(key)
        release()
