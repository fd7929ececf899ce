from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import CallboardError, Conflict, Forbidden, Invalid, NotFound, Unauthorised, Unavailable
from app.server.access import users as users_module
from app.server.access.passwords import Passwords
from tests.unit.server.access.conftest import Floor


async def code_of(work: Any) -> str:
    with pytest.raises(CallboardError) as refused:
        await work
    return refused.value.code


async def test_a_user_is_there_after_a_restart_and_only_a_hash_of_the_password(floor: Floor, tmp_path: Path) -> None:
    row = await floor.users.create("john.doe", "john.doe@example.com", "secure-password", "user")
    assert (row.username, row.email, row.role, row.active, row.last_login) == (
        "john.doe", "john.doe@example.com", "user", True, None,
    )  # fmt: skip
    assert row.created_at == floor.now
    again = await floor.again()
    assert again.users.rows() == [row]
    assert again.users.get("john.doe") == again.users.by_id(row.id) == row
    assert (await again.users.verify("john.doe", "secure-password")).id == row.id
    assert all(b"secure-password" not in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    (stored,) = await floor.store.users()
    assert stored.password_hash.startswith("$argon2id$")


async def test_a_login_is_noted(floor: Floor) -> None:
    await floor.users.create("kim", "kim@example.com", "secure-password")
    floor.now += 60
    assert (await floor.users.verify("kim", "secure-password")).last_login == floor.now
    assert (await floor.again()).users.get("kim").last_login == floor.now  # type: ignore[union-attr]


async def test_a_login_does_not_wait_for_a_database_that_is_away(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    await floor.users.create("kim", "kim@example.com", "secure-password")

    async def away(_: object) -> None:
        raise Unavailable("the database is away")

    monkeypatch.setattr(floor.store, "save_user", away)
    assert (await floor.users.verify("kim", "secure-password")).last_login == floor.now


@pytest.mark.parametrize(
    ("username", "password"),
    [("kim", "wrong-password"), ("Kim", "secure-password"), ("nobody", "secure-password"), ("", ""), ("kim", ""),
     ("kim", "secure-password\x00"), ("kim", "x" * 100_000), ("kim", "\ud800"), ("\ud800", "x")],
)  # fmt: skip
async def test_a_wrong_name_and_a_wrong_password_are_told_alike(floor: Floor, username: str, password: str) -> None:
    await floor.users.create("kim", "kim@example.com", "secure-password")
    with pytest.raises(Unauthorised, match=r"^Invalid username or password$") as refused:
        await floor.users.verify(username, password)
    assert refused.value.code == "bad_credentials"


async def test_an_unknown_name_costs_what_a_known_one_does(floor: Floor) -> None:
    """The number of hashes computed, rather than the time of a machine that others use too."""
    await floor.users.create("kim", "kim@example.com", "secure-password")
    counted: list[str] = []
    verify = floor.passwords._verify
    floor.passwords._verify = lambda known, given: counted.append(known) or verify(known, given)  # type: ignore[func-returns-value, method-assign]
    for username in ("kim", "nobody", "kim", "nobody"):
        assert await code_of(floor.users.verify(username, "wrong-password")) == "bad_credentials"
    assert len(counted) == 4
    assert {known.rpartition("$")[0].rpartition("$")[0] for known in counted} == {"$argon2id$v=19$m=8,t=1,p=1"}


async def test_who_is_not_active_hears_so_only_after_a_right_password(floor: Floor) -> None:
    row = await floor.users.create("kim", "kim@example.com", "secure-password")
    await floor.users.create("admin", "a@example.com", "secure-password", "admin")
    await floor.users.change(row.id, active=False)
    assert await code_of(floor.users.verify("kim", "wrong-password")) == "bad_credentials"
    with pytest.raises(Forbidden) as refused:
        await floor.users.verify("kim", "secure-password")
    assert refused.value.code == "inactive"
    await floor.users.change(row.id, active=True)
    assert (await floor.users.verify("kim", "secure-password")).id == row.id


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": ""}, "username"),
        ({"username": "a" * 65}, "username"),
        ({"username": "../etc"}, "username"),
        ({"username": "two words"}, "username"),
        ({"username": "jürgen"}, "username"),
        ({"email": "no-address"}, "email"),
        ({"email": "a@b\nc"}, "email"),
        ({"password": "1234567"}, "password"),
        ({"password": "x" * 1025}, "password"),
    ],
)
async def test_what_makes_no_user_is_invalid_and_names_the_field(
    floor: Floor, changes: dict[str, str], field: str
) -> None:
    values = {"username": "kim", "email": "kim@example.com", "password": "secure-password"} | changes
    with pytest.raises(Invalid) as refused:
        await floor.users.create(**values)
    assert (refused.value.code, refused.value.detail) == ("validation_failed", {"field": field})
    assert floor.users.rows() == []


@pytest.mark.parametrize("username", ["kim", "KIM"])
async def test_a_name_is_taken_once_in_whatever_case(floor: Floor, username: str) -> None:
    await floor.users.create("kim", "kim@example.com", "secure-password")
    assert await code_of(floor.users.create(username, "k@example.com", "secure-password")) == "user_exists"
    assert len((await floor.again()).users.rows()) == 1


@pytest.mark.parametrize(
    ("changes", "code"), [({"password": "another-password"}, "bad_credentials"), ({"active": False}, "inactive")]
)
async def test_what_changes_while_a_login_is_noted_counts(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], code: str
) -> None:
    """Also where the login brings a hash of today's strength with it: it may not bring the old password back."""
    await floor.users.create("admin", "a@example.com", "secure-password", "admin")
    row = await floor.users.create("kim", "kim@example.com", "secure-password")
    begun, goes_on = asyncio.Event(), asyncio.Event()
    make = floor.passwords.hash

    async def slowly(password: str) -> str:
        made = await make(password)
        if password == "secure-password":
            begun.set()
            await goes_on.wait()
        return made

    await floor.users.verify("kim", "secure-password")
    monkeypatch.setattr(floor.passwords, "hash", slowly)
    monkeypatch.setattr(floor.passwords, "outdated", lambda _: True)
    login = asyncio.create_task(floor.users.verify("kim", "secure-password"))
    await begun.wait()
    await floor.users.change(row.id, **changes)
    goes_on.set()
    assert await code_of(login) == code
    monkeypatch.undo()
    if "password" in changes:
        assert await code_of(floor.users.verify("kim", "secure-password")) == "bad_credentials"
        assert (await floor.users.verify("kim", "another-password")).id == row.id


async def test_two_logins_at_once_that_both_bring_a_stronger_hash(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = await floor.users.create("kim", "kim@example.com", "secure-password")
    outdated = [True, True, False]
    monkeypatch.setattr(floor.passwords, "outdated", lambda _: outdated.pop(0))
    found = await asyncio.gather(*(floor.users.verify("kim", "secure-password") for _ in range(2)))
    assert {one.id for one in found} == {row.id}


async def test_two_at_once_make_one_user(floor: Floor) -> None:
    results = await asyncio.gather(
        *(floor.users.create("kim", "kim@example.com", "secure-password") for _ in range(3)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Conflict", "UserRow"]


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({"password": "another-password"}, True),
        ({"active": False}, True),
        ({"role": "user"}, True),
        ({"email": "new@example.com"}, False),
        ({"active": True, "role": "admin"}, False),
    ],
)
async def test_what_ends_every_token_of_a_user(floor: Floor, changes: dict[str, Any], ends: bool) -> None:
    await floor.users.create("other", "o@example.com", "secure-password", "admin")
    row = await floor.users.create("kim", "kim@example.com", "secure-password", "admin")
    before = floor.users.generation(row.id)
    changed = await floor.users.change(row.id, **changes)
    assert msgspec.structs.asdict(changed).items() >= {k: v for k, v in changes.items() if k != "password"}.items()
    assert (floor.users.generation(row.id) != before) is ends
    assert floor.heard == ([(None, row.id)] if ends else [])
    again = await floor.again()
    assert again.users.generation(row.id) == floor.users.generation(row.id)
    if "password" in changes:
        assert await code_of(again.users.verify("kim", "secure-password")) == "bad_credentials"
        assert (await again.users.verify("kim", "another-password")).id == row.id


async def test_a_deleted_user_is_gone_and_nobody_gets_the_name(floor: Floor) -> None:
    await floor.users.create("admin", "a@example.com", "secure-password", "admin")
    row = await floor.users.create("kim", "kim@example.com", "secure-password")
    assert await floor.users.delete(row.id) == row
    assert floor.heard == [(None, row.id)]
    assert floor.users.get("kim") is None
    assert floor.users.generation(row.id) is None
    for work in (floor.users.delete(row.id), floor.users.change(row.id, active=True)):
        with pytest.raises(NotFound) as refused:
            await work
        assert refused.value.code == "user_not_found"
    again = await floor.again()
    for users in (floor.users, again.users):
        for name in ("kim", "KIM"):
            assert await code_of(users.create(name, "kim@example.com", "secure-password")) == "user_exists"
            assert users.get(name) is None


@pytest.mark.parametrize("changes", [{"active": False}, {"role": "user"}, None])
async def test_the_last_administrator_stays(floor: Floor, changes: dict[str, Any] | None) -> None:
    row = await floor.users.create("admin", "a@example.com", "secure-password", "admin")
    await floor.users.create("kim", "kim@example.com", "secure-password")
    with pytest.raises(Conflict, match="last active administrator"):
        await (floor.users.delete(row.id) if changes is None else floor.users.change(row.id, **changes))
    assert (await floor.again()).users.rows() == floor.users.rows()


async def test_a_hash_of_lesser_strength_is_made_anew_at_a_login(floor: Floor) -> None:
    await floor.users.create("kim", "kim@example.com", "secure-password")
    users = users_module.Users(floor.store, Passwords(time_cost=2, memory_kib=16))
    await users.load()
    await users.verify("kim", "secure-password")
    assert "m=16,t=2" in (await floor.store.users())[0].password_hash
    await users.verify("kim", "secure-password")


async def test_a_flood_of_logins_waits_in_line_and_the_loop_goes_on(floor: Floor) -> None:
    passwords = Passwords(time_cost=1, memory_kib=8)
    known = await passwords.hash("secure-password")
    began: asyncio.Queue[None] = asyncio.Queue()
    goes_on = threading.Semaphore(0)
    loop = asyncio.get_running_loop()
    verify = passwords._verify

    def held(known: str, given: bytes) -> bool:
        loop.call_soon_threadsafe(began.put_nowait, None)
        return goes_on.acquire(timeout=30) and verify(known, given)

    passwords._verify = held  # type: ignore[method-assign]
    checks = [asyncio.ensure_future(passwords.fits(known, "secure-password")) for _ in range(12)]
    async with asyncio.timeout(30):
        for _ in range(2):
            await began.get()
        for done in range(1, 13):
            for _ in range(100):  # the loop turns while two are under way, and nobody else gets a turn
                await asyncio.sleep(0)
            assert began.empty()
            goes_on.release()
            if done <= 10:
                await began.get()
        assert await asyncio.gather(*checks) == [True] * 12


async def test_who_waits_too_long_for_a_turn_is_refused(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    await floor.users.create("kim", "kim@example.com", "secure-password")
    with monkeypatch.context() as hasty:
        hasty.setattr("app.server.access.passwords.WAIT_AT_MOST", 0.05)
        async with floor.passwords._turns, floor.passwords._turns:
            with pytest.raises(Unavailable, match="Too many logins"):
                await floor.users.verify("kim", "secure-password")
    assert await floor.users.verify("kim", "secure-password")
