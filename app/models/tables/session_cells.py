"""Cells of a session of a stream: who takes what, from where to where, who keeps it alive.

Used by ``sessions.py``, which puts them into one table with those of desktops (``desktop_cells``). Plain functions of
``(item, moment)``.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.contract import SessionRow
from app.models.states import State, state_of_session
from app.models.tables.columns import Item, Moment
from app.models.wording import address_key, age_text, clock_text, endpoint, plain


def state(item: Item, moment: Moment) -> State:
    """Its state now."""
    return state_of_session(item.row, moment.store, moment.now, item.ghost)


def left(item: Item, moment: Moment) -> float | None:
    """Seconds until the registry forgets it."""
    return None if item.ghost is not None else max(0.0, item.row.expires_at - moment.now)


def left_text(item: Item, moment: Moment) -> str:
    """The same in words."""
    seconds = left(item, moment)
    return "" if seconds is None else age_text(seconds)


def heard(item: Item, moment: Moment) -> float | None:
    """Seconds since the consumer itself was heard."""
    at = item.row.last_heartbeat
    return None if at is None or item.ghost is not None else max(0.0, moment.now - at)


def heard_text(item: Item, moment: Moment) -> str:
    """The same in words."""
    if item.ghost is not None:
        return ""
    age = heard(item, moment)
    return "never" if age is None else age_text(age)


def heard_key(item: Item, _moment: Moment) -> float:
    """Lately heard ones last."""
    return -(item.row.last_heartbeat or 0.0)


def way(item: Item, _moment: Moment) -> str:
    """From the publisher to the consumer."""
    row: SessionRow = item.row
    source = endpoint(row.publisher_address, row.publisher_port)
    return f"{source} \N{RIGHTWARDS ARROW} {endpoint(row.consumer_address, row.consumer_port)}"


def way_key(item: Item, _moment: Moment) -> bytes:
    """By address, numerically."""
    row: SessionRow = item.row
    source = address_key(row.publisher_address, row.publisher_port)
    return source + address_key(row.consumer_address, row.consumer_port)


def hosts(item: Item, _moment: Moment) -> Iterable[str]:
    """Both addresses, for networks in the filter."""
    return item.row.publisher_address, item.row.consumer_address


def held_by(item: Item, moment: Moment) -> str:
    """Who keeps it alive."""
    if item.ghost is not None:
        return ""
    return "Callboard" if moment.store.hold_of(item.id) is not None else "consumer"


def held_told(item: Item, moment: Moment) -> str:
    """Who keeps it alive, for whom and since when."""
    hold = moment.store.hold_of(item.id)
    if hold is None:
        return "The consumer must send a heartbeat itself"
    return f"Held by Callboard for {plain(hold.operator)} since {clock_text(hold.since, moment.now)}"


def preset(item: Item, moment: Moment) -> str:
    """The presets that carry it."""
    if item.ghost is not None:
        return ""
    return ", ".join(plain(preset.name) for preset in moment.store.presets_of(item.row))
