"""Verbs on agents: drain and its undo, hibernate or terminate what is still on one, remove one that is gone for good.

Declared through ``verbs.declare``. A drain is one reversible operation: ``D`` begins it and takes it back, for as long
as it lasts (console rule 2, tier 0). Nothing is ever ended by a drain itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from app.contract import AgentRow, DesktopRow
from app.models.fleet_states import is_draining, sessions_text
from app.models.wording import plain
from app.ui.verb import Done, Losses, Verb

if TYPE_CHECKING:
    from app.ui.context import Context


def agent_name(_context: Context, agent_id: str) -> str:
    """What operators call it."""
    return plain(agent_id)


def on_agent(_context: Context, agent_id: str) -> str:
    """Where something happens to all."""
    return f"on {plain(agent_id)}"


def agent_applies(context: Context, agent_id: str) -> str:
    """Why an agent cannot be acted on."""
    if agent_id in context.store.agents:
        return ""
    ghost = context.store.ghost("agent", agent_id)
    return "this agent is gone" if ghost is None else f"{plain(agent_id)} is gone: {ghost.cause}"


def agent_before(context: Context, agent_id: str) -> dict[str, Any] | None:
    """What the audit keeps of an agent."""
    row = context.store.agents.get(agent_id)
    if row is None:
        return None
    return {"status": row.status, "sessions": len(context.store.desktops_on(agent_id))}


def drain_applies(context: Context, agent_id: str) -> str:
    """What takes no new sessions already is not drained again."""
    row = context.store.agents.get(agent_id)
    if row is None:
        return agent_applies(context, agent_id)
    if is_draining(row, context.store):
        return f"{plain(agent_id)} drains already"
    return f"{plain(agent_id)} is offline and takes no sessions anyway" if row.status == "offline" else ""


def undrain_applies(context: Context, agent_id: str) -> str:
    """Only a drain can be taken back."""
    row = context.store.agents.get(agent_id)
    if row is None:
        return agent_applies(context, agent_id)
    return "" if is_draining(row, context.store) else f"{plain(agent_id)} does not drain"


async def run_drain(context: Context, agent_id: str) -> Done:
    """No new sessions from now on; those that are there go on."""
    fleet = context.connected.fleet
    await fleet.drain(agent_id)
    count, name = len(context.store.desktops_on(agent_id)), plain(agent_id)
    left = f"{sessions_text(count)} {'goes' if count == 1 else 'go'} on" if count else "nobody is on it"
    return Done(f"{name} drains: no new sessions, {left}", f"drain {name}", partial(fleet.undrain, agent_id))


async def run_undrain(context: Context, agent_id: str) -> Done:
    """It takes sessions again."""
    fleet = context.connected.fleet
    await fleet.undrain(agent_id)
    name = plain(agent_id)
    return Done(f"{name} takes sessions again", f"undrain {name}", partial(fleet.drain, agent_id))


def still_on(context: Context, agent_id: str, *states: str) -> list[DesktopRow]:
    """Sessions on an agent, of those states if any are named."""
    return [row for row in context.store.desktops_on(agent_id).values() if not states or row.state in states]


def hibernate_all_applies(context: Context, agent_id: str) -> str:
    """Only what runs can hibernate."""
    reason = agent_applies(context, agent_id) or _offline(context, agent_id)
    return reason or ("" if still_on(context, agent_id, "running") else f"nothing runs on {plain(agent_id)}")


def terminate_all_applies(context: Context, agent_id: str) -> str:
    """There must be something on it."""
    reason = agent_applies(context, agent_id)
    return reason or ("" if still_on(context, agent_id) else f"no session is on {plain(agent_id)}")


async def run_hibernate_all(context: Context, agent_id: str) -> Done:
    """Hibernate what runs on it; undo wakes those very sessions."""
    fleet = context.connected.fleet
    ids = [row.id for row in still_on(context, agent_id, "running")]
    await fleet.hibernate_all(agent_id)
    name = plain(agent_id)

    async def wake_all() -> None:
        from app.client.pace import Act

        results = await fleet.pace.run([Act(partial(fleet.set_state, one, "running")) for one in ids])
        for result in results:
            if isinstance(result, Exception):
                raise result

    verb = "hibernates" if len(ids) == 1 else "hibernate"
    return Done(f"{sessions_text(len(ids))} of {name} {verb}", f"hibernate all of {name}", wake_all)


async def run_terminate_all(context: Context, agent_id: str) -> Done:
    """End everything on it, when it is back if it is away."""
    count = len(still_on(context, agent_id))
    back = f" when {plain(agent_id)} is back" if _offline(context, agent_id) else ""
    await context.connected.fleet.terminate_all(agent_id)
    return Done(f"{sessions_text(count)} of {plain(agent_id)} {'ends' if count == 1 else 'end'}{back}")


def all_losses(context: Context, ids: Sequence[str]) -> Losses:
    """Each user with the desktop that ends."""
    return [(plain(row.user), plain(row.template)) for agent_id in ids for row in still_on(context, agent_id)]


def remove_applies(context: Context, agent_id: str) -> str:
    """Only what is not connected; an agent that is would be on the board again at once."""
    row = context.store.agents.get(agent_id)
    if row is None:
        return agent_applies(context, agent_id)
    if row.status != "offline" or row.standbys:
        return f"{plain(agent_id)} is connected; only an agent that is offline is removed"
    return ""


async def run_remove(context: Context, agent_id: str) -> Done:
    """Take it off the board, and what is on it."""
    count, name = len(still_on(context, agent_id)), plain(agent_id)
    await context.connected.fleet.remove_agent(agent_id)
    ended = f", and with it {sessions_text(count)} ended" if count else ""
    return Done(f"{name} was removed{ended}")


def drain_help(context: Context, ids: Sequence[str]) -> str:
    """The button of a drain that is under way says that it is its undo."""
    drain = context.store.drains.get(ids[0]) if len(ids) == 1 else None
    return "Undo drain" if drain is None or drain.left else "Take sessions again"


def _offline(context: Context, agent_id: str) -> str:
    row: AgentRow | None = context.store.agents.get(agent_id)
    return f"{plain(agent_id)} is offline" if row is not None and row.status == "offline" else ""


AGENT_VERBS = (
    Verb(
        name="drain",
        label="Drain",
        kind="agent",
        key="D",
        run=run_drain,
        applies=drain_applies,
        object=agent_name,
        before=agent_before,
        help="Take no new sessions; those that run go on. D again takes it back",
        button="primary",
        pair="undrain",
        paced=True,
    ),
    Verb(
        name="undrain",
        label="Undo drain",
        kind="agent",
        key="D",
        run=run_undrain,
        applies=undrain_applies,
        object=agent_name,
        before=agent_before,
        title=drain_help,
        help="Take new sessions again",
        button="primary",
        pair="drain",
        paced=True,
    ),
    Verb(
        name="hibernate_all",
        label="Hibernate all",
        kind="agent",
        tier=1,
        run=run_hibernate_all,
        applies=hibernate_all_applies,
        object=on_agent,
        before=agent_before,
        losses=all_losses,
        help="Hibernate every session that runs on the agent; Undo wakes them",
        many=False,
        paced=True,
    ),
    Verb(
        name="terminate_all",
        label="Terminate all",
        kind="agent",
        tier=2,
        run=run_terminate_all,
        applies=terminate_all_applies,
        object=on_agent,
        before=agent_before,
        losses=all_losses,
        help="End every session on the agent",
        many=False,
        paced=True,
    ),
    Verb(
        name="remove_agent",
        label="Remove",
        kind="agent",
        key="Del",
        tier=2,
        run=run_remove,
        applies=remove_applies,
        object=agent_name,
        before=agent_before,
        losses=all_losses,
        help="Take an offline agent off the board that will not come back; its sessions end",
    ),
)
