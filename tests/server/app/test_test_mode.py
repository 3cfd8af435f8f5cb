"""An endpoint in test mode and profiles for testing: never one without the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policies.document import DocumentErrors
from server.app.material import load_material
from server.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config


def changed(folder: Path, *, mode: str = "", testing: str = "") -> Config:
    """The configuration of a deployment with these lines in its ACME endpoint and in the profile for it."""
    file, policy = folder / "server.yaml", folder / "policies" / "tls-server.yaml"
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", f"    profiles: [tls-server]\n{mode}"))
    policy.write_text(
        policy.read_text().replace('    endpoints: ["acme/*"]\n', f'    endpoints: ["acme/*"]\n{testing}')
    )
    return load_config(file)


MODE, TESTING = "    danger_test_mode: {}\n", "    testing: true\n"


def test_together_they_load(folder: Path) -> None:
    config = changed(folder, mode=MODE, testing=TESTING)
    load_material(config)
    (endpoint,) = config.endpoints.acme.values()
    assert endpoint.danger_test_mode is not None
    assert endpoint.danger_test_mode.refuse_nonces == 5


@pytest.mark.parametrize(
    ("mode", "testing", "message"),
    [
        (MODE, "", 'acme/default is in test mode, and profile "tls-server" does not say "testing: true"'),
        (MODE, "    testing: false\n", 'acme/default is in test mode, and profile "tls-server" does not say'),
        ("", TESTING, r'profile "tls-server" is for testing \(.*tls-server.yaml:\d+:\d+\), and acme/default is not in'),
    ],
)
def test_one_without_the_other_is_refused_at_load(folder: Path, mode: str, testing: str, message: str) -> None:
    config = changed(folder, mode=mode, testing=testing)
    with pytest.raises(DocumentErrors, match=rf"server.yaml:\d+:\d+: {message}"):
        load_material(config)


@pytest.mark.parametrize("setting", ["{refuse_nonces: 91}", "{slow_validation: 9}", "true", "{refuse_nonces: all}"])
def test_a_test_mode_that_can_not_be_is_refused(folder: Path, setting: str) -> None:
    with pytest.raises(DocumentErrors, match="danger_test_mode"):
        changed(folder, mode=f"    danger_test_mode: {setting}\n")
