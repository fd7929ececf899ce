from __future__ import annotations

import threading

import pytest

from app.errors import ConfigError
from app.server.access import first_admin
from app.server.access.first_admin import keep_in_keyring, make_first_admin
from tests.unit.server.access.conftest import Floor

URL = "http://127.0.0.1:8080"


class Desk:
    """A keyring and standard error."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.kept: dict[str, str] = {}
        self.told: list[str] = []
        self._refuses = refuses

    def keep(self, name: str, password: str) -> None:
        if self._refuses is not None:
            raise self._refuses
        self.kept[name] = password


async def make(floor: Floor, desk: Desk, **environ: str) -> None:
    await make_first_admin(floor.users, environ, URL, keep=desk.keep, tell=desk.told.append)


async def test_the_environments_password_is_used_and_told_to_nobody(floor: Floor) -> None:
    desk = Desk()
    await make(floor, desk, CALLBOARD_ADMIN_PASSWORD="given-password")
    assert (await floor.users.verify("admin", "given-password")).role == "admin"
    assert (desk.kept, desk.told) == ({}, [])


async def test_without_one_a_password_is_made_kept_and_told_once(floor: Floor) -> None:
    desk = Desk()
    await make(floor, desk)
    (password,) = desk.kept.values()
    assert list(desk.kept) == [f"admin at {URL}"]
    assert len(desk.told) == 1
    assert f" {password} " in desk.told[0]
    assert (await floor.users.verify("admin", password)).role == "admin"
    await make(await floor.again(), desk)
    assert len(desk.told) == 1


@pytest.mark.parametrize("refuses", [RuntimeError("locked"), None])
async def test_without_a_keyring_it_is_told_all_the_same(floor: Floor, refuses: Exception | None) -> None:
    desk = Desk(refuses)
    keep = desk.keep if refuses else keep_in_keyring
    await make_first_admin(floor.users, {}, URL, keep=keep, tell=desk.told.append)
    assert "keyring" not in desk.told[0]
    assert len(floor.users.rows()) == 1


async def test_a_keyring_that_hangs_does_not_hold_the_start(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_admin, "KEYRING_WITHIN", 0.05)
    release = threading.Event()
    desk = Desk()
    await make_first_admin(floor.users, {}, URL, keep=lambda *_: bool(release.wait(10)), tell=desk.told.append)
    release.set()
    assert len(desk.told) == 1


@pytest.mark.parametrize("password", ["short", "x" * 2000])
async def test_a_password_that_cannot_be_is_a_configuration_error(floor: Floor, password: str) -> None:
    with pytest.raises(ConfigError, match="CALLBOARD_ADMIN_PASSWORD"):
        await make(floor, Desk(), CALLBOARD_ADMIN_PASSWORD=password)
    assert floor.users.rows() == []


async def test_a_later_start_changes_no_password(floor: Floor) -> None:
    await make(floor, Desk(), CALLBOARD_ADMIN_PASSWORD="given-password")
    await make(floor, Desk(), CALLBOARD_ADMIN_PASSWORD="another-password")
    assert await floor.users.verify("admin", "given-password")


async def test_a_user_of_that_name_becomes_the_administrator_where_there_is_none(floor: Floor) -> None:
    row = await floor.users.create("admin", "a@example.com", "secure-password")
    await make(floor, Desk(), CALLBOARD_ADMIN_PASSWORD="given-password")
    assert floor.users.by_id(row.id).role == "admin"
    assert await floor.users.verify("admin", "given-password")
