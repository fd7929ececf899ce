from __future__ import annotations

import json
import threading

import pytest

from app.errors import ConfigError
from app.server.access import first_admin
from app.server.access.first_admin import keep_password, make_first_admin, tell_password
from tests.unit.server.access.conftest import Floor

URL = "http://127.0.0.1:8080"


async def test_the_environments_password_is_used_and_told_to_nobody(floor: Floor) -> None:
    assert await make_first_admin(floor.users, {"CALLBOARD_ADMIN_PASSWORD": "given-password"}) is None
    assert (await floor.users.verify("admin", "given-password")).role == "admin"


async def test_without_one_a_password_is_made_once(floor: Floor) -> None:
    password = await make_first_admin(floor.users, {})
    assert password is not None
    assert len(password) >= 16
    assert (await floor.users.verify("admin", password)).role == "admin"
    assert await make_first_admin((await floor.again()).users, {}) is None


@pytest.mark.parametrize("password", ["short", "x" * 2000])
async def test_a_password_that_cannot_be_is_a_configuration_error(floor: Floor, password: str) -> None:
    with pytest.raises(ConfigError, match="CALLBOARD_ADMIN_PASSWORD"):
        await make_first_admin(floor.users, {"CALLBOARD_ADMIN_PASSWORD": password})
    assert floor.users.rows() == []


async def test_a_later_start_changes_no_password(floor: Floor) -> None:
    await make_first_admin(floor.users, {"CALLBOARD_ADMIN_PASSWORD": "given-password"})
    await make_first_admin(floor.users, {"CALLBOARD_ADMIN_PASSWORD": "another-password"})
    assert await floor.users.verify("admin", "given-password")


async def test_a_user_of_that_name_becomes_the_administrator_where_there_is_none(floor: Floor) -> None:
    row = await floor.users.create("admin", "a@example.com", "secure-password")
    await make_first_admin(floor.users, {"CALLBOARD_ADMIN_PASSWORD": "given-password"})
    assert floor.users.by_id(row.id).role == "admin"
    assert await floor.users.verify("admin", "given-password")


def test_a_password_is_one_line_of_standard_error_and_none_of_a_consoles_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_password("made-password", {})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    line = json.loads(err)
    assert (line["username"], line["password"]) == ("admin", "made-password")
    tell_password("made-password", {"CALLBOARD_TOKEN_STDIN": "1"})
    assert capsys.readouterr() == ("", "")


async def test_the_keyring_has_it_where_the_console_looks_for_it() -> None:
    kept: dict[str, str] = {}
    assert await keep_password("made-password", URL, kept.__setitem__)
    assert kept == {f"admin at {URL}": "made-password"}


async def test_a_machine_without_a_keyring_and_one_that_is_locked_keep_nothing() -> None:
    def locked(_name: str, _password: str) -> None:
        raise RuntimeError("locked")

    assert not await keep_password("made-password", URL)
    assert not await keep_password("made-password", URL, locked)


async def test_a_keyring_that_hangs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_admin, "KEYRING_WITHIN", 0.05)
    release = threading.Event()
    assert not await keep_password("made-password", URL, lambda *_: release.wait(10) and None)
    release.set()
