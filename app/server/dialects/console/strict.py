"""Reading bodies without what later readers cannot take: NaN, lone surrogates, NUL, deep nesting.

The console's routes are built of ``StrictRoute``; everything else about them is FastAPI's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from app.server.streams.strict_json import BadJson, decode


class StrictRequest(Request):
    """A request whose JSON is read without what later readers cannot take (NaN, lone surrogates, deep nesting)."""

    async def json(self) -> Any:
        """The body's document; a bad one is told in the manner FastAPI expects."""
        try:
            return decode(await self.body())
        except BadJson as error:
            raise json.JSONDecodeError(error.reason, "", error.position) from error


class StrictRoute(APIRoute):
    """FastAPI's route with ``StrictRequest``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a stricter reader of the same request."""
        handler = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strictly
