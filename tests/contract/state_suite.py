"""What every implementation of ``LiveState`` must do. A new one adds a fixture ``venue`` and a subclass.

``venue.py`` is what the cases need around a state: clocks that can be moved, a way to kill the broker, a way to
break and mend what makes changes durable, and the history that came out.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest

from app.contract import KINDS, SESSION_TTL, STREAM_TTL, Beat, Gone, HoldRow, StreamRow
from app.errors import Conflict, Expired, Invalid, Unavailable
from tests.contract.venue import Venue


class StateSuite:
    """Cases for one call after the other; ``state_machine.py`` mixes them."""

    async def test_an_advertised_stream_is_listed_told_and_given_its_ttl(self, venue: Venue) -> None:
        row = await venue.state.advertise(venue.stream())
        assert list(venue.state.streams) == [row.id]
        assert venue.state.streams[row.id] is row
        assert row.expires_at == venue.now + STREAM_TTL
        assert venue.told("stream.advertised") == [row.id]
        assert venue.last("stream.advertised") is row

    async def test_lists_are_oldest_first_and_stay_so(self, venue: Venue) -> None:
        rows = [await venue.state.advertise(venue.stream(name=str(n))) for n in range(20)]
        await venue.advance(5)
        await venue.state.heartbeat_stream(rows[7].id)
        await venue.state.withdraw(rows[3].id)
        wanted = [row.id for row in rows if row is not rows[3]]
        assert list(venue.state.streams) == wanted
        await venue.kill_and_restart()
        assert list(venue.state.streams) == wanted

    async def test_an_id_is_taken_once(self, venue: Venue) -> None:
        row = venue.stream()
        both = await asyncio.gather(
            venue.state.advertise(row), venue.state.advertise(venue.stream(id=row.id)), return_exceptions=True
        )
        assert [type(one) for one in both] == [StreamRow, Conflict]
        with pytest.raises(Conflict):
            await venue.state.advertise(venue.stream(id=row.id))
        assert venue.told("stream.advertised") == [row.id]

    async def test_a_heartbeat_moves_the_deadline(self, venue: Venue) -> None:
        row = await venue.state.advertise(venue.stream())
        await venue.advance(20)
        assert await venue.state.heartbeat_stream(row.id) is row
        assert (row.last_heartbeat, row.expires_at) == (venue.now, venue.now + STREAM_TTL)
        assert venue.last("stream.beat") == Beat(venue.now + STREAM_TTL, venue.now)
        await venue.advance(STREAM_TTL - 0.5)
        assert row.id in venue.state.streams
        await venue.advance(1)
        assert row.id not in venue.state.streams

    async def test_an_expired_stream_is_gone_for_every_call_and_told_once(self, venue: Venue) -> None:
        row = await venue.state.advertise(venue.stream())
        await venue.advance(STREAM_TTL + 1)
        assert not venue.state.streams
        assert await venue.state.heartbeat_stream(row.id) is None
        assert await venue.state.withdraw(row.id) is None
        with pytest.raises(Expired):
            await venue.state.open_session(venue.session(row))
        await venue.advance(5)
        assert venue.told("stream.expired") == [row.id]
        assert venue.last("stream.expired").reason == "expired"
        assert venue.told("stream.withdrawn") == []

    async def test_an_unknown_row_is_none_to_every_call(self, venue: Venue) -> None:
        nobody = str(uuid.uuid4())
        assert await venue.state.heartbeat_stream(nobody) is None
        assert await venue.state.heartbeat_session(nobody) is None
        assert await venue.state.withdraw(nobody) is None
        assert await venue.state.close_session(nobody) is None
        assert await venue.state.drop_hold(nobody) is None
        assert list(venue.state.sessions_of(nobody)) == []
        assert venue.events == []

    async def test_a_session_is_listed_with_its_stream_and_in_history(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream, transport_config={"ndi_name": "CAM A"}))
        assert list(venue.state.sessions_of(stream.id)) == [session]
        assert session.expires_at == venue.now + SESSION_TTL
        assert session.last_heartbeat is None
        assert venue.told("session.started") == [session.id]
        row = (await venue.history())[session.id]
        assert (row.status, row.time, row.consumer_id) == ("active", session.started_at, "max-workstation-02")

    async def test_a_closed_session_ends_in_history_with_its_duration(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.advance(12)
        assert await venue.state.close_session(session.id, by="kim") is session
        assert await venue.state.close_session(session.id) is None
        assert venue.last("session.stopped") == Gone("stopped", by="kim")
        row = (await venue.history())[session.id]
        assert (row.status, row.ended_at) == ("stopped", venue.now)
        assert row.duration_seconds == pytest.approx(12)
        assert list(venue.state.sessions_of(stream.id)) == []

    async def test_a_session_expires_by_itself(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        kept, lost = [await venue.state.open_session(venue.session(stream)) for _ in range(2)]
        await venue.beat_for(40, stream, sessions=(kept,))
        assert list(venue.state.sessions) == [kept.id]
        assert venue.told("session.expired") == [lost.id]
        history = await venue.history()
        assert history[kept.id].status == "active"
        assert history[lost.id].status == "expired"
        assert history[lost.id].duration_seconds == pytest.approx(SESSION_TTL, abs=1)

    async def test_withdrawing_ends_the_sessions_and_their_holds(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        other = await venue.state.advertise(venue.stream())
        sessions = [await venue.state.open_session(venue.session(stream)) for _ in range(3)]
        bystander = await venue.state.open_session(venue.session(other))
        hold = await venue.state.put_hold(venue.hold(sessions[1]))
        removed = await venue.state.withdraw(stream.id, by="kim")
        assert removed is not None
        assert (removed.stream, removed.sessions) == (stream, sessions)
        assert venue.told("session.stopped") == [session.id for session in sessions]
        assert venue.last("session.stopped").reason == "withdrawn"
        assert venue.told("hold.ended") == [hold.id]
        assert venue.told("stream.withdrawn") == [stream.id]
        assert venue.last("stream.withdrawn") == Gone("withdrawn", by="kim")
        assert list(venue.state.sessions) == [bystander.id]
        assert not venue.state.holds
        history = await venue.history()
        assert {history[session.id].status for session in sessions} == {"withdrawn"}
        assert history[bystander.id].status == "active"
        await venue.kill_and_restart()
        assert (list(venue.state.streams), list(venue.state.sessions)) == ([other.id], [bystander.id])

    async def test_sessions_of_an_expired_stream_live_on(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.beat_for(60, sessions=(session,))
        assert not venue.state.streams
        assert list(venue.state.sessions_of(stream.id)) == [session]
        assert (await venue.history())[session.id].status == "active"
        assert await venue.state.close_session(session.id) is session

    @pytest.mark.parametrize("verb", ["withdraw", "close_session", "drop_hold"])
    async def test_of_many_callers_one_wins(self, venue: Venue, verb: str) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        hold = await venue.state.put_hold(venue.hold(session))
        target = {"withdraw": stream.id, "close_session": session.id, "drop_hold": hold.id}[verb]
        results = await asyncio.gather(*(getattr(venue.state, verb)(target) for _ in range(16)))
        assert Counter(result is None for result in results) == {True: 15, False: 1}
        removals = Counter(event.id for event in venue.events if KINDS[event.kind][1] == "remove")
        assert set(removals.values()) == {1}

    async def test_close_and_withdraw_at_once_tell_each_end_once(self, venue: Venue) -> None:
        for _ in range(20):
            stream = await venue.state.advertise(venue.stream())
            session = await venue.state.open_session(venue.session(stream))
            closed, removed = await asyncio.gather(
                venue.state.close_session(session.id), venue.state.withdraw(stream.id)
            )
            assert removed is not None
            assert (closed is None) == (removed.sessions == [session])
            assert venue.told("session.stopped").count(session.id) == 1
            reason = venue.last("session.stopped").reason
            assert (await venue.history())[session.id].status == reason

    async def test_a_session_of_a_stream_withdrawn_meanwhile_leaves_nothing(self, venue: Venue) -> None:
        outcomes = set()
        for first in ("open", "withdraw"):
            stream = await venue.state.advertise(venue.stream())
            session = venue.session(stream)
            calls = [venue.state.open_session(session), venue.state.withdraw(stream.id)]
            done = await asyncio.gather(*(calls if first == "open" else calls[::-1]), return_exceptions=True)
            outcomes.add(type(done[0 if first == "open" else 1]))
            assert not venue.state.sessions
            assert list(venue.state.sessions_of(stream.id)) == []
            if session.id in venue.told("session.started"):
                assert session.id in venue.told("session.stopped")
                assert (await venue.history())[session.id].status == "withdrawn"
            else:
                assert session.id not in await venue.history()
        assert Expired in outcomes
        await venue.kill_and_restart()
        assert not venue.state.streams
        assert not venue.state.sessions

    async def test_a_hold_beats_without_claiming_that_the_consumer_lives(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.state.put_hold(venue.hold(session))
        await venue.advance(20)
        assert await venue.state.heartbeat_session(session.id, by_hold=True) is session
        assert (session.expires_at, session.last_heartbeat) == (venue.now + SESSION_TTL, None)
        assert venue.last("session.beat") == Beat(venue.now + SESSION_TTL, None)
        await venue.advance(20)
        assert session.id in venue.state.sessions

    async def test_a_session_is_held_once(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        both = await asyncio.gather(
            venue.state.put_hold(venue.hold(session)),
            venue.state.put_hold(venue.hold(session)),
            return_exceptions=True,
        )
        assert [type(one) for one in both] == [HoldRow, Conflict]
        with pytest.raises(Conflict):
            await venue.state.put_hold(venue.hold(session))
        dropped = await venue.state.drop_hold(both[0].id, by="kim")
        assert dropped is both[0]
        assert venue.last("hold.ended") == Gone("released", by="kim")
        assert session.id in venue.state.sessions
        again = await venue.state.put_hold(venue.hold(session))
        assert list(venue.state.holds) == [again.id]

    async def test_a_hold_ends_with_its_session(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        hold = await venue.state.put_hold(venue.hold(session))
        await venue.advance(SESSION_TTL + 1)
        assert not venue.state.holds
        assert venue.told("hold.ended") == [hold.id]
        with pytest.raises(Expired):
            await venue.state.put_hold(venue.hold(session))

    async def test_everything_survives_a_kill_with_its_id_and_one_fresh_ttl(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream(metadata={"note": "ü\u2028\U0001f3a5"}))
        session = await venue.state.open_session(venue.session(stream))
        hold = await venue.state.put_hold(venue.hold(session))
        await venue.advance(25)
        heard = stream.last_heartbeat
        await venue.kill_and_restart(away=3600)
        assert list(venue.state.streams) == [stream.id]
        again = venue.state.streams[stream.id]
        assert again is not stream
        assert (again.metadata, again.last_heartbeat) == (stream.metadata, heard)
        assert (again.confirmed, again.expires_at) == (False, venue.now + STREAM_TTL)
        assert list(venue.state.holds.values()) == [hold]
        assert [row.id for row in venue.state.sessions_of(stream.id)] == [session.id]
        await venue.advance(SESSION_TTL - 1)
        assert await venue.state.heartbeat_stream(stream.id) is again
        assert again.confirmed
        held = await venue.state.heartbeat_session(session.id, by_hold=True)
        assert held is not None
        assert not held.confirmed
        assert await venue.state.heartbeat_session(session.id) is held
        assert held.confirmed

    async def test_a_beaten_row_survives_a_kill_long_after_its_first_deadline(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.beat_for(100, stream, sessions=(session,))
        heard = venue.now
        await venue.advance(1)
        await venue.kill_and_restart(away=1)
        assert venue.state.streams[stream.id].last_heartbeat == heard
        assert venue.state.sessions[session.id].last_heartbeat == heard

    async def test_a_row_that_nobody_beats_after_a_restart_expires(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.kill_and_restart(away=5)
        await venue.advance(STREAM_TTL + 1)
        assert not venue.state.streams
        assert venue.told("stream.expired") == [stream.id]
        assert venue.told("session.expired") == [session.id]
        assert (await venue.history())[session.id].status == "expired"

    async def test_what_expired_before_a_kill_stays_away(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        await venue.advance(STREAM_TTL + 1)
        await venue.kill_and_restart()
        assert not venue.state.streams
        assert venue.told("stream.expired") == [stream.id]

    async def test_a_clean_stop_keeps_everything_too(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        await venue.advance(20)
        await venue.state.heartbeat_stream(stream.id)
        heard = venue.now
        await venue.stop_and_restart(away=100_000)
        assert venue.state.streams[stream.id].last_heartbeat == heard

    async def test_a_row_survives_a_kill_in_the_first_second_of_another_boot(self, venue: Venue) -> None:
        gone = await venue.state.advertise(venue.stream())
        await venue.advance(2)
        await venue.state.withdraw(gone.id)
        await venue.stop_and_restart()
        row = await venue.state.advertise(venue.stream())
        await venue.kill_and_restart()
        assert list(venue.state.streams) == [row.id]

    async def test_durations_outlive_a_restart(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.advance(10)
        await venue.kill_and_restart(away=20)
        await venue.advance(5)
        await venue.state.close_session(session.id)
        assert (await venue.history())[session.id].duration_seconds == pytest.approx(35)

    @pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
    async def test_a_stepped_wall_clock_ends_nothing_and_keeps_nothing(self, venue: Venue, step: float) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.advance(20)
        venue.step_wall_clock(step)
        await venue.advance(9)
        assert stream.id in venue.state.streams
        assert await venue.state.heartbeat_stream(stream.id) is stream
        assert stream.expires_at == venue.now + STREAM_TTL
        await venue.advance(2)
        assert venue.told("session.expired") == [session.id]
        row = (await venue.history())[session.id]
        assert row.duration_seconds == pytest.approx(30, abs=1)
        await venue.advance(29)
        assert venue.told("stream.expired") == [stream.id]

    async def test_without_storage_every_change_is_refused_and_nothing_happens(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        free = await venue.state.open_session(venue.session(stream))
        hold = await venue.state.put_hold(venue.hold(session))
        told = len(venue.events)
        await venue.break_storage()
        refused = venue.stream(), venue.session(stream), venue.hold(free)
        for call in (
            venue.state.advertise(refused[0]),
            venue.state.open_session(refused[1]),
            venue.state.put_hold(refused[2]),
            venue.state.withdraw(stream.id),
            venue.state.close_session(session.id),
            venue.state.drop_hold(hold.id),
        ):
            with pytest.raises(Unavailable):
                await call
        assert [event.kind for event in venue.events[told:] if event.kind != "health.changed"] == []
        assert list(venue.state.streams) == [stream.id]
        assert list(venue.state.sessions) == [session.id, free.id]
        assert list(venue.state.holds) == [hold.id]
        assert await venue.state.heartbeat_stream(stream.id) is stream
        await venue.mend_storage()
        assert await venue.state.advertise(refused[0])
        assert await venue.state.open_session(refused[1])
        assert await venue.state.put_hold(refused[2])
        assert await venue.state.withdraw(stream.id) is not None
        await venue.kill_and_restart()
        assert list(venue.state.streams) == [refused[0].id]
        assert not venue.state.sessions

    async def test_expiry_goes_on_without_storage_and_is_written_later(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        session = await venue.state.open_session(venue.session(stream))
        await venue.break_storage()
        await venue.advance(STREAM_TTL + 1)
        assert not venue.state.streams
        assert not venue.state.sessions
        assert venue.told("stream.expired") == [stream.id]
        assert venue.told("session.expired") == [session.id]
        await venue.mend_storage()
        await venue.advance(1)
        assert (await venue.history())[session.id].status == "expired"
        await venue.kill_and_restart()
        assert not venue.state.streams
        assert not venue.state.sessions

    async def test_an_end_that_fails_at_the_deadline_is_an_expiry(self, venue: Venue) -> None:
        stream = await venue.state.advertise(venue.stream())
        await venue.advance(STREAM_TTL - 0.5)
        await venue.break_storage()
        withdrawal = asyncio.ensure_future(venue.state.withdraw(stream.id))
        await asyncio.sleep(0)
        await venue.advance(1)
        with pytest.raises(Unavailable):
            await withdrawal
        await venue.advance(1)
        assert not venue.state.streams
        assert venue.told("stream.expired") == [stream.id]

    async def test_a_caller_that_gives_up_does_not_part_memory_from_storage(self, venue: Venue) -> None:
        doomed = await venue.state.advertise(venue.stream())
        calls = [venue.state.advertise(venue.stream()), venue.state.withdraw(doomed.id)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        after = await venue.state.advertise(venue.stream())
        seen = list(venue.state.streams)
        assert seen[-1] == after.id
        await venue.kill_and_restart()
        assert list(venue.state.streams) == seen

    @pytest.mark.parametrize("bad", [{"text": "\ud800"}, {"object": object()}])
    async def test_what_cannot_be_kept_is_refused(self, venue: Venue, bad: dict[str, Any]) -> None:
        with pytest.raises(Invalid):
            await venue.state.advertise(venue.stream(config=bad))
        assert not venue.state.streams
        row = venue.stream()
        assert await venue.state.advertise(row) is row

    async def test_many_at_once_all_survive(self, venue: Venue) -> None:
        rows = await asyncio.gather(*(venue.state.advertise(venue.stream(name=str(n))) for n in range(300)))
        sessions = await asyncio.gather(*(venue.state.open_session(venue.session(row)) for row in rows))
        closed = await asyncio.gather(*(venue.state.close_session(row.id) for row in sessions[::2]))
        assert None not in closed
        await venue.kill_and_restart()
        assert set(venue.state.streams) == {row.id for row in rows}
        assert set(venue.state.sessions) == {row.id for row in sessions[1::2]}
        history = await venue.history()
        assert Counter(row.status for row in history.values()) == {"stopped": 150, "active": 150}
