from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from server.app.changed_configuration import look_at_configuration

if TYPE_CHECKING:
    from server.config import Config


def test_the_same_configuration_is_nothing_to_speak_of(config: Config) -> None:
    config.file.write_text(f"# a comment more\n{config.file.read_text()}")
    with capture_logs() as events:
        look_at_configuration(config)
    assert events == []


def test_another_configuration_is_said_to_wait_for_the_next_start(config: Config) -> None:
    config.file.write_text(config.file.read_text().replace("max_validity: 825d", "max_validity: 824d"))
    with capture_logs() as events:
        look_at_configuration(config)
    assert [event["event"] for event in events] == ["the configuration has changed: it takes effect at the next start"]


def test_one_that_would_not_start_is_said_with_its_place(config: Config) -> None:
    config.file.write_text(config.file.read_text().replace("ceilings:", "ceillings:"))
    with capture_logs() as events:
        look_at_configuration(config)
    assert events[0]["log_level"] == "error"
    assert events[1]["where"].startswith(f"{config.file}:")
    assert 'did you mean "ceilings"?' in events[1]["problem"]
