"""Taking a stream to a consumer: console rule 10 as one workflow, shared by the window and ``callboard take``.

Called by ``app/ui/actions.py`` and ``app/cli.py``. Reads a ``TakeView`` (the console's store, or a snapshot) and
acts through ``BrokerClient`` alone; nothing of Qt.

A destination shows one picture: taking B for a ``replace`` preset negotiates B first, and only when the offer is
there ends A, that is whatever its consumer has by then; if B fails, A stays and the result says so. Of two such takes
that overlap the later press wins. Those of two consoles know nothing of each other's presses: each waits until the
board shows its own session, and with it whatever began before; then the one that began later stays, and whoever sees
both ends the other. Taking what is already taken sends nothing and says since when. A preset that is
``held_by`` the console gets its hold right after the offer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from app.client.api import ApiError, BrokerClient
from app.client.destination import Destination, consumer_of, is_later
from app.client.shapes import Offer
from app.contract import SESSION_TTL, HoldRow, PresetRow, SessionRow, StreamRow

TakeOutcome = Literal["taken", "already", "rejected", "no_answer", "gone", "failed"]
"""taken: there is an offer · already: nothing was sent · rejected: 502 · no_answer: 504 · gone: 404 · failed: the rest."""


Standing = Literal["shown", "gone", "late"]
"""A session just begun: the board shows it · it has gone again already · the board has not come that far in time."""
Settled = Callable[[str], Awaitable[Standing]]
"""Waits until the view shows that session."""


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


async def take(
    client: BrokerClient, view: TakeView, stream_id: str, preset: PresetRow, settled: Settled | None = None
) -> TakeResult:
    """Take a stream to a preset's consumer. Raises nothing for what a broker or publisher may answer.

    Without ``settled`` the view is taken as it is: good for one console alone.
    """
    began = time.monotonic()
    for session in carried(view, preset):
        if session.stream_id == stream_id:
            return _already(session, preset, _leaving(view, preset, session.id))
    with client.destinations.at(consumer_of(preset), stream_id) as destination:
        press, before = destination.press(), frozenset(view.sessions)
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
        attempt = _Take(client, view, preset, destination, press, _session(offer, view, preset), before, began)
        return await attempt.put_up(offer, settled)


class _Take:
    """A take whose offer is there: it stays and the rest goes, or it is given back."""

    def __init__(
        self,
        client: BrokerClient,
        view: TakeView,
        preset: PresetRow,
        destination: Destination,
        press: int,
        session: SessionRow,
        before: frozenset[str],
        began: float,
    ) -> None:
        self._client = client
        self._view = view
        self._preset = preset
        self._destination = destination
        self._press = press
        self._session = session
        self._before = before
        self._began = began
        self._last: SessionRow | None = None
        """What this console put there before; the board may not show it yet."""

    async def put_up(self, offer: Offer, settled: Settled | None) -> TakeResult:
        """Hold it, find out who else is there, and end those."""
        session, preset, replaces = self._session, self._preset, self._preset.mode == "replace"
        if replaces:
            if (winner := self._destination.winner_over(self._press)) is not None:
                return await self._overtaken(winner)
            self._last = self._destination.newest
            self._destination.won(self._press, session)
        hold, hold_error, gone = None, "", None
        try:
            hold, hold_error = await _hold(self._client, offer.session_id, preset)
        except ApiError as error:
            gone = error
        standing = await settled(session.id) if replaces and settled is not None else None
        if (winner := self._winner(standing, gone)) is not None:
            return await self._overtaken(winner)
        if gone is None and standing == "gone":
            gone = ApiError(404, "expired", "Its session has ended again already")
        leaving = self._leaving(standing)
        if gone is not None:
            return _failed(gone, offer.stream_name, session.stream_id, preset, leaving, _since(self._began))
        words = _words_for(self._view, leaving, self._client.operator)
        replaced, not_ended = await _end(self._client, leaving, session.id)
        return TakeResult(
            outcome="taken",
            text=_words(offer, preset, hold_error, [words[one.id] for one in replaced], not_ended),
            stream_id=session.stream_id,
            preset=preset,
            offer=offer,
            hold=hold,
            hold_error=hold_error,
            replaced=replaced,
            not_ended=not_ended,
            status=201,
            milliseconds=_since(self._began),
        )

    def _winner(self, standing: Standing | None, gone: ApiError | None) -> SessionRow | None:
        """Which session has the place that this one was to have."""
        if self._preset.mode != "replace":
            return None
        winner = self._destination.winner_over(self._press)
        if winner is not None:
            return winner
        mine, added = self._view.sessions.get(self._session.id), _added(self._view)
        there = [one for one in self._others() if one.id not in added]
        if mine is not None:
            there = self._destination.strangers(there, mine)
        elif standing == "gone" or gone is not None:
            there = [one for one in there if one.id not in self._before]
        else:
            return None
        return there[-1] if there else None

    def _others(self) -> list[SessionRow]:
        return [one for one in shown_at(self._view, self._preset) if one.id != self._session.id]

    def _leaving(self, standing: Standing | None) -> tuple[SessionRow, ...]:
        """What makes room. Of a board that has not come far enough only what surely began before."""
        if self._preset.mode != "replace":
            return ()
        mine, others, last = self._view.sessions.get(self._session.id), self._others(), self._last
        if mine is not None:
            others = [one for one in others if not is_later(one, mine)]
        elif standing == "late":
            others = [one for one in others if one.id in self._before or (last is not None and one.id == last.id)]
        unseen = (last,) if last is not None and last.id not in self._view.sessions else ()
        return (*others, *unseen)

    async def _overtaken(self, winner: SessionRow) -> TakeResult:
        """Another has its place: give it back."""
        session, preset = self._session, self._preset
        own = winner is self._destination.newest
        _, not_ended = await _end(self._client, (session,), winner.id)
        text = f"{session.stream_name} was not put on {preset.name}: {winner.stream_name} "
        holder = _holder(self._view, winner.id)
        by = f" by {holder}" if holder else ""
        text += "was asked for later, and is there." if own else f"was taken there a moment later{by}."
        return TakeResult(
            "failed",
            text + _still_there(not_ended),
            session.stream_id,
            preset,
            not_ended=not_ended,
            code="overtaken",
            milliseconds=_since(self._began),
        )


def _holder(view: TakeView, session_id: str) -> str:
    """Who took a session, where Callboard holds it."""
    return next((hold.operator for hold in view.holds.values() if hold.session_id == session_id), "")


def _words_for(view: TakeView, sessions: tuple[SessionRow, ...], me: str) -> dict[str, str]:
    """Each with the other operator whose it was, by id."""
    words = {}
    for session in sessions:
        holder = _holder(view, session.id)
        words[session.id] = f"{session.stream_name} of {holder}" if holder not in ("", me) else session.stream_name
    return words


def _added(view: TakeView) -> set[str]:
    """Sessions that are held for a preset that shows several: they take nobody's place."""
    return {
        hold.session_id
        for hold in view.holds.values()
        if (preset := view.presets.get(hold.preset_id or "")) is not None and preset.mode == "add"
    }


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
    client: BrokerClient, sessions: tuple[SessionRow, ...], successor: str
) -> tuple[tuple[SessionRow, ...], tuple[NotEnded, ...]]:
    """End what makes room; a session that has gone meanwhile has made room too."""
    replaced: list[SessionRow] = []
    not_ended: list[NotEnded] = []
    for session in sessions:
        try:
            await client.stop_session(session.id, replaced_by=successor)
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
    replaced: list[str],
    not_ended: tuple[NotEnded, ...],
) -> str:
    text = f"{offer.stream_name} is on {preset.name}"
    if replaced:
        text += f"; it replaced {', '.join(replaced)}"
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
