"""The one error tree of Callboard.

Domains and the shared floor raise only these; each dialect's ``errors.py`` is a table from ``code`` to
status and body. ``code`` is a stable machine-readable word; a subclass has a default and a raiser may be
more specific (``Unavailable(..., code="no_responders")``). ``message`` is a sentence for a person.
"""

from __future__ import annotations

from typing import Any, ClassVar


class CallboardError(Exception):
    """Base of every expected failure: ``code``, ``message`` and, where there is more to say, ``detail``."""

    default_code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, code: str | None = None, detail: Any = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.detail = detail


class NotFound(CallboardError):
    """No such object."""

    default_code = "not_found"


class Expired(NotFound):
    """The object was there and its TTL ran out, or it was withdrawn."""

    default_code = "expired"


class Rejected(CallboardError):
    """A peer answered no, or answered rubbish (``code="bad_reply"``)."""

    default_code = "rejected"


class NoAnswer(CallboardError):
    """A peer did not answer in time."""

    default_code = "no_answer"


class Conflict(CallboardError):
    """The object exists already, or is in a state that forbids the request."""

    default_code = "conflict"


class Forbidden(CallboardError):
    """The caller is known, or its network is, and may not."""

    default_code = "forbidden"


class Unauthorised(CallboardError):
    """The caller did not say, or not prove, who it is."""

    default_code = "unauthorised"


class RateLimited(CallboardError):
    """Too many requests in the window."""

    default_code = "rate_limited"


class Unsupported(CallboardError):
    """This dialect or engine does not offer that."""

    default_code = "unsupported"


class Invalid(CallboardError):
    """The request does not make sense as sent."""

    default_code = "invalid"


class TooLarge(Invalid):
    """The body exceeds the limit of the listener."""

    default_code = "too_large"


class Unavailable(CallboardError):
    """A part the request needs is away: storage, or the bus (``code="bus_away"``, ``"no_responders"``)."""

    default_code = "unavailable"


class Locked(CallboardError):
    """Another operator holds a lock on the object."""

    default_code = "locked"


class ConfigError(CallboardError):
    """The configuration cannot work; the process exits 2 with this message."""

    default_code = "config"


class PortInUse(CallboardError):
    """A listener's port, or the data folder, is taken; the process exits 3 with this message."""

    default_code = "in_use"
