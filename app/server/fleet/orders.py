"""What commands to agents say: the ``data`` of each, from a session and its template.

Pure; called where commands are made. Serves the StreamSpace document (seed 001, "Control Plane → Agent Messages"); what
is ours beyond it stands in ``app/agent_protocol.py``.
"""

from __future__ import annotations

from typing import Any

from app.contract import DesktopRow, TemplateRow

STOP_TIMEOUT = "30s"
_VNC = ("port", "resolution", "color_depth")


def plain(row: DesktopRow) -> dict[str, Any]:
    """Of hibernate and wake."""
    return {"name": row.name, "namespace": row.namespace, "generation": row.generation}


def start(row: DesktopRow, template: TemplateRow) -> dict[str, Any]:
    """Of a start."""
    return {
        **plain(row),
        "user": row.user,
        "template": row.template,
        "image": template.base_image,
        "resources": row.resources,
        "vnc": {key: template.vnc[key] for key in _VNC if key in template.vnc},
        "persistent_home": row.persistent_home,
        "environment": template.environment,
        "command": template.command,
        "hibernate": template.hibernate,
    }


def stop(row: DesktopRow, *, graceful: bool) -> dict[str, Any]:
    """Of a stop; a home that persists stays."""
    timeout = STOP_TIMEOUT if graceful else "0s"
    return {**plain(row), "graceful": graceful, "timeout": timeout, "delete_home": not row.persistent_home}
