"""What a running server says about a configuration that has changed since its start: nothing of it is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from policies.document import DocumentErrors
from server.config import load_config

if TYPE_CHECKING:
    from server.config import Config

_log = structlog.get_logger("server.app")


def look_at_configuration(config: Config) -> None:
    """Log that the file says something else than what is in force, or what is wrong with it. Raises nothing."""
    try:
        fresh = load_config(config.file)
    except DocumentErrors as errors:
        _log.error("the configuration has changed, and with it the server would not start again")
        for problem in errors.problems:
            _log.error("configuration problem", where=str(problem.location), problem=problem.message)
        return
    if any(getattr(fresh, name) != getattr(config, name) for name in type(config).model_fields):
        _log.warning("the configuration has changed: it takes effect at the next start", file=str(config.file))
