"""Agents, desktop sessions, viewers, templates, users and agent keys of one broker, as typed coroutines.

``BrokerClient.fleet``, and what ``app/cli.py`` drains with. Serves the StreamSpace document (seed 001) under
``/api/v1`` and the console's own routes under ``/console/v1``. Every failure is the same ``ApiError`` as in ``api.py``,
in the broker's words. Lists stay what the feed says: nothing here polls. A single act goes out at once; bulks go
through ``pace``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec

from app.client.calls import CALL_TIMEOUT, Answer, ApiError, Calls, part
from app.client.pace import CREATE, GENERAL, Pace
from app.client.transport import ssl_context_for
from app.contract import ViewerMode

ACT_TIMEOUT = 15.0
"""The broker waits 10 s for an agent's result before it answers with the state as it is."""
OPEN_TIMEOUT = 10.0
LONGEST_LINE = 1 << 20
API, CONSOLE = "/api/v1", "/console/v1"


@dataclass(frozen=True)
class Desktop:
    """A session as ``/sessions`` shows it; ``status`` holds phase, message and what the platform says."""

    id: str
    name: str = ""
    user: str = ""
    template: str = ""
    platform: str = ""
    agent_id: str | None = None
    state: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    persistent_home: bool = True
    idle_timeout: str | None = None
    tags: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        """What the broker says of it now."""
        return str(self.status.get("message") or "")


@dataclass(frozen=True)
class StateChange:
    """The answer to a change of state: the state it has now, which is the old one where the work still goes on."""

    id: str
    state: str = ""
    status: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Template:
    """A template as ``/templates`` shows it."""

    id: str
    name: str
    display_name: str = ""
    category: str = ""
    description: str = ""
    base_image: str = ""
    command: list[str] = field(default_factory=list)
    default_resources: dict[str, Any] = field(default_factory=dict)
    vnc: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    persistent_home: bool = True
    idle_timeout: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class User:
    """A person who may log in."""

    id: str
    username: str
    email: str = ""
    role: str = "user"
    active: bool = True
    created_at: str = ""
    last_login: str | None = None


@dataclass(frozen=True)
class AgentKey:
    """A key that agents connect with; ``key`` itself only in the answer that made it."""

    id: str
    name: str = ""
    agent_id: str | None = None
    created_at: str | float | None = None
    last_used: str | float | None = None
    key: str = ""


@dataclass(frozen=True)
class Ticket:
    """What opens one viewer's WebSocket, once, within a minute, for one session."""

    ticket: str
    mode: ViewerMode = "view"
    url: str = ""


@dataclass(frozen=True)
class WhoAmI:
    """How the broker knows this console."""

    kind: str = ""
    username: str = ""
    role: str = ""


class FleetClient:
    """See the module's docstring. ``calls`` carries address, token and operator."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.pace = Pace()
        """Limits as the broker last told them; ``pace.run`` is how several acts are done."""

    @property
    def base_url(self) -> str:
        """The broker."""
        return self._calls.base_url

    async def whoami(self) -> WhoAmI:
        """How the broker knows this console."""
        return self._calls.decode(await self._call("GET", f"{CONSOLE}/whoami"), WhoAmI)

    # -- sessions ----------------------------------------------------------------------------------------------

    async def create_session(
        self,
        user: str,
        template: str,
        *,
        platform: str | None = None,
        state: str | None = None,
        resources: Mapping[str, str] | None = None,
        persistent_home: bool | None = None,
        idle_timeout: str | None = None,
        tags: Sequence[str] | None = None,
        agent_id: str | None = None,
    ) -> Desktop:
        """Begin a session; it is pending in the answer and its row on the feed says when it runs."""
        wanted = {
            "user": user,
            "template": template,
            "platform": platform,
            "state": state,
            "resources": dict(resources) if resources else None,
            "persistent_home": persistent_home,
            "idle_timeout": idle_timeout,
            "tags": list(tags) if tags is not None else None,
            "agent_id": agent_id,
        }
        body = {name: value for name, value in wanted.items() if value is not None}
        answer = await self._call("POST", f"{API}/sessions", body=body, bucket=CREATE, timeout=ACT_TIMEOUT)
        return self._calls.decode(answer, Desktop)

    async def session(self, session_id: str) -> Desktop:
        """One session in full."""
        return self._calls.decode(await self._call("GET", _session(session_id)), Desktop)

    async def set_state(self, session_id: str, state: str) -> StateChange:
        """Hibernate (``hibernated``), wake (``running``) or end (``terminating``, by force ``terminated``)."""
        body = await self._call("PATCH", _session(session_id), body={"state": state}, timeout=ACT_TIMEOUT)
        return self._calls.decode(body, StateChange)

    async def set_tags(self, session_id: str, tags: Sequence[str]) -> None:
        """Replace a session's tags."""
        await self._call("PATCH", _session(session_id), body={"tags": list(tags)}, timeout=ACT_TIMEOUT)

    async def delete_session(self, session_id: str, *, force: bool = False) -> None:
        """End a session: gracefully, or at once with ``force`` (administrators)."""
        query = {"force": "true" if force else None}
        await self._call("DELETE", _session(session_id), query=query, timeout=ACT_TIMEOUT)

    async def logs(self, session_id: str, tail: int = 100, *, timestamps: bool = True) -> list[str]:
        """The last lines that a session wrote."""
        query = {"tail": tail, "timestamps": str(timestamps).lower()}
        body = await self._call("GET", f"{_session(session_id)}/logs", query=query)
        return self._calls.decode(body, dict[str, list[str]]).get("logs", [])

    async def follow_logs(self, session_id: str, tail: int = 100, *, timestamps: bool = True) -> AsyncIterator[str]:
        """The last lines and then each new one, until the session ends; close the iterator to stop."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

        base = self.base_url
        query = urlencode({"follow": "true", "tail": tail, "timestamps": str(timestamps).lower()})
        url = f"ws{base.removeprefix('http')}{_session(session_id)}/logs?{query}"
        headers = {"Authorization": f"Bearer {self._calls.token}"} if self._calls.token else None
        try:
            async with connect(
                url,
                additional_headers=headers,
                ssl=ssl_context_for(base) if base.startswith("https:") else None,
                open_timeout=OPEN_TIMEOUT,
                close_timeout=2.0,
                compression=None,
                proxy=None,
                max_size=LONGEST_LINE,
                user_agent_header=None,
            ) as connection:
                async for line in connection:
                    yield line if isinstance(line, str) else line.decode("utf-8", "replace")
        except InvalidStatus as error:
            raise self._calls.refusal(Answer(error.response.status_code, bytes(error.response.body or b""))) from error
        except ConnectionClosed as error:
            reason = error.rcvd.reason if error.rcvd is not None else ""
            raise ApiError(0, "closed", f"The log broke off: {reason or 'the connection was lost'}.") from error
        except TimeoutError as error:
            raise ApiError(0, "timeout", f"The broker at {base} did not answer.") from error
        except (OSError, WebSocketException) as error:
            raise ApiError(
                0, "unreachable", f"No broker answers at {base}: {str(error) or type(error).__name__}"
            ) from error

    # -- looking at desktops -----------------------------------------------------------------------------------

    async def ticket(self, session_id: str, mode: ViewerMode) -> Ticket:
        """A ticket for one viewer. Refused, in words, where view-only cannot be enforced."""
        path = f"{CONSOLE}/desktops/{part(session_id)}/ticket"
        return self._calls.decode(await self._call("POST", path, body={"mode": mode}), Ticket)

    def viewer_url(self, session_id: str, ticket: Ticket) -> str:
        """Where a viewer opens its WebSocket with that ticket, as this machine reaches the broker."""
        query = urlencode({"token": ticket.ticket})
        return f"ws{self.base_url.removeprefix('http')}/vnc-viewer/{part(session_id)}?{query}"

    async def kick_viewer(self, viewer_id: str, reason: str = "") -> None:
        """Close one viewer; the session goes on, and that user is refused there for a minute."""
        await self._call("POST", f"{CONSOLE}/viewers/{part(viewer_id)}/kick", body={"reason": reason})

    async def kick_viewers(self, session_id: str, reason: str = "") -> None:
        """Close every viewer of a session."""
        await self._call("POST", f"{CONSOLE}/desktops/{part(session_id)}/kick-viewers", body={"reason": reason})

    async def thumbnail(self, session_id: str, width: int) -> bytes:
        """A small JPEG of a desktop as it is now."""
        return await self._call("GET", f"{CONSOLE}/desktops/{part(session_id)}/thumbnail", query={"width": width})

    # -- agents ------------------------------------------------------------------------------------------------

    async def drain(self, agent_id: str) -> None:
        """No new sessions for an agent; those it has go on."""
        await self._set_agent(agent_id, "draining")

    async def undrain(self, agent_id: str) -> None:
        """Let an agent take sessions again."""
        await self._set_agent(agent_id, "online")

    async def hibernate_all(self, agent_id: str) -> None:
        """Hibernate every running session of an agent."""
        await self._call("POST", f"{CONSOLE}/agents/{part(agent_id)}/hibernate-all", timeout=ACT_TIMEOUT)

    async def terminate_all(self, agent_id: str) -> None:
        """End every session of an agent."""
        await self._call("POST", f"{CONSOLE}/agents/{part(agent_id)}/terminate-all", timeout=ACT_TIMEOUT)

    async def remove_agent(self, agent_id: str) -> None:
        """Take an agent off the board that is offline for good; its sessions end with it. Refused while it is there."""
        await self._call("DELETE", f"{CONSOLE}/agents/{part(agent_id)}", timeout=ACT_TIMEOUT)

    async def _set_agent(self, agent_id: str, status: str) -> None:
        await self._call("PATCH", f"{API}/agents/{part(agent_id)}", body={"status": status})

    # -- templates, users, agent keys --------------------------------------------------------------------------

    async def templates(self) -> list[Template]:
        """Every template in full, page by page."""
        return await self._all(f"{API}/templates", "templates", Template)

    async def template(self, name: str) -> Template:
        """One template in full."""
        return self._calls.decode(await self._call("GET", f"{API}/templates/{part(name)}"), Template)

    async def create_template(self, definition: Mapping[str, Any]) -> Template:
        """Make a template (administrators)."""
        return self._calls.decode(await self._call("POST", f"{API}/templates", body=definition), Template)

    async def change_template(self, name: str, definition: Mapping[str, Any]) -> Template:
        """Replace a template (administrators)."""
        body = await self._call("PUT", f"{API}/templates/{part(name)}", body=definition)
        return self._calls.decode(body, Template)

    async def delete_template(self, name: str) -> None:
        """Remove a template; sessions made of it go on."""
        await self._call("DELETE", f"{API}/templates/{part(name)}")

    async def users(self) -> list[User]:
        """Everybody who may log in, page by page."""
        return await self._all(f"{API}/users", "users", User)

    async def create_user(self, username: str, email: str, password: str, role: str = "user") -> User:
        """Let somebody log in."""
        body = {"username": username, "email": email, "password": password, "role": role}
        return self._calls.decode(await self._call("POST", f"{API}/users", body=body), User)

    async def change_user(self, user_id: str, **changes: Any) -> User:
        """Change ``email``, ``password``, ``role`` or ``active``; what is left out stays."""
        return self._calls.decode(await self._call("PATCH", f"{API}/users/{part(user_id)}", body=changes), User)

    async def delete_user(self, user_id: str) -> None:
        """Remove a user."""
        await self._call("DELETE", f"{API}/users/{part(user_id)}")

    async def agent_keys(self) -> list[AgentKey]:
        """Keys of agents, without the keys themselves."""
        body = await self._call("GET", f"{API}/agent-keys")
        return self._calls.decode(_rows(body, "agent_keys", "keys"), list[AgentKey])

    async def add_agent_key(self, name: str, agent_id: str | None = None) -> AgentKey:
        """Make a key; the key itself is in this answer and never again."""
        body = {"name": name, "agent_id": agent_id}
        return self._calls.decode(await self._call("POST", f"{API}/agent-keys", body=body), AgentKey)

    async def rotate_agent_key(self, key_id: str) -> AgentKey:
        """Replace a key; the old one stops working, the new one is in this answer and never again."""
        return self._calls.decode(await self._call("POST", f"{API}/agent-keys/{part(key_id)}/rotate"), AgentKey)

    async def delete_agent_key(self, key_id: str) -> None:
        """Withdraw a key; agents that use it are cut off."""
        await self._call("DELETE", f"{API}/agent-keys/{part(key_id)}")

    # -- inside ------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        bucket: str = GENERAL,
        timeout: float = CALL_TIMEOUT,
    ) -> bytes:
        """One request, at once; what its answer says of the limits is for the next bulk."""
        answer = await self._calls.send(method, path, body=body, query=query, timeout=timeout)
        if path.startswith(API):
            self.pace.learn(bucket, answer.headers)
        if 200 <= answer.status < 300:
            return answer.body
        raise self._calls.refusal(answer)

    async def _all(self, path: str, name: str, shape: type[Any]) -> list[Any]:
        """Every row of a paged list, 100 a page."""
        rows: list[Any] = []
        page = pages = 1
        while page <= pages:
            answer = await self._call("GET", path, query={"page": page, "limit": 100})
            found = self._calls.decode(answer, dict[str, Any])
            pages = int((found.get("pagination") or {}).get("total_pages", 0))
            rows += self._calls.decode(msgspec.json.encode(found.get(name, [])), list[shape])  # type: ignore[valid-type]
            page += 1
        return rows


def _session(session_id: str) -> str:
    return f"{API}/sessions/{part(session_id)}"


def _rows(body: bytes, *names: str) -> bytes:
    """The list within a body that wraps it under one of ``names``; the body itself where it is the list."""
    found = msgspec.json.decode(body)
    if isinstance(found, dict):
        found = next((found[name] for name in names if name in found), [])
    return msgspec.json.encode(found)
