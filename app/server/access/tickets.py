"""Viewer tickets: 60 seconds, one session, one upgrade; so that a login's token need not stand in a URL.

Owned by ``tokens.py``, through which the console's routes issue them and viewers' sockets redeem them. Kept in memory, by their hash:
the broker that issues a ticket is the one that the page it stands in comes from.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.contract import ViewerMode
from app.errors import Unauthorised, Unavailable
from app.server.access.principal import Principal

LIFETIME = 60.0
TICKET_LIMIT = 10_000
PREFIX = "cbt_"


@dataclass(frozen=True)
class Ticket:
    """Who may look at which session and how; ``shadow`` looks do not count as the user's activity."""

    principal: Principal
    session_id: str
    mode: ViewerMode
    shadow: bool
    ends: float
    """On the monotonic clock."""


class Tickets:
    """The tickets that are out."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tickets: dict[str, Ticket] = {}

    @property
    def count(self) -> int:
        """Tickets that are out, also ones that have run out since the last was issued."""
        return len(self._tickets)

    def issue(self, principal: Principal, session_id: str, mode: ViewerMode, *, shadow: bool = False) -> str:
        """A ticket's text, told once. Raises ``Unavailable`` when too many are out."""
        self._forget_old()
        if len(self._tickets) >= TICKET_LIMIT:
            raise Unavailable("Too many viewers are being opened at once; try again in a minute")
        text = PREFIX + secrets.token_urlsafe(24)
        ends = self._monotonic() + LIFETIME
        self._tickets[_hash(text)] = Ticket(principal, session_id, mode, shadow, ends)
        return text

    def peek(self, text: str, session_id: str) -> Ticket:
        """What a ticket is for, without using it: a page asks before its socket does. Raises ``Unauthorised``."""
        ticket = self._tickets.get(_hash(text))
        if ticket is None or ticket.session_id != session_id:
            raise Unauthorised("This ticket is not for this session, or was used already", code="token_invalid")
        if ticket.ends <= self._monotonic():
            raise Unauthorised("This ticket has expired; open the viewer again", code="token_expired")
        return ticket

    def redeem(self, text: str, session_id: str) -> Ticket:
        """Use a ticket up. Raises ``Unauthorised``."""
        ticket = self.peek(text, session_id)
        del self._tickets[_hash(text)]
        return ticket

    def end(self, token_id: str | None, user_id: str) -> None:
        """A login that ends, or all of a user's, takes the tickets with it that it was given."""
        self._tickets = {
            key: ticket
            for key, ticket in self._tickets.items()
            if ticket.principal.user_id != user_id or token_id not in (None, ticket.principal.token_id)
        }

    def _forget_old(self) -> None:
        """Tickets run out in the order in which they were issued."""
        now = self._monotonic()
        for key, ticket in list(self._tickets.items()):
            if ticket.ends > now:
                return
            del self._tickets[key]


def is_ticket(text: str) -> bool:
    """Whether a text looks like a ticket, and not like a login's token."""
    return text.startswith(PREFIX)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
