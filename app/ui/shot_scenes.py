"""The scenes of the pictures: what has happened in the venue and what the operator has pressed before the shutter.

Each scene is a function of the ``Studio``; ``SCENES`` names them in the order of the tour. Called by ``shots.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from PySide6.QtWidgets import QPlainTextEdit

from app.client.api import ApiError
from app.contract import Gone, StillSending
from app.ui.dialogs.add_stream import AddStream
from app.ui.dialogs.choose_preset import ChoosePreset
from app.ui.dialogs.create_type import CreateType
from app.ui.dialogs.preset_editor import PresetEditor
from app.ui.dialogs.quit_panel import QuitPanel
from app.ui.pages.settings.access import AccessSection
from app.ui.pages.settings.appearance import AppearanceSection
from app.ui.pages.settings.brokers import BrokersSection
from app.ui.pages.settings.one_file import OneFileSection
from app.ui.pages.settings.open_with import OpenWithSection
from app.ui.pages.settings.operator import OperatorSection
from app.ui.pages.settings.presets import PresetsSection
from app.ui.pages.settings.section import Section
from app.ui.pages.settings.types import TypesSection
from app.ui.shot_fleet_scenes import FLEET_SCENES
from app.ui.shot_venue import NOW, many_streams, session_id, stream_id
from app.ui.shot_viewer_scenes import VIEWER_SCENES

if TYPE_CHECKING:
    from app.ui.shots import Studio


class Scene(NamedTuple):
    """How to come to a picture, and the theme it insists on."""

    play: Callable[[Studio], None]
    theme: str = ""


# -- streams ---------------------------------------------------------------------------------------------------


def board(studio: Studio, page: str = "Streams") -> None:
    """The twelve streams of the house, some minutes into the act."""
    studio.venue.open()
    studio.venue.history_of_beats()
    plots(studio)
    studio.start(page)


def plots(studio: Studio, streams: int = 12) -> None:
    """Ten minutes of numbers: streams come and go, takes are quick but for one."""
    series = studio.series
    for second in range(600):
        series.streams.add(streams - (70 < second < 190) - (410 < second < 470))
        series.sessions.add(8 + (second > 120) - (300 < second < 330) + (second > 505) - (second > 560))
        taken = second % 83 == 0
        failed = second in {249, 415}
        series.negotiations.add(float(taken))
        series.failures.add(float(failed))
        series.latency.add(5000.0 if second == 415 else 24.0 + second % 37 if taken else float("nan"))


def empty(studio: Studio) -> None:
    """A broker that nobody has advertised anything to."""
    studio.venue.open([], sessions=False)
    studio.start()


def starting(studio: Studio) -> None:
    """The first second: no broker yet."""
    studio.connected = studio.connected.__class__("this machine", "Looking for the broker")
    studio.start()


def thousands(studio: Studio) -> None:
    """Ten thousand streams."""
    studio.venue.open(many_streams(10_000))
    plots(studio, 10_000)
    studio.start()
    studio.wait(1.5)


def not_live(studio: Studio) -> None:
    """The feed has been silent for 41 s."""
    board(studio)
    studio.feed_clock += 41
    studio.store.set_link("down", NOW - 41, "Connection to 127.0.0.1:8080 refused")
    studio.wait(1.2)


def take_down(studio: Studio) -> None:
    """NATS is away: nothing can be taken."""
    board(studio)
    studio.venue.break_part("nats", "NATS is away", take_down=True)
    studio.streams.view.select_id(stream_id(1))


def details(studio: Studio) -> None:
    """The details of a stream that two consumers watch."""
    board(studio)
    studio.streams.view.select_id(stream_id(3))
    studio.streams.toggle_details()


def negotiating(studio: Studio) -> None:
    """A negotiation runs, for 1.8 s."""
    board(studio)
    studio.venue.negotiate(1, "wall-main")
    studio.streams.view.select_id(stream_id(1))
    studio.streams.toggle_details()


def offer(studio: Studio) -> None:
    """The conductor was taken to the main wall; the offer has come."""
    board(studio)
    studio.streams.view.select_id(stream_id(3))
    studio.streams.toggle_details()
    studio.actions.press("take", [stream_id(3)])


def refused(status: int, code: str, text: str) -> Callable[[Studio], None]:
    """A take that fails with the broker's words."""

    def play(studio: Studio) -> None:
        board(studio)
        studio.client.refusal = ApiError(status, code, text)
        studio.streams.view.select_id(stream_id(1))
        studio.streams.toggle_details()
        studio.actions.press("take", [stream_id(1)])

    return play


def ghosts(studio: Studio) -> None:
    """One stream ran out while it had consumers, one was withdrawn."""
    board(studio)
    studio.venue.expire(4)
    studio.venue.withdraw(10, "alex")
    studio.wait(1.2)


def filtered(studio: Studio) -> None:
    """A filter, and marks that it hides."""
    board(studio)
    for number in (0, 1, 2):
        studio.streams.model.toggle_mark(stream_id(number))
    studio.streams.filter.set_text("10.0.40.0/24 -audio pit")


def bad_filter(studio: Studio) -> None:
    """A filter that cannot be read."""
    board(studio)
    studio.streams.filter.set_text("stat:live re:(")


def withdraw(studio: Studio) -> None:
    """Withdrawing a stream that has consumers lists who loses what."""
    board(studio)
    studio.streams.view.select_id(stream_id(4))
    studio.actions.press("withdraw", [stream_id(4)])


def internal_error(studio: Studio) -> None:
    """Something of the console itself failed."""
    studio.failures.append("internal error in “the feed”: DecodeError; see the log, F1 says where")
    board(studio)


def toasts(studio: Studio) -> None:
    """What was done, with Undo, and what was refused."""
    board(studio)
    studio.context.toast(
        "Kicked rec-a ← Conductor. The picture stops when the publisher obeys.", undo=lambda: None, tone="good"
    )
    studio.context.toast("Take Cam 3 fly tower: Publisher did not respond within 5 seconds", tone="error")


def keys(studio: Studio) -> None:
    """F1."""
    board(studio)
    studio.window.overlay.toggle()


# -- sessions --------------------------------------------------------------------------------------------------


def sessions(studio: Studio) -> None:
    """Who has what."""
    board(studio, "Sessions")


def sessions_empty(studio: Studio) -> None:
    """Streams, but nobody takes any."""
    studio.venue.open(sessions=False)
    studio.start("Sessions")


def grouped(studio: Studio) -> None:
    """By stream; one source is lost, one session was kicked and still sends."""
    board(studio, "Sessions")
    studio.venue.expire(4)
    gone = session_id(8)
    studio.venue.event("session.stopped", gone, Gone(reason="stopped", by="kim"), at=NOW - 14)
    studio.venue.event("session.still_sending", gone, StillSending(ended_at=NOW - 14), at=NOW - 2)
    studio.sessions.group_button.setChecked(True)
    studio.wait(1.2)


def kick_pending(studio: Studio) -> None:
    """A kick waits for its three seconds."""
    board(studio, "Sessions")
    studio.sessions.view.select_id(session_id(2))
    studio.actions.press("kick", [session_id(2)])
    for pending in studio.actions.pending.values():
        pending.started = time.monotonic() - 1.1
    studio.wait(0.08)


def kick_many(studio: Studio) -> None:
    """Three at once: who loses what, then hold."""
    board(studio, "Sessions")
    chosen = [session_id(number) for number in (2, 4, 6)]
    for one in chosen:
        studio.sessions.model.toggle_mark(one)
    studio.actions.press("kick", chosen)


def session_details(studio: Studio) -> None:
    """A session that Callboard holds."""
    board(studio, "Sessions")
    studio.sessions.view.select_id(session_id(1))
    studio.sessions.toggle_details()


# -- history ---------------------------------------------------------------------------------------------------


def history(studio: Studio) -> None:
    """Sessions of the past."""
    board(studio, "History")


def history_details(studio: Studio) -> None:
    """One session of the past, and what can be done about it."""
    board(studio, "History")
    studio.history.view_of(0).select_id(session_id(5007))
    studio.history.toggle_details()


def audit(studio: Studio) -> None:
    """Acts of tonight."""
    board(studio, "History")
    studio.history.show_tab(1)


def between(studio: Studio) -> None:
    """What changed between two acts."""
    board(studio, "History")
    studio.history.show_tab(1)
    for number in (2, 9):
        studio.history.table().table.toggle_mark(f"audit-{number}")
    studio.history.toggle_details()


def history_empty(studio: Studio) -> None:
    """Nothing in the last five minutes passes the filter."""
    board(studio, "History")
    studio.history.filter.set_text("nothing-of-that-name")


# -- settings --------------------------------------------------------------------------------------------------


def section(kind: type[Section]) -> Callable[[Studio], None]:
    """One section of the settings."""

    def play(studio: Studio) -> None:
        studio.context.settings.set("brokers", [{"name": "House rack", "url": "https://callboard.house:8080"}])
        board(studio, "Settings")
        studio.settings.open(kind)

    return play


def fresh_key(studio: Studio) -> None:
    """A key that is shown this once."""
    board(studio, "Settings")
    shown = studio.settings.open(AccessSection)
    if isinstance(shown, AccessSection):
        shown.key_name.set_text("media servers")
        shown.add_key()
        studio.settle()
        studio.settings.scroll_to(shown.key_name)


# -- panels ----------------------------------------------------------------------------------------------------


def add_stream(studio: Studio) -> None:
    """A source that does not advertise itself."""
    board(studio)
    studio.context.panels.show(AddStream(studio.context))


def add_stream_errors(studio: Studio) -> None:
    """What is missing, and what the broker did not like."""
    board(studio)
    panel = AddStream(studio.context)
    studio.context.panels.show(panel)
    for name, text in (
        ("name", "Foyer camera"),
        ("address", "10.0.40.40"),
        ("port", "5961"),
        ("publisher_id", "foyer"),
    ):
        panel.form.fields[name].set_text(text)
    config = panel.form.fields["config"].editor
    if isinstance(config, QPlainTextEdit):
        config.setPlainText('{"fps": 25}')
    detail = [
        {"loc": ["body", "entity_id"], "msg": "Input should be a valid UUID, invalid length"},
        {"loc": ["body", "stream_type"], "msg": "stream_type 'hologram' is neither built in nor created"},
    ]
    studio.client.refusal = ApiError(422, "invalid", "Invalid", detail)
    panel.form.fields["entity_id"].set_text("foyer")
    panel.submit()


def create_type(studio: Studio) -> None:
    """A type of the house."""
    board(studio)
    studio.context.panels.show(CreateType(studio.context))


def preset(studio: Studio) -> None:
    """The preset of the main wall."""
    board(studio)
    studio.context.panels.show(PresetEditor(studio.context, "preset-1"))


def choose_preset(studio: Studio) -> None:
    """Shift+R."""
    board(studio)
    studio.streams.view.select_id(stream_id(1))
    studio.context.panels.show(ChoosePreset(studio.context, stream_id(1)))


def export(studio: Studio) -> None:
    """Ctrl+E."""
    studio.context.settings.set("export/folder", "/tmp")  # noqa: S108 - a folder that every machine has, only shown
    board(studio)
    studio.streams.export()


def leaving(studio: Studio) -> None:
    """The window is being closed while the board is full."""
    board(studio)
    studio.context.panels.show(QuitPanel(studio.context, lambda: None, lambda: None, lambda: None))


SCENES: dict[str, Scene] = {
    "streams": Scene(board),
    "streams-empty": Scene(empty),
    "streams-starting": Scene(starting),
    "streams-10000": Scene(thousands),
    "streams-not-live": Scene(not_live),
    "streams-take-down": Scene(take_down),
    "streams-details": Scene(details),
    "streams-negotiating": Scene(negotiating),
    "streams-offer": Scene(offer),
    "streams-rejected": Scene(refused(502, "rejected", "Publisher rejected the request: all outputs in use")),
    "streams-no-answer": Scene(refused(504, "no_answer", "Publisher did not respond within 5 seconds")),
    "streams-gone": Scene(refused(404, "expired", "Stream not found or expired")),
    "streams-ghosts": Scene(ghosts),
    "streams-filter": Scene(filtered),
    "streams-bad-filter": Scene(bad_filter),
    "streams-withdraw": Scene(withdraw),
    "streams-error": Scene(internal_error),
    "streams-toasts": Scene(toasts),
    "streams-blackout": Scene(ghosts, "blackout"),
    "streams-contrast": Scene(ghosts, "contrast"),
    "sessions": Scene(sessions),
    "sessions-empty": Scene(sessions_empty),
    "sessions-grouped": Scene(grouped),
    "sessions-details": Scene(session_details),
    "sessions-kick-pending": Scene(kick_pending),
    "sessions-kick-many": Scene(kick_many),
    "history-sessions": Scene(history),
    "history-details": Scene(history_details),
    "history-audit": Scene(audit),
    "history-between": Scene(between),
    "history-empty": Scene(history_empty),
    "settings-brokers": Scene(section(BrokersSection)),
    "settings-access": Scene(section(AccessSection)),
    "settings-access-key": Scene(fresh_key),
    "settings-presets": Scene(section(PresetsSection)),
    "settings-types": Scene(section(TypesSection)),
    "settings-open-with": Scene(section(OpenWithSection)),
    "settings-operator": Scene(section(OperatorSection)),
    "settings-appearance": Scene(section(AppearanceSection)),
    "settings-one-file": Scene(section(OneFileSection)),
    "panel-add-stream": Scene(add_stream),
    "panel-add-stream-errors": Scene(add_stream_errors),
    "panel-create-type": Scene(create_type),
    "panel-preset": Scene(preset),
    "panel-choose-preset": Scene(choose_preset),
    "panel-export": Scene(export),
    "panel-quit": Scene(leaving),
    "keys": Scene(keys),
    **{name: Scene(play, theme) for name, (play, theme) in (FLEET_SCENES | VIEWER_SCENES).items()},
}
