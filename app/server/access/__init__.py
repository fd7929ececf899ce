"""Who may do what: the console's token, networks, API keys, and the guard in front of every listener."""

from app.server.access.token import Access

__all__ = ["Access"]
