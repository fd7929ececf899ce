"""How much of what an agent tells in free form is taken: rows are kept, published to every console and sent on.

Pure; called by ``roster.py`` and ``outcomes.py``. The StreamSpace document (seed 001, "WebSocket Protocol") sets no
bounds to ``metadata``, ``result`` and names.
"""

from __future__ import annotations

from typing import Any

import msgspec

from app.agent_protocol import Capacity, SessionLoad

DEEPEST = 16
"""Objects and lists within one another; what is nested much deeper can be read and then not written."""
MOST_RESULT = 16 * 1024
"""Bytes of one field of a result."""
MOST_METADATA = 64 * 1024
"""Bytes of what an agent registers with."""
MOST_SESSIONS = 10_000
DEFAULT_SESSIONS = 10
"""Room of an agent that names none."""
MOST_FIELDS = 50
MOST_TARGETS = 1000
LONGEST_NAME = 100
MOST_MEMORY = 1 << 50
MOST_CPU = 100_000.0
MIB = 1024 * 1024


def fits(document: Any, most: int) -> bool:
    """Whether a document is not too deep and, encoded, not too large."""
    return _is_flat(document, DEEPEST) and len(msgspec.json.encode(document)) <= most


def result_within(result: dict[str, Any]) -> dict[str, Any]:
    """The fields of a command's result that fit."""
    return {name: value for name, value in list(result.items())[:MOST_FIELDS] if fits({name: value}, MOST_RESULT)}


def targets_within(attached: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The targets of an ``attach`` agent that fit."""
    return [target for target in attached[:MOST_TARGETS] if fits(target, MOST_RESULT // 16)]


def names_within(names: list[str]) -> list[str]:
    """The names that fit, of capabilities."""
    return [name for name in names[:MOST_FIELDS] if len(name) <= LONGEST_NAME]


def capacity_within(capacity: Capacity) -> tuple[Capacity, str]:
    """What an agent says it holds, within what can be, and what was wrong with it."""
    wanted = DEFAULT_SESSIONS if capacity.max_sessions is None else capacity.max_sessions
    held = min(max(wanted, 0), MOST_SESSIONS)
    warning = "" if held == wanted else f"it claims room for {wanted} sessions; {held} are believed"
    sane = Capacity(max_sessions=held, max_cpu=_positive(capacity.max_cpu), max_memory=_positive(capacity.max_memory))
    return sane, warning


def percent_within(number: float | None) -> float | None:
    """A share of a machine in percent, to a tenth."""
    return None if number is None else round(min(max(number, 0.0), 100.0), 1)


def load_within(load: SessionLoad) -> dict[str, Any]:
    """Fields of a session's row for its load, rounded so that not every breath is told."""
    cpu, memory = load.cpu, load.memory
    return {
        "load_cpu": None if cpu is None else float(round(min(max(0.0, cpu), MOST_CPU))),
        "load_memory": None if memory is None else min(max(0, memory), MOST_MEMORY) // MIB * MIB,
    }


def _positive(number: float | None) -> float | None:
    return number if number is not None and 0 < number < 1e15 else None


def _is_flat(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is None or (levels > 0 and all(_is_flat(each, levels - 1) for each in inner))
