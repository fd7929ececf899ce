"""Cells of a desktop session: whose it is, where it runs, what it costs, who looks at it.

Used by ``sessions.py``, which puts them into one table with those of streams (``session_cells``). Plain functions of
``(item, moment)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.contract import DesktopRow, ViewerRow
from app.models.fleet_states import heartbeat_age, state_of_desktop
from app.models.fleet_words import idle_limit, idle_seconds, idle_text, load_text, viewer_text
from app.models.states import State
from app.models.tables.columns import Item, Moment
from app.models.wording import age_text, natural, plain


def state(item: Item, moment: Moment) -> State:
    """Its state now."""
    return state_of_desktop(item.row, moment.store, moment.now, item.ghost)


def viewers(item: Item, moment: Moment) -> Sequence[ViewerRow]:
    """Who looks at it now, longest first."""
    return () if item.ghost is not None else tuple(moment.store.viewers_of(item.id).values())


def way(item: Item, moment: Moment) -> str:
    """From the agent to whoever looks."""
    row: DesktopRow = item.row
    who = list(dict.fromkeys(plain(one.user) for one in viewers(item, moment)))
    return f"{agent(item, moment) or plain(row.platform)} \N{RIGHTWARDS ARROW} {', '.join(who) or 'nobody'}"


def way_key(item: Item, moment: Moment) -> bytes:
    """Behind every address."""
    return b"\xfe" + natural(way(item, moment)).encode("utf-8", "replace")


def hosts(item: Item, moment: Moment) -> Iterable[str]:
    """Addresses of the session and of its viewers, for networks in the filter."""
    row: DesktopRow = item.row
    return [row.pod_ip or "", *(one.address for one in viewers(item, moment))]


def agent(item: Item, _moment: Moment) -> str:
    """The agent that runs it."""
    row: DesktopRow = item.row
    return plain(row.agent_id or "")


def since(item: Item, _moment: Moment) -> float:
    """When it began to run, or was asked for."""
    row: DesktopRow = item.row
    return row.started_at or row.created_at


def heard(item: Item, moment: Moment) -> float | None:
    """Seconds since its agent was heard: a desktop has no heartbeat of its own."""
    row: DesktopRow = item.row
    if item.ghost is not None or row.agent_id is None:
        return None
    return heartbeat_age(moment.store.agents.get(row.agent_id), moment.now)


def heard_text(item: Item, moment: Moment) -> str:
    """The same in words."""
    age = heard(item, moment)
    return "" if age is None else age_text(age)


def heard_key(item: Item, moment: Moment) -> float:
    """Lately heard ones last."""
    age = heard(item, moment)
    return 0.0 if age is None else age - moment.now


def load(item: Item, _moment: Moment) -> str:
    """CPU and memory as its agent measured them."""
    return "" if item.ghost is not None else load_text(item.row)


def load_told(item: Item, moment: Moment) -> str:
    """Also how the limits are enforced."""
    row: DesktopRow = item.row
    asked = ", ".join(f"{plain(key)} {plain(value)}" for key, value in row.resources.items())
    limits = f"Limits: {asked or 'none asked for'}" + (f" ({plain(row.limits)})" if row.limits else "")
    return "\n".join(filter(None, (load(item, moment), limits)))


def cpu(item: Item, _moment: Moment) -> float | None:
    """Percent of one core."""
    row: DesktopRow = item.row
    return None if item.ghost is not None else row.load_cpu


def memory(item: Item, _moment: Moment) -> float | None:
    """Memory in MiB."""
    row: DesktopRow = item.row
    return None if item.ghost is not None or row.load_memory is None else row.load_memory / 1024**2


def idle(item: Item, moment: Moment) -> float | None:
    """Seconds in which nobody has worked in it."""
    return None if item.ghost is not None else idle_seconds(item.row, viewers(item, moment), moment.now)


def idle_words(item: Item, moment: Moment) -> str:
    """The same in words, with the limit."""
    return "" if item.ghost is not None else idle_text(item.row, viewers(item, moment), moment.now)


def idle_told(item: Item, moment: Moment) -> str:
    """What happens when it stays so."""
    limit = idle_limit(item.row)
    words = idle_words(item, moment)
    if not words:
        return ""
    return f"{words}\n" + (f"It hibernates after {limit // 60} minutes of idleness" if limit else "No idle time-out")


def looking(item: Item, moment: Moment) -> str:
    """How many look at it."""
    return str(len(viewers(item, moment))) if item.ghost is None else ""


def looking_told(item: Item, moment: Moment) -> str:
    """Who looks at it."""
    return "\n".join(viewer_text(one) for one in viewers(item, moment))


def tags(item: Item, _moment: Moment) -> str:
    """Its tags."""
    row: DesktopRow = item.row
    return ", ".join(plain(one) for one in row.tags)
