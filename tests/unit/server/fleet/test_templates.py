"""Templates: the built-in ones, the schema, what is saved, what attach agents offer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.contract import TemplateRow
from app.errors import Conflict, Invalid, NotFound
from app.server.fleet.templates import built_in_templates, check_template
from tests.unit.server.fleet.conftest import House


def template(**fields: Any) -> TemplateRow:
    values: dict[str, Any] = {"name": "mine", "display_name": "Mine", "command": ["xterm"]}
    return TemplateRow(id="", created_at=0.0, updated_at=0.0, **values | fields)


def test_firefox_is_the_documents_with_a_command() -> None:
    row = next(row for row in built_in_templates() if row.name == "firefox-browser")
    assert row.display_name == "Firefox Web Browser"
    assert row.category == "Web Browsers"
    assert row.description == "Mozilla Firefox web browser with privacy extensions"
    assert row.base_image == "lscr.io/linuxserver/firefox:latest"
    assert row.default_resources == {"memory": "2Gi", "cpu": "1000m", "storage": "10Gi"}
    assert row.vnc == {"enabled": True, "port": 3000, "resolution": "1920x1080", "color_depth": 24}
    assert row.environment == {"PUID": "1000", "PGID": "1000", "TZ": "UTC"}
    assert (row.persistent_home, row.idle_timeout, row.tags) == (True, "30m", ["browser", "web", "privacy"])
    assert row.command[0] == "firefox"


def test_built_in_templates_keep_their_ids_and_have_something_to_run() -> None:
    rows = built_in_templates()
    assert [row.id for row in rows] == [row.id for row in built_in_templates()]
    assert len({row.id for row in rows}) == len(rows)
    assert {"firefox-browser", "xterm", "clock", "test-card"} <= {row.name for row in rows}
    assert all(row.built_in and row.command for row in rows)


@pytest.mark.parametrize(
    "text", ["name = 7", "name = 'x'\ndisplay_name = 'X'\nport = 1", "name", "name='x'\ndisplay_name='X'"]
)
def test_a_file_that_breaks_the_schema(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(Invalid) as caught:
        built_in_templates(tmp_path)
    assert caught.value.code == "template_invalid"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("name", {"name": "Firefox"}),
        ("name", {"name": ""}),
        ("name", {"name": "a" * 64}),
        ("name", {"name": "../etc"}),
        ("display_name", {"display_name": " "}),
        ("display_name", {"display_name": "x" * 101}),
        ("description", {"description": "x" * 2001}),
        ("base_image", {"command": [], "base_image": ""}),
        ("command", {"command": [""]}),
        ("command", {"command": ["x", "a\0b"]}),
        ("command", {"command": ["x"] * 101}),
        ("vnc", {"vnc": {"port": 0}}),
        ("vnc", {"vnc": {"port": "3000"}}),
        ("vnc", {"vnc": {"port": True}}),
        ("vnc", {"vnc": {"resolution": "wide"}}),
        ("vnc", {"vnc": {"resolution": "99999x1080"}}),
        ("vnc", {"vnc": {"color_depth": 8}}),
        ("vnc", {"vnc": {"enabled": "yes"}}),
        ("vnc", {"vnc": {"host": "10.0.0.1"}}),
        ("default_resources", {"default_resources": {"memory": "much"}}),
        ("default_resources", {"default_resources": {"gpu": "1"}}),
        ("idle_timeout", {"idle_timeout": "soon"}),
        ("environment", {"environment": {"A B": "1"}}),
        ("environment", {"environment": {"A": "\0"}}),
        ("tags", {"tags": ["a,b"]}),
        ("tags", {"tags": [""]}),
        ("hibernate", {"hibernate": "maybe"}),
        ("failover", {"failover": "always"}),
    ],
)
def test_the_schema(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        check_template(template(**fields))
    assert (caught.value.code, caught.value.detail) == ("template_invalid", {"field": field})


async def test_saving_replaces_by_name_and_survives_a_restart(house: House) -> None:
    first = await house.fleet.save_template(template())
    house.clock.advance(5.0)
    second = await house.fleet.save_template(template(display_name="Other"))
    assert (second.id, second.created_at, second.updated_at) == (first.id, first.created_at, first.created_at + 5.0)
    assert house.kinds("template") == ["template.saved", "template.saved"]
    await house.restart()
    assert house.fleet.templates["mine"] == second
    await house.fleet.delete_template("mine")
    assert "mine" not in house.fleet.templates
    with pytest.raises(NotFound):
        await house.fleet.delete_template("mine")


async def test_two_at_once_of_one_name_are_one_template(house: House) -> None:
    first, second = await asyncio.gather(
        house.fleet.save_template(template()), house.fleet.save_template(template(display_name="Ours"))
    )
    assert (first.id, second.display_name) == (second.id, "Ours")
    await house.fleet.delete_template("mine")
    await house.restart()
    assert "mine" not in house.fleet.templates


async def test_a_built_in_template_is_covered_and_comes_back(house: House) -> None:
    built_in = house.fleet.templates["xterm"]
    with pytest.raises(Conflict):
        await house.fleet.delete_template("xterm")
    saved = await house.fleet.save_template(msgspec.structs.replace(built_in, display_name="Ours"))
    assert not saved.built_in
    assert house.fleet.templates["xterm"] == saved
    assert house.kinds("template") == ["template.deleted", "template.saved"]
    await house.fleet.delete_template("xterm")
    assert house.fleet.templates["xterm"] == built_in


async def test_a_template_that_breaks_the_schema_is_not_saved(house: House) -> None:
    with pytest.raises(Invalid):
        await house.fleet.save_template(template(command=[]))
    assert "mine" not in house.fleet.templates
    assert not house.kinds("template")


async def test_targets_of_attach_agents_are_templates_of_that_platform_alone(house: House) -> None:
    desk = house.agent("desk", "attach", attached=[{"name": "stage-mac", "title": "Mac at the stage"}, {"name": "No!"}])
    await desk.register()
    row = house.fleet.templates["stage-mac"]
    assert (row.display_name, row.category, row.command, row.base_image) == ("Mac at the stage", "Attached", [], "")
    assert "No!" not in house.fleet.templates
    with pytest.raises(Invalid) as caught:
        await house.create(template="stage-mac")
    assert caught.value.code == "template_invalid"
    session = await house.create(template="stage-mac", platform="attach")
    assert (session.agent_id, session.platform) == ("desk", "attach")
    assert (await desk.command("start_session")).data["template"] == "stage-mac"
    await house.restart()
    assert house.fleet.templates["stage-mac"] == row
    changed = house.agent("desk", "attach", attached=[])
    await changed.register()
    assert "stage-mac" not in house.fleet.templates
    assert "template.deleted" in house.kinds("template")


async def test_attach_is_never_chosen_unasked(house: House) -> None:
    desk = house.agent("desk", "attach", attached=[{"name": "xterm"}])
    await desk.register()
    local = house.agent("zz-local", slots=1)
    await local.register()
    assert (await house.create()).agent_id == "zz-local"
    with pytest.raises(Exception, match="full"):
        await house.create(user="other")
