"""The broker's API as typed coroutines: one method per verb, for the console, the one-line verbs and the demo.

Called by ``app/ui``, ``app/demo``, ``take.py`` and ``verbs.py``; serves the seed's Streams API (000) and the
console's own API. No Qt; runs under qasync and plain asyncio. httpx is imported at the first call,
in a thread, because the console paints its window before heavy imports. A broker is reached directly, never
through a proxy of the environment.

Every failure is one ``ApiError`` whose ``text`` is what the broker said, or what went wrong on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.client.calls import CALL_TIMEOUT, ApiError, Calls, error_list, error_text, part
from app.client.destination import Destinations
from app.client.fleet import FleetClient
from app.client.shapes import (
    AccessView,
    ApiKey,
    BrokerView,
    NewApiKey,
    Offer,
    Page,
    Session,
    Stream,
    StreamType,
)
from app.contract import NEGOTIATION_TIMEOUT, AuditRow, HistoryRow, HoldRow, PresetRow

__all__ = ["TAKE_TIMEOUT", "ApiError", "BrokerClient", "error_list", "error_text"]

TAKE_TIMEOUT = NEGOTIATION_TIMEOUT + 4.0
"""A negotiation may wait its whole time-out in the broker before the answer starts."""


class BrokerClient(Calls):
    """A client of one broker; ``fleet`` is the part of it for agents and desktops."""

    def __init__(self, base_url: str, token: str | None = None, operator: str = "") -> None:
        super().__init__(base_url, token, operator)
        self.destinations = Destinations()
        """Takes that are under way, for ``take.py``."""
        self.fleet = FleetClient(self)

    # -- streams (seed 000) ------------------------------------------------------------------------------------

    async def streams(self, stream_type: str | None = None) -> list[Stream]:
        """Live streams, oldest first."""
        body = await self.call("GET", "/streams", query={"stream_type": stream_type})
        return self.decode(body, list[Stream])

    async def stream(self, stream_id: str) -> Stream:
        """One live stream."""
        return self.decode(await self.call("GET", f"/streams/{part(stream_id)}"), Stream)

    async def types(self) -> list[StreamType]:
        """Stream types, built in and created."""
        return self.decode(await self.call("GET", "/streams/types"), list[StreamType])

    async def create_type(self, definition: Mapping[str, Any]) -> StreamType:
        """Create a stream type: name, display_name, description?, icon?, default_config?, metadata?."""
        return self.decode(await self.call("POST", "/streams/types", body=definition), StreamType)

    async def advertise(self, advertisement: Mapping[str, Any]) -> Stream:
        """Advertise a stream: name, stream_type, publisher_id, protocol, address, port, config?, metadata?, …"""
        return self.decode(await self.call("POST", "/streams/advertise", body=advertisement), Stream)

    async def heartbeat(self, stream_id: str) -> None:
        """Give a stream a fresh TTL."""
        await self.call("POST", f"/streams/{part(stream_id)}/heartbeat")

    async def withdraw(self, stream_id: str) -> None:
        """Remove a stream; its sessions end with it."""
        await self.call("DELETE", f"/streams/{part(stream_id)}")

    async def request(
        self,
        stream_id: str,
        *,
        consumer_id: str,
        consumer_address: str,
        consumer_port: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Offer:
        """Negotiate a session with the publisher: an offer, or ``ApiError`` 404, 502 or 504 in its words."""
        body = {
            "consumer_id": consumer_id,
            "consumer_address": consumer_address,
            "consumer_port": consumer_port,
            "config": dict(config or {}),
        }
        path = f"/streams/{part(stream_id)}/request"
        return self.decode(await self.call("POST", path, body=body, timeout=TAKE_TIMEOUT), Offer)

    async def sessions(self, stream_id: str | None = None) -> list[Session]:
        """Live sessions, oldest first."""
        body = await self.call("GET", "/streams/sessions", query={"stream_id": stream_id})
        return self.decode(body, list[Session])

    async def heartbeat_session(self, session_id: str) -> None:
        """Give a session a fresh TTL."""
        await self.call("POST", f"/streams/sessions/{part(session_id)}/heartbeat")

    async def stop_session(self, session_id: str, replaced_by: str = "") -> None:
        """End a session: kick it or, with ``replaced_by``, say which session has its place."""
        headers = {"X-Callboard-Replaced-By": part(replaced_by)} if replaced_by else None
        await self.call("DELETE", f"/streams/sessions/{part(session_id)}", headers=headers)

    # -- the console's own API ---------------------------------------------------------------------------------

    async def hold(self, session_id: str, preset_id: str | None = None) -> HoldRow:
        """Let the broker beat a session on behalf of its consumer."""
        body = {"session_id": session_id, "preset_id": preset_id}
        return self.decode(await self.call("POST", "/console/v1/holds", body=body), HoldRow)

    async def release(self, hold_id: str) -> None:
        """End a hold; the session then lives on its own TTL."""
        await self.call("DELETE", f"/console/v1/holds/{part(hold_id)}")

    async def presets(self) -> list[PresetRow]:
        """Consumer presets."""
        return self.decode(await self.call("GET", "/console/v1/presets"), list[PresetRow])

    async def save_preset(self, preset: PresetRow) -> PresetRow:
        """Create a preset (``id`` empty) or change it."""
        fields = msgspec.to_builtins(preset)
        preset_id = fields.pop("id")
        if preset_id:
            body = await self.call("PUT", f"/console/v1/presets/{part(preset_id)}", body=fields)
        else:
            body = await self.call("POST", "/console/v1/presets", body=fields)
        return self.decode(body, PresetRow)

    async def delete_preset(self, preset_id: str) -> None:
        """Remove a preset; what it carries goes on."""
        await self.call("DELETE", f"/console/v1/presets/{part(preset_id)}")

    async def record_audit(
        self,
        verb: str,
        object: str,
        object_id: str,
        *,
        result: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        detail: str = "",
        milliseconds: float | None = None,
    ) -> None:
        """Write down an act that reached no API, such as a cancelled kick."""
        body = {
            "verb": verb,
            "object": object,
            "object_id": object_id,
            "before": before,
            "after": after,
            "result": result,
            "detail": detail,
            "milliseconds": milliseconds,
        }
        await self.call("POST", "/console/v1/audit", body=body)

    async def audit(
        self,
        *,
        operator: str | None = None,
        verb: str | None = None,
        object_id: str | None = None,
        page: Page | None = None,
    ) -> list[AuditRow]:
        """Acts of operators, newest first."""
        query = {"operator": operator, "verb": verb, "object_id": object_id, **(page or Page()).query()}
        return self.decode(await self.call("GET", "/console/v1/audit", query=query), list[AuditRow])

    async def history(
        self,
        *,
        stream_id: str | None = None,
        publisher_id: str | None = None,
        consumer_id: str | None = None,
        page: Page | None = None,
    ) -> list[HistoryRow]:
        """Sessions of the last 90 days, newest first."""
        query = {
            "stream_id": stream_id,
            "publisher_id": publisher_id,
            "consumer_id": consumer_id,
            **(page or Page()).query(),
        }
        return self.decode(await self.call("GET", "/console/v1/history", query=query), list[HistoryRow])

    async def access(self) -> AccessView:
        """Who may reach this broker."""
        return self.decode(await self.call("GET", "/console/v1/access"), AccessView)

    async def set_access(
        self,
        *,
        allow_networks: Sequence[str] | None = None,
        host: str | None = None,
        allow_plain: bool | None = None,
    ) -> AccessView:
        """Change who may reach this broker: networks apply at once, the host at the next start."""
        wanted: dict[str, Any] = {"host": host, "allow_plain": allow_plain}
        wanted["allow_networks"] = None if allow_networks is None else list(allow_networks)
        body = {key: value for key, value in wanted.items() if value is not None}
        return self.decode(await self.call("PUT", "/console/v1/access", body=body), AccessView)

    async def add_key(self, name: str) -> NewApiKey:
        """Make an API key; the key itself is in this answer and never again."""
        return self.decode(await self.call("POST", "/console/v1/access/keys", body={"name": name}), NewApiKey)

    async def keys(self) -> list[ApiKey]:
        """API keys, without the keys themselves."""
        return (await self.access()).keys

    async def delete_key(self, key_id: str) -> None:
        """Withdraw an API key."""
        await self.call("DELETE", f"/console/v1/access/keys/{part(key_id)}")

    async def broker(self) -> BrokerView:
        """Name, version, process and addresses of the broker."""
        return self.decode(await self.call("GET", "/console/v1/broker"), BrokerView)

    async def stop_broker(self) -> None:
        """Ask the broker for a clean stop; it answers before it stops."""
        await self.call("POST", "/console/v1/stop")

    async def healthz(self) -> dict[str, Any]:
        """The broker's health, whether it is well (200) or not (503)."""
        answer = await self.send("GET", "/healthz", timeout=CALL_TIMEOUT)
        if answer.status not in (200, 503):
            raise self.refusal(answer)
        return self.decode(answer.body, dict[str, Any])
