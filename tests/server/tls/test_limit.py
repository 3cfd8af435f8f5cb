"""How many connections there are, and when it is said that there are too many."""

from __future__ import annotations

from structlog.testing import capture_logs

from server.tls import ConnectionLimit


def test_who_finds_no_room_is_told_of_once_until_there_was_room_again() -> None:
    limit = ConnectionLimit("https", 2)
    with capture_logs() as events:
        assert [limit.enter(f"192.0.2.{n}") for n in range(4)] == [True, True, False, False]
        assert [(event["event"], event["peer"], event["limit"]) for event in events] == [
            ("connection limit reached", "192.0.2.2", 2)
        ]
        limit.leave()
        assert limit.count == 1
        assert [limit.enter(f"192.0.2.{n}") for n in range(5, 8)] == [True, False, False]
    assert [event["peer"] for event in events] == ["192.0.2.2", "192.0.2.6"]
    assert limit.count == 2
