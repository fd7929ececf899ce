"""Users, tokens, agents' keys and rate limits of one broker, made together and looked after.

Built by ``main.py`` when the database stands; the StreamSpace dialect and the agents' sockets get its parts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from app.errors import Unavailable
from app.logs import get_logger
from app.paths import DataFolder
from app.server.access.agent_keys import AgentKeys
from app.server.access.callers import Callers
from app.server.access.limits import RateLimiter
from app.server.access.passwords import Passwords
from app.server.access.token import Access
from app.server.access.tokens import Tokens, establish_secret
from app.server.access.users import Users
from app.server.storage.database import Database
from app.server.storage.people import UserStore

PURGE_EVERY = 3600.0

log = get_logger("access")


class Logins:
    """See the module's docstring."""

    def __init__(
        self,
        database: Database,
        folder: DataFolder,
        access: Access,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make the parts; the secret of tokens is made here. Raises ``ConfigError``, ``OSError``."""
        store = UserStore(database)
        self.users = Users(store, Passwords(), clock=clock)
        self.tokens = Tokens(self.users, store, establish_secret(folder), clock=clock)
        self.callers = Callers(access, self.tokens)
        self.agent_keys = AgentKeys(store, folder, environ, clock=clock)
        self.limiter = RateLimiter()
        access.trust(self.tokens)

    async def load(self) -> None:
        """Read what is kept. Raises ``Unavailable``, ``ConfigError`` and, for the machine's key, ``OSError``."""
        await self.users.load()
        await self.tokens.load()
        await self.agent_keys.load()

    async def look_after(self) -> None:
        """Forget revoked tokens that have run out, once an hour; a node of the task tree."""
        while True:
            try:
                await self.tokens.purge()
            except Unavailable as error:
                log.warning("revoked tokens that have run out stay for now", reason=error.message)
            await asyncio.sleep(PURGE_EVERY)
