"""The cast is data: what it promises about itself holds."""

from __future__ import annotations

from app.client.connect import Endpoint, connection_string
from app.contract import BUILT_IN_TYPES, PROTOCOLS, PresetRow
from app.demo.cast import CAST, GUESTS, LIDAR, MARK, PRESETS


def test_every_stream_can_be_advertised() -> None:
    types = {*BUILT_IN_TYPES, LIDAR["name"]}
    for part in CAST:
        body = part.advertisement()
        assert body["stream_type"] in types
        assert body["protocol"] in PROTOCOLS
        assert 0 <= body["port"] <= 65535
        assert body["metadata"]["venue"] == MARK
        assert connection_string(Endpoint(part.protocol, part.address, part.port, part.name, part.offer))
    assert len({part.name for part in CAST}) == len(CAST)


def test_every_type_and_every_trouble_is_on_the_board() -> None:
    assert {part.stream_type for part in CAST} >= {*BUILT_IN_TYPES, "lidar"}
    assert {part.mood for part in CAST} == {
        "steady", "slow", "picky", "silent", "deaf", "late", "flaky", "visitor",
    }  # fmt: skip


def test_consumers_find_something_they_like() -> None:
    offered = {part.stream_type for part in CAST if part.mood == "steady"}
    for guest in GUESTS:
        assert offered & set(guest.likes)


def test_exactly_one_preset_is_the_default() -> None:
    rows = [PresetRow(id="", **fields) for fields in PRESETS]
    assert [row.default for row in rows].count(True) == 1
    assert {row.mode for row in rows} == {"replace", "add"}
    assert all(row.held_by == "console" for row in rows)
