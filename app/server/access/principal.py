"""Who makes a request: a console with the broker's own token, or a user who has logged in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Principal:
    """``username`` is a console operator's name, or the user's. ``expires_at`` None: it does not run out."""

    kind: Literal["console", "user"]
    user_id: str
    username: str
    role: Literal["admin", "user"]
    token_id: str | None = None
    expires_at: float | None = None
    generation: int | None = None
    """Of the user's tokens, when this one was issued."""

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator."""
        return self.role == "admin"
