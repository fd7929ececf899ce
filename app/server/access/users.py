"""Users: who may log in and as what. Mirrored in memory, changed in the database first.

Called by the StreamSpace dialect (seed 001, "User Management", "Authentication") and by ``tokens.py``, which asks on
every request whether a token's user still stands as it did when the token was issued.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from typing import Literal

import msgspec

from app.contract import UserRow
from app.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorised, Unavailable
from app.logs import get_logger
from app.server.access.passwords import Passwords, check_password
from app.server.storage.people import StoredUser, UserStore

USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
USER_LIMIT = 10_000

Role = Literal["admin", "user"]
Listener = Callable[[str], None]

log = get_logger("access")


class Users:
    """See the module's docstring."""

    def __init__(self, store: UserStore, passwords: Passwords, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock
        self._users: dict[str, StoredUser] = {}
        self._names: dict[str, str] = {}
        """Ids by user name."""
        self._former: set[str] = set()
        """Names of deleted users, case folded: sessions and homes may still bear them, and nobody shall come into those."""
        self._changing = asyncio.Lock()
        self._listeners: tuple[Listener, ...] = ()

    async def load(self) -> None:
        """Read the users; called once at start."""
        for user in await self._store.users():
            self._keep(user)
        self._former.update(name.casefold() for name in await self._store.former_names())

    def rows(self) -> list[UserRow]:
        """Every user, oldest first."""
        return sorted((user.row for user in self._users.values()), key=lambda row: (row.created_at, row.username))

    def get(self, username: str) -> UserRow | None:
        """The user of this name."""
        user_id = self._names.get(username)
        return None if user_id is None else self._users[user_id].row

    def by_id(self, user_id: str) -> UserRow:
        """The user of this id. Raises ``NotFound`` (``user_not_found``)."""
        return self._known(user_id).row

    def generation(self, user_id: str) -> int | None:
        """The generation of this user's tokens that holds; None when the user is gone or may not log in."""
        user = self._users.get(user_id)
        return user.token_generation if user is not None and user.row.active else None

    def row_of(self, user_id: str) -> UserRow | None:
        """The user of this id, if there is one."""
        user = self._users.get(user_id)
        return None if user is None else user.row

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell ``listener`` the id of a user whose tokens all end; the answer ends that."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return unsubscribe

    async def create(self, username: str, email: str, password: str, role: Role = "user") -> UserRow:
        """Add a user. Raises ``Conflict`` (``user_exists``) and ``Invalid`` (``validation_failed``)."""
        _check_username(username)
        _check_email(email)
        password_hash = await self._passwords.hash(check_password(password))
        async with self._changing:
            if len(self._users) >= USER_LIMIT:
                raise Conflict(f"There are {USER_LIMIT} users already")
            if any(name.casefold() == username.casefold() for name in self._names):
                raise Conflict(f"There is a user '{username}' already", code="user_exists")
            if username.casefold() in self._former:
                text = f"The name '{username}' was that of a deleted user: sessions and homes may still bear it"
                raise Conflict(text, code="user_exists")
            row = UserRow(
                id=str(uuid.uuid4()), username=username, email=email, role=role, created_at=self._clock()
            )  # fmt: skip
            user = StoredUser(row=row, password_hash=password_hash)
            await self._store.add_user(user)
            self._keep(user)
        return row

    async def change(
        self,
        user_id: str,
        *,
        active: bool | None = None,
        role: Role | None = None,
        password: str | None = None,
        email: str | None = None,
    ) -> UserRow:
        """Change what is not None; a new password, a lesser role and a deactivation end every token of the user.

        Raises ``NotFound``, ``Invalid``, and ``Conflict`` when no administrator would be left.
        """
        self._known(user_id)
        if email is not None:
            _check_email(email)
        password_hash = None if password is None else await self._passwords.hash(check_password(password))
        async with self._changing:
            known = self._known(user_id)
            row = msgspec.structs.replace(
                known.row,
                active=known.row.active if active is None else active,
                role=role or known.row.role,
                email=known.row.email if email is None else email,
            )
            self._require_administrator(row)
            ends = password_hash is not None or row.role != known.row.role or (known.row.active and not row.active)
            new = StoredUser(
                row=row,
                password_hash=password_hash or known.password_hash,
                token_generation=known.token_generation + ends,
            )
            await self._store.save_user(new)
            self._keep(new)
        if ends:
            self._tell(user_id)
        return row

    async def delete(self, user_id: str) -> UserRow:
        """Remove a user, whose name nobody gets again. Raises ``NotFound``, and ``Conflict`` for the last administrator."""
        async with self._changing:
            user = self._known(user_id)
            row = user.row
            self._require_administrator(msgspec.structs.replace(row, active=False))
            await self._store.delete_user(user)
            del self._users[user_id], self._names[row.username]
            self._former.add(row.username.casefold())
        self._tell(user_id)
        return row

    async def verify(self, username: str, password: str) -> UserRow:
        """The user who knows this password; takes as long for a name that nobody has.

        Raises ``Unauthorised`` (``bad_credentials``) and, after a right password, ``Forbidden`` (``inactive``).
        """
        while True:
            user_id = self._names.get(username)
            known = None if user_id is None else self._users[user_id]
            right = await self._passwords.fits(None if known is None else known.password_hash, password)
            if not right or known is None:
                raise Unauthorised("Invalid username or password", code="bad_credentials")
            row = await self._logged_in(known, password)
            if row is not None:
                return row

    async def _logged_in(self, verified: StoredUser, password: str) -> UserRow | None:
        """Note the time, and a hash of today's strength; a database that is away keeps nobody out.

        None where the password that was checked is no longer the user's, and is to be checked against the new one.
        """
        outdated = self._passwords.outdated(verified.password_hash)
        stronger = await self._passwords.hash(password) if outdated else None
        async with self._changing:
            known = self._users.get(verified.row.id)
            if known is None or known.password_hash != verified.password_hash:
                return None
            if not known.row.active:
                raise Forbidden("This account is not active; an administrator can activate it", code="inactive")
            row = msgspec.structs.replace(known.row, last_login=self._clock())
            new = msgspec.structs.replace(known, row=row, password_hash=stronger or known.password_hash)
            try:
                await self._store.save_user(new)
            except Unavailable as error:
                log.warning("the time of a login is not kept", username=row.username, reason=error.message)
            self._keep(new)
        return row

    def _known(self, user_id: str) -> StoredUser:
        user = self._users.get(user_id)
        if user is None:
            raise NotFound(f"No user with ID '{user_id}' exists", code="user_not_found")
        return user

    def _keep(self, user: StoredUser) -> None:
        self._users[user.row.id] = user
        self._names[user.row.username] = user.row.id

    def _require_administrator(self, changed: UserRow) -> None:
        """An active administrator must be left after this change."""
        rows = (changed if user.row.id == changed.id else user.row for user in self._users.values())
        if not any(row.active and row.role == "admin" for row in rows):
            raise Conflict(f"'{changed.username}' is the last active administrator; make another one first")

    def _tell(self, user_id: str) -> None:
        for listener in self._listeners:
            listener(user_id)


def _check_username(username: str) -> None:
    if not USERNAME.fullmatch(username):
        raise Invalid(
            "A user name has 1 to 64 letters, digits, dots, dashes, underscores or @, and begins with a letter or digit",
            code="validation_failed",
            detail={"field": "username"},
        )


def _check_email(email: str) -> None:
    if not EMAIL.fullmatch(email) or not email.isprintable():
        raise Invalid("This is no email address", code="validation_failed", detail={"field": "email"})
