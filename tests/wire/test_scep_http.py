"""SCEP with curl: what is no SCEP message at all, and the answers that clients read before they have one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import refusals
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.wire.running import RunningServer


def curl(*arguments: str | Path) -> tuple[int, str]:
    """Return status and Content-Type."""
    curl = require_program("curl")
    done = run(curl, "--silent", "--output", "/dev/null", "--write-out", "%{http_code} %{content_type}", *arguments)
    status, _, content_type = done.stdout.partition(" ")
    return int(status), content_type


@pytest.mark.parametrize(
    ("operation", "content_type"),
    [("GetCACaps", "text/plain"), ("GetCACert", "application/x-x509-ca-ra-cert")],
)
@pytest.mark.parametrize("path", ["", "/default", "/pkiclient.exe"])
def test_media_types_are_written_exactly(server: RunningServer, operation: str, content_type: str, path: str) -> None:
    assert curl(f"{server.scep_url}{path}?operation={operation}") == (200, content_type)


def test_garbage_is_refused_and_on_record(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"no SCEP message")
    url = f"{server.scep_url}?operation=PKIOperation"
    before = len(refusals(server, "malformed"))

    assert curl("--data-binary", f"@{tmp_path / 'garbage'}", url) == (400, "text/plain")
    assert curl(f"{url}&message=Z2FyYmFnZQ==") == (400, "text/plain")
    assert len(refusals(server, "malformed")) == before + 2


def test_an_oversized_body_is_refused_and_on_record(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    before = len(refusals(server, "too-large"))

    assert curl("--data-binary", f"@{tmp_path / 'large'}", f"{server.scep_url}?operation=PKIOperation")[0] == 413
    assert len(refusals(server, "too-large")) == before + 1
