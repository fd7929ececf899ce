"""Moving about in a table with the keyboard."""

from __future__ import annotations

from tests.ui.stage import Key, Stage


def test_home_and_end_go_to_the_first_and_the_last_row(stage: Stage) -> None:
    view, order = stage.streams.view, stage.streams.model.order
    stage.go_to(order[3])
    stage.key(Key.Key_End)
    assert view.current_id == order[-1]
    stage.key(Key.Key_Home)
    assert view.current_id == order[0]
    assert [index.row() for index in view.selectionModel().selectedRows()] == [0]
