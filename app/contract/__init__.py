"""Rows, events and messages of the console feed, shared by broker, client and models.

The broker's live state stores these very rows, the feed carries them, the console's store keeps them: one
definition for all. Times are seconds since the epoch on the **broker's** clock (float, UTC); ids are
canonical strings. Nothing here does I/O and nothing here imports another module of the project.

``rows`` is the base and the shared floor's rows, ``streams`` and ``fleet`` those of the domains, ``feed`` the tables,
kinds of events and messages. A new kind of object is one struct, its line in ``ROWS`` and its lines in ``KINDS``.
"""

from __future__ import annotations

from app.contract.feed import (
    BEAT_EVERY as BEAT_EVERY,
)
from app.contract.feed import (
    FEED_STALE_AFTER as FEED_STALE_AFTER,
)
from app.contract.feed import (
    KINDS as KINDS,
)
from app.contract.feed import (
    PATCHES as PATCHES,
)
from app.contract.feed import (
    PROTOCOL as PROTOCOL,
)
from app.contract.feed import (
    ROWS as ROWS,
)
from app.contract.feed import (
    Diff as Diff,
)
from app.contract.feed import (
    Event as Event,
)
from app.contract.feed import (
    FeedMessage as FeedMessage,
)
from app.contract.feed import (
    Hello as Hello,
)
from app.contract.feed import (
    Op as Op,
)
from app.contract.feed import (
    Pulse as Pulse,
)
from app.contract.feed import (
    Snapshot as Snapshot,
)
from app.contract.fleet import (
    AGENT_GRACE as AGENT_GRACE,
)
from app.contract.fleet import (
    AGENT_HEARTBEAT_EVERY as AGENT_HEARTBEAT_EVERY,
)
from app.contract.fleet import (
    AGENT_LOST_AFTER as AGENT_LOST_AFTER,
)
from app.contract.fleet import (
    DESKTOP_STATES as DESKTOP_STATES,
)
from app.contract.fleet import (
    PLATFORMS as PLATFORMS,
)
from app.contract.fleet import (
    SLOT_STATES as SLOT_STATES,
)
from app.contract.fleet import (
    STUCK_AFTER as STUCK_AFTER,
)
from app.contract.fleet import (
    AgentBeat as AgentBeat,
)
from app.contract.fleet import (
    AgentRow as AgentRow,
)
from app.contract.fleet import (
    AgentStatus as AgentStatus,
)
from app.contract.fleet import (
    DesktopBeat as DesktopBeat,
)
from app.contract.fleet import (
    DesktopRow as DesktopRow,
)
from app.contract.fleet import (
    DesktopState as DesktopState,
)
from app.contract.fleet import (
    DrainRow as DrainRow,
)
from app.contract.fleet import (
    TemplateRow as TemplateRow,
)
from app.contract.fleet import (
    Thumbnail as Thumbnail,
)
from app.contract.fleet import (
    UserRow as UserRow,
)
from app.contract.fleet import (
    ViewerBeat as ViewerBeat,
)
from app.contract.fleet import (
    ViewerMode as ViewerMode,
)
from app.contract.fleet import (
    ViewerRow as ViewerRow,
)
from app.contract.rows import (
    GHOST_SECONDS as GHOST_SECONDS,
)
from app.contract.rows import (
    AuditRow as AuditRow,
)
from app.contract.rows import (
    Gone as Gone,
)
from app.contract.rows import (
    HealthRow as HealthRow,
)
from app.contract.rows import (
    Row as Row,
)
from app.contract.streams import (
    BUILT_IN_TYPES as BUILT_IN_TYPES,
)
from app.contract.streams import (
    HEARTBEAT_EVERY as HEARTBEAT_EVERY,
)
from app.contract.streams import (
    LATE_AFTER as LATE_AFTER,
)
from app.contract.streams import (
    NEGOTIATION_TIMEOUT as NEGOTIATION_TIMEOUT,
)
from app.contract.streams import (
    PROTOCOLS as PROTOCOLS,
)
from app.contract.streams import (
    SESSION_TTL as SESSION_TTL,
)
from app.contract.streams import (
    STALE_AFTER as STALE_AFTER,
)
from app.contract.streams import (
    STREAM_TTL as STREAM_TTL,
)
from app.contract.streams import (
    Beat as Beat,
)
from app.contract.streams import (
    HistoryRow as HistoryRow,
)
from app.contract.streams import (
    HoldRow as HoldRow,
)
from app.contract.streams import (
    NegotiationRow as NegotiationRow,
)
from app.contract.streams import (
    Outcome as Outcome,
)
from app.contract.streams import (
    PresetRow as PresetRow,
)
from app.contract.streams import (
    SessionRow as SessionRow,
)
from app.contract.streams import (
    StillSending as StillSending,
)
from app.contract.streams import (
    StreamRow as StreamRow,
)
from app.contract.streams import (
    TypeRow as TypeRow,
)
