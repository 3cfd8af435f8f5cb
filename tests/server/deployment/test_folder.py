from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.deployment.folder import Deployment, Ports, Secrets

SECRETS = Secrets("device-1", "word", "challenge")


def test_credentials_are_nested_by_protocol() -> None:
    assert json.loads(SECRETS.to_json()) == {
        "est": {"username": "device-1", "password": "word"},
        "scep": {"challenge": "challenge"},
    }


@given(st.text(), st.text(), st.text())
def test_credentials_read_back_as_they_were_written(username: str, password: str, challenge: str) -> None:
    secrets = Secrets(username, password, challenge)
    assert Secrets.from_json(secrets.to_json()) == secrets


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"est": {}}',
        '{"est": 1}',
        '{"est": {"username": "a", "password": "b"}, "scep": {}}',
        '{"est": {"username": "a", "password": "b"}, "scep": {"challenge": 7}}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"credentials\.json|Expecting value"):
        Secrets.from_json(text)


def test_every_file_has_its_fixed_name() -> None:
    deployment = Deployment(Path("/srv"), Ports(), SECRETS, b"")
    names = [deployment.config, deployment.root_pem, deployment.chain_pem, deployment.ra_pem, deployment.database]
    expected = ["server.yaml", "root.pem", "chain.pem", "ra/ra.pem", "certwright.db"]
    assert names == [Path("/srv") / name for name in expected]
