"""Every module of this folder may ask for a ``board``."""

from __future__ import annotations

import pytest

from tests.fakes.board import Board


@pytest.fixture
def board() -> Board:
    return Board()
