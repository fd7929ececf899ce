"""Rows as the StreamSpace API shows them: each function gives the fields of one place of the document, in its order.

Shapes are those of ``answers.py``. Lists leave out what the document's lists leave out; details add it. Used by the
modules with the endpoints.
"""

from __future__ import annotations

import time
from typing import Any

from app.contract import AgentRow, DesktopRow, TemplateRow, UserRow
from app.server.dialects.streamspace.errors import rfc3339
from app.server.storage.people import AgentKeyRow

PLATFORM_FIELDS = ("deployment_name", "service_name", "pvc_name")
VNC = {"enabled": True, "port": 5900, "resolution": "1920x1080", "color_depth": 24}

Shown = dict[str, Any]


def moment(epoch: float | None) -> str | None:
    """A time that may not be known."""
    return None if epoch is None else rfc3339(epoch)


def agent(row: AgentRow) -> Shown:
    """``answers.Agent``."""
    return {**_agent_head(row), "created_at": rfc3339(row.created_at), "updated_at": rfc3339(row.updated_at)}


def agent_details(row: AgentRow, sessions: list[DesktopRow]) -> Shown:
    """``answers.AgentDetails``."""
    since = row.registered_at if row.status != "offline" else None
    return {
        **_agent_head(row),
        "uptime_seconds": 0 if since is None else max(0, int(time.time() - since)),
        "sessions": [
            {"id": each.id, "name": each.name, "user": each.user, "template": each.template, "state": each.state}
            for each in sessions
        ],
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


def agent_changed(row: AgentRow) -> Shown:
    """``answers.AgentChanged``."""
    return {"id": row.uuid, "agent_id": row.id, "status": row.status, "updated_at": rfc3339(row.updated_at)}


def occupied(row: AgentRow) -> int:
    """Sessions on an agent: the broker's count or the agent's, whichever is more."""
    return max(row.sessions, row.reported_sessions or 0)


def _agent_head(row: AgentRow) -> Shown:
    capacity: Shown = {}
    if row.max_cpu is not None:
        capacity["max_cpu"] = _plain(row.max_cpu)
    if row.max_memory is not None:
        capacity["max_memory"] = _plain(row.max_memory)
    capacity["max_sessions"] = row.max_sessions
    capacity["current_sessions"] = occupied(row)
    return {
        "id": row.uuid,
        "agent_id": row.id,
        "platform": row.platform,
        "region": row.region,
        "status": row.status,
        "capacity": capacity,
        "metadata": row.metadata,
        "websocket_conn_id": row.connection_id,
        "last_heartbeat": moment(row.last_heartbeat),
    }


def _plain(number: float) -> float:
    """``100`` where an agent said 100."""
    return int(number) if number == int(number) else number


def session(row: DesktopRow) -> Shown:
    """``answers.Session``."""
    return {
        "id": row.id,
        "name": row.name,
        "user": row.user,
        "template": row.template,
        "platform": row.platform,
        "agent_id": row.agent_id,
        "state": row.state,
        "resources": row.resources,
        "tags": row.tags,
        "status": _status(row),
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


def session_created(row: DesktopRow) -> Shown:
    """``answers.SessionCreated``."""
    return {
        **_session_head(row),
        "status": _status(row),
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


def session_details(row: DesktopRow) -> Shown:
    """``answers.SessionDetails``."""
    status = {
        "phase": row.phase,
        "message": row.message,
        "pod_ip": row.pod_ip,
        "pod_name": row.pod_name,
        "vnc_url": _vnc_url(row),
        "container_id": row.container_id,
        "started_at": moment(row.started_at),
    }
    if row.error_code:
        status["error_code"] = row.error_code
    return {
        **_session_head(row),
        "status": status,
        "platform_metadata": {
            "namespace": row.namespace,
            **dict.fromkeys(PLATFORM_FIELDS),
            **row.platform_metadata,
        },
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
        "last_activity": moment(row.last_activity),
    }


def session_changed(row: DesktopRow, *, tags: bool = False) -> Shown:
    """``answers.SessionChanged``."""
    shown: Shown = {"id": row.id, "state": row.state, "status": {"phase": row.phase, "message": row.message}}
    if tags:
        shown["tags"] = row.tags
    shown["updated_at"] = rfc3339(row.updated_at)
    return shown


def _session_head(row: DesktopRow) -> Shown:
    return {
        "id": row.id,
        "name": row.name,
        "namespace": row.namespace,
        "user": row.user,
        "template": row.template,
        "platform": row.platform,
        "agent_id": row.agent_id,
        "state": row.state,
        "resources": row.resources,
        "persistent_home": row.persistent_home,
        "idle_timeout": row.idle_timeout,
        "tags": row.tags,
    }


def _status(row: DesktopRow) -> Shown:
    status: Shown = {"phase": row.phase, "message": row.message, "pod_ip": row.pod_ip, "vnc_url": _vnc_url(row)}
    if row.error_code:
        status["error_code"] = row.error_code
    return status


def _vnc_url(row: DesktopRow) -> str | None:
    return f"/vnc-viewer/{row.id}" if row.state == "running" else None


def template(row: TemplateRow) -> Shown:
    """``answers.Template``."""
    vnc = {**VNC, **row.vnc}
    resources = {key: row.default_resources[key] for key in ("memory", "cpu") if key in row.default_resources}
    return {
        **_template_head(row),
        "default_resources": resources,
        "vnc": {"enabled": vnc["enabled"], "port": vnc["port"]},
        "tags": row.tags,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


def template_details(row: TemplateRow) -> Shown:
    """``answers.TemplateDetails``."""
    return {
        **_template_head(row),
        "default_resources": row.default_resources,
        "vnc": {**VNC, **row.vnc},
        "environment": row.environment,
        "persistent_home": row.persistent_home,
        "idle_timeout": row.idle_timeout,
        "tags": row.tags,
        "icon_url": row.icon_url,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


def template_saved(row: TemplateRow) -> Shown:
    """``answers.TemplateSaved``."""
    own = {"command": row.command, "hibernate": row.hibernate, "failover": row.failover, "built_in": row.built_in}
    return {**template_details(row), **own}


def _template_head(row: TemplateRow) -> Shown:
    return {
        "id": row.id,
        "name": row.name,
        "display_name": row.display_name,
        "category": row.category,
        "description": row.description,
        "base_image": row.base_image,
    }


def login_user(row: UserRow) -> Shown:
    """``answers.LoginUser``."""
    return {
        "id": row.id,
        "username": row.username,
        "email": row.email,
        "role": row.role,
        "created_at": rfc3339(row.created_at),
    }


def user_created(row: UserRow) -> Shown:
    """``answers.UserCreated``."""
    return {
        "id": row.id,
        "username": row.username,
        "email": row.email,
        "role": row.role,
        "active": row.active,
        "created_at": rfc3339(row.created_at),
    }


def user(row: UserRow) -> Shown:
    """``answers.User``."""
    return {**user_created(row), "last_login": moment(row.last_login)}


def agent_key(row: AgentKeyRow) -> Shown:
    """``answers.AgentKey``."""
    return {
        "id": row.id,
        "name": row.name,
        "agent_id": row.agent_id,
        "created_at": rfc3339(row.created_at),
        "rotated_at": moment(row.rotated_at),
    }
