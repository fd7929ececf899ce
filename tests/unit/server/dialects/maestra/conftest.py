"""The streams domain under the dialect, and the dialect's application without a port or a guard."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from app.server.access import Access
from app.server.audit import Audit
from app.server.dialects.maestra.routes import build
from tests.unit.server.streams.conftest import Domain, domain

__all__ = ["domain"]


@pytest.fixture
async def http(domain: Domain) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    audit = Audit(domain.journal, domain.mover, domain.database, domain.events)
    app = build(domain.streams, Access("0123456789abcdef"), audit)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://maestra") as client:
        yield client
