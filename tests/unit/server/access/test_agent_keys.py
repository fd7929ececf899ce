from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from app.errors import ConfigError, Conflict, NotFound
from app.server.access.agent_keys import MACHINE, AgentKeys
from tests.unit.server.access.conftest import Floor, bearing, scope


@pytest.fixture
async def keys(floor: Floor) -> AgentKeys:
    return await made(floor)


async def made(floor: Floor, **environ: str) -> AgentKeys:
    keys = AgentKeys(floor.store, floor.folder, environ, clock=lambda: floor.now)
    await keys.load()
    return keys


async def test_a_key_opens_in_each_of_its_places_until_it_is_revoked(
    floor: Floor, keys: AgentKeys, tmp_path: Path
) -> None:
    row, key = await keys.add("rack 1")
    carriers = [
        scope(("x-agent-api-key", key), client="10.0.0.7"),
        bearing(key, client="10.0.0.7"),
        scope(query=f"agent_id=a&key={key}", type="websocket", client="10.0.0.7"),
    ]
    for known in (keys, await made(floor)):
        assert [known.carried_by(request) for request in carriers] == [row] * 3
    heard: list[str] = []
    keys.subscribe(heard.append)
    assert keys.holds(row)
    assert await keys.revoke(row.id) == row
    assert heard == [row.id]
    assert not keys.holds(row)
    for known in (keys, await made(floor)):
        assert [known.carried_by(request) for request in carriers] == [None] * 3
    with pytest.raises(NotFound) as refused:
        await keys.revoke(row.id)
    assert refused.value.code == "key_not_found"
    assert all(key.encode() not in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


async def test_two_rotations_at_once_leave_one_text(floor: Floor, keys: AgentKeys) -> None:
    row, _ = await keys.add("rack 1")
    texts = [key for _, key in await asyncio.gather(keys.rotate(row.id), keys.rotate(row.id))]
    for known in (keys, await made(floor)):
        assert [known.carried_by(bearing(text)) is not None for text in texts] == [False, True]
        assert len(known.rows()) == 2


async def test_a_rotation_brings_no_revoked_key_back(floor: Floor, keys: AgentKeys) -> None:
    row, _ = await keys.add("rack 1")
    _, rotated = await asyncio.gather(keys.revoke(row.id), keys.rotate(row.id), return_exceptions=True)
    assert isinstance(rotated, NotFound)
    for known in (keys, await made(floor)):
        assert [one.id for one in known.rows()] == [MACHINE]


async def test_a_rotated_key_opens_only_with_its_new_text(floor: Floor, keys: AgentKeys) -> None:
    row, old = await keys.add("rack 1", "docker-host-01")
    heard: list[str] = []
    keys.subscribe(heard.append)
    floor.now += 5
    rotated, new = await keys.rotate(row.id)
    assert (rotated.id, rotated.agent_id, rotated.rotated_at) == (row.id, "docker-host-01", floor.now)
    assert heard == [row.id]
    assert not keys.holds(row)
    for known in (keys, await made(floor)):
        assert known.carried_by(bearing(old)) is None
        assert known.carried_by(bearing(new)) == rotated


async def test_a_key_for_one_agent_opens_for_no_other(keys: AgentKeys) -> None:
    row, _ = await keys.add("rack 1", "docker-host-01")
    assert row.opens("docker-host-01")
    assert not row.opens("docker-host-02")
    assert (await keys.add("any"))[0].opens("docker-host-02")


@pytest.mark.parametrize("text", ["", "cba_", "cba_wrong", "\x00", "é"])
async def test_a_wrong_key_opens_nothing(keys: AgentKeys, text: str) -> None:
    row, _ = await keys.add("rack 1")
    assert keys.carried_by(scope(("x-agent-api-key", text))) is None
    assert keys.carried_by(scope(("x-agent-api-key", row.key_hash))) is None
    assert keys.carried_by(scope()) is None


async def test_the_machines_own_key_is_made_once_and_opens_from_here_alone(floor: Floor, keys: AgentKeys) -> None:
    key = keys.machine_key()
    assert floor.folder.agent_key.read_text().strip() == key
    assert stat.S_IMODE(floor.folder.agent_key.stat().st_mode) == 0o600
    again = await made(floor)
    assert again.machine_key() == key
    for here in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        row = again.carried_by(scope(("x-agent-api-key", key), client=here))
        assert row is not None
        assert row.id == MACHINE
    assert again.carried_by(scope(("x-agent-api-key", key), client="10.0.0.7", server="10.0.0.7")) is not None
    assert again.carried_by(scope(("x-agent-api-key", key), client="10.0.0.7", server="10.0.0.8")) is None
    assert [row.id for row in again.rows()] == [MACHINE]
    with pytest.raises(Conflict, match="rotate it"):
        await again.revoke(MACHINE)


async def test_the_machines_own_key_is_rotated_in_its_file(floor: Floor, keys: AgentKeys) -> None:
    old = keys.machine_key()
    heard: list[str] = []
    keys.subscribe(heard.append)
    row, new = await keys.rotate(MACHINE)
    assert heard == [MACHINE]
    assert row.rotated_at == floor.now
    assert floor.folder.agent_key.read_text().strip() == new == keys.machine_key()
    assert keys.carried_by(bearing(old)) is None
    assert keys.carried_by(bearing(new)) == row
    assert len(keys.rows()) == 1


async def test_the_environment_gives_the_machines_key(floor: Floor, keys: AgentKeys) -> None:
    given = await made(floor, CALLBOARD_AGENT_KEY="given-by-the-environment")
    assert given.carried_by(bearing("given-by-the-environment")) is not None
    assert given.carried_by(bearing(keys.machine_key())) is None
    assert floor.folder.agent_key.read_text().strip() == "given-by-the-environment"
    with pytest.raises(Conflict, match="CALLBOARD_AGENT_KEY"):
        await given.rotate(MACHINE)
    for wrong in ("short", "with blanks in it, and long"):
        with pytest.raises(ConfigError, match="CALLBOARD_AGENT_KEY"):
            await made(floor, CALLBOARD_AGENT_KEY=wrong)
