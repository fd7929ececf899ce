"""Names of desktop sessions and what an agent may be called.

Pure; called by ``sessions.py`` and ``registry.py``. Serves the StreamSpace document (seed 001, "Create Session"):
``john.doe`` and ``firefox-browser`` make ``john-doe-firefox-browser-abc123``. A name is also a DNS label, since container
platforms name their objects by it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Container

_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_SUFFIX = 6
_LONGEST = 63
_OTHER = re.compile(r"[^a-z0-9]+")
AGENT_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


def session_name(user: str, template: str, taken: Container[str]) -> str:
    """A name that nobody has: user, template and six random characters."""
    base = f"{_label(user) or 'user'}-{_label(template) or 'session'}"[: _LONGEST - _SUFFIX - 1].strip("-")
    while True:
        name = f"{base}-{''.join(secrets.choice(_LETTERS) for _ in range(_SUFFIX))}"
        if name not in taken:
            return name


def _label(text: str) -> str:
    return _OTHER.sub("-", text.casefold()).strip("-")
