"""The doctor looks at the roots that are pinned for attestations, and says when an endpoint is in test mode."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from server.clock import system_clock
from server.commands.attestation_roots import check_attestations
from server.commands.checks import Level
from server.config import load_config
from tests.fakes.attestation import Maker

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
    profiles: [tls-server]
    device_attest: {identifiers: ["permanent-identifier:*"], step: good.pem, tpm: old.pem}
    by_profile:
      tls-server: {device_attest: {identifiers: ["permanent-identifier:*"], apple: none.pem}}
    danger_test_mode: {}
"""


def test_roots_are_read_and_must_be_valid_and_a_test_mode_is_told(folder: Path) -> None:
    file, now = folder / "server.yaml", system_clock()
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", SETTINGS))
    for name, when in (("good.pem", now), ("old.pem", now - timedelta(days=60))):
        (folder / name).write_bytes(Maker(when).root.public_bytes(Encoding.PEM))
    found = {each.subject: each for each in check_attestations(load_config(file), now)}
    assert found["step roots of acme/default"].level is Level.OK
    assert "not valid any more: CN=root" in found["tpm roots of acme/default"].message
    assert "can't be read" in found["apple roots of acme/default, profile tls-server"].message
    assert found["endpoint acme/default"].level is Level.WARNING


def test_without_attestations_there_is_nothing_to_say(folder: Path) -> None:
    assert not list(check_attestations(load_config(folder / "server.yaml"), system_clock()))
