from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.config import ServeConfig
from app.errors import ConfigError, Conflict, Invalid
from app.server.access.exposure import Exposure, Stored, addresses
from app.server.access.keys import ApiKeys
from app.server.access.networks import Networks
from app.server.events import EventLog
from app.server.health import Health
from app.server.storage.database import Database


async def exposure_of(database: Database, **settings: Any) -> Exposure:
    given = {name: f"option --{name.replace('_', '-')}" for name in settings}
    config = ServeConfig(data_dir=Path(), given=given, **settings)
    keys, networks = ApiKeys(database), Networks(config.allow_networks)
    await keys.load()
    exposure = Exposure(config, database, keys, networks)
    await exposure.load()
    return exposure


async def test_loopback_needs_nobody_to_be_allowed(database: Database) -> None:
    exposure = await exposure_of(database)
    view = exposure.view(8080, 4222)
    assert view["host"] == "127.0.0.1"
    assert view["urls"] == ["http://127.0.0.1:8080"]
    assert any("Other machines cannot reach" in sentence for sentence in view["words"])


async def test_another_host_with_nobody_allowed_is_a_configuration_error(database: Database) -> None:
    with pytest.raises(ConfigError, match="--allow-networks"):
        await exposure_of(database, host="0.0.0.0")
    await exposure_of(database, host="0.0.0.0", allow_networks=("10.0.0.0/8",))
    await ApiKeys(database).add("truck")
    await exposure_of(database, host="0.0.0.0")


async def test_networks_change_at_once_and_the_host_at_the_next_start(database: Database) -> None:
    exposure = await exposure_of(database)
    await exposure.change(Stored(host="0.0.0.0", allow_networks=["10.1.2.3/8"], allow_plain=True))
    assert exposure._networks.allow("10.9.9.9", "")
    assert (exposure.host, exposure.next_host) == ("127.0.0.1", "0.0.0.0")
    assert any("From the next start on" in sentence for sentence in exposure.view(1, None)["words"])
    after = await exposure_of(database)
    assert (after.host, after.allow_networks, after.allow_plain) == ("0.0.0.0", ("10.0.0.0/8",), True)
    assert any("Every machine that reaches port 4222" in sentence for sentence in after.view(1, 4222)["words"])


async def test_what_the_command_line_says_cannot_be_changed_here(database: Database) -> None:
    await (await exposure_of(database)).change(Stored(allow_networks=["10.0.0.0/8"]))
    exposure = await exposure_of(database, allow_networks=("192.168.0.0/16",))
    assert exposure.allow_networks == ("192.168.0.0/16",)
    with pytest.raises(Conflict, match="option --allow-networks"):
        await exposure.change(Stored(allow_networks=[]))
    assert any("cannot be changed here" in sentence for sentence in exposure.view(1, None)["words"])


async def test_what_is_kept_beneath_the_command_line_lets_nobody_in(database: Database) -> None:
    """Judged is what the next start will see, not what it will pass over."""
    await (await exposure_of(database)).change(Stored(allow_networks=["10.0.0.0/8"]))
    closed = await exposure_of(database, allow_networks=())
    with pytest.raises(Invalid, match="none be allowed"):
        await closed.change(Stored(host="0.0.0.0"))
    await (await exposure_of(database)).change(Stored(host="0.0.0.0"))
    at_home = await exposure_of(database, host="127.0.0.1")
    await at_home.change(Stored(allow_networks=[]))
    assert at_home.allow_networks == ()


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Stored(allow_networks=["ten"]), "is not a network"),
        (Stored(allow_networks=["10.0.0.1"] * 300), "At most 256"),
        (Stored(host="203.0.113.7"), "is not an address of this machine"),
        (Stored(host="no such host"), "is not an address of this machine"),
        (Stored(host=" "), "may not be empty"),
        (Stored(host="0.0.0.0"), "none be allowed"),
    ],
)
async def test_nonsense_changes_nothing(database: Database, wanted: Stored, says: str) -> None:
    exposure = await exposure_of(database)
    before = exposure.view(1, None)
    with pytest.raises(Invalid, match=says):
        await exposure.change(wanted)
    assert exposure.view(1, None) == before
    assert await database.get_setting("access") is None


async def test_the_last_key_cannot_be_deleted_while_it_is_all_that_lets_others_in(database: Database) -> None:
    row, _ = await ApiKeys(database).add("truck")
    exposure = await exposure_of(database, host="0.0.0.0")
    with pytest.raises(Conflict, match="all that lets other machines in"):
        await exposure.delete_key(row.id)
    await exposure.change(Stored(allow_networks=["10.0.0.0/8"]))
    await exposure.delete_key(row.id)
    with pytest.raises(Invalid):
        await exposure.change(Stored(allow_networks=[]))


def test_addresses_for_publishers() -> None:
    assert addresses("192.168.1.5") == ["192.168.1.5"]
    own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    everywhere = addresses("0.0.0.0")
    assert everywhere
    assert set(everywhere) <= own
    for address in everywhere:
        socket.inet_pton(socket.AF_INET, address)


async def test_users_and_agents_may_be_who_is_let_in(database: Database) -> None:
    """With a login of their own nobody else need be allowed, where secrets are encrypted or may pass plain."""
    for settings in (
        {"tls_cert": Path("c.pem"), "tls_key": Path("k.pem")},
        {"allow_plain": True},
    ):
        exposure = await exposure_of(database, host="0.0.0.0", **settings)
        with pytest.raises(Conflict):
            await exposure.change(Stored(host="127.0.0.1"))
    await (await exposure_of(database)).change(Stored(host="0.0.0.0", allow_plain=True))
    stored = await exposure_of(database)
    with pytest.raises(Invalid, match="none be allowed"):
        await stored.change(Stored(allow_plain=False))


@pytest.mark.parametrize(
    ("settings", "says", "says_not"),
    [
        ({}, "this machine's own key opens from this machine alone", "unencrypted"),
        ({"open_agents": True}, "without a key (open_agents)", "Agents register with a key"),
        ({"host": "0.0.0.0", "allow_networks": ("10.0.0.0/8",)}, "set tls_cert and tls_key, or allow_plain", "by TLS"),
        ({"host": "0.0.0.0", "allow_plain": True}, "these secrets pass unencrypted (allow_plain)", "by TLS"),
        ({"host": "0.0.0.0", "tls_cert": Path("c"), "tls_key": Path("k")}, "encrypted by TLS", "is not encrypted"),
        ({}, "an administrator who has logged in", "by TLS"),
    ],
)
async def test_the_words_say_who_may_log_in_and_how_safely(
    database: Database, settings: dict[str, Any], says: str, says_not: str
) -> None:
    words = " ".join((await exposure_of(database, **settings)).view(8080, None)["words"])
    assert says in words
    assert says_not not in words


async def test_addresses_are_told_with_their_scheme(database: Database) -> None:
    exposure = await exposure_of(database, tls_cert=Path("c.pem"), tls_key=Path("k.pem"))
    assert exposure.view(8443, None)["urls"] == ["https://127.0.0.1:8443"]


async def test_the_strip_shows_that_secrets_pass_plain(database: Database) -> None:
    health = Health(EventLog())
    config = ServeConfig(data_dir=Path(), host="0.0.0.0", allow_networks=("10.0.0.0/8",))
    exposure = Exposure(config, database, ApiKeys(database), Networks(()), health=health)
    await exposure.load()
    assert [row.id for row in health.rows() if row.id == "access"] == []
    await exposure.change(Stored(allow_plain=True))
    (row,) = [row for row in health.rows() if row.id == "access"]
    assert row.ok
    assert "unencrypted (allow_plain)" in row.text
    await exposure.change(Stored(allow_plain=False))
    assert [row.text for row in health.rows() if row.id == "access"] == [""]
