"""Taking a stream to a consumer: console rule 10 as one workflow, shared by the window and ``callboard take``.

Called by ``app/ui/actions.py`` and ``app/cli.py``. Reads a ``TakeView`` (the console's store, or a snapshot) and
acts through ``BrokerClient`` alone; nothing of Qt.

A destination shows one picture: taking B for a ``replace`` preset negotiates B first, and only when the offer is
there ends A, that is whatever its consumer has by then; if B fails, A stays and the result says so. Of two such takes
that overlap the later press wins. Taking what is already taken sends nothing and says since when. A preset that is
``held_by`` the console gets its hold right after the offer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from app.client.api import ApiError, BrokerClient
from app.client.destination import consumer_of
from app.client.shapes import Offer
from app.contract import SESSION_TTL, HoldRow, PresetRow, SessionRow, StreamRow

TakeOutcome = Literal["taken", "already", "rejected", "no_answer", "gone", "failed"]
"""taken: there is an offer · already: nothing was sent · rejected: 502 · no_answer: 504 · gone: 404 · failed: the rest."""


class TakeView(Protocol):
    """What has to be known of the board; each mapping is by id."""

    @property
    def streams(self) -> Mapping[str, StreamRow]:
        """Live streams."""

    @property
    def sessions(self) -> Mapping[str, SessionRow]:
        """Live sessions."""

    @property
    def holds(self) -> Mapping[str, HoldRow]:
        """Holds, by their own id."""

    @property
    def presets(self) -> Mapping[str, PresetRow]:
        """Presets."""


@dataclass(frozen=True)
class NotEnded:
    """A session that should have made room and did not."""

    session: SessionRow
    text: str


@dataclass(frozen=True)
class TakeResult:
    """How a take ended, and all that changed by it. ``text`` says it in words for an operator."""

    outcome: TakeOutcome
    text: str
    stream_id: str
    preset: PresetRow
    offer: Offer | None = None
    hold: HoldRow | None = None
    hold_error: str = ""
    """Why Callboard does not hold the session although the preset says so; it then lives 30 s."""
    replaced: tuple[SessionRow, ...] = ()
    """Sessions that this take ended."""
    not_ended: tuple[NotEnded, ...] = ()
    """Sessions that should have ended and are still there: the destination shows two pictures."""
    kept: tuple[SessionRow, ...] = ()
    """Sessions that stay because the take failed."""
    already: SessionRow | None = None
    status: int = 0
    code: str = ""
    milliseconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True when the destination has the stream."""
        return self.outcome in ("taken", "already")


def carried(view: TakeView, preset: PresetRow) -> list[SessionRow]:
    """What a preset carries: sessions held for it, and those of its very consumer that are held for no other."""
    held_for = _held_for(view)
    return [
        session
        for session in view.sessions.values()
        if held_for.get(session.id) == preset.id
        or (held_for.get(session.id) not in view.presets and consumer_of(session) == consumer_of(preset))
    ]


def shown_at(view: TakeView, preset: PresetRow) -> list[SessionRow]:
    """What a preset's destination shows: sessions held for it, and those of its very consumer, whoever took them."""
    held_for = _held_for(view)
    return [
        session
        for session in view.sessions.values()
        if held_for.get(session.id) == preset.id or consumer_of(session) == consumer_of(preset)
    ]


def _held_for(view: TakeView) -> dict[str, str | None]:
    return {hold.session_id: hold.preset_id for hold in view.holds.values()}


async def take(client: BrokerClient, view: TakeView, stream_id: str, preset: PresetRow) -> TakeResult:
    """Take a stream to a preset's consumer. Raises nothing for what a broker or publisher may answer."""
    began = time.monotonic()
    for session in carried(view, preset):
        if session.stream_id == stream_id:
            return _already(session, preset, _leaving(view, preset, session.id))
    with client.destinations.at(consumer_of(preset)) as destination:
        press = destination.press()
        try:
            offer = await client.request(
                stream_id,
                consumer_id=preset.consumer_id,
                consumer_address=preset.consumer_address,
                consumer_port=preset.consumer_port,
                config=preset.config,
            )
        except ApiError as error:
            return _failed(error, _name(view, stream_id), stream_id, preset, _leaving(view, preset), _since(began))
        session = _session(offer, view, preset)
        leaving = _leaving(view, preset, session.id)
        if preset.mode == "replace":
            winner = destination.winner_over(press)
            if winner is not None:
                return await _overtaken(client, session, winner, preset, _since(began))
            if destination.newest is not None and destination.newest.id not in view.sessions:
                leaving = (*leaving, destination.newest)
            destination.won(press, session)
        try:
            hold, hold_error = await _hold(client, offer.session_id, preset)
        except ApiError as error:
            winner = destination.winner_over(press)
            if winner is not None:
                return await _overtaken(client, session, winner, preset, _since(began))
            return _failed(error, offer.stream_name, stream_id, preset, leaving, _since(began))
        replaced, not_ended = await _end(client, leaving)
    return TakeResult(
        outcome="taken",
        text=_words(offer, preset, hold_error, replaced, not_ended),
        stream_id=stream_id,
        preset=preset,
        offer=offer,
        hold=hold,
        hold_error=hold_error,
        replaced=replaced,
        not_ended=not_ended,
        status=201,
        milliseconds=_since(began),
    )


def _leaving(view: TakeView, preset: PresetRow, but: str = "") -> tuple[SessionRow, ...]:
    """What has to make room for a take to this preset; ``but`` is the session that stays."""
    if preset.mode != "replace":
        return ()
    return tuple(session for session in shown_at(view, preset) if session.id != but)


def _session(offer: Offer, view: TakeView, preset: PresetRow) -> SessionRow:
    """The session of an offer, before the board shows it."""
    stream, now = view.streams.get(offer.stream_id), time.time()
    return SessionRow(
        id=offer.session_id,
        stream_id=offer.stream_id,
        stream_name=offer.stream_name,
        stream_type=offer.stream_type,
        publisher_id=stream.publisher_id if stream is not None else "",
        publisher_address=offer.publisher_address,
        publisher_port=offer.publisher_port,
        consumer_id=preset.consumer_id,
        consumer_address=preset.consumer_address,
        consumer_port=preset.consumer_port,
        protocol=offer.protocol,
        transport_config=offer.transport_config,
        config=preset.config,
        started_at=now,
        expires_at=now + SESSION_TTL,
    )


async def _overtaken(
    client: BrokerClient, session: SessionRow, winner: SessionRow, preset: PresetRow, milliseconds: float
) -> TakeResult:
    """The offer came after that of a later press: give it back."""
    _, not_ended = await _end(client, (session,))
    text = f"{session.stream_name} was not put on {preset.name}: "
    text += f"{winner.stream_name} was asked for later, and is there."
    return TakeResult(
        "failed",
        text + _still_there(not_ended),
        session.stream_id,
        preset,
        not_ended=not_ended,
        code="overtaken",
        milliseconds=milliseconds,
    )


async def _hold(client: BrokerClient, session_id: str, preset: PresetRow) -> tuple[HoldRow | None, str]:
    """Hold the session if the preset says so. Raises ``ApiError`` 404 for a session that is gone already."""
    if preset.held_by != "console":
        return None, ""
    try:
        return await client.hold(session_id, preset.id or None), ""
    except ApiError as error:
        if error.status == 404:
            raise
        return None, error.text


async def _end(
    client: BrokerClient, sessions: tuple[SessionRow, ...]
) -> tuple[tuple[SessionRow, ...], tuple[NotEnded, ...]]:
    """End what makes room; a session that has gone meanwhile has made room too."""
    replaced: list[SessionRow] = []
    not_ended: list[NotEnded] = []
    for session in sessions:
        try:
            await client.stop_session(session.id)
        except ApiError as error:
            if error.status != 404:
                not_ended.append(NotEnded(session, error.text))
                continue
        replaced.append(session)
    return tuple(replaced), tuple(not_ended)


def _words(
    offer: Offer,
    preset: PresetRow,
    hold_error: str,
    replaced: tuple[SessionRow, ...],
    not_ended: tuple[NotEnded, ...],
) -> str:
    text = f"{offer.stream_name} is on {preset.name}"
    if replaced:
        text += f"; it replaced {_names(replaced)}"
    text += "."
    if hold_error:
        text += f" Callboard could not hold it, so it ends after {SESSION_TTL:.0f} s unless its consumer beats it: "
        text += _sentence(hold_error)
    return text + _still_there(not_ended)


def _still_there(not_ended: tuple[NotEnded, ...]) -> str:
    return "".join(f" {left.session.stream_name} did not end: {_sentence(left.text)}" for left in not_ended)


def _already(session: SessionRow, preset: PresetRow, others: tuple[SessionRow, ...]) -> TakeResult:
    since = time.strftime("%H:%M:%S", time.localtime(session.started_at))
    text = f"{session.stream_name} is already on {preset.name}, since {since}. Nothing was sent."
    if others:
        text += f" {_names(others)} {'are' if len(others) > 1 else 'is'} there too: kick what should go."
    return TakeResult("already", text, session.stream_id, preset, already=session)


def _failed(
    error: ApiError,
    name: str,
    stream_id: str,
    preset: PresetRow,
    kept: tuple[SessionRow, ...],
    milliseconds: float,
) -> TakeResult:
    """Which of the four ends it was, in the broker's words, and what stays."""
    outcomes: dict[int, tuple[TakeOutcome, str]] = {
        404: ("gone", "is gone"),
        502: ("rejected", "was not given"),
        504: ("no_answer", "did not answer"),
    }
    outcome, verb = outcomes.get(error.status, ("failed", "could not be taken"))
    text = f"{name} {verb}: {_sentence(error.text)}"
    if kept:
        stays = "stay" if len(kept) > 1 else "stays"
        text += f" {_names(kept)} {stays} on {preset.name}."
    return TakeResult(
        outcome,
        text,
        stream_id,
        preset,
        kept=kept,
        status=error.status,
        code=error.code,
        milliseconds=milliseconds,
    )


def _name(view: TakeView, stream_id: str) -> str:
    row = view.streams.get(stream_id)
    return row.name if row is not None else "The stream"


def _names(sessions: tuple[SessionRow, ...]) -> str:
    return ", ".join(session.stream_name for session in sessions)


def _sentence(text: str) -> str:
    """The broker's words, closed by a full stop."""
    text = text.strip() or "no reason was given"
    return text if text[-1] in ".!?" else f"{text}."


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000.0
