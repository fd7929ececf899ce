"""Tokens of users: JWT (HS256), 24 hours, checked on every request and revocable (seed 001, "Using JWT Tokens").

Called by the StreamSpace dialect, ``callers.py`` and whoever keeps a socket open for a user. The secret lies in the data
folder, its owner's alone. A token holds while it has not run out, was not revoked, and its user is active and of
the generation that the token names; so a new password ends every token at once, without a list of them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt

from app.contract import UserRow, ViewerMode
from app.errors import ConfigError, Unauthorised
from app.paths import DataFolder, write_private
from app.server.access.principal import Principal
from app.server.access.tickets import Ticket, Tickets
from app.server.access.users import Users
from app.server.storage.people import UserStore

LIFETIME = 24 * 3600
ALGORITHM = "HS256"
ISSUER = "callboard"
SECRET_BYTES = 64
TOKEN_LENGTH = 4096
REMEMBERED = 2048
"""Tokens whose signature need not be checked again."""

Listener = Callable[[str | None, str], None]
"""Told the id of a token that ended, or None for all of them, and the id of its user."""

_CLAIMS = ["sub", "jti", "iat", "exp", "gen"]


def establish_secret(folder: DataFolder) -> bytes:
    """The key that signs tokens: kept, or made at the first start. Raises ``ConfigError`` for one that is too short."""
    try:
        secret = folder.token_secret.read_bytes()
    except FileNotFoundError:
        secret = secrets.token_bytes(SECRET_BYTES)
        write_private(folder.token_secret, secret)
    if len(secret) < 32:
        raise ConfigError(
            f"{folder.token_secret} is no key of 32 bytes or more; remove it, and everybody logs in anew."
        )
    return secret


class Tokens:
    """See the module's docstring."""

    def __init__(
        self, users: Users, store: UserStore, secret: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._users = users
        self._store = store
        self._secret = secret
        self._clock = clock
        self._revoked: dict[str, float] = {}
        self._known: dict[str, dict[str, Any]] = {}
        """Claims by token, of those whose signature was found right."""
        self._tickets = Tickets()
        self._listeners: tuple[Listener, ...] = ()
        users.subscribe(self._user_ended)

    async def load(self) -> None:
        """Read which tokens are revoked; called once at start."""
        self._revoked = await self._store.revoked_tokens(self._clock())

    def issue(self, user: UserRow) -> tuple[str, float]:
        """A token for a user who has proved to be that, and when it runs out."""
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "sub": user.id,
            "name": user.username,
            "role": user.role,
            "gen": self._users.generation(user.id),
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + LIFETIME,
        }
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM), float(now + LIFETIME)

    def principal_of(self, token: str) -> Principal:
        """Whose token this is. Raises ``Unauthorised`` (``token_missing``, ``token_expired``, ``token_invalid``)."""
        if not token:
            raise Unauthorised("This needs a token: log in first", code="token_missing")
        claims = self._known.get(token) or self._decode(token)
        if claims["exp"] <= self._clock():
            self._known.pop(token, None)
            raise Unauthorised("This token has expired; log in again", code="token_expired")
        principal = self._holder(claims)
        if principal is None:
            raise Unauthorised("This token is no longer valid; log in again", code="token_invalid")
        return principal

    async def revoke(self, token: str) -> None:
        """End a token before its time; durable when this returns. Raises as ``principal_of`` and ``Unavailable``."""
        principal = self.principal_of(token)
        if principal.token_id is None or principal.expires_at is None:  # never: users' tokens have both
            raise Unauthorised("This is no user's token", code="token_invalid")
        await self._store.revoke_token(principal.token_id, principal.expires_at)
        self._revoked[principal.token_id] = principal.expires_at
        self._known.pop(token, None)
        self._tell(principal.token_id, principal.user_id)

    def issue_ticket(self, principal: Principal, session_id: str, mode: ViewerMode, *, shadow: bool = False) -> str:
        """A viewer's ticket: 60 s, this session, one upgrade. Raises ``Unavailable`` when too many are out."""
        return self._tickets.issue(principal, session_id, mode, shadow=shadow)

    def peek_ticket(self, text: str, session_id: str) -> Ticket:
        """What a ticket is for, without using it. Raises ``Unauthorised``."""
        return self._tickets.peek(text, session_id)

    def redeem_ticket(self, text: str, session_id: str) -> Ticket:
        """Use a ticket up. Raises ``Unauthorised``."""
        return self._tickets.redeem(text, session_id)

    async def purge(self) -> int:
        """Forget revocations of tokens that have run out anyway; how many there were. Raises ``Unavailable``."""
        now = self._clock()
        count = await self._store.purge_tokens(now)
        self._revoked = {token_id: end for token_id, end in self._revoked.items() if end > now}
        self._known = {token: claims for token, claims in self._known.items() if claims["exp"] > now}
        return count

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell ``listener`` of tokens that are revoked, so that sockets close; the answer ends that.

        It is not told of tokens that run out: ``Principal.expires_at`` says when.
        """
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return unsubscribe

    def on_end(self, principal: Principal, ended: Callable[[], None]) -> Callable[[], None]:
        """Call ``ended`` once when the login of ``principal`` is revoked or runs out; the answer stops that.

        For whoever keeps a socket open; soon where it has ended since it was asked for. A console's own never ends.
        """

        def heard(token_id: str | None, user_id: str) -> None:
            if user_id == principal.user_id and token_id in (None, principal.token_id):
                tell()

        def tell() -> None:
            stop()
            ended()

        def stop() -> None:
            unsubscribe()
            if timer is not None:
                timer.cancel()

        unsubscribe = self.subscribe(heard) if principal.token_id is not None else _nothing
        timer: asyncio.TimerHandle | None = None
        if principal.expires_at is not None:
            left = max(0.0, principal.expires_at - self._clock()) if self._stands(principal) else 0.0
            timer = asyncio.get_running_loop().call_later(left, tell)
        return stop

    def _decode(self, token: str) -> dict[str, Any]:
        """Check the signature and the shape; whether it has run out is for the caller, on the caller's clock."""
        if len(token) > TOKEN_LENGTH:
            raise Unauthorised("This is no token of this broker", code="token_invalid")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, UnicodeError, ValueError) as error:
            raise Unauthorised("This is no token of this broker", code="token_invalid") from error
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[token] = claims
        return claims

    def _holder(self, claims: dict[str, Any]) -> Principal | None:
        user = self._users.row_of(claims["sub"])
        if user is None or claims["jti"] in self._revoked or self._users.generation(user.id) != claims["gen"]:
            return None
        return Principal("user", user.id, user.username, user.role, claims["jti"], float(claims["exp"]), claims["gen"])

    def _stands(self, principal: Principal) -> bool:
        return (
            principal.token_id not in self._revoked
            and self._users.generation(principal.user_id) == principal.generation
        )

    def _user_ended(self, user_id: str) -> None:
        self._tell(None, user_id)

    def _tell(self, token_id: str | None, user_id: str) -> None:
        self._tickets.end(token_id, user_id)
        for listener in self._listeners:
            listener(token_id, user_id)


def _nothing() -> None:
    """There is nothing to stop."""
