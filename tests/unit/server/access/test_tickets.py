from __future__ import annotations

from collections.abc import Callable

import pytest

from app.errors import Unauthorised, Unavailable
from app.server.access import tickets as tickets_module
from app.server.access.principal import Principal
from app.server.access.tickets import Tickets, is_ticket
from tests.unit.server.access.conftest import Floor

KIM = Principal("user", "kim's id", "kim", "user", "token 1", 1e12)
CONSOLE = Principal("console", "", "sam", "admin")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Unauthorised) as refused:
        work()
    return refused.value.code


def test_a_ticket_opens_its_session_once() -> None:
    tickets = Tickets()
    text = tickets.issue(KIM, "s1", "view", shadow=True)
    assert is_ticket(text)
    assert code_of(lambda: tickets.redeem(text, "s2")) == "token_invalid"
    assert tickets.peek(text, "s1") == tickets.peek(text, "s1")
    ticket = tickets.redeem(text, "s1")
    assert (ticket.principal, ticket.session_id, ticket.mode, ticket.shadow) == (KIM, "s1", "view", True)
    assert code_of(lambda: tickets.redeem(text, "s1")) == "token_invalid"
    assert code_of(lambda: tickets.peek(text, "s1")) == "token_invalid"


def test_a_ticket_lasts_a_minute() -> None:
    clock = Clock()
    tickets = Tickets(monotonic=clock)
    early, late = tickets.issue(KIM, "s1", "control"), tickets.issue(KIM, "s1", "control")
    clock.now += 59.9
    assert tickets.redeem(early, "s1").mode == "control"
    clock.now += 0.1
    assert code_of(lambda: tickets.redeem(late, "s1")) == "token_expired"
    tickets.issue(KIM, "s1", "view")
    assert tickets.count == 1


def test_what_is_out_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets_module, "TICKET_LIMIT", 3)
    clock = Clock()
    tickets = Tickets(monotonic=clock)
    for _ in range(3):
        tickets.issue(KIM, "s1", "view")
    with pytest.raises(Unavailable):
        tickets.issue(KIM, "s1", "view")
    clock.now += 60
    assert tickets.issue(KIM, "s1", "view")


@pytest.mark.parametrize("guess", ["", "cbt_", "cbt_" + "A" * 32, "\ud800"])
def test_a_guess_opens_nothing(guess: str) -> None:
    tickets = Tickets()
    tickets.issue(KIM, "s1", "view")
    assert code_of(lambda: tickets.redeem(guess, "s1")) == "token_invalid"


def test_a_ticket_ends_with_the_login_that_it_was_given() -> None:
    tickets = Tickets()
    mine, other = tickets.issue(KIM, "s1", "view"), Principal("user", "kim's id", "kim", "user", "token 2", 1e12)
    second, console = tickets.issue(other, "s1", "view"), tickets.issue(CONSOLE, "s1", "view")
    tickets.end("token 1", "kim's id")
    assert code_of(lambda: tickets.redeem(mine, "s1")) == "token_invalid"
    assert tickets.peek(second, "s1").principal == other
    tickets.end(None, "kim's id")
    assert code_of(lambda: tickets.redeem(second, "s1")) == "token_invalid"
    assert tickets.redeem(console, "s1").principal == CONSOLE


async def test_a_logout_takes_its_tickets_along(floor: Floor) -> None:
    row = await floor.users.create("kim", "kim@example.com", "secure-password")
    token, _ = floor.tokens.issue(row)
    ticket = floor.tokens.issue_ticket(floor.tokens.principal_of(token), "s1", "view")
    assert floor.tokens.peek_ticket(ticket, "s1").principal.username == "kim"
    await floor.tokens.revoke(token)
    assert code_of(lambda: floor.tokens.redeem_ticket(ticket, "s1")) == "token_invalid"
