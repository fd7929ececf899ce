"""Quantities as templates and sessions write them: ``2Gi`` of memory, ``1000m`` of CPU, ``30m`` of time.

The notation of memory and CPU is Kubernetes'; times are sums of ``<number><s|m|h>``. Used by the broker, which refuses
what does not fit, and by agents, which enforce it. No I/O.
"""

from __future__ import annotations

import re

from app.errors import Invalid

_FACTORS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_MEMORY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(Ki|Mi|Gi|Ti|k|M|G|T|)")
_CPU = re.compile(r"(\d{1,9})m|(\d{1,6}(?:\.\d{1,9})?)")
_DURATION = re.compile(r"(?:\d{1,9}[smh])+")
_PART = re.compile(r"(\d+)([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
LONGEST = 366 * 24 * 3600


def memory_bytes(text: str) -> int:
    """``2Gi`` → 2147483648. Raises ``Invalid``; nothing is not a quantity either."""
    match = _MEMORY.fullmatch(text)
    amount = int(float(match[1]) * _FACTORS[match[2]]) if match else 0
    if amount < 1:
        raise Invalid(f"{text!r} is not an amount of memory; write it like 512Mi or 2Gi")
    return amount


def cpu_cores(text: str) -> float:
    """``1500m`` or ``1.5`` → 1.5. Raises ``Invalid``."""
    match = _CPU.fullmatch(text)
    cores = (int(match[1]) / 1000 if match[1] else float(match[2])) if match else 0.0
    if cores <= 0:
        raise Invalid(f"{text!r} is not an amount of CPU; write it like 500m or 2")
    return cores


def duration_seconds(text: str) -> int:
    """``1h30m`` → 5400; ``0`` → 0. Raises ``Invalid``, also beyond a year."""
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise Invalid(f"{text!r} is not a time; write it like 30s, 45m or 1h30m, and 0 for never")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if seconds > LONGEST:
        raise Invalid(f"{text!r} is longer than a year")
    return seconds
