from __future__ import annotations

import pytest

from policies.request import (
    EVIDENCE_WORDS,
    EndpointName,
    Evidence,
    Protocol,
    account_identity,
    certificate_identity,
    password_identity,
)


def test_an_endpoint_is_a_protocol_and_a_label() -> None:
    endpoint = EndpointName.parse("est/plant")
    assert (endpoint.protocol, endpoint.label, str(endpoint)) == (Protocol.EST, "plant", "est/plant")


@pytest.mark.parametrize("text", ["", "est", "est/", "/plant", "est/a/b", "cmp/a"])
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"protocol/label|Protocol"):
        EndpointName.parse(text)


def test_every_kind_of_evidence_has_a_word() -> None:
    assert set(EVIDENCE_WORDS) == set(Evidence.__args__)


def test_an_identity_begins_with_its_kind_and_a_serial_number_is_in_hexadecimal() -> None:
    assert password_identity("pump-17") == "password:pump-17"
    assert certificate_identity(0xAB12) == "certificate:ab12"
    assert account_identity("9GO677PO9") == "account:9GO677PO9"
