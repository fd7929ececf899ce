"""The Audit table: every act of every operator, also the cancelled ones, by page.

Fed by ``app/ui/pages/history.py`` with rows of ``GET /console/v1/audit`` and, while it is shown, with
``Changes.audit`` of the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.contract import AuditRow
from app.models.export import Instant
from app.models.filter import Field
from app.models.tables.columns import Column, Item, Moment
from app.models.tables.paged import PagedTable
from app.models.wording import date_text, pairs_text, plain

DIALECTS = {"maestra": "Maestra", "streamspace": "StreamSpace", "console": "Console"}


def changes_of(row: AuditRow) -> dict[str, tuple[Any, Any]]:
    """What the act changed, as before and after by key; keys that stayed the same are left out."""
    before, after = row.before or {}, row.after or {}
    keys = [*before, *(key for key in after if key not in before)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _change(item: Item, _moment: Moment) -> str:
    row: AuditRow = item.row
    if row.before is None and row.after is None:
        return ""
    return f"{_side(row.before)} \N{RIGHTWARDS ARROW} {_side(row.after)}"


def _side(values: Mapping[str, Any] | None) -> str:
    return pairs_text(values) if values else "\N{EN DASH}"


def _result(item: Item, _moment: Moment) -> str:
    row: AuditRow = item.row
    return plain(f"{row.result}: {row.detail}" if row.detail else row.result)


def _milliseconds(item: Item, _moment: Moment) -> float | None:
    milliseconds: float | None = item.row.milliseconds
    return milliseconds


AUDIT_COLUMNS = (
    Column(
        "time", "Time", 150, lambda item, _: date_text(item.row.at), kind="mono", sort=lambda item, _: item.row.at,
        value=lambda item, _: Instant(item.row.at), hint="In the filter, seconds ago: time<5m",
        field=Field("number", lambda item, moment: moment.now - item.row.at, dynamic=True),
    ),
    Column("operator", "Operator", 120, lambda item, _: plain(item.row.operator)),
    Column("verb", "Verb", 96, lambda item, _: plain(item.row.verb)),
    Column("object", "Object", 220, lambda item, _: plain(item.row.object), tooltip=lambda item, _: item.row.object_id),
    Column("dialect", "Dialect", 92, lambda item, _: DIALECTS.get(item.row.dialect, plain(item.row.dialect)), yields=1),
    Column("change", "Before \N{RIGHTWARDS ARROW} After", 280, _change),
    Column("result", "Result", 200, _result),
    Column(
        "ms", "ms", 64, lambda item, _: "" if item.row.milliseconds is None else f"{item.row.milliseconds:.0f}",
        align="right", sort=lambda item, _: item.row.milliseconds or 0.0, value=_milliseconds,
        field=Field("number", _milliseconds),
    ),
)  # fmt: skip


class AuditTable(PagedTable):
    """Acts of operators, newest first."""

    columns = AUDIT_COLUMNS
    aliases = {"who": "operator", "what": "object", "before": "change", "after": "change"}

    @staticmethod
    def time_of(row: Any) -> float:
        return float(row.at)

    def search_text(self, item: Item) -> str:
        """Also the object's id, which has no column."""
        return f"{super().search_text(item)}\n{item.row.object_id}".lower()
