"""Homes: names that cannot lead elsewhere, locks, removal that follows no link."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.homes import Homes, component, remove
from app.agent.platform import AgentFailure
from app.agent.supervisor import hold

ANY = st.text(max_size=300)


@given(ANY)
def test_any_name_is_one_component_that_stays_where_it_is(name: str) -> None:
    text = component(name)
    assert "/" not in text
    assert "\0" not in text
    assert text not in ("", ".", "..")
    assert not text.startswith(".")
    assert len(os.fsencode(text)) < 200
    assert Path(os.path.normpath(Path("/homes") / text)).parent == Path("/homes")


@given(ANY, ANY)
def test_different_names_are_different_homes(one: str, other: str) -> None:
    assert (component(one) == component(other)) == (one == other)


@pytest.mark.parametrize(("name", "text"), [("john.doe", "john.doe"), ("../x", "%2e.%2fx"), ("", "%"), ("é", "%c3%a9")])
def test_names_as_they_stand_on_the_disk(name: str, text: str) -> None:
    assert component(name) == text


def test_the_digest_of_a_long_name_is_nobodys_short_name() -> None:
    long = component("a" * 101)
    assert long.startswith("a" * 60 + "%%")
    assert component(long) != long, "whoever is called so gets another home"


def test_a_lock_is_never_somebody_elses_home(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    assert homes.lock("u", "xterm") != homes.path("u", "xterm.lock")


def test_a_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = Homes(tmp_path / "homes").make("john", "xterm")
    for folder in (home, home.parent, home.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_in_the_place_of_a_home_is_refused_and_not_followed(tmp_path: Path) -> None:
    homes = Homes(tmp_path / "homes")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("precious")
    homes.make("john", "other")
    homes.path("john", "xterm").symlink_to(elsewhere)
    with pytest.raises(AgentFailure):
        homes.make("john", "xterm")
    homes.delete("john", "xterm")
    assert (elsewhere / "mine").read_text() == "precious"
    assert not homes.path("john", "xterm").exists()


def test_removal_takes_links_and_leaves_what_they_name(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("precious")
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(elsewhere)
    remove(home)
    assert not home.exists()
    assert (elsewhere / "mine").exists()


def test_a_home_in_use_is_not_removed(tmp_path: Path) -> None:
    homes = Homes(tmp_path)
    homes.make("john", "xterm")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"y" if hold(str(homes.lock("john", "xterm"))) else b"n")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"y"
        with pytest.raises(AgentFailure) as refused:
            homes.delete("john", "xterm")
        assert refused.value.code == "HOME_IN_USE"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    homes.delete("john", "xterm")
    assert not homes.path("john", "xterm").exists()
    homes.delete("nobody", "xterm")
