"""What a table is made of: items, columns, and the roles that delegates read.

Used by every module of this package and by the delegates of ``app/ui``. Roles and flags are plain ints at module
level: in PySide6 ``Qt.DisplayRole`` costs 9.7 µs an access.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from PySide6.QtCore import Qt

from app.contract import Row
from app.models.filter import Field
from app.models.ghosts import Ghost
from app.models.store import Store

DISPLAY_ROLE = int(Qt.ItemDataRole.DisplayRole)
TOOLTIP_ROLE = int(Qt.ItemDataRole.ToolTipRole)
ALIGN_ROLE = int(Qt.ItemDataRole.TextAlignmentRole)
ACCESSIBLE_ROLE = int(Qt.ItemDataRole.AccessibleTextRole)
ID_ROLE = int(Qt.ItemDataRole.UserRole) + 1
"""The object's id, in every column."""
STATE_ROLE = ID_ROLE + 1
"""``states.State`` of the row, in every column; None in tables whose rows have no state."""
TTL_ROLE = ID_ROLE + 2
"""Seconds of TTL left (float), in the ``ttl`` column; None for a ghost."""
SPARK_ROLE = ID_ROLE + 3
"""Numbers of the sparkline, oldest first, in a ``spark`` column."""
GHOST_ROLE = ID_ROLE + 4
"""The cause of death of a ghost row, ``""`` for a live one."""
MARK_ROLE = ID_ROLE + 5
"""True for a marked row."""
GROUP_ROLE = ID_ROLE + 6
"""The group's title on the first row of a group, else ``""``."""
KIND_ROLE = ID_ROLE + 7
"""The column's kind; also in ``headerData``."""

_MIDDLE = Qt.AlignmentFlag.AlignVCenter
ALIGNMENTS = {
    "left": int(Qt.AlignmentFlag.AlignLeft | _MIDDLE),
    "right": int(Qt.AlignmentFlag.AlignRight | _MIDDLE),
    "center": int(Qt.AlignmentFlag.AlignHCenter | _MIDDLE),
}

Kind = Literal["text", "state", "ttl", "spark", "badge", "mono", "button", "bar", "drain"]
"""How a delegate paints a column. A ``button`` is a verb's, has no data and is neither searched nor exported."""


class Item:
    """One row of a table with what was already computed for it. ``text``: what bare filter terms search."""

    __slots__ = ("cells", "ghost", "group", "id", "keys", "marked", "row", "text")

    def __init__(self, row_id: str, row: Row, ghost: Ghost | None = None) -> None:
        self.id = row_id
        self.row: Any = row
        self.ghost = ghost
        self.text = ""
        self.group = ""
        self.marked = False
        self.cells: dict[str, str] = {}
        self.keys: dict[str, Any] = {}

    def renew(self, row: Row, ghost: Ghost | None) -> None:
        """Take a newer row; everything computed from the old one is forgotten."""
        self.row = row
        self.ghost = ghost
        self.text = ""
        self.group = ""
        self.cells.clear()
        self.keys.clear()


class Moment:
    """What cell functions may ask besides their row: the store, and the broker's time of this repaint."""

    __slots__ = ("now", "store")

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = store.broker_now()


@dataclass(frozen=True, slots=True)
class Column:
    """One column. Functions take ``(item, moment)``.

    ``sort`` None sorts by the text in natural order; ``value`` is what an export writes (None: the text) and
    ``field`` what ``key:value`` in the filter looks at (None: the text). ``clock`` says that the cell changes
    with time or with beats, without an event of its own: it is then neither cached nor sorted once and for all.
    """

    key: str
    title: str
    width: int
    text: Callable[[Item, Moment], str]
    sort: Callable[[Item, Moment], Any] | None = None
    kind: Kind = "text"
    align: Literal["left", "right", "center"] = "left"
    hint: str = ""
    tooltip: Callable[[Item, Moment], str] | None = None
    value: Callable[[Item, Moment], object] | None = None
    field: Field | None = None
    clock: bool = False
    share: Callable[[Item, Moment], float | None] | None = None
    """How full the bar of a ``bar`` column is, 0 to 1; None draws none."""
    hidden: bool = False
    """Not shown until the operator asks for it."""
    yields: int = 0
    """Above 0: gives its place up where there is no room for all, the highest first. The details say it too."""
    wide: int = 0
    """The width that it grows to where there is room to spare, so that its longest usual text stands whole."""

    @property
    def searched(self) -> bool:
        """Whether bare filter terms look at it."""
        return not self.clock and self.kind != "button"
