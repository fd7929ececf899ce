"""The first administrator: made once, by the password that the environment gives or by one of our own.

Called by ``main.py`` at the start of a broker that has no administrator. A password that is made goes to standard error,
once, and to the keyring, where there is one; never to a log. A broker that a console has started has no standard error
that anybody reads but a log file: there only the keyring gets it, and an administrator's password is set in the console.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping

from app.errors import ConfigError, Invalid
from app.logs import get_logger
from app.server.access.passwords import check_password
from app.server.access.token import STDIN_VARIABLE
from app.server.access.users import Users

VARIABLE = "CALLBOARD_ADMIN_PASSWORD"
NAME = "admin"
EMAIL = "admin@localhost.localdomain"
SERVICE = "callboard"
KEYRING_WITHIN = 5.0

log = get_logger("access")

Keep = Callable[[str, str], None]
"""Keeps a password (second) under a name; raises whatever its back end raises."""


async def make_first_admin(users: Users, environ: Mapping[str, str]) -> str | None:
    """Make user ``admin`` where no administrator is; the password if it was made here. Raises ``ConfigError``."""
    if any(row.role == "admin" and row.active for row in users.rows()):
        return None
    given = environ.get(VARIABLE) or ""
    password = given or secrets.token_urlsafe(15)
    try:
        check_password(password)
    except Invalid as error:
        raise ConfigError(f"{VARIABLE}: {error.message}.") from error
    known = users.get(NAME)
    if known is None:
        await users.create(NAME, EMAIL, password, "admin")
    else:
        await users.change(known.id, active=True, role="admin", password=password)
    log.info("the first administrator was made", username=NAME, given=bool(given))
    return None if given else password


def tell_password(password: str, environ: Mapping[str, str]) -> None:
    """Write a password to standard error, in the shape of a log's line, unless a console keeps that in a file."""
    if environ.get(STDIN_VARIABLE) == "1":
        return
    told = "the first administrator's password, not shown again"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(json.dumps({"event": told, "username": NAME, "password": password}) + "\n")
        sys.stderr.flush()


def keep_in_keyring(name: str, password: str) -> None:
    """Keep a password in the operating system's keyring."""
    import keyring
    from keyring.backends import fail, null

    if isinstance(keyring.get_keyring(), fail.Keyring | null.Keyring):
        raise keyring.errors.NoKeyringError("no back end")
    keyring.set_password(SERVICE, name, password)


async def keep_password(password: str, url: str, keep: Keep = keep_in_keyring) -> bool:
    """Keep it under the address where one logs in, as the console does; False where there is no keyring.

    In a thread for which nobody waits at the end: a keyring may ask a person, or hang.
    """
    name = f"{NAME} at {url}"
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bool] = loop.create_future()

    def answer(kept: bool) -> None:
        if not answered.done():
            answered.set_result(kept)

    def ask() -> None:
        try:
            keep(name, password)
        except Exception as error:  # noqa: BLE001 - each back end has errors of its own; the password is told anyway
            log.info("no keyring keeps the first administrator's password", reason=str(error))
            kept = False
        else:
            kept = True
        with contextlib.suppress(RuntimeError):  # the broker has ended meanwhile
            loop.call_soon_threadsafe(answer, kept)

    threading.Thread(target=ask, name="keyring", daemon=True).start()
    try:
        async with asyncio.timeout(KEYRING_WITHIN):
            return await answered
    except TimeoutError:
        log.warning("the keyring does not answer; the first administrator's password is not kept in it")
        return False
