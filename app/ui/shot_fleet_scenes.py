"""The scenes of the fleet's pictures: agents in all states, desktops beside sessions of streams, panels and settings.

Each scene is a function of the ``Studio``; ``FLEET_SCENES`` names them. Called by ``shots.py`` through ``shot_scenes``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from app.client.api import ApiError
from app.contract import DrainRow, Gone, Row
from app.ui.bulk import Bulk
from app.ui.dialogs.create_session import CreateSession
from app.ui.dialogs.edit_tags import EditTags
from app.ui.dialogs.edit_template import EditTemplate
from app.ui.dialogs.edit_user import EditUser
from app.ui.pages.settings.agent_keys import AgentKeysSection
from app.ui.pages.settings.section import Section
from app.ui.pages.settings.templates import TemplatesSection
from app.ui.pages.settings.users import UsersSection
from app.ui.shot_fleet import (
    desktop_id,
    desktop_rows,
    drain_row,
    fleet_rows,
    loads_of_ten_minutes,
    many_agents,
    viewer_id,
)
from app.ui.shot_people import USERS
from app.ui.shot_venue import NOW

if TYPE_CHECKING:
    from app.ui.shots import Studio


def fleet(studio: Studio, page: str = "Agents", *, drains: list[DrainRow] | None = None, agent: str = "") -> None:
    """The house with its machines."""
    rows = fleet_rows(drains=drains)
    open_with(studio, rows, page)
    if agent:
        studio.agents.view.select_id(agent)
        studio.agents.second()
        studio.agents.second()


def open_with(studio: Studio, rows: dict[str, list[Row]], page: str) -> None:
    """The house with these machines."""
    studio.venue.open(fleet=rows)
    loads_of_ten_minutes(studio.venue, rows)
    studio.start(page)


# -- agents ----------------------------------------------------------------------------------------------------


def agents(studio: Studio) -> None:
    """Six machines, one of them nearly full."""
    fleet(studio, agent="dock-a")


def draining(studio: Studio) -> None:
    """rack-2 drains, and its details say who is still on it."""
    fleet(studio, drains=[drain_row()], agent="rack-2")
    studio.agents.toggle_details()
    studio.wait(0.1)


def drain_with_end(studio: Studio) -> None:
    """Five have left, so that an end can be told; another machine is empty."""
    gone = drain_row("rack-1", since=NOW - 1300, left=7, exits=[NOW - 200.0 * n for n in range(5)], eta=NOW + 1820)
    empty = drain_row("studio-b", since=NOW - 2600, initial=3, left=0, done_at=NOW - 410)
    fleet(studio, drains=[gone, empty], agent="studio-b")
    studio.agents.toggle_details()


def stuck(studio: Studio) -> None:
    """Nothing has moved for a quarter of an hour."""
    row = drain_row(
        since=NOW - 2900,
        left=4,
        exits=[NOW - 1900.0],
        next_idle=None,
        stuck="no session ended for 15 min; 4 are in use and have no idle time-out",
    )
    fleet(studio, drains=[row], agent="rack-2")
    studio.agents.toggle_details()


def offline(studio: Studio) -> None:
    """A machine was lost with its sessions, one is late, one was removed."""
    fleet(studio)
    rows = studio.store.agents
    lost = msgspec.structs.replace(
        rows["rack-2"], status="offline", last_heartbeat=NOW - 47, registered_at=None, connection_id=None
    )
    late = msgspec.structs.replace(rows["k8s-north"], last_heartbeat=NOW - 19)
    studio.venue.event("agent.changed", lost.id, lost)
    studio.venue.event("agent.changed", late.id, late)
    studio.venue.event("agent.removed", "studio-b", Gone(reason="removed", by="alex"), at=NOW - 20)
    studio.agents.view.select_id("rack-2")
    studio.agents.toggle_details()
    studio.wait(1.2)


def agents_200(studio: Studio) -> None:
    """A campus of two hundred."""
    open_with(studio, many_agents(200), "Agents")
    studio.agents.view.set_sort("state", False)
    studio.wait(0.5)
    studio.agents.second()
    studio.agents.second()


def agents_empty(studio: Studio) -> None:
    """No machine yet."""
    studio.venue.open()
    studio.start("Agents")


def terminate_all(studio: Studio) -> None:
    """Who loses what when everything on a machine ends."""
    fleet(studio, drains=[drain_row()], agent="rack-2")
    studio.actions.press("terminate_all", ["rack-2"])


def remove(studio: Studio) -> None:
    """A machine is taken off the board that will not come back: who was on it."""
    offline(studio)
    studio.actions.press("remove_agent", ["rack-2"])


def login_trouble(studio: Studio) -> None:
    """The console's login at a remote broker could not be renewed: a sentence on the strip, nothing over the tables."""
    fleet(studio)
    studio.context.notice(
        "login",
        "The login at https://callboard.house:8080 as kim ends at 20:31 and was not renewed: Authentication failed",
    )


# -- sessions --------------------------------------------------------------------------------------------------


def both(studio: Studio) -> None:
    """Sessions of streams and desktops in one table."""
    fleet(studio, "Sessions")
    studio.sessions.view.select_id(desktop_id(6))


def by_agent(studio: Studio) -> None:
    """Grouped by the machine that runs them."""
    fleet(studio, "Sessions")
    studio.sessions.group_buttons["agent"].setChecked(True)
    studio.sessions.view.select_id(desktop_id(4))
    studio.wait(0.1)


def desktop_details(studio: Studio) -> None:
    """A desktop with three viewers, each with its kick."""
    fleet(studio, "Sessions")
    studio.sessions.view.select_id(desktop_id(6))
    studio.sessions.toggle_details()


def kick_viewer(studio: Studio) -> None:
    """One of them is being kicked."""
    desktop_details(studio)
    studio.actions.press("kick_viewer", [viewer_id(5)])
    for pending in studio.actions.pending.values():
        pending.started = time.monotonic() - 1.1
    studio.wait(0.08)


def desktop_ghosts(studio: Studio) -> None:
    """One ended, one failed, one was left behind by its agent."""
    fleet(studio, "Sessions")
    rows = {row.id: row for row in desktop_rows()}
    ended = msgspec.structs.replace(
        rows[desktop_id(4)], state="terminated", phase="Terminated", message="terminated by kim", ended_at=NOW - 11
    )
    failed = msgspec.structs.replace(
        rows[desktop_id(8)], state="terminated", phase="Failed", message="Insufficient cluster resources", error_code="INSUFFICIENT_RESOURCES", ended_at=NOW - 4,
    )  # fmt: skip
    unknown = msgspec.structs.replace(
        rows[desktop_id(7)], phase="Unknown", message="agent offline", updated_at=NOW - 63
    )
    for row in (ended, failed, unknown):
        studio.venue.event("desktop.changed", row.id, row)
    studio.sessions.view.set_sort("state", False)
    studio.sessions.view.select_id(desktop_id(8))
    studio.sessions.toggle_details()
    studio.wait(1.2)


def logs(studio: Studio) -> None:
    """The log of a desktop below the table."""
    fleet(studio, "Sessions")
    studio.sessions.view.select_id(desktop_id(0))
    studio.sessions.show_logs()
    studio.wait(0.3)
    studio.sessions.logs.state.setText("following")


def logs_filtered(studio: Studio) -> None:
    """Only the warnings and what the cues did."""
    logs(studio)
    studio.sessions.logs.filter.setText("re:go \\d+|warning")
    studio.sessions.logs.wrap_button.setChecked(True)


def bulk(studio: Studio) -> None:
    """Forty sessions hibernate at the pace of the broker's limits, one kick waits beside them."""
    fleet(studio, "Sessions")
    for number in (0, 1, 2, 3):
        studio.sessions.model.toggle_mark(desktop_id(number))
    under_way = Bulk("Hibernate", 40, studio.actions.changed.emit)
    under_way.done, under_way.waiting = 12, 12.0
    studio.actions.bulks.append(under_way)
    studio.actions.press("terminate", [desktop_id(9)])
    for pending in studio.actions.pending.values():
        pending.started = time.monotonic() - 1.1
    studio.wait(0.08)


def bulk_waits(studio: Studio) -> None:
    """Several hibernate after one hold-back."""
    fleet(studio, "Sessions")
    chosen = [desktop_id(number) for number in (0, 1, 2, 3)]
    for one in chosen:
        studio.sessions.model.toggle_mark(one)
    studio.actions.press("hibernate", chosen)
    for pending in studio.actions.pending.values():
        pending.started = time.monotonic() - 1.1
    studio.wait(0.08)


def force(studio: Studio) -> None:
    """By force: who loses what, then hold."""
    fleet(studio, "Sessions")
    studio.sessions.view.select_id(desktop_id(6))
    studio.actions.press("force_terminate", [desktop_id(6)])


def two_thousand(studio: Studio) -> None:
    """Two hundred machines with two thousand desktops."""
    open_with(studio, many_agents(200), "Sessions")
    studio.wait(1.0)


# -- panels ----------------------------------------------------------------------------------------------------


def create(studio: Studio) -> None:
    """A new session; Blender is missing everywhere."""
    fleet(studio, "Sessions")
    panel = CreateSession(studio.context)
    studio.context.panels.show(panel)
    panel.templates.choose("firefox-browser")
    panel.form.fields["user"].set_text("john.doe")


def create_refused(studio: Studio) -> None:
    """The broker says why not, at the field and in its words."""
    fleet(studio, "Sessions")
    panel = CreateSession(studio.context)
    studio.context.panels.show(panel)
    panel.form.fields["user"].set_text("jon.doe")
    detail = [{"loc": ["body", "user"], "msg": "There is no user 'jon.doe'"}]
    studio.client.fleet.refusal = ApiError(400, "VALIDATION_FAILED", "There is no user 'jon.doe'", detail)
    panel.submit()


def tags(studio: Studio) -> None:
    """Tags of several."""
    fleet(studio, "Sessions")
    studio.context.panels.show(EditTags(studio.context, [desktop_id(0), desktop_id(6)]))


def edit_template(studio: Studio) -> None:
    """A template of the house."""
    fleet(studio, "Settings")
    studio.settings.open(TemplatesSection)
    studio.context.panels.show(EditTemplate(studio.context, studio.store.template_named("cue-player")))


def edit_user(studio: Studio) -> None:
    """Somebody who may log in."""
    fleet(studio, "Settings")
    studio.settings.open(UsersSection)
    studio.context.panels.show(EditUser(studio.context, USERS[1]))


# -- settings --------------------------------------------------------------------------------------------------


def section(kind: type[Section]) -> Callable[[Studio], None]:
    """One section of the settings."""

    def play(studio: Studio) -> None:
        fleet(studio, "Settings")
        studio.settings.open(kind)

    return play


def fresh_key(studio: Studio) -> None:
    """A key of an agent, shown this once."""
    fleet(studio, "Settings")
    shown = studio.settings.open(AgentKeysSection)
    if isinstance(shown, AgentKeysSection):
        shown.name.set_text("video truck")
        shown.add()


def keys(studio: Studio) -> None:
    """F1 over the agents."""
    fleet(studio)
    studio.window.overlay.toggle()


FLEET_SCENES: dict[str, tuple[Callable[[Studio], None], str]] = {
    "agents": (agents, ""),
    "agents-200": (agents_200, ""),
    "agents-empty": (agents_empty, ""),
    "agents-draining": (draining, ""),
    "agents-drain-end": (drain_with_end, ""),
    "agents-stuck": (stuck, ""),
    "agents-offline": (offline, ""),
    "agents-terminate-all": (terminate_all, ""),
    "agents-remove": (remove, ""),
    "agents-login": (login_trouble, ""),
    "agents-blackout": (draining, "blackout"),
    "agents-contrast": (stuck, "contrast"),
    "agents-keys": (keys, ""),
    "desktops": (both, ""),
    "desktops-by-agent": (by_agent, ""),
    "desktops-details": (desktop_details, ""),
    "desktops-kick-viewer": (kick_viewer, ""),
    "desktops-ghosts": (desktop_ghosts, ""),
    "desktops-logs": (logs, ""),
    "desktops-logs-filter": (logs_filtered, ""),
    "desktops-bulk": (bulk, ""),
    "desktops-bulk-waits": (bulk_waits, ""),
    "desktops-force": (force, ""),
    "desktops-2000": (two_thousand, ""),
    "panel-create-session": (create, ""),
    "panel-create-session-refused": (create_refused, ""),
    "panel-tags": (tags, ""),
    "panel-template": (edit_template, ""),
    "panel-user": (edit_user, ""),
    "settings-users": (section(UsersSection), ""),
    "settings-agent-keys": (section(AgentKeysSection), ""),
    "settings-agent-key-fresh": (fresh_key, ""),
    "settings-templates": (section(TemplatesSection), ""),
}
