"""How times, addresses and free text from the network are written on the board.

Called by the states, the tables and the details pane. Everything here is a plain function of its arguments;
text that came from the network passes ``plain`` before it is shown.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

_DIGITS = re.compile(r"(\d+)")
_UNSHOWN = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\N{MIDDLE DOT}")
_UNSHOWN |= dict.fromkeys((0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029), " ")
_UNSHOWN |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F), "\N{MIDDLE DOT}")
LONGEST = 300
MOST_PAIRS = 40
"""Characters, and pairs of a JSON object, in one cell; what is longer stands whole in the details."""


def plain(text: str) -> str:
    """``text`` on one line, without control or bidirectional override characters, at most ``LONGEST`` long."""
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return clean(text)


def clean(text: str) -> str:
    """``text`` on one line, without control or bidirectional override characters, however long."""
    return text if text.isprintable() else text.translate(_UNSHOWN)


def counted(number: int, noun: str) -> str:
    """``3 sessions of the past``, and of one ``1 session of the past``; ``noun`` is the plural."""
    first, *rest = noun.split(" ")
    return " ".join((str(number), first.removesuffix("s") if number == 1 else first, *rest))


def age_text(seconds: float) -> str:
    """A span in at most seven characters: ``12 s``, ``3 m 05``, ``2 h 14``, ``3 d 04``."""
    whole = int(seconds) if seconds > 0 else 0
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d}"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d}"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d}"


def clock_text(at: float, now: float) -> str:
    """Time of day on this machine, with the date in front when ``at`` is more than half a day from ``now``."""
    pattern = "%H:%M:%S" if abs(now - at) < 43200 else "%Y-%m-%d %H:%M:%S"
    return time.strftime(pattern, time.localtime(at))


def date_text(at: float) -> str:
    """Date and time of day on this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def zone_text(at: float) -> str:
    """The zone of this machine's times: ``UTC``, ``UTC+2``, ``UTC-3:30``."""
    minutes = time.localtime(at).tm_gmtoff // 60
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02d}" if rest else "")


def endpoint(address: str, port: int | None) -> str:
    """``address:port``, an IPv6 address in brackets; the address alone when there is no port."""
    if port is None:
        return plain(address)
    return f"[{plain(address)}]:{port}" if ":" in address else f"{plain(address)}:{port}"


@lru_cache(maxsize=20_000)
def natural(text: str) -> str:
    """A sort key by which ``Cam 2`` stands before ``Cam 10`` and upper case beside lower."""
    parts = _DIGITS.split(text.casefold())
    for number in range(1, len(parts), 2):
        parts[number] = parts[number].zfill(12)
    return "".join(parts)


def address_key(address: str, port: int | None) -> bytes:
    """A sort key by which IPv4 addresses stand in numeric order, then IPv6, then names."""
    try:
        if ":" in address:
            packed = b"\x06" + socket.inet_pton(socket.AF_INET6, address)
        else:
            packed = b"\x04" + socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        packed = b"\xff" + natural(address).encode("utf-8", "replace")
    return packed + (port or 0).to_bytes(4, "big", signed=True)


def pairs_text(values: Mapping[str, Any]) -> str:
    """A JSON object as ``key=value`` pairs; ``tags`` lists are written as bare words."""
    parts: list[str] = []
    for key, value in islice(values.items(), MOST_PAIRS):
        if key == "tags" and isinstance(value, list):
            parts.extend(_short(one) for one in value[:MOST_PAIRS])
        elif value is not None:
            parts.append(f"{key}={_short(value)}")
    return plain(" ".join(parts))


def format_text(config: Mapping[str, Any]) -> str:
    """Codec, picture size and frame rate (or sample rate and channels) as far as a stream's config names them."""
    if not config:
        return ""
    parts = [_short(config[key]) for key in ("codec", "preferred_codec", "format", "encoding") if config.get(key)][:1]
    if size := config.get("resolution"):
        parts.append(_short(size))
    elif config.get("width") and config.get("height"):
        parts.append(f"{_short(config['width'])}x{_short(config['height'])}")
    if rate := config.get("fps") or config.get("framerate") or config.get("frame_rate"):
        parts.append(f"{_short(rate)} fps")
    if rate := config.get("sample_rate"):
        parts.append(f"{_short(rate)} Hz")
    if channels := config.get("channels"):
        parts.append(f"{_short(channels)} ch")
    return plain(" ".join(parts)) if parts else pairs_text(config)


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value[:LONGEST]
    if isinstance(value, Mapping):
        return "{\N{HORIZONTAL ELLIPSIS}}"
    if isinstance(value, list):
        return ",".join("[\N{HORIZONTAL ELLIPSIS}]" if isinstance(one, list) else _short(one) for one in value[:8])
    return str(value)
