"""What the details pane says about an agent or a desktop session: plain functions from the store to sections of text.

Called by the pages a few times a second while the pane is open, and by the tests without a window.
"""

from __future__ import annotations

from json import dumps
from typing import Any

from app.contract import AgentRow, DesktopRow, TemplateRow
from app.models.fleet_states import heartbeat_age, sessions_text, state_of_agent, state_of_desktop
from app.models.fleet_words import idle_text, load_text, resource_text, time_out_text, why_not_runnable
from app.models.ghosts import Ghost
from app.models.store import Store
from app.models.wording import age_text, clean, clock_text, date_text, plain
from app.ui.details import Line, Section
from app.ui.details_text import ended_line

MOST_LISTED = 60
LIMITS = {
    "systemd": "enforced by systemd",
    "cgroup2": "enforced by the kernel (cgroup v2)",
    "cgroup1": "enforced by the kernel (cgroup v1)",
    "engine": "enforced by the container engine",
    "soft": "soft: this machine offers nothing better",
}
"""How an agent enforces what a session was given."""


def agent_sections(store: Store, agent_id: str) -> list[Section]:
    """Everything about one agent, live or a ghost; nothing when it is forgotten."""
    now, ghost = store.broker_now(), store.ghost("agent", agent_id)
    row = store.agents.get(agent_id)
    if row is None and ghost is not None and isinstance(ghost.row, AgentRow):
        row = ghost.row
    elif row is not None:
        ghost = None
    if row is None:
        return []
    sections = [Section(plain(row.id), _agent_life(row, now, ghost), state_of_agent(row, store, now, ghost))]
    sections.append(_still_on_it(store, row, now))
    sections.append(Section("Machine", _machine(row)))
    lacking = [template for template in store.templates.values() if _lacks(template, row)]
    if lacking:
        sections.append(Section("Cannot run here", [Line(plain(one.name), _why(one, row)) for one in lacking]))
    if row.metadata:
        sections.append(_mapping("It says of itself", row.metadata))
    return sections


def _agent_life(row: AgentRow, now: float, ghost: Ghost | None) -> list[Line]:
    lines = []
    age = heartbeat_age(row, now)
    if row.registered_at is not None:
        lines.append(
            Line("Connected", f"{clock_text(row.registered_at, now)}, {age_text(now - row.registered_at)} ago")
        )
    heard = "never" if age is None else f"{clock_text(now - age, now)}, {age_text(age)} ago"
    lines.append(Line("Last heard", heard))
    if ghost is not None:
        lines.append(ended_line(ghost, now))
    if row.warning:
        lines.append(Line("Warning", plain(row.warning)))
    return lines


def _still_on_it(store: Store, row: AgentRow, now: float) -> Section:
    """Who is still on it: what a drain waits for."""
    desktops = list(store.desktops_on(row.id).values())
    if not desktops:
        return Section("Still on it", [Line("", "No session is on it.")])
    lines = []
    for one in desktops[:MOST_LISTED]:
        state = state_of_desktop(one, store, now)
        idle = idle_text(one, store.viewers_of(one.id).values(), now)
        parts = [plain(one.template), state.note or state.word.text.lower()]
        if idle:
            parts.append(idle if idle == "in use" else f"idle {idle}")
        lines.append(Line(plain(one.user), ", ".join(parts)))
    if len(desktops) > MOST_LISTED:
        lines.append(Line("", f"and {len(desktops) - MOST_LISTED} more: filter Sessions by agent={plain(row.id)}"))
    return Section(f"Still on it: {sessions_text(len(desktops))}", lines)


def _machine(row: AgentRow) -> list[Line]:
    lines = [Line("Platform", plain(row.platform)), Line("Region", plain(row.region or "not given"))]
    size = [f"{row.max_sessions} sessions"]
    size += [f"{row.max_cpu:g} cores"] if row.max_cpu is not None else []
    size += [f"{row.max_memory:g} GiB"] if row.max_memory is not None else []
    lines.append(Line("Room for", ", ".join(size)))
    leader = {True: "leads", False: "stands by", None: "alone"}[row.leader]
    lines.append(Line("Leader", f"{leader}, {row.standbys} stand by" if row.standbys else leader))
    if row.capabilities:
        lines.append(Line("Offers", plain(", ".join(row.capabilities))))
    lines.append(Line("Version", plain(row.version)))
    lines.append(Line("Known since", date_text(row.created_at)))
    lines.append(Line("Id", plain(row.uuid), mono=True))
    return lines


def _lacks(template: TemplateRow, row: AgentRow) -> bool:
    return bool(template.command) and template.command[0] in row.missing_programs and row.platform == "local"


def _why(template: TemplateRow, row: AgentRow) -> str:
    return why_not_runnable(template, {row.id: row}, row.platform) or "it is missing a program"


def desktop_sections(store: Store, desktop_id: str) -> list[Section]:
    """Everything about one desktop session, live or a ghost; nothing when it is forgotten."""
    now, ghost = store.broker_now(), store.ghost("desktop", desktop_id)
    row = store.desktops.get(desktop_id)
    if row is None and ghost is not None and isinstance(ghost.row, DesktopRow):
        row = ghost.row
    elif row is not None:
        ghost = None
    if row is None:
        return []
    title = f"{plain(row.user)} ← {plain(row.template)}"
    sections = [Section(title, _desktop_life(store, row, now, ghost), state_of_desktop(row, store, now, ghost))]
    if ghost is None and not store.viewers_of(row.id):
        sections.append(Section("Viewers", [Line("", "Nobody looks at it now.")]))
    sections.append(Section("Where it runs", _where(store, row, now)))
    sections.append(Section("What it was given", _given(row)))
    if row.platform_metadata:
        sections.append(_mapping("Platform", row.platform_metadata))
    return sections


def _desktop_life(store: Store, row: DesktopRow, now: float, ghost: Ghost | None) -> list[Line]:
    lines = [Line("Name", plain(row.name), mono=True)]
    lines.append(Line("Asked for", f"{clock_text(row.created_at, now)}, {age_text(now - row.created_at)} ago"))
    if row.started_at is not None:
        lines.append(Line("Runs since", f"{clock_text(row.started_at, now)}, {age_text(now - row.started_at)} ago"))
    said_already = row.phase.lower() in row.message.lower()  # "Session is running"
    parts = [plain(row.phase), clean(row.message)] if not said_already else [clean(row.message)]
    lines.append(Line("Phase", ". ".join(part for part in parts if part)))
    if row.error_code:
        lines.append(Line("Error", plain(row.error_code), mono=True))
    if ghost is not None:
        lines.append(ended_line(ghost, now))
        return lines
    idle = idle_text(row, store.viewers_of(row.id).values(), now)
    if idle:
        lines.append(Line("Idle", idle))
    if row.tags:
        lines.append(Line("Tags", plain(", ".join(row.tags))))
    return lines


def _where(store: Store, row: DesktopRow, now: float) -> list[Line]:
    agent = store.agents.get(row.agent_id or "")
    heard = heartbeat_age(agent, now)
    lines = [Line("Agent", plain(row.agent_id or "none yet")), Line("Platform", plain(row.platform))]
    if heard is not None:
        lines.append(Line("Agent heard", f"{age_text(heard)} ago"))
    load = load_text(row)
    if load:
        lines.append(Line("Uses", load))
    for label, value in (("Pod", row.pod_name), ("Address", row.pod_ip), ("Container", row.container_id)):
        if value:
            lines.append(Line(label, plain(value), mono=True))
    lines.append(Line("Namespace", plain(row.namespace)))
    lines.append(Line("Session id", row.id, mono=True))
    return lines


def _given(row: DesktopRow) -> list[Line]:
    words = {"cpu": "CPU"}
    lines = [
        Line(words.get(key, plain(key).capitalize()), resource_text(key, value)) for key, value in row.resources.items()
    ]
    if row.limits:
        lines.append(Line("Limits", LIMITS.get(row.limits, plain(row.limits))))
    lines.append(Line("Home", "kept" if row.persistent_home else "thrown away at its end"))
    lines.append(Line("Time-out", time_out_text(row)))
    if row.generation > 1:
        lines.append(Line("Begun", f"{row.generation} times"))
    return lines


def _mapping(title: str, values: dict[str, Any]) -> Section:
    lines = [
        Line(
            plain(key),
            plain(value if isinstance(value, str) else dumps(value, ensure_ascii=False, default=str)),
            mono=True,
        )
        for key, value in values.items()
    ]
    return Section(title, lines)
