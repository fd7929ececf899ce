"""A login at a remote broker that stays good: password from the keyring, renewed before it runs out.

Started by the console for a broker that it reaches as a user (StreamSpace document, "Authentication") and not with
that broker's console token. Whoever holds the token (``BrokerClient.token``, ``FeedClient.renew``) gets each new one
through ``on_token``. A failure is a sentence through ``on_trouble``, "" once it is over; it goes on trying, and a
login that still holds is used until it ends. A password that the keyring could not keep is given for this run. No Qt.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from app.client.calls import Answer, ApiError, Calls
from app.client.credentials import Credentials, CredentialsError

RENEW_AT = (0.70, 0.85)
"""Between which parts of its life a login is renewed; somewhere between, so that a house of consoles does not march."""
BACKOFF_FIRST, BACKOFF_LAST = 2.0, 60.0
REFUSED_BACKOFF = 300.0
"""Seconds between two tries with a password that was refused: more would lock others out by the rate limit."""
LOOK_EVERY = 30.0
"""Seconds after which the wall clock is looked at again: a machine that slept wakes with an old login."""


@dataclass(frozen=True)
class Token:
    """One login. ``ends`` is the end of its life on this machine's clock."""

    text: str
    username: str
    role: str
    begun: float
    ends: float


class Login:
    """See the module's docstring. ``token`` is None until the first login and after the last one ran out."""

    def __init__(
        self,
        url: str,
        username: str,
        on_token: Callable[[str], None],
        on_trouble: Callable[[str], None],
        *,
        credentials: Credentials | None = None,
        password: str | None = None,
        backoff: tuple[float, float] = (BACKOFF_FIRST, BACKOFF_LAST),
        refused_backoff: float = REFUSED_BACKOFF,
        jitter: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.username = username
        self.token: Token | None = None
        self.trouble = ""
        self._calls = Calls(url)
        self._on_token = on_token
        self._on_trouble = on_trouble
        self._credentials = credentials or Credentials()
        self._password = password
        self._backoff = backoff
        self._refused_backoff = refused_backoff
        self._jitter = jitter
        self._now = now
        self._wake = asyncio.Event()
        self._failures = 0

    @property
    def url(self) -> str:
        """The broker."""
        return self._calls.base_url

    def renew_now(self) -> None:
        """Log in again at once: the broker refused the token, or another password is kept."""
        self._failures = 0
        self._wake.set()

    async def run(self) -> None:
        """Log in and stay so until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._sleep(await self._turn())
        finally:
            await self._calls.close()

    async def log_out(self) -> None:
        """Tell the broker to forget the present login; one that cannot be told runs out by itself."""
        token, self.token = self.token, None
        if token is None:
            return
        self._calls.token = token.text
        try:
            await self._calls.call("POST", "/api/v1/auth/logout")
        except ApiError:
            return
        finally:
            self._calls.token = None
            await self._calls.close()

    # -- one turn ----------------------------------------------------------------------------------------------

    async def _turn(self) -> float:
        """Log in once; the seconds until the next turn."""
        try:
            token = await self._log_in()
        except CredentialsError as error:
            return self._failed(error.message, self._pause())
        except ApiError as error:
            if error.retry_after is not None:
                return self._failed(error.text, error.retry_after + self._jitter())
            return self._failed(error.text, self._refused_backoff if error.status in (401, 403) else self._pause())
        self._failures = 0
        self.token = token
        self._on_token(token.text)
        self._say("")
        first, last = RENEW_AT
        return max(1.0, (token.ends - token.begun) * (first + (last - first) * self._jitter()))

    async def _log_in(self) -> Token:
        password = self._password or await self._credentials.password(self.url, self.username)
        if not password:
            raise ApiError(401, "no_password", "no password is kept on this machine. Settings, Brokers takes one.")
        body = {"username": self.username, "password": password}
        answer = await self._calls.send("POST", "/api/v1/auth/login", body=body)
        if answer.status != 200:
            raise self._calls.refusal(answer)
        return self._token_of(answer)

    def _token_of(self, answer: Answer) -> Token:
        """The token in an answer, its life counted on the broker's own clock."""
        reply = self._calls.decode(answer.body, dict[str, object])
        user = reply.get("user")
        user = user if isinstance(user, dict) else {}
        token, expires = reply.get("token"), reply.get("expires_at")
        now = self._now()
        try:
            end = datetime.fromisoformat(str(expires)).timestamp()
        except ValueError as error:
            raise ApiError(0, "bad_answer", "the answer to the login has no time at which it ends.") from error
        if not isinstance(token, str) or not token:
            raise ApiError(0, "bad_answer", "the answer to the login has no token.")
        life = max(0.0, end - _broker_time(answer, now))
        return Token(token, str(user.get("username", self.username)), str(user.get("role", "")), now, now + life)

    def _failed(self, text: str, pause: float) -> float:
        """Say what is wrong and how long the present login still holds."""
        self._failures += 1
        token = self.token
        if token is not None and token.ends <= self._now():
            token = self.token = None
        if token is None:
            self._say(f"Not logged in at {self.url} as {self.username}: {text}")
        else:
            until = time.strftime("%H:%M", time.localtime(token.ends))
            self._say(f"The login at {self.url} as {self.username} ends at {until} and was not renewed: {text}")
            pause = min(pause, max(1.0, token.ends - self._now()))
        return pause

    def _pause(self) -> float:
        first, last = self._backoff
        longest: float = min(last, first * 2.0 ** min(self._failures, 16))
        return longest * (0.5 + self._jitter() / 2)

    def _say(self, text: str) -> None:
        if text != self.trouble:
            self.trouble = text
            self._on_trouble(text)

    async def _sleep(self, seconds: float) -> None:
        """Wait, by the wall clock, or until somebody wants a new login."""
        until = self._now() + seconds
        while (left := until - self._now()) > 0:
            try:
                async with asyncio.timeout(min(left, LOOK_EVERY)):
                    await self._wake.wait()
                return
            except TimeoutError:
                continue


def _broker_time(answer: Answer, otherwise: float) -> float:
    """The broker's clock as the answer tells it."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return otherwise
