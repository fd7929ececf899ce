"""The fleet on the pictures: agents, desktop sessions, viewers, drains and templates, at the moment of ``shot_venue``.

Used by ``shots.py`` and the tests of the pages. Rows as a broker would send them; heartbeats of ten minutes go through the
store as events, so that sparklines and plots show what the console makes of them.
"""

from __future__ import annotations

from math import sin
from typing import Any

import msgspec

from app.contract import AgentBeat, AgentRow, DesktopRow, DrainRow, Row, TemplateRow, ViewerRow
from app.ui.shot_venue import DAY, NOW, Venue

MIB = 1024 * 1024

AGENTS: tuple[tuple[str, str, str, int, int, float | None, float | None, float, bool | None, int], ...] = (
    ("rack-1", "local", "house", 12, 16, 61.0, 72.0, 3.1, None, 0),
    ("rack-2", "local", "house", 11, 12, 44.0, 58.0, 6.7, None, 0),
    ("k8s-north", "kubernetes", "eu-north", 61, 100, 37.0, 49.0, 1.4, True, 2),
    ("dock-a", "docker", "house", 38, 40, 91.0, 83.0, 8.8, None, 0),
    ("foh-mac", "attach", "foh", 2, 4, None, None, 5.0, None, 0),
    ("studio-b", "local", "annex", 0, 8, 3.0, 21.0, 9.4, None, 0),
)
"""Id, platform, region, taken, places, CPU, memory, seconds since heartbeat, leads, stand by."""
PEOPLE = (
    "ann.lee",
    "john.doe",
    "mira.k",
    "sam",
    "ola.n",
    "kim",
    "pit.desk",
    "rosa",
    "lighting",
    "video-1",
    "stage.mgr",
    "tom",
)
TEMPLATES: tuple[tuple[str, str, str, str, list[str], str, dict[str, str], str | None], ...] = (
    (
        "cue-player",
        "Cue player",
        "Show",
        "QLab-style cue lists for one operator",
        ["cueplayer", "--full"],
        "ghcr.io/house/cue-player:3",
        {"memory": "2Gi", "cpu": "1500m"},
        None,
    ),
    (
        "firefox-browser",
        "Firefox",
        "Web",
        "A browser with a home of its own",
        ["firefox", "--kiosk"],
        "lscr.io/linuxserver/firefox:latest",
        {"memory": "2Gi", "cpu": "1000m"},
        "30m",
    ),
    (
        "xterm",
        "Terminal",
        "Tools",
        "A terminal, for a look at a machine",
        ["xterm"],
        "",
        {"memory": "256Mi", "cpu": "500m"},
        "2h",
    ),
    (
        "blender",
        "Blender",
        "Media",
        "Renders and playback checks",
        ["blender"],
        "",
        {"memory": "8Gi", "cpu": "4"},
        "1h",
    ),
    (
        "titles-editor",
        "Surtitles editor",
        "Show",
        "Text that runs above the stage",
        [],
        "ghcr.io/house/titles:2",
        {"memory": "1Gi", "cpu": "500m"},
        "4h",
    ),
    ("foh-media-a", "Media server A", "Attached", "The screen of the media server at front of house", [], "", {}, None),
)
"""Name, shown as, category, description, command, image, resources, idle time-out."""

DESKTOPS: tuple[tuple[int, int, str, str, str, float, float | None, int, list[str]], ...] = (
    (0, 0, "rack-1", "running", "Running", 9200, 22, 61, ["show", "act 2"]),
    (1, 1, "rack-1", "running", "Running", 4100, 1180, 4, []),
    (2, 2, "rack-1", "running", "Running", 610, 40, 12, ["tools"]),
    (3, 1, "rack-2", "running", "Running", 7300, 1490, 2, ["rehearsal"]),
    (4, 1, "rack-2", "running", "Running", 5200, 620, 9, []),
    (5, 2, "rack-2", "hibernated", "Hibernated", 8800, None, 0, []),
    (6, 0, "rack-2", "running", "Running", 9100, 5, 48, ["show", "pit"]),
    (7, 4, "k8s-north", "running", "Running", 6400, 88, 14, ["titles"]),
    (8, 1, "k8s-north", "pending", "Creating", 9, None, 0, ["lighting"]),
    (9, 1, "dock-a", "running", "Running", 3300, 260, 77, []),
    (10, 0, "dock-a", "terminating", "Terminating", 9000, 400, 3, ["show"]),
    (11, 5, "foh-mac", "running", "Running", 9900, 12, 0, ["media"]),
)
"""Person, template, agent, state, phase, seconds since asked for, seconds since activity, CPU, tags."""

VIEWERS: tuple[tuple[int, str, str, bool, str, float, float, float], ...] = (
    (0, "ann.lee", "control", False, "10.0.40.101", 3020, 410_000, 21),
    (0, "kim", "view", True, "127.0.0.1", 65, 398_000, 3),
    (2, "mira.k", "control", False, "10.0.40.117", 600, 12_000, 9),
    (6, "pit.desk", "control", False, "10.0.40.33", 2400, 88_000, 4),
    (6, "kim", "view", True, "127.0.0.1", 31, 86_000, 3),
    (6, "stage.mgr", "view", False, "10.0.90.7", 1220, 79_000, 38),
    (7, "rosa", "control", False, "10.0.40.140", 700, 5_300, 12),
    (11, "tom", "control", False, "10.0.40.150", 90, 1_900_000, 17),
)
"""Number of the desktop, who, mode, shadow, address, seconds, bytes a second, round trip."""


def desktop_id(number: int) -> str:
    """A canonical id that is the same on every picture."""
    return f"c3d1{number:04x}-7be2-4a58-8f10-2b94ad{number:06x}"


def viewer_id(number: int) -> str:
    """The same for viewers."""
    return f"view-{number:04d}"


def agent_row(
    agent_id: str, platform: str, region: str, taken: int, places: int, cpu: float | None, memory: float | None,
    heard: float, leader: bool | None = None, standbys: int = 0, **more: Any,
) -> AgentRow:  # fmt: skip
    """One agent."""
    fields: dict[str, Any] = {
        "status": "online", "max_cpu": 32.0, "max_memory": 128.0, "version": "0.1.0", "region": region,
        "metadata": {"host": f"{agent_id}.house.lan", "limits": "engine" if platform == "docker" else "systemd"},
        "capabilities": ["hibernate", "logs", "vnc", "thumbnail", "load"], "connection_id": f"conn-{agent_id}",
        "registered_at": NOW - 2.2 * DAY,
    }  # fmt: skip
    if platform == "attach":
        fields |= {"capabilities": ["vnc", "thumbnail", "load"], "max_cpu": None, "max_memory": None}
        fields["metadata"] = {"host": "foh-mac.house.lan", "attached": [{"name": "foh-media-a"}]}
    elif platform == "local":
        fields["missing_programs"] = ["blender"]
    return AgentRow(
        id=agent_id, uuid=f"0a77{len(agent_id):04x}-1111-4222-8333-{abs(hash_of(agent_id)):012x}", platform=platform,
        max_sessions=places, sessions=taken, reported_sessions=taken, cpu=cpu, memory=memory, leader=leader,
        standbys=standbys, last_heartbeat=NOW - heard, created_at=NOW - 40 * DAY, updated_at=NOW - heard,
        **(fields | more),
    )  # fmt: skip


def hash_of(text: str) -> int:
    """A number of a text that is the same in every process."""
    return sum(ord(letter) * 131**place for place, letter in enumerate(text)) % 16**12


def agent_rows() -> list[AgentRow]:
    """The six machines of the house."""
    return [agent_row(*one) for one in AGENTS]


def desktop_row(
    number: int, person: str, template: str, agent_id: str | None, state: str, phase: str, asked: float,
    active: float | None, cpu: float, tags: list[str], **more: Any,
) -> DesktopRow:  # fmt: skip
    """One desktop session."""
    runs = state in ("running", "terminating")
    suffix = "".join("abcdefghijkmnpqrstuvwxyz23456789"[(number * 7 + place * 11) % 32] for place in range(6))
    platforms = {name: platform for name, platform, *_ in AGENTS}
    told = next(one for one in TEMPLATES if one[0] == template)
    fields: dict[str, Any] = {
        "resources": dict(told[6]), "idle_timeout": told[7], "limits": "systemd" if told[6] else "",
        "load_cpu": float(cpu) if runs else None, "load_memory": (180 + number * 97) * MIB if runs else None,
        "started_at": NOW - asked + 2.4 if state != "pending" else None, "platform": platforms.get(agent_id or "", "local"),
    }  # fmt: skip
    return DesktopRow(
        id=desktop_id(number), name=f"{person.replace('.', '-')}-{template}-{suffix}", user=person, template=template,
        agent_id=agent_id, phase=phase, tags=tags, created_at=NOW - asked, updated_at=NOW - min(asked, 4.0),
        last_activity=None if active is None else NOW - active, **(fields | {"state": state} | more),
    )  # fmt: skip


def desktop_rows() -> list[DesktopRow]:
    """Twelve desktops on five machines."""
    return [
        desktop_row(number, PEOPLE[person], TEMPLATES[template][0], agent, state, phase, asked, active, cpu, tags)
        for number, (person, template, agent, state, phase, asked, active, cpu, tags) in enumerate(DESKTOPS)
    ]


def viewer_rows(desktops: list[DesktopRow]) -> list[ViewerRow]:
    """Who looks at them."""
    return [
        ViewerRow(
            id=viewer_id(number), session_id=desktops[desktop].id, session_name=desktops[desktop].name,
            agent_id=desktops[desktop].agent_id or "", user=user, mode=mode, shadow=shadow, address=address,  # type: ignore[arg-type]
            since=NOW - since, open=True, down_rate=rate, up_rate=rate / 90, rtt=rtt, down_bytes=int(rate * since), up_bytes=9000,
        )
        for number, (desktop, user, mode, shadow, address, since, rate, rtt) in enumerate(VIEWERS)
    ]  # fmt: skip


def template_rows() -> list[TemplateRow]:
    """What can be begun, and what cannot now."""
    return [
        TemplateRow(
            id=f"template-{name}", name=name, display_name=shown, category=category, description=description,
            command=command, base_image=image, default_resources=resources, idle_timeout=idle,
            built_in=name in ("firefox-browser", "xterm"), created_at=NOW - 90 * DAY, updated_at=NOW - 9 * DAY,
        )
        for name, shown, category, description, command, image, resources, idle in TEMPLATES
    ]  # fmt: skip


def drain_row(agent_id: str = "rack-2", **more: Any) -> DrainRow:
    """A drain that has just lost its first session."""
    fields: dict[str, Any] = {
        "operator": "kim", "since": NOW - 241, "initial": 12, "left": 11, "exits": [NOW - 95], "next_idle": NOW + 1080,
    }  # fmt: skip
    return DrainRow(id=agent_id, **(fields | more))


def fleet_rows(*, drains: list[DrainRow] | None = None) -> dict[str, list[Row]]:
    """The whole fleet, by table; agents that are drained say so."""
    agents, desktops = agent_rows(), desktop_rows()
    draining = {row.id for row in drains or ()}
    for row in agents:
        row.status = "draining" if row.id in draining else row.status
    return {
        "agent": [*agents], "desktop": [*desktops], "viewer": [*viewer_rows(desktops)], "drain": [*(drains or ())],
        "template": [*template_rows()],
    }  # fmt: skip


def many_agents(count: int, *, desktops_each: int = 10) -> dict[str, list[Row]]:
    """A campus: agents in all states with their sessions."""
    agents: list[Row] = []
    desktops: list[Row] = []
    drains: list[Row] = []
    for number in range(count):
        kind = AGENTS[number % 4]
        taken, places = (number * 7) % 19, 20
        agent_id, late = f"{kind[1][:4]}-{number + 1:03d}", 26.0 if number % 41 == 7 else number % 10 + 0.4
        cpu = (number * 37) % 96 + 2.0
        status = "offline" if number % 53 == 11 else "draining" if number % 29 == 5 else "online"
        row = agent_row(
            agent_id,
            kind[1],
            ("house", "annex", "eu-north")[number % 3],
            taken,
            places,
            cpu,
            (number * 23) % 90 + 5.0,
            late,
            status=status,
        )
        agents.append(row)
        if status == "draining":
            drains.append(
                drain_row(
                    agent_id,
                    since=NOW - 60 * (number + 3),
                    initial=taken + 4,
                    left=taken,
                    exits=[NOW - 50.0 * n for n in range(4)],
                    eta=NOW + 1500 + number,
                    stuck="no session ended for 15 min" if number % 2 else "",
                )
            )
        for place in range(desktops_each):
            person = f"{PEOPLE[(number + place) % len(PEOPLE)]}{number}"
            desktops.append(
                desktop_row(
                    number * desktops_each + place,
                    person,
                    TEMPLATES[place % 3][0],
                    agent_id,
                    "running",
                    "Running",
                    500.0 + place * 31,
                    60.0,
                    (number + place) % 90,
                    [],
                )
            )
    return {"agent": agents, "desktop": desktops, "drain": drains, "template": [*template_rows()]}


def loads_of_ten_minutes(venue: Venue, rows: dict[str, list[Row]]) -> None:
    """Heartbeats of the last ten minutes as events, each machine with its own way; ends where the snapshot stands."""
    store = venue.store
    for number, row in enumerate(rows["agent"]):
        if not isinstance(row, AgentRow) or row.last_heartbeat is None or row.status == "offline":
            continue
        end = msgspec.structs.replace(row)
        store.loads.forget(row.id)
        for step in range(60, -1, -1):
            if number % 5 == 3 and 22 < step < 30:
                continue  # it was away for a minute
            pace, height = 5 + number % 7, 4 + number % 9
            wave = (sin((60 - step + number * 9) / pace) - sin((60 + number * 9) / pace)) * height
            venue.event(
                "agent.beat",
                row.id,
                _beat(end, step, wave),
                at=end.last_heartbeat - 10.0 * step if end.last_heartbeat else NOW,
            )


def _beat(row: AgentRow, step: int, wave: float) -> AgentBeat:
    """The heartbeat ``step`` before the last."""
    return AgentBeat(
        last_heartbeat=(row.last_heartbeat or NOW) - 10.0 * step, sessions=max(0, row.sessions - step // 12), reported_sessions=row.reported_sessions,
        cpu=None if row.cpu is None else min(100.0, max(0.0, row.cpu + 2 * wave)),
        memory=None if row.memory is None else min(100.0, max(0.0, row.memory - step / 8 + wave / 4)), warning=row.warning,
    )  # fmt: skip
