"""Where a deployment's configuration is when the command line does not say."""

from __future__ import annotations

from pathlib import Path

USUAL_PLACES = (Path("server.yaml"), Path("certs-dev/server.yaml"))


def usual(given: Path | None) -> Path:
    """Return the configuration that was given, else the first that is in a usual place, else where it should be."""
    return given or next((place for place in USUAL_PLACES if place.is_file()), USUAL_PLACES[0])
